/* SPDX-License-Identifier: MIT */
#include "tunnel/sched.h"

_Static_assert(SCHED_CREDIT <= UINT16_MAX, "the credit fits its field");

static struct sched_node *data_node(struct list *l)
{
	return list_entry(l, struct sched_node, data);
}

static struct sched_node *urgent_node(struct list *l)
{
	return list_entry(l, struct sched_node, urgent);
}

void sched_init(struct sched *s)
{
	list_init(&s->urgent);
	list_init(&s->sparse);
	list_init(&s->bulk);
	s->quantum = SCHED_QUANTUM_MAX;
}

void sched_node_init(struct sched_node *n)
{
	*n = (struct sched_node){ .credit = SCHED_CREDIT, .place = SCHED_OUT };
	list_init(&n->urgent);
	list_init(&n->data);
}

static void join_bulk(struct sched *s, struct sched_node *n)
{
	/* What is left of an interrupted turn stays, so that a short rest gains nothing. */
	if (n->deficit <= 0 || n->deficit > s->quantum)
		n->deficit = s->quantum;
	n->place = SCHED_BULK;
	list_add_tail(&s->bulk, &n->data);
}

static void join(struct sched *s, struct sched_node *n, cv_time now, cv_duration rtt)
{
	if (cv_time_since(now, n->idle_at) >= rtt)
		n->credit = SCHED_CREDIT;
	if (n->credit > 0) {
		n->place = SCHED_SPARSE;
		list_add_tail(&s->sparse, &n->data);
		return;
	}
	join_bulk(s, n);
}

void sched_set(struct sched *s, struct sched_node *n, cv_time now, cv_duration rtt, bool is_urgent,
               bool has_data)
{
	if (is_urgent != list_is_linked(&n->urgent)) {
		if (is_urgent)
			list_add_tail(&s->urgent, &n->urgent);
		else
			list_remove(&n->urgent);
	}
	if (has_data == (n->place != SCHED_OUT))
		return;
	if (has_data) {
		join(s, n, now, rtt);
	} else {
		list_remove(&n->data);
		n->place = SCHED_OUT;
		n->idle_at = now;
	}
}

void sched_remove(struct sched_node *n)
{
	list_remove(&n->urgent);
	list_remove(&n->data);
	n->place = SCHED_OUT;
}

void sched_set_quantum(struct sched *s, size_t quantum)
{
	quantum = CV_MIN(quantum, (size_t)SCHED_QUANTUM_MAX);
	s->quantum = (int32_t)CV_MAX(quantum, (size_t)SCHED_QUANTUM_MIN);
}

struct sched_node *sched_pick(const struct sched *s, bool has_window)
{
	if (!list_is_empty(&s->urgent))
		return urgent_node(s->urgent.next);
	if (!has_window)
		return NULL;
	if (!list_is_empty(&s->sparse))
		return data_node(s->sparse.next);
	if (!list_is_empty(&s->bulk))
		return data_node(s->bulk.next);
	return NULL;
}

bool sched_charge(struct sched *s, struct sched_node *n, size_t bytes)
{
	int32_t n_bytes = (int32_t)CV_MIN(bytes, (size_t)SCHED_QUANTUM_MAX);

	/* Every new byte uses up credit, whoever let it go: else a stream in bulk would keep its
	 * credit for the next burst. */
	n->credit = (uint16_t)(n->credit - CV_MIN((size_t)n->credit, bytes));
	switch ((enum sched_place)n->place) {
	case SCHED_OUT: /* its last byte */
		return true;
	case SCHED_SPARSE:
		if (n->credit > 0)
			return false;
		list_remove(&n->data);
		join_bulk(s, n);
		return true;
	case SCHED_BULK:
		n->deficit -= n_bytes;
		if (n->deficit > 0)
			return false;
		/* Over by less than what it just wrote, so the larger of both is enough. */
		n->deficit += CV_MAX(s->quantum, n_bytes);
		CV_ASSERT(n->deficit > 0);
		list_remove(&n->data);
		list_add_tail(&s->bulk, &n->data);
		return true;
	}
	CV_UNREACHABLE();
}

bool sched_check(const struct sched *s)
{
	struct list *l;

	for (l = s->sparse.next; l != &s->sparse; l = l->next) {
		const struct sched_node *n = data_node(l);

		if (n->place != SCHED_SPARSE || n->credit == 0 || l->next->prev != l)
			return false;
	}
	for (l = s->bulk.next; l != &s->bulk; l = l->next) {
		const struct sched_node *n = data_node(l);

		if (n->place != SCHED_BULK || n->deficit <= 0 || l->next->prev != l)
			return false;
	}
	return s->quantum >= SCHED_QUANTUM_MIN && s->quantum <= SCHED_QUANTUM_MAX;
}
