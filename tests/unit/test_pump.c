/* SPDX-License-Identifier: MIT */

/*
 * Goal: an end is passed on as an end and an abort as an abort, whatever comes in
 * whatever order.
 * Method: the table of orderly endings in all their orders; every abort in every
 * pair of states of the halves; then every sequence of six events there is, with
 * what must never happen checked after each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/pump.h"

/* One letter an event: local EOF, acked, FIN, written; local error, RESET, STOP, lost. */
static const char events[] = "eafwxrsl";

static unsigned feed(struct pump *p, char event)
{
	switch (event) {
	case 'e':
		return pump_on_local_eof(p);
	case 'a':
		return pump_on_stream_acked(p);
	case 'f':
		return pump_on_stream_fin(p);
	case 'w':
		return pump_on_down_flushed(p);
	case 'x':
		return pump_on_local_error(p, TARGET_ABORTED);
	case 'r':
		return pump_on_stream_reset(p, TARGET_TIMEOUT);
	case 's':
		return pump_on_stream_stopped(p, TARGET_LIMIT);
	default:
		assert_int_equal(event, 'l');
		return pump_on_session_lost(p);
	}
}

/* One letter an action, in the order of the header: Fin Reset Stop sHutdown Kill Close Done. */
static void spell(unsigned actions, char *out)
{
	static const char letters[] = "FRSHKCD";

	for (unsigned i = 0; i < 7; i++) {
		if (actions & 1u << i)
			*out++ = letters[i];
	}
	assert_true(actions < 1u << 7);
	*out = 0;
}

/* Feeds @sequence; the actions of each event, separated by blanks, must be @expected. */
static void play(struct pump *p, const char *sequence, const char *expected)
{
	char story[128] = "", *at = story;

	pump_init(p);
	for (const char *e = sequence; *e; e++) {
		if (at != story)
			*at++ = ' ';
		spell(feed(p, *e), at);
		if (!*at)
			memcpy(at, "-", 2);
		at += strlen(at);
		assert_true(pump_check(p));
	}
	print_message("%s\n", sequence);
	assert_string_equal(story, expected);
}

static void orderly_ends_in_every_order(void **state)
{
	static const struct {
		const char *sequence;
		const char *actions;
	} rows[] = {
		{ "eafw", "F - - HCD" },
		{ "efaw", "F - - HCD" },
		{ "efwa", "F - H CD" },
		{ "fewa", "- F H CD" },
		{ "feaw", "- F - HCD" },
		{ "fwea", "- H F CD" },
		/* and with what may be told twice or too early */
		{ "wweafw", "- - F - - HCD" },
		{ "aefwa", "- F - H CD" },
		{ "eeaaffww", "F - - - - - HCD -" },
		{ "fwweea", "- H - F - CD" },
		{ "eafwxrsl", "F - - HCD - - - -" },
	};
	struct pump p;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		play(&p, rows[i].sequence, rows[i].actions);
		assert_true(pump_is_done(&p));
		assert_int_equal(p.code, TARGET_OK);
		assert_int_equal(p.up, PUMP_FINISHED);
		assert_int_equal(p.down, PUMP_FINISHED);
	}
}

