/* SPDX-License-Identifier: MIT */

/*
 * Goal: a number is fresh once, and what cannot be told apart is dropped. Method: a table in the
 * spirit of WireGuard's counter self-test, which steps round every edge of the window and of its
 * words; then random walks against a model that remembers each number it has seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/replay.h"

enum { WINDOW = 1024, WORDS = REPLAY_WORDS(WINDOW) };

struct step {
	const char *what;
	uint64_t number;
	enum replay_verdict verdict;
};

#define OK REPLAY_FRESH
#define DUP REPLAY_DUPLICATE
#define OLD REPLAY_TOO_OLD

static const struct step steps[] = {
	{ "the first number", 0, OK },
	{ "again", 0, DUP },
	{ "the next", 1, OK },
	{ "again", 1, DUP },
	{ "a gap", 9, OK },
	{ "inside the gap", 8, OK },
	{ "inside the gap", 7, OK },
	{ "again", 7, DUP },
	{ "the last of a word", 63, OK },
	{ "the first of the next word", 64, OK },
	{ "again", 63, DUP },
	{ "again", 64, DUP },
	{ "the largest that keeps 0 in the window", WINDOW - 1, OK },
	{ "still known", 0, DUP },
	{ "one more, and 0 leaves", WINDOW, OK },
	{ "left", 0, OLD },
	{ "the oldest in the window", 1, DUP },
	{ "unseen near the edge", 2, OK },
	{ "again", 2, DUP },
	{ "back up", WINDOW, DUP },
	{ "a whole window on", 2 * WINDOW, OK },
	{ "the edge, seen", WINDOW, OLD },
	{ "above the edge, never seen", WINDOW + 1, OK },
	{ "again", WINDOW + 1, DUP },
	{ "just under the front", 2 * WINDOW - 1, OK },
	{ "more than the ring on", 10 * WINDOW + 17, OK },
	{ "all of the old are gone", 2 * WINDOW, OLD },
	{ "no trace of them in the ring", 9 * WINDOW + 18, OK },
	{ "the edge", 9 * WINDOW + 17, OLD },
	{ "a jump of exactly the ring", 10 * WINDOW + 17 + 64 * WORDS, OK },
	{ "the same word and bit as before", 10 * WINDOW + 17, OLD },
	{ "a word that was left dirty", 10 * WINDOW + 16 + 64 * WORDS, OK },
	{ "far away", UINT64_C(1) << 48, OK },
	{ "below it", (UINT64_C(1) << 48) - 1, OK },
	{ "the edge", (UINT64_C(1) << 48) - WINDOW, OLD },
	{ "above the edge", (UINT64_C(1) << 48) - WINDOW + 1, OK },
	{ "the largest number but one", UINT64_MAX - 1, OK },
	{ "again", UINT64_MAX - 1, DUP },
	{ "the largest, which has no successor", UINT64_MAX, OLD },
	{ "the window still works", UINT64_MAX - 2, OK },
	{ "at its edge", UINT64_MAX - WINDOW, OK },
	{ "and below", UINT64_MAX - 1 - WINDOW, OLD },
};

static void check(struct replay *w, const struct step *s)
{
	const struct replay before = *w;

	if (replay_check(w, s->number) != s->verdict)
		fail_msg("check: %s (%llu)", s->what, (unsigned long long)s->number);
	assert_memory_equal(w, &before, sizeof(before));
	if (replay_accept(w, s->number) != s->verdict)
		fail_msg("accept: %s (%llu)", s->what, (unsigned long long)s->number);
	if (s->verdict != REPLAY_FRESH)
		assert_memory_equal(w, &before, sizeof(before));
}

static void steps_round_every_edge(void **state)
{
	uint64_t words[WORDS];
	struct replay w;

	(void)state;
	replay_init(&w, words, WORDS, WINDOW);
	for (size_t i = 0; i < CV_ARRAY_SIZE(steps); i++)
		check(&w, &steps[i]);
}

/* Whole windows upwards, downwards, and downwards from a hole, as the self-test's bulk runs. */
static void bulk_runs(void **state)
{
	uint64_t words[WORDS];
	struct replay w;

	(void)state;
	replay_init(&w, words, WORDS, WINDOW);
	for (uint64_t i = 0; i <= 3 * WINDOW; i++)
		assert_int_equal(replay_accept(&w, i), REPLAY_FRESH);
	for (uint64_t i = 0; i <= 2 * WINDOW; i++)
		assert_int_equal(replay_accept(&w, i), REPLAY_TOO_OLD);
	for (uint64_t i = 2 * WINDOW + 1; i <= 3 * WINDOW; i++)
		assert_int_equal(replay_accept(&w, i), REPLAY_DUPLICATE);

	replay_init(&w, words, WORDS, WINDOW);
	for (uint64_t i = WINDOW; i-- > 0;)
		assert_int_equal(replay_accept(&w, i), REPLAY_FRESH);
	assert_int_equal(replay_accept(&w, 0), REPLAY_DUPLICATE);

	replay_init(&w, words, WORDS, WINDOW);
	assert_int_equal(replay_accept(&w, 2 * WINDOW), REPLAY_FRESH);
	for (uint64_t i = 2 * WINDOW; i-- > WINDOW + 1;)
		assert_int_equal(replay_accept(&w, i), REPLAY_FRESH);
	assert_int_equal(replay_accept(&w, WINDOW), REPLAY_TOO_OLD);
}

enum { MODEL_MAX = 1 << 16 };

/* The model: a byte for each number, and the largest. */
struct model {
	uint8_t seen[MODEL_MAX];
	uint64_t next;
};

static enum replay_verdict model_accept(struct model *m, uint64_t number, uint32_t window)
{
	if (m->next > window && number < m->next - window)
		return REPLAY_TOO_OLD;
	if (m->seen[number])
		return REPLAY_DUPLICATE;
	m->seen[number] = 1;
	m->next = CV_MAX(m->next, number + 1);
	return REPLAY_FRESH;
}

static uint64_t next_number(const struct rng *rng, const struct model *m)
{
	const uint64_t step = rng_below(rng, 16) == 0 ? 700 : 12;
	uint64_t number = m->next + rng_below(rng, step);
	const uint64_t back = rng_below(rng, rng_below(rng, 8) == 0 ? 600 : 40);

	number = number > back ? number - back : 0;
	return CV_MIN(number, MODEL_MAX - 1);
}

static void walks_agree_with_a_model(void **state)
{
	static const uint32_t windows[] = { 64, 128, 256, 512 };
	static struct model model;
	uint64_t words[REPLAY_WORDS(512)];
	struct rng_seeded seeded;
	struct rng rng;

	(void)state;
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	for (unsigned run = 0; run < 12; run++) {
		const uint32_t window = windows[run % CV_ARRAY_SIZE(windows)];
		struct replay w;

		memset(&model, 0, sizeof(model));
		replay_init(&w, words, REPLAY_WORDS(window), window);
		for (unsigned i = 0; i < 10000; i++) {
			const uint64_t number = next_number(&rng, &model);
			const enum replay_verdict would = replay_check(&w, number);

			assert_int_equal(replay_accept(&w, number), would);
			assert_int_equal(model_accept(&model, number, window), would);
			assert_int_equal(w.next, model.next);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_round_every_edge),
		cmocka_unit_test(bulk_runs),
		cmocka_unit_test(walks_agree_with_a_model),
	};

	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
