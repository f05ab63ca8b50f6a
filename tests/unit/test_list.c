/* SPDX-License-Identifier: MIT */

/*
 * Goal: a list keeps its order, and a node knows whether it is in one. Method:
 * 10,000 random operations against an array, walked both ways after each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/list.h"
#include "base/rng.h"

enum { NODES = 16 };

struct item {
	unsigned before; /* so that the link is not at offset 0 */
	struct list link;
};

static void walk_equals(struct list *head, struct item *const *model, size_t count)
{
	struct list *pos, *tmp;
	size_t i = 0;

	list_for_each(pos, tmp, head)
	{
		assert_true(i < count);
		assert_ptr_equal(list_entry(pos, struct item, link), model[i]);
		i++;
	}
	assert_int_equal(i, count);
	for (pos = head->prev; pos != head; pos = pos->prev)
		assert_ptr_equal(list_entry(pos, struct item, link), model[--i]);
	assert_int_equal(i, 0);
	assert_int_equal(list_is_empty(head), count == 0);
}

/* The model: an array that shows what the list should be. */
struct model {
	struct item *items[NODES];
	size_t count;
};

static size_t index_of(const struct model *m, const struct item *item)
{
	size_t at = 0;

	while (at < m->count && m->items[at] != item)
		at++;
	return at;
}

static void model_insert(struct model *m, size_t at, struct item *item)
{
	for (size_t i = m->count++; i > at; i--)
		m->items[i] = m->items[i - 1];
	m->items[at] = item;
}

static void model_remove(struct model *m, size_t at)
{
	m->count--;
	for (size_t i = at; i < m->count; i++)
		m->items[i] = m->items[i + 1];
}

static void add_somewhere(struct list *head, struct model *m, struct item *item, struct rng *rng)
{
	size_t at = (size_t)rng_below(rng, m->count + 1);

	if (at == m->count)
		list_add_tail(head, &item->link);
	else if (at == 0)
		list_add_head(head, &item->link);
	else
		list_add_before(&m->items[at]->link, &item->link);
	model_insert(m, at, item);
}

static void random_operations_equal_an_array(void **state)
{
	static struct item items[NODES];
	struct model m = { .count = 0 };
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct list head;
	size_t at;

	(void)state;
	rng_seeded_init(&seeded, 1);
	list_init(&head);
	for (unsigned i = 0; i < NODES; i++)
		list_init(&items[i].link);
	for (unsigned round = 0; round < 10000; round++) {
		struct item *item = &items[rng_below(&rng, NODES)];

		at = index_of(&m, item);
		assert_int_equal(list_is_linked(&item->link), at < m.count);
		if (at < m.count) {
			list_remove(&item->link);
			model_remove(&m, at);
		} else if (rng_below(&rng, 4) == 0) {
			list_remove(&item->link); /* harmless: it is in none */
		} else {
			add_somewhere(&head, &m, item, &rng);
		}
		walk_equals(&head, m.items, m.count);
	}
}

static void the_current_node_may_go(void **state)
{
	struct item items[5];
	struct list head, *pos, *tmp;

	(void)state;
	list_init(&head);
	for (unsigned i = 0; i < 5; i++) {
		list_init(&items[i].link);
		list_add_tail(&head, &items[i].link);
	}
	list_for_each(pos, tmp, &head)
	{
		list_remove(pos);
		memset(list_entry(pos, struct item, link), 0xee, sizeof(struct item));
	}
	assert_true(list_is_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_equal_an_array),
		cmocka_unit_test(the_current_node_may_go),
	};

	return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
