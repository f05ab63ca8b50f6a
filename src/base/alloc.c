/* SPDX-License-Identifier: MIT */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

/*
 * Every block carries its size in front of it, which is what makes the count of
 * live bytes exact on every C library:
 *
 *	base        p - sizeof(struct head)      p (aligned)
 *	| padding   | base | size                | the caller's bytes ...
 *
 * The counters are plain: all of culvert's allocation happens on the loop's
 * thread.
 */
struct head {
	void *base;
	size_t size;
};

enum { ALIGN_DEFAULT = 16 };
_Static_assert(_Alignof(max_align_t) <= ALIGN_DEFAULT, "cv_zalloc() serves every type");
_Static_assert(sizeof(struct head) <= ALIGN_DEFAULT, "padding of one alignment holds the head");

static uint64_t calls;
static uint64_t live;
static uint64_t fail_at; /* the value of `calls` that fails; 0: none */

static struct head *head_of(void *p)
{
	return (struct head *)(void *)((char *)p - sizeof(struct head));
}

void *cv_zalloc_aligned(size_t size, size_t align)
{
	size_t whole;
	uintptr_t start;
	char *base, *p;

	CV_ASSERT(align > 0);
	CV_ASSERT((align & (align - 1)) == 0);
	if (align < ALIGN_DEFAULT)
		align = ALIGN_DEFAULT;

	calls++;
	if (fail_at != 0 && calls == fail_at)
		return NULL;
	/* One alignment for the head, one for the slack in front of it. */
	if (__builtin_add_overflow(size, 2 * align, &whole))
		return NULL;
	base = calloc(1, whole);
	if (!base)
		return NULL;
	start = (uintptr_t)base + sizeof(struct head);
	p = base + sizeof(struct head) + (align - start % align) % align;
	*head_of(p) = (struct head){ .base = base, .size = size };
	live += size;
	return p;
}

void *cv_zalloc(size_t size)
{
	return cv_zalloc_aligned(size, ALIGN_DEFAULT);
}

void *cv_zalloc_array(size_t count, size_t size)
{
	size_t whole;

	if (__builtin_mul_overflow(count, size, &whole))
		return NULL;
	return cv_zalloc(whole);
}

char *cv_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = cv_zalloc(size);

	if (copy)
		memcpy(copy, text, size);
	return copy;
}

void cv_free(void *p)
{
	struct head *head;

	if (!p)
		return;
	head = head_of(p);
	CV_ASSERT(live >= head->size);
	live -= head->size;
	free(head->base);
}

uint64_t cv_alloc_calls(void)
{
	return calls;
}

uint64_t cv_alloc_live(void)
{
	return live;
}

void cv_alloc_fail_at(uint64_t k)
{
	fail_at = k ? calls + k : 0;
}
