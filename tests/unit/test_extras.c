/* SPDX-License-Identifier: MIT */

/*
 * Goal: a number belongs to nobody or to one, who gives it back; what the shell opened it is told
 * to close, once, and nothing else; a socket that a path took stays until no path needs it. Method:
 * a shell and owners that keep books of their own, through random operations; then each transition.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/rng.h"
#include "tunnel/extras.h"

enum { END = SOCKET_EXTRA + SOCKETS_EXTRA_MAX, OWNERS = 48, ROUNDS = 40000 };

/* What the two sides believe. */
struct books {
	struct extras x;
	bool is_open[END];  /* in the shell */
	bool is_asked[END]; /* the shell has not answered yet */
	bool is_adopted[END];
	uint8_t owner[END]; /* 0: nobody's */
	uint16_t port[END];
	struct {
		uint16_t first, count;
	} owners[OWNERS]; /* from 1 */
	struct extras_wish asked[64];
	unsigned asked_count;
};

static void answer(struct books *b, unsigned i, unsigned opened)
{
	struct extras_wish w = b->asked[i];
	uint16_t ports[SOCKETS_EXTRA_MAX];

	b->asked[i] = b->asked[--b->asked_count];
	for (unsigned k = 0; k < w.count; k++) {
		unsigned number = w.first + k;

		ports[k] = (uint16_t)(2000 + (number * 7 + b->port[number]) % 60000);
		assert_true(b->is_asked[number] && !b->is_open[number]);
		b->is_asked[number] = false;
		b->is_open[number] = k < opened;
		b->port[number] = ports[k];
	}
	extras_on_opened(&b->x, w.first, w.count, opened, ports);
}

static bool pull(struct books *b)
{
	struct extras_wish w;

	if (b->asked_count == CV_ARRAY_SIZE(b->asked) || !extras_next_wish(&b->x, &w))
		return false;
	assert_true(w.count > 0 && w.first >= SOCKET_EXTRA && w.first + w.count <= END);
	if (w.is_close) {
		assert_int_equal(w.count, 1);
		assert_true(b->is_open[w.first]);
		assert_int_equal(b->owner[w.first], 0);
		b->is_open[w.first] = false;
		return true;
	}
	for (unsigned k = 0; k < w.count; k++) {
		assert_false(b->is_open[w.first + k] || b->is_asked[w.first + k]);
		b->is_asked[w.first + k] = true;
	}
	b->asked[b->asked_count++] = w;
	return true;
}

static void take(struct books *b, unsigned owner, unsigned count)
{
	uint16_t first = extras_take(&b->x, count);

	if (!first)
		return;
	b->owners[owner].first = first;
	b->owners[owner].count = (uint16_t)count;
	for (unsigned k = 0; k < count; k++) {
		assert_int_equal(b->owner[first + k], 0);
		assert_false(b->is_open[first + k] || b->is_asked[first + k]);
		b->owner[first + k] = (uint8_t)owner;
	}
}

static void give_back(struct books *b, unsigned owner)
{
	uint16_t first = b->owners[owner].first, count = b->owners[owner].count;

	extras_give_back(&b->x, first, count);
	for (unsigned k = 0; k < count; k++) {
		if (!b->is_adopted[first + k])
			b->owner[first + k] = 0;
	}
	b->owners[owner].count = 0;
}

/* A path keeps one of them, and the others are given back at once: whoever took them has no more
 * to do with it. */
static void adopt_and_give_back(struct books *b, unsigned owner, struct rng *rng)
{
	unsigned number = b->owners[owner].first;

	number += (unsigned)rng_below(rng, b->owners[owner].count);
	if (extras_is_open(&b->x, (uint16_t)number)) {
		extras_adopt(&b->x, (uint16_t)number);
		b->is_adopted[number] = true;
	}
	give_back(b, owner);
}

/* Every third path has gone. */
static void sweep(struct books *b, struct rng *rng)
{
	extras_sweep_begin(&b->x);
	for (unsigned n = SOCKET_EXTRA; n < END; n++) {
		if (!b->is_adopted[n])
			continue;
		if (rng_below(rng, 3) > 0) {
			extras_keep(&b->x, (uint16_t)n);
			continue;
		}
		b->is_adopted[n] = false;
		b->owner[n] = 0;
	}
	extras_sweep_end(&b->x);
}

