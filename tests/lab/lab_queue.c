/* SPDX-License-Identifier: MIT */
#include "lab_queue.h"

#include <errno.h>

int lab_queue_init(struct lab_queue *q)
{
	*q = (struct lab_queue){ .heap = calloc(LAB_PACKETS_MAX, sizeof(*q->heap)) };
	return q->heap ? 0 : -ENOMEM;
}

void lab_queue_deinit(struct lab_queue *q)
{
	free(q->heap);
	*q = (struct lab_queue){ 0 };
}

static bool before(const struct lab_packet *a, const struct lab_packet *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void lab_queue_add(struct lab_queue *q, struct lab_packet *p, uint64_t at)
{
	size_t i = q->count++;

	LAB_ASSERT(i < LAB_PACKETS_MAX); /* the pool has no more to give */
	p->at = at;
	p->order = q->order_next++;
	while (i && before(p, q->heap[(i - 1) / 2])) {
		q->heap[i] = q->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	q->heap[i] = p;
}

uint64_t lab_queue_deadline(const struct lab_queue *q)
{
	return q->count ? q->heap[0]->at : LAB_TIME_NEVER;
}

struct lab_packet *lab_queue_take(struct lab_queue *q, uint64_t now)
{
	struct lab_packet *first;
	struct lab_packet *last;
	size_t i = 0;

	if (!q->count || q->heap[0]->at > now) {
		return NULL;
	}
	first = q->heap[0];
	last = q->heap[--q->count];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < q->count && before(q->heap[child + 1], q->heap[child])) {
			child++;
		}
		if (child >= q->count || !before(q->heap[child], last)) {
			break;
		}
		q->heap[i] = q->heap[child];
		i = child;
	}
	if (q->count) {
		q->heap[i] = last;
	}
	return first;
}
