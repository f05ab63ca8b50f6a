/* SPDX-License-Identifier: MIT */
#include "base/pool.h"

#include <errno.h>

#include "base/alloc.h"

/*
 *	0          used              used + idle        budget
 *	|  lent out |  on free lists  |  never asked for  |
 *
 * Idle blocks count against the budget only as far as the process is concerned:
 * when a block of another class or a charge needs their room, they go back to
 * the heap. So the process never holds more than its budget, and steady traffic,
 * which asks for what it has just given back, never reaches the heap.
 */

static const size_t block_sizes[] = {
	[POOL_4K] = 4096,
	[POOL_64K] = 65536,
};
_Static_assert(CV_ARRAY_SIZE(block_sizes) == POOL_CLASSES, "a size for every class");

size_t pool_block_size(enum pool_class class)
{
	CV_ASSERT(class < POOL_CLASSES);
	return block_sizes[class];
}

void pool_init(struct pool *p, uint64_t budget)
{
	CV_ASSERT(budget < UINT64_C(1) << 53); /* so that pool_permille() cannot overflow */
	*p = (struct pool){ .budget = budget };
}

static struct pool_block *pop_idle(struct pool *p, enum pool_class class)
{
	struct pool_block *block = p->free[class];

	if (block) {
		CV_ASSERT(p->idle >= block_sizes[class]);
		p->free[class] = block->next;
		p->idle -= block_sizes[class];
	}
	return block;
}

/* Frees idle blocks, large ones first, until used + idle + @size fits; used + @size does. */
static void trim(struct pool *p, uint64_t size)
{
	for (unsigned class = POOL_CLASSES; class -- > 0;) {
		while (p->used + p->idle + size > p->budget && p->free[class])
			cv_free(pop_idle(p, (enum pool_class) class));
	}
	CV_ASSERT(p->used + p->idle + size <= p->budget);
}

void pool_deinit(struct pool *p)
{
	CV_ASSERT(p->used == 0);
	for (unsigned class = 0; class < POOL_CLASSES; class ++) {
		while (p->free[class])
			cv_free(pop_idle(p, (enum pool_class) class));
	}
	CV_ASSERT(p->idle == 0);
	*p = (struct pool){ 0 };
}

static bool has_room(const struct pool *p, uint64_t size)
{
	CV_ASSERT(p->used <= p->budget);
	return size <= p->budget - p->used;
}

void *pool_take(struct pool *p, enum pool_class class)
{
	size_t size = pool_block_size(class);
	void *block;

	if (!has_room(p, size))
		return NULL;
	block = pop_idle(p, class);
	if (!block) {
		trim(p, size);
		block = cv_zalloc(size);
	}
	if (block)
		p->used += size;
	return block;
}

void pool_give(struct pool *p, enum pool_class class, void *block)
{
	size_t size = pool_block_size(class);
	struct pool_block *b = block;

	CV_ASSERT(block);
	CV_ASSERT(p->used >= size);
	b->next = p->free[class];
	p->free[class] = b;
	p->used -= size;
	p->idle += size;
}

int pool_charge(struct pool *p, uint64_t size)
{
	if (!has_room(p, size))
		return -ENOMEM;
	trim(p, size);
	p->used += size;
	return 0;
}

void pool_uncharge(struct pool *p, uint64_t size)
{
	CV_ASSERT(p->used >= size);
	p->used -= size;
}

unsigned pool_permille(const struct pool *p)
{
	return p->budget ? (unsigned)(p->used * 1000 / p->budget) : 1000;
}

bool pool_check(const struct pool *p)
{
	uint64_t idle = 0;

	for (unsigned class = 0; class < POOL_CLASSES; class ++) {
		for (const struct pool_block *b = p->free[class]; b; b = b->next)
			idle += block_sizes[class];
	}
	return idle == p->idle && p->used <= p->budget && p->idle <= p->budget - p->used;
}