static void compare(const struct books *b)
{
	assert_true(extras_check(&b->x));
	for (unsigned n = SOCKET_EXTRA; n < END; n++) {
		if (!b->owner[n])
			continue;
		assert_int_equal(extras_is_open(&b->x, (uint16_t)n), b->is_open[n]);
		if (b->is_open[n])
			assert_int_equal(extras_port(&b->x, (uint16_t)n), b->port[n]);
		if (b->is_open[n] || b->is_asked[n])
			assert_int_equal(extras_is_settled(&b->x, (uint16_t)n), b->is_open[n]);
	}
}

static void agrees_with_books(void **state)
{
	static struct books b;
	struct rng_seeded seeded;
	struct rng rng;
	unsigned owner;

	(void)state;
	rng_seeded_init(&seeded, 11);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < ROUNDS; i++) {
		owner = 1 + (unsigned)rng_below(&rng, OWNERS - 1);
		switch (rng_below(&rng, 8)) {
		case 0:
		case 1:
			if (b.owners[owner].count == 0)
				take(&b, owner, 1 + (unsigned)rng_below(&rng, i % 5 ? 9 : 300));
			break;
		case 2:
			if (b.owners[owner].count > 0)
				give_back(&b, owner);
			break;
		case 3:
			if (b.owners[owner].count > 0)
				adopt_and_give_back(&b, owner, &rng);
			break;
		case 4:
			if (rng_below(&rng, 20) == 0)
				sweep(&b, &rng);
			break;
		case 5:
			(void)pull(&b);
			break;
		default: /* answers need not be in order, nor open all */
			if (b.asked_count > 0) {
				unsigned at = (unsigned)rng_below(&rng, b.asked_count);

				answer(&b, at, (unsigned)rng_below(&rng, b.asked[at].count + 1u));
			}
		}
		compare(&b);
	}
	/* Everybody leaves: nothing stays open. */
	for (owner = 1; owner < OWNERS; owner++) {
		if (b.owners[owner].count > 0)
			give_back(&b, owner);
	}
	memset(b.owner, 0, sizeof(b.owner));
	extras_sweep_begin(&b.x);
	extras_sweep_end(&b.x);
	for (;;) {
		while (b.asked_count > 0)
			answer(&b, 0, b.asked[0].count);
		if (!pull(&b))
			break;
	}
	for (unsigned n = SOCKET_EXTRA; n < END; n++)
		assert_false(b.is_open[n]);
	assert_int_equal(b.x.used, 0);
	assert_int_equal(b.x.adopted, 0);
}

static void all_numbers_and_no_more(void **state)
{
	static struct extras x;
	struct extras_wish w;

	(void)state;
	assert_false(extras_next_wish(&x, &w));
	assert_int_equal(extras_take(&x, SOCKETS_EXTRA_MAX + 1), 0);
	assert_int_equal(extras_take(&x, SOCKETS_EXTRA_MAX), SOCKET_EXTRA);
	assert_int_equal(extras_take(&x, 1), 0);
	assert_true(extras_next_wish(&x, &w));
	assert_int_equal(w.first, SOCKET_EXTRA);
	assert_int_equal(w.count, SOCKETS_EXTRA_MAX);
	assert_false(extras_next_wish(&x, &w));
	/* In a row: one number in the middle splits what is left. */
	memset(&x, 0, sizeof(x));
	assert_int_equal(extras_take(&x, 500), SOCKET_EXTRA);
	assert_int_equal(extras_take(&x, 24), SOCKET_EXTRA + 500);
	assert_int_equal(extras_take(&x, 500), SOCKET_EXTRA + 524);
	extras_give_back(&x, SOCKET_EXTRA, 500);
	extras_give_back(&x, SOCKET_EXTRA + 524, 500);
	assert_int_equal(extras_take(&x, 501), 0);
	assert_int_equal(extras_take(&x, 500), SOCKET_EXTRA);
}

static void given_back_before_it_is_asked_for(void **state)
{
	static struct extras x;
	struct extras_wish w;
	uint16_t first;

	(void)state;
	first = extras_take(&x, 3);
	extras_give_back(&x, first, 3);
	assert_false(extras_next_wish(&x, &w));
	assert_int_equal(x.used, 0);
}