static void aborts_in_every_state(void **state)
{
	static const struct {
		const char *before; /* leads to the state */
		const char *local_error, *reset, *stop, *lost;
	} rows[] = {
		{ "", "RSKD", "RKD", "RSKD", "KD" },
		{ "e", "RSKD", "RKD", "RSKD", "KD" },
		{ "ea", "SKD", "KD", "", "KD" },
		{ "f", "RSKD", "RKD", "RSKD", "KD" },
		{ "fe", "RSKD", "RKD", "RSKD", "KD" },
		{ "fea", "SKD", "KD", "", "KD" },
		{ "fw", "RKD", "", "RKD", "KD" },
		{ "fwe", "RKD", "", "RKD", "KD" },
		{ "fwea", "", "", "", "" },
	};
	static const enum target_code codes[] = { TARGET_ABORTED, TARGET_TIMEOUT, TARGET_LIMIT,
		                                  TARGET_SESSION_LOST };
	char story[16];
	struct pump p;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		const char *const expected[] = { rows[i].local_error, rows[i].reset, rows[i].stop,
			                         rows[i].lost };

		for (unsigned k = 0; k < 4; k++) {
			print_message("%s, then %c\n", rows[i].before, "xrsl"[k]);
			pump_init(&p);
			for (const char *e = rows[i].before; *e; e++)
				(void)feed(&p, *e); /* the other test's business */
			spell(feed(&p, "xrsl"[k]), story);
			assert_string_equal(story, expected[k]);
			assert_int_equal(p.code, expected[k][0] ? codes[k] : TARGET_OK);
			assert_int_equal(pump_is_done(&p), expected[k][0] || i == 8);
		}
	}
}

/* What has been seen so far of one sequence. */
struct seen {
	unsigned actions;
	bool has_eof, has_acked, has_fin, has_written, has_abort;
};

static void note_event(struct seen *s, char event)
{
	s->has_acked |= event == 'a' && s->has_eof;
	s->has_written |= event == 'w' && s->has_fin;
	s->has_eof |= event == 'e';
	s->has_fin |= event == 'f';
}

static void check_step(struct seen *s, const struct pump *p, char event, unsigned now)
{
	const unsigned ends = PUMP_STREAM_FIN | PUMP_LOCAL_SHUTDOWN_WR | PUMP_LOCAL_CLOSE;
	const unsigned aborts = PUMP_STREAM_RESET | PUMP_STREAM_STOP | PUMP_LOCAL_RST;

	assert_true(pump_check(p));
	/* Each action once, and none after the end. */
	assert_int_equal(s->actions & now, 0);
	if (s->actions & PUMP_DONE)
		assert_int_equal(now, 0);
	/* An abort is never an end of file, nor followed by one. */
	assert_false((now & aborts) && (now & ends));
	assert_false((s->actions & PUMP_LOCAL_RST) && now);
	/* Whatever tells the peer of an abort takes the socket along, and comes of an abort. */
	if (now & aborts) {
		assert_true(now & PUMP_LOCAL_RST);
		assert_true(now & PUMP_DONE);
		assert_non_null(strchr("xrsl", event));
		s->has_abort = true;
	}
	if (now & PUMP_STREAM_FIN)
		assert_int_equal(event, 'e');
	if (now & PUMP_LOCAL_SHUTDOWN_WR)
		assert_true(event == 'w' && s->has_fin);
	/* Closed in order exactly when everything arrived at both ends. */
	if (now & PUMP_LOCAL_CLOSE)
		assert_true(s->has_acked && s->has_written && !s->has_abort);
	s->actions |= now;
	assert_int_equal(pump_is_done(p), (s->actions & PUMP_DONE) != 0);
	assert_int_equal(pump_is_done(p), s->has_abort || (s->has_acked && s->has_written));
	assert_int_equal(pump_wants_local(p), !s->has_eof && !s->has_abort);
	assert_int_equal(pump_wants_stream(p), !s->has_written && !s->has_abort);
}

static void every_sequence_of_six_events(void **state)
{
	char sequence[7] = "";
	struct seen seen;
	struct pump p;

	(void)state;
	for (unsigned number = 0; number < 1u << 18; number++) {
		memset(&seen, 0, sizeof(seen));
		pump_init(&p);
		for (unsigned i = 0; i < 6; i++) {
			unsigned actions;

			sequence[i] = events[number >> (3 * i) & 7];
			actions = feed(&p, sequence[i]);
			if (!seen.has_abort)
				note_event(&seen, sequence[i]);
			check_step(&seen, &p, sequence[i], actions);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(orderly_ends_in_every_order),
		cmocka_unit_test(aborts_in_every_state),
		cmocka_unit_test(every_sequence_of_six_events),
	};

	return cmocka_run_group_tests_name("pump", tests, NULL, NULL);
}
