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

static void random_operations_equal_an_array(void **state)
{
	static struct item items[NODES];
	struct item *model[NODES];
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct list head;
	size_t count = 0, at;

	(void)state;
	rng_seeded_init(&seeded, 1);
	list_init(&head);
	for (unsigned i = 0; i < NODES; i++)
		list_init(&items[i].link);
	for (unsigned round = 0; round < 10000; round++) {
		struct item *item = &items[rng_below(&rng, NODES)];

		for (at = 0; at < count && model[at] != item; at++)
			;
		assert_int_equal(list_is_linked(&item->link), at < count);
		if (at < count || rng_below(&rng, 4) == 0) {
			list_remove(&item->link); /* harmless where it is in none */
			if (at < count) {
				memmove(&model[at], &model[at + 1],
				        (count - at - 1) * sizeof(model[0]));
				count--;
			}
		} else if (rng_below(&rng, 2)) {
			list_add_tail(&head, &item->link);
			model[count++] = item;
		} else if (count > 0 && rng_below(&rng, 2)) {
			at = (size_t)rng_below(&rng, count);
			list_add_before(&model[at]->link, &item->link);
			memmove(&model[at + 1], &model[at], (count - at) * sizeof(model[0]));
			model[at] = item;
			count++;
		} else {
			list_add_head(&head, &item->link);
			memmove(&model[1], &model[0], count * sizeof(model[0]));
			model[0] = item;
			count++;
		}
		walk_equals(&head, model, count);
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
