/* SPDX-License-Identifier: MIT */
#include "tunnel/replay.h"

#include <string.h>

/*
 * RFC 6479: one bit a number in a ring of words. Moving the window forward clears whole words and
 * shifts nothing; the price is that the word at the front may hold bits of numbers not yet sent
 * while the one behind the window is cleared, so the ring is longer than the window.
 *
 *           next - window                      next
 *                |                              |
 *     ...|.......#####|########|########|#######.|
 *         too old  \_______ told apart _______/   \_ fresh, and moves the window
 */

enum { WORD_BITS = 64 };

void replay_init(struct replay *w, uint64_t *words, uint32_t count, uint32_t window)
{
	CV_ASSERT(count > 0 && (count & (count - 1)) == 0);
	CV_ASSERT(window > 0 && (uint64_t)window + WORD_BITS <= (uint64_t)count * WORD_BITS);
	*w = (struct replay){ .seen = words, .words = count, .window = window };
	memset(words, 0, count * sizeof(*words));
}

enum replay_verdict replay_check(const struct replay *w, uint64_t number)
{
	const uint64_t word = number / WORD_BITS & (w->words - 1);

	if (number >= w->next)
		/* The largest number has no successor to set `next` to. Nobody gets there. */
		return number == UINT64_MAX ? REPLAY_TOO_OLD : REPLAY_FRESH;
	if (w->next - number > w->window)
		return REPLAY_TOO_OLD;
	return w->seen[word] >> number % WORD_BITS & 1 ? REPLAY_DUPLICATE : REPLAY_FRESH;
}

/* Clears the words between the one that holds the largest number and the one of @number. */
static void advance(struct replay *w, uint64_t number)
{
	/* Before the first number no word has been used; word 0 is clear as the rest is. */
	const uint64_t from = w->next > 0 ? (w->next - 1) / WORD_BITS : 0;
	const uint64_t steps = CV_MIN(number / WORD_BITS - from, w->words);

	for (uint64_t i = 1; i <= steps; i++)
		w->seen[(from + i) & (w->words - 1)] = 0;
	w->next = number + 1;
}

enum replay_verdict replay_accept(struct replay *w, uint64_t number)
{
	const enum replay_verdict verdict = replay_check(w, number);

	if (verdict != REPLAY_FRESH)
		return verdict;
	if (number >= w->next)
		advance(w, number);
	w->seen[number / WORD_BITS & (w->words - 1)] |= UINT64_C(1) << number % WORD_BITS;
	CV_ASSERT(number < w->next);
	return REPLAY_FRESH;
}