/* Given back while the shell is at it: what it then says it opened is closed again. */
static void given_back_while_asked(void **state)
{
	static struct extras x;
	const uint16_t ports[3] = { 1, 2, 3 };
	struct extras_wish w;
	uint16_t first;

	(void)state;
	first = extras_take(&x, 3);
	assert_true(extras_next_wish(&x, &w));
	extras_give_back(&x, first, 3);
	extras_give_back(&x, first, 3); /* once is enough */
	assert_false(extras_is_settled(&x, first));
	assert_false(extras_next_wish(&x, &w));
	assert_int_equal(x.used, 3);
	extras_on_opened(&x, first, 3, 2, ports);
	assert_int_equal(x.used, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(extras_next_wish(&x, &w));
		assert_true(w.is_close);
		assert_int_equal(w.first, first + i);
	}
	assert_false(extras_next_wish(&x, &w));
	assert_int_equal(x.used, 0);
}

static void refused_is_settled(void **state)
{
	static struct extras x;
	const uint16_t port = 7;
	struct extras_wish w;
	uint16_t first;

	(void)state;
	first = extras_take(&x, 2);
	assert_false(extras_is_settled(&x, first));
	assert_true(extras_next_wish(&x, &w));
	assert_false(extras_is_settled(&x, first));
	extras_on_opened(&x, first, 2, 1, &port);
	assert_true(extras_is_open(&x, first) && extras_is_settled(&x, first));
	assert_false(extras_is_open(&x, (uint16_t)(first + 1)));
	assert_true(extras_is_settled(&x, (uint16_t)(first + 1)));
	assert_int_equal(extras_port(&x, first), port);
	extras_give_back(&x, first, 2);
	assert_true(extras_next_wish(&x, &w));
	assert_true(w.is_close && w.first == first);
	assert_false(extras_next_wish(&x, &w));
}

static void adopted_stays(void **state)
{
	static struct extras x;
	const uint16_t ports[3] = { 1, 2, 3 };
	struct extras_wish w;
	uint16_t first;

	(void)state;
	first = extras_take(&x, 3);
	assert_true(extras_next_wish(&x, &w));
	extras_on_opened(&x, first, 3, 3, ports);
	extras_adopt(&x, (uint16_t)(first + 1));
	extras_adopt(&x, (uint16_t)(first + 1));
	assert_int_equal(x.adopted, 1);
	extras_give_back(&x, first, 3);
	assert_true(extras_next_wish(&x, &w) && w.is_close && w.first == first);
	assert_true(extras_next_wish(&x, &w) && w.is_close && w.first == first + 2);
	assert_false(extras_next_wish(&x, &w));
	assert_true(extras_is_open(&x, (uint16_t)(first + 1)));
	extras_sweep_begin(&x);
	extras_keep(&x, (uint16_t)(first + 1));
	extras_keep(&x, first); /* nobody's */
	extras_sweep_end(&x);
	assert_false(extras_next_wish(&x, &w));
	extras_sweep_begin(&x);
	extras_sweep_end(&x);
	assert_true(extras_next_wish(&x, &w) && w.is_close && w.first == first + 1);
	assert_true(extras_check(&x));
}

/* A new attempt does not wait for the old one, and still no more are open at once. */
static void closes_come_first(void **state)
{
	static struct extras x;
	const uint16_t ports[3] = { 1, 2, 3 };
	struct extras_wish w;
	uint16_t first, second;

	(void)state;
	first = extras_take(&x, 3);
	second = extras_take(&x, 3);
	assert_true(extras_next_wish(&x, &w));
	extras_on_opened(&x, first, 3, 3, ports);
	extras_on_opened(&x, second, 3, 3, ports);
	extras_give_back(&x, first, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(extras_next_wish(&x, &w) && w.is_close);
	extras_give_back(&x, second, 3);
	assert_int_equal(extras_take(&x, 3), first);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(extras_next_wish(&x, &w) && w.is_close);
		assert_int_equal(w.first, second + i);
	}
	assert_true(extras_next_wish(&x, &w) && !w.is_close);
	assert_int_equal(w.count, 3);
}

static void check_notices(void **state)
{
	static struct extras x;

	(void)state;
	(void)extras_take(&x, 2);
	x.used--;
	assert_false(extras_check(&x));
	x.used++;
	assert_true(extras_check(&x));
	x.list[0].is_adopted = true; /* not open */
	x.adopted++;
	assert_false(extras_check(&x));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_books),
		cmocka_unit_test(all_numbers_and_no_more),
		cmocka_unit_test(given_back_before_it_is_asked_for),
		cmocka_unit_test(given_back_while_asked),
		cmocka_unit_test(refused_is_settled),
		cmocka_unit_test(adopted_stays),
		cmocka_unit_test(closes_come_first),
		cmocka_unit_test(check_notices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
