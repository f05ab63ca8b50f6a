/* SPDX-License-Identifier: MIT */
#pragma once

/* list - intrusive circular doubly linked list; an unlinked node points to itself. */

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

struct list {
	struct list *prev;
	struct list *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l;
	l->next = l;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}

static inline bool list_is_linked(const struct list *n)
{
	return n->next != n;
}

/* Puts @n before @at: with a head as @at, at the tail. */
static inline void list_add_before(struct list *at, struct list *n)
{
	CV_ASSERT(!list_is_linked(n));
	n->prev = at->prev;
	n->next = at;
	at->prev->next = n;
	at->prev = n;
}

static inline void list_add_tail(struct list *head, struct list *n)
{
	list_add_before(head, n);
}

static inline void list_add_head(struct list *head, struct list *n)
{
	list_add_before(head->next, n);
}

/* Unlinking an unlinked node is harmless. */
static inline void list_remove(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* NOLINTBEGIN(readability-identifier-naming): they are read as a function and a loop are */
#define list_entry(ptr, type, member) CV_CONTAINER_OF(ptr, type, member)
/* Safe against removal of the current node. */
#define list_for_each(pos, tmp, head)                                                              \
	for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head);                           \
	     (pos) = (tmp), (tmp) = (pos)->next)
/* NOLINTEND(readability-identifier-naming) */
