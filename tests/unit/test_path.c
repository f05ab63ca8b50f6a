/* SPDX-License-Identifier: MIT */

/*
 * Goal: a path carries data only after it has proved itself in each direction, is asked
 * often enough to stay open and no oftener, and is given up when it is silent. Method: one path
 * under virtual time; a run collects the instants, sizes and flags of its probes and answers
 * them, or some of them, or with too little.
 */
#include "tests/unit/path_world.h"

/* ---- validation ---- */

static void a_small_exchange_then_a_padded_one(void **state)
{
	struct origin ways[] = { direct(), relay() };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(ways); i++) {
		begin(&ways[i]);
		assert_int_equal(w.p.state, PATH_CHECKING);
		assert_true(next());
		assert_int_equal(last()->at, START);
		assert_int_equal(last()->probe.size, WIRE_PROBE_MIN);
		assert_int_equal(last()->probe.flags, 0);
		assert_true(answer(WIRE_PROBE_MIN));
		assert_int_equal(w.p.state, PATH_VALID);
		assert_false(path_can_carry(&w.p, w.now)); /* 64 bytes prove nothing about 1,200 */

		assert_true(next());
		assert_int_equal(last()->at, w.now); /* at once */
		assert_int_equal(last()->probe.size + path_overhead(&w.p), WIRE_DATAGRAM_BASE);
		assert_int_equal(last()->probe.flags, PROBE_FLAG_PAD_ANSWER);
		assert_true(answer(WIRE_DATAGRAM_BASE));
		assert_int_equal(w.p.state, PATH_USABLE);
		assert_true(path_can_carry(&w.p, w.now));
		assert_int_equal(w.p.probe_rtt, RTT);
		assert_int_equal(w.p.rtt.smoothed, RTT);
	}
}

/* A relay that is not lent would drop what is padded: it is known to be narrow, and good for what
 * it is for. */
static void where_little_passes_little_is_asked(void **state)
{
	struct origin to = relay();

	(void)state;
	begin(&to);
	assert_int_equal(path_packet_max(&w.p), WIRE_DATAGRAM_BASE - WIRE_RELAY_HEADER);
	w.p.is_scant = true;
	assert_int_equal(path_packet_max(&w.p), 600);
	for (unsigned i = 0; i < 2; i++) {
		assert_false(path_can_carry(&w.p, w.now));
		assert_true(next());
		assert_int_equal(last()->probe.size, WIRE_PROBE_MIN);
		assert_int_equal(last()->probe.flags, 0);
		assert_true(answer(WIRE_PROBE_MIN));
	}
	assert_int_equal(w.p.state, PATH_USABLE);
	assert_true(path_can_carry(&w.p, w.now));
	/* And nothing larger is ever tried. */
	for (unsigned i = 0; i < 50; i++) {
		if (!next())
			continue;
		assert_int_equal(last()->probe.size, WIRE_PROBE_MIN);
		assert_true(answer(WIRE_PROBE_MIN));
	}
	assert_int_equal(path_packet_max(&w.p), 600);
	assert_int_equal(w.p.state, PATH_USABLE);
}

static void only_our_token_counts_and_only_once(void **state)
{
	struct origin to = direct();
	uint64_t token;

	(void)state;
	begin(&to);
	assert_false(path_on_answer(&w.p, w.now, 0, WIRE_PROBE_MIN)); /* a free place is no token */
	assert_true(next());
	token = last()->probe.token;
	assert_int_not_equal(token, 0);
	assert_false(path_on_answer(&w.p, w.now, token + 2, WIRE_PROBE_MIN));
	assert_int_equal(w.p.state, PATH_CHECKING);
	assert_int_equal(w.p.heard_at, 0);
	assert_true(path_on_answer(&w.p, w.now, token, WIRE_PROBE_MIN));
	assert_false(path_on_answer(&w.p, w.now, token, WIRE_PROBE_MIN));
	assert_int_equal(w.p.state, PATH_VALID);
}

static void the_answer_must_be_as_large_as_the_question(void **state)
{
	static const struct {
		uint32_t size;
		enum path_state state;
	} rows[] = {
		{ WIRE_PROBE_MIN, PATH_VALID },
		{ WIRE_DATAGRAM_BASE - 1, PATH_VALID },
		{ WIRE_DATAGRAM_BASE, PATH_USABLE },
	};
	struct origin to = direct();

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		begin(&to);
		reach(PATH_VALID);
		assert_true(next());
		assert_true(answer(rows[i].size));
		assert_int_equal(w.p.state, rows[i].state);
	}
}

static void a_late_answer_to_a_small_check_is_no_padded_one(void **state)
{
	struct origin to = direct();
	uint64_t token;

	(void)state;
	begin(&to);
	assert_true(next());
	token = last()->probe.token;
	assert_true(next());
	assert_true(answer(WIRE_PROBE_MIN));
	assert_true(next()); /* padded */
	/* The peer pads what was not padded: the way there is still unproven. */
	assert_true(path_on_answer(&w.p, w.now, token, WIRE_DATAGRAM_BASE));
	assert_int_equal(w.p.state, PATH_VALID);
}

static void nine_checks_then_pauses_that_grow(void **state)
{
	static const cv_duration at[PATH_CHECK_TRIES] = {
		0,           CV_MS(100),  CV_MS(300),  CV_MS(700),  CV_MS(1500),
		CV_MS(2500), CV_MS(3500), CV_MS(4500), CV_MS(5500),
	};
	cv_duration pause = PATH_RETRY_MIN;
	struct origin to = direct();

	(void)state;
	begin(&to);
	for (size_t k = 0; k < 12; k++) {
		cv_time began = w.now;

		w.count = 0;
		while (next())
			;
		assert_int_equal(w.p.state, PATH_FAILED);
		/* Quickly at first; a retry is for nothing but time, and has it. */
		assert_int_equal(w.count,
		                 k == 0 ? PATH_CHECK_TRIES : PATH_CHECK_TRIES - PATH_CHECK_SLOW);
		for (unsigned i = 0; i < w.count; i++)
			assert_int_equal(w.probes[i].at - began, k == 0 ? at[i] : CV_SEC(i));
		assert_int_equal(path_deadline(&w.p), w.now + pause);
		assert_false(path_on_answer(&w.p, w.now, last()->probe.token, WIRE_PROBE_MIN));
		w.now = path_deadline(&w.p);
		pause = CV_MIN(pause * 3 / 2, PATH_RETRY_MAX);
		path_retry(&w.p, w.now);
		assert_int_equal(w.p.state, PATH_CHECKING);
	}
	assert_int_equal(pause, PATH_RETRY_MAX);
	/* An event: the pauses begin anew, and where somebody was once, so do the checks. */
	while (next())
		;
	for (unsigned k = 0; k < 2; k++) {
		if (k == 1)
			path_on_heard(&w.p, w.now);
		path_check_now(&w.p, w.now);
		w.count = 0;
		while (next())
			;
		assert_int_equal(w.count,
		                 k == 1 ? PATH_CHECK_TRIES : PATH_CHECK_TRIES - PATH_CHECK_SLOW);
		assert_int_equal(path_deadline(&w.p), w.now + PATH_RETRY_MIN);
	}
}

/* T40: after the first five no more than one a second, whatever happens how often; where somebody
 * was once, eight in five seconds. */
static void events_without_end_are_no_flood(void **state)
{
	struct origin to = direct();

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		cv_time began;

		begin(&to);
		began = w.now;
		if (k == 1)
			path_on_heard(&w.p, w.now);
		while (w.now < began + CV_SEC(20)) {
			cv_time until = w.now + CV_MS(7);

			path_check_now(&w.p, w.now);
			while (path_deadline(&w.p) <= until)
				(void)next();
			w.now = until;
		}
		assert_in_range(w.count, k == 1 ? 4 * 8 : 20, k == 1 ? 4 * 8 : 5 + 19);
	}
}

/* It was heard a moment ago, but what has happened since? */
static void a_question_does_not_wait_for_the_beat(void **state)
{
	struct origin to = direct();

	(void)state;
	be_usable(&to);
	path_on_heard(&w.p, w.now);
	path_check_now(&w.p, w.now);
	assert_true(next());
	assert_int_equal(last()->at, w.now);
	assert_true(answer(WIRE_PROBE_MIN));
	(void)next();
	assert_true(w.now >= last()->at + PATH_BEAT_BUSY);
}

/* One that goes without an answer is asked quickly again, though it has long been in doubt. */
static void a_question_to_the_silent_is_repeated_soon(void **state)
{
	struct origin to = direct();
	cv_time at;

	(void)state;
	be_usable(&to);
	w.is_busy = true;
	wait(CV_SEC(20));
	assert_true(w.p.is_doubtful);
	path_check_now(&w.p, w.now);
	assert_true(next());
	at = w.now;
	assert_true(next());
	assert_true(w.now - at <= 3 * path_patience(&w.p));
}

/* Something happens again and again while the first padded probe is under way: that is no answer.
 */
static void questions_make_no_path_narrow(void **state)
{
	struct origin to = relay();

	(void)state;
	begin(&to);
	reach(PATH_VALID);
	for (unsigned i = 0; i < 4 * PATH_PAD_TRIES; i++) {
		path_check_now(&w.p, w.now);
		(void)next();
		w.now += CV_MS(2);
	}
	assert_int_equal(w.p.state, PATH_VALID);
	assert_true(answer(WIRE_DATAGRAM_BASE));
	assert_int_equal(w.p.state, PATH_USABLE);
}

static void a_narrow_path_is_found_out(void **state)
{
	struct origin to = direct();
	unsigned padded = 0;

	(void)state;
	begin(&to);
	reach(PATH_VALID);
	while (next())
		padded++;
	assert_int_equal(padded, PATH_PAD_TRIES);
	assert_int_equal(w.p.state, PATH_FAILED);
	assert_true(w.p.is_narrow);
	assert_false(path_can_carry(&w.p, w.now));
	path_check_now(&w.p, w.now); /* it may have become wider */
	assert_false(w.p.is_narrow);
}

/* The handshake's own path may carry at once: both ends proved themselves on it. */
static void the_path_of_the_handshake_is_trusted_until_it_fails(void **state)
{
	struct origin to = direct();

	(void)state;
	begin(&to);
	path_on_handshake(&w.p, w.now, true);
	assert_int_equal(w.p.state, PATH_VALID);
	assert_true(path_can_carry(&w.p, w.now));
	while (next())
		;
	assert_int_equal(w.p.state, PATH_FAILED);
	assert_false(path_can_carry(&w.p, w.now));

	/* The next handshake gives it another chance; a usable one it does not set back. */
	path_on_handshake(&w.p, w.now, true);
	assert_int_equal(w.p.state, PATH_VALID);
	reach(PATH_USABLE);
	path_on_handshake(&w.p, w.now, true);
	assert_int_equal(w.p.state, PATH_USABLE);
}

/* ---- life ---- */

static void beats_while_busy_keepalives_while_not(void **state)
{
	static const struct {
		const char *what;
		bool is_busy, is_idle_path;
		cv_duration from, to; /* after it was heard; a mapping lives by what goes out, a
		                         round trip before */
		cv_duration keepalive;
	} rows[] = {
		{ "busy", true, false, PATH_BEAT_BUSY, PATH_BEAT_BUSY, PATH_KEEPALIVE },
		{ "busy, on another path", true, true, PATH_KEEPALIVE / 5 * 4, PATH_KEEPALIVE,
		  CV_SEC(90) },
		{ "idle", false, false, PATH_KEEPALIVE / 5 * 4, PATH_KEEPALIVE, PATH_KEEPALIVE },
		{ "idle, a patient router", false, false, CV_SEC(72), CV_SEC(90), CV_SEC(90) },
		{ "idle, an impatient one", false, true, CV_SEC(8), CV_SEC(10), CV_SEC(10) },
	};
	struct origin to = direct();

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].what);
		be_usable(&to);
		w.is_busy = rows[i].is_busy;
		w.is_idle_path = rows[i].is_idle_path;
		path_set_keepalive(&w.p, w.now, rows[i].keepalive);
		for (unsigned k = 0; k < 5; k++) {
			cv_time heard = w.now;

			while (!next())
				;
			assert_in_range(w.now - heard, rows[i].from, rows[i].to);
			assert_true(path_can_carry(&w.p, heard + rows[i].keepalive));
			assert_int_equal(last()->probe.size, WIRE_PROBE_MIN);
			assert_true(answer(WIRE_PROBE_MIN));
		}
		assert_int_equal(w.p.state, PATH_USABLE);
	}
}

static void traffic_is_as_good_as_a_beat(void **state)
{
	struct origin to = direct();

	(void)state;
	be_usable(&to);
	w.is_busy = true;
	for (unsigned i = 0; i < 20; i++) {
		w.now += CV_MS(500);
		path_on_heard(&w.p, w.now);
		if (path_deadline(&w.p) <= w.now)
			assert_false(next());
	}
	/* Yet a mapping lives by what goes out: a probe leaves though traffic comes in. */
	for (unsigned i = 0; i < 30 && w.count == 0; i++) {
		w.now += CV_MS(500);
		path_on_heard(&w.p, w.now);
		if (path_deadline(&w.p) <= w.now)
			(void)next();
	}
	assert_int_equal(w.count, 1);
}

static void two_missed_beats_are_a_doubt_and_thirty_seconds_the_end(void **state)
{
	struct origin to = direct();
	cv_time heard;

	(void)state;
	be_usable(&to);
	w.is_busy = true;
	heard = w.now;
	wait(PATH_BEAT_BUSY);
	assert_int_equal(w.count, 1);
	assert_false(w.p.is_doubtful);
	(void)next();
	assert_int_equal(w.count, 2);
	assert_false(w.p.is_doubtful);
	(void)next(); /* two are unanswered now */
	assert_true(w.p.is_doubtful);
	assert_true(w.now - heard < CV_SEC(7));
	assert_true(path_can_carry(&w.p, w.now)); /* better than none */

	wait(CV_SEC(40));
	assert_int_equal(w.p.state, PATH_FAILED);
	assert_in_range(w.p.retry_at - PATH_RETRY_MIN - heard, PATH_ALIVE, PATH_ALIVE + CV_SEC(5));
}

static void an_answer_ends_the_doubt(void **state)
{
	struct origin to = direct();

	(void)state;
	be_usable(&to);
	w.is_busy = true;
	while (!w.p.is_doubtful)
		(void)next();
	assert_true(answer(WIRE_PROBE_MIN));
	assert_false(w.p.is_doubtful);
	assert_int_equal(w.p.beats_missed, 0);
}

/* What comes in does not prove that what goes out arrives. */
static void timeouts_of_data_are_no_doubt_that_hearing_ends(void **state)
{
	struct origin to = direct();

	(void)state;
	be_usable(&to);
	w.p.is_doubtful = true;
	w.p.loss.pto_count = 3;
	path_on_heard(&w.p, w.now);
	assert_true(w.p.is_doubtful);
	w.p.loss.pto_count = 0;
	path_on_heard(&w.p, w.now);
	assert_false(w.p.is_doubtful);
}

static void consent_ends_after_thirty_seconds(void **state)
{
	struct origin to = direct();

	(void)state;
	be_usable(&to);
	assert_true(path_can_carry(&w.p, w.p.heard_at + PATH_ALIVE - 1));
	assert_false(path_can_carry(&w.p, w.p.heard_at + PATH_ALIVE));
}

static void a_nomination_is_repeated_until_it_is_answered(void **state)
{
	struct origin to = direct();

	(void)state;
	be_usable(&to);
	w.p.must_nominate = true;
	path_check_now(&w.p, w.now);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(next());
		assert_int_equal(last()->probe.flags, PROBE_FLAG_NOMINATE);
	}
	assert_true(w.now < START + CV_SEC(2)); /* soon */
	assert_true(answer(WIRE_PROBE_MIN));
	assert_false(w.p.must_nominate);
	path_check_now(&w.p, w.now);
	w.p.is_doubtful = true;
	assert_true(next());
	assert_int_equal(last()->probe.flags, 0);
}

/* An older word for another path may arrive later: it is said once more when that is over. */
static void a_nomination_is_said_again_when_all_is_settled(void **state)
{
	struct origin to = direct();
	cv_time settled;

	(void)state;
	be_usable(&to);
	settled = w.p.settled_at = w.now + CV_MS(400);
	w.p.must_nominate = true;
	w.p.probe_at = w.now;
	assert_true(next());
	assert_true(answer(WIRE_PROBE_MIN));
	assert_true(w.p.must_nominate);
	assert_true(next());
	assert_int_equal(last()->at, settled);
	assert_true(last()->probe.flags & PROBE_FLAG_NOMINATE);
	assert_true(answer(WIRE_PROBE_MIN));
	assert_false(w.p.must_nominate);
}

static void a_ping_is_one_round_trip_measured_now(void **state)
{
	struct origin to = direct();

	(void)state;
	be_usable(&to);
	w.p.is_pinging = true;
	path_check_now(&w.p, w.now);
	assert_true(next());
	w.now += CV_MS(7);
	assert_true(path_on_answer(&w.p, w.now, last()->probe.token, WIRE_PROBE_MIN));
	assert_int_equal(w.p.ping_rtt, CV_MS(7));
	assert_false(w.p.is_pinging);
}

/* Own address, peer's news and a lost beat come within one round trip: nothing was missed yet. */
static void many_questions_are_one_beat(void **state)
{
	struct origin to = direct();
	struct path_probe out;

	(void)state;
	be_usable(&to);
	w.p.pmtud.due_at = CV_TIME_NEVER;
	for (unsigned i = 0; i < 5; i++) {
		path_check_now(&w.p, w.now);
		assert_true(path_probe_due(&w.p, w.now, &w.rng, true, true, &out));
		assert_int_equal(w.p.beats_missed, 1);
		assert_false(w.p.is_doubtful);
		w.now += path_patience(&w.p) / 10;
	}
	for (unsigned i = 2; i <= 3; i++) {
		w.now += path_patience(&w.p);
		path_check_now(&w.p, w.now);
		assert_true(path_probe_due(&w.p, w.now, &w.rng, true, true, &out));
		assert_int_equal(w.p.is_doubtful, i == 3);
	}
}

static void refusals_are_counted_by_the_quarter_second(void **state)
{
	struct origin to = direct();

	(void)state;
	be_usable(&to);
	for (unsigned i = 0; i < 10; i++)
		path_on_refused(&w.p, w.now + CV_MS(249) * (i % 2)); /* a burst counts once */
	assert_int_equal(w.p.refusals, 1);
	assert_true(path_deadline(&w.p) <= w.now + CV_MS(300)); /* asked whether it is so */
	w.now += CV_MS(250);
	path_on_refused(&w.p, w.now);
	assert_int_equal(w.p.refusals, 2);
	/* It is known by the third: no more probes for each refusal of one. */
	w.now += CV_MS(250);
	w.p.probe_at = w.now + CV_SEC(2);
	path_on_refused(&w.p, w.now);
	assert_int_equal(w.p.refusals, PATH_REFUSALS);
	assert_int_equal(w.p.probe_at, w.now + CV_SEC(2));
	path_on_heard(&w.p, w.now); /* ICMP is forged more easily than this */
	assert_int_equal(w.p.refusals, 0);
}

static void after_a_sleep_silence_begins_anew(void **state)
{
	struct origin to = direct();

	(void)state;
	be_usable(&to);
	w.is_busy = true;
	while (!w.p.is_doubtful)
		(void)next();
	w.now += CV_SEC(7200);
	assert_false(path_can_carry(&w.p, w.now));
	path_restart(&w.p, w.now);
	assert_true(path_can_carry(&w.p, w.now));
	assert_false(w.p.is_doubtful);
	assert_true(path_deadline(&w.p) <= w.now); /* and it is asked at once */
	w.count = 0;
	wait(CV_SEC(2));
	assert_in_range(w.count, 1, 5);
	assert_int_equal(w.p.state, PATH_USABLE);

	/* A free slot stays free. */
	w.p.state = PATH_FREE;
	path_restart(&w.p, w.now);
	path_check_now(&w.p, w.now);
	assert_int_equal(w.p.state, PATH_FREE);
	assert_int_equal(path_deadline(&w.p), CV_TIME_NEVER);
}

/* ---- packet size ---- */

static void the_size_is_searched_once_it_is_usable(void **state)
{
	struct origin six = { 0 };
	const struct {
		struct origin to;
		uint32_t size;
	} rows[] = {
		{ direct(), 1472 },
		{ six, 1452 },
		{ relay(), WIRE_RELAYED_MAX + WIRE_RELAY_HEADER },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct origin to = rows[i].to;

		if (!to.is_relay && to.addr.family == ADDR_NONE)
			assert_int_equal(addr_parse("[2001:db8::7]:4000", &to.addr), 0);
		begin(&to);
		reach(PATH_USABLE);
		assert_int_equal(w.p.pmtud.size, WIRE_DATAGRAM_BASE);
		assert_true(next());
		assert_int_equal(last()->probe.size + path_overhead(&w.p), rows[i].size);
		assert_true(answer(last()->probe.size + path_overhead(&w.p)));
		assert_int_equal(w.p.pmtud.size, rows[i].size);
		assert_int_equal(w.p.cc.mss, rows[i].size);
	}
}

/* With a shell that says what its interface refuses. */
static void more_than_usual_is_searched_where_it_may_pass(void **state)
{
	static const struct {
		const char *to;
		uint32_t max, ceiling;
	} rows[] = {
		{ "127.0.0.1:9", 65507, 65507 },
		{ "[::1]:9", 65507, 65488 },
		{ "127.0.0.1:9", 16000, 16000 },
		{ "127.0.0.1:9", 100, 1472 }, /* what every shell takes */
		{ "192.168.1.1:9", 65507, 8972 },
		{ "198.51.100.7:9", 65507, 8972 },
		{ "[2001:db8::7]:9", 65507, 8952 },
		{ "[2001:db8::7]:9", 0, 1452 },
	};
	struct origin to = relay();

	(void)state;
	begin(&to);
	path_set_datagram_max(&w.p, 65507);
	assert_int_equal(w.p.pmtud.ceiling, WIRE_RELAYED_MAX + WIRE_RELAY_HEADER);
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		to = direct();
		assert_int_equal(addr_parse(rows[i].to, &to.addr), 0);
		begin(&to);
		path_set_datagram_max(&w.p, rows[i].max);
		assert_int_equal(w.p.pmtud.ceiling, rows[i].ceiling);
		reach(PATH_USABLE);
		assert_true(next());
		assert_int_equal(last()->probe.size, to.addr.family == ADDR_V6 ? 1452 : 1472);
		assert_true(answer(last()->probe.size));
		if (rows[i].ceiling <= 1472)
			continue;
		assert_true(next());
		assert_int_equal(last()->probe.size, rows[i].ceiling);
		assert_true(answer(last()->probe.size));
		assert_int_equal(w.p.cc.mss, rows[i].ceiling);
	}
}

/* ---- names ---- */

static void a_path_is_where_it_leads(void **state)
{
	struct origin a = direct(), b = a, r = relay();

	(void)state;
	begin(&a);
	assert_true(path_is_to(&w.p, &b));
	b.socket = 1;
	assert_false(path_is_to(&w.p, &b));
	b = a;
	b.addr.port++;
	assert_false(path_is_to(&w.p, &b));
	assert_false(path_is_to(&w.p, &r));
	begin(&r);
	assert_true(path_is_to(&w.p, &r));
	r.channel++;
	assert_false(path_is_to(&w.p, &r));
	r = relay();
	r.server++;
	assert_false(path_is_to(&w.p, &r));
	w.p.state = PATH_FREE;
	r = relay();
	assert_false(path_is_to(&w.p, &r));
}

static void kinds_follow_from_addresses(void **state)
{
	static const struct {
		const char *text;
		enum path_kind kind;
		const char *name;
	} rows[] = {
		{ "127.0.0.1:1", PATH_KIND_LAN, "lan" },
		{ "[fe80::1]:1", PATH_KIND_LAN, "lan" },
		{ "10.0.0.1:1", PATH_KIND_LAN, "lan" },
		{ "100.64.0.1:1", PATH_KIND_DIRECT, "direct" },
		{ "198.51.100.1:1", PATH_KIND_DIRECT, "direct" },
	};
	struct origin to = relay();

	(void)state;
	begin(&to);
	assert_int_equal(w.p.kind, PATH_KIND_RELAY);
	assert_string_equal(path_kind_name(PATH_KIND_RELAY), "relay");
	assert_string_equal(path_kind_name(PATH_KIND_NONE), "none");
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		to = (struct origin){ 0 };
		assert_int_equal(addr_parse(rows[i].text, &to.addr), 0);
		begin(&to);
		assert_int_equal(w.p.kind, rows[i].kind);
		assert_string_equal(path_kind_name(w.p.kind), rows[i].name);
	}
}

/* Rule 6.3: either leg makes it TCP, and an answer is late no sooner than after a second. */
static void legs_of_tcp_make_it_patient(void **state)
{
	struct origin to = relay();

	(void)state;
	begin(&to);
	assert_int_equal(path_patience(&w.p), CV_MS(200));
	for (unsigned legs = 1; legs < 4; legs++) {
		assert_true(path_set_legs(&w.p, legs & 1, legs & 2));
		assert_false(path_set_legs(&w.p, legs & 1, legs & 2));
		assert_string_equal(path_kind_name(w.p.kind), "tcp");
		assert_true(w.p.kind < PATH_KIND_RELAY);
		assert_true(w.p.loss.is_tcp_leg);
		assert_int_equal(path_patience(&w.p), CV_SEC(1));
		assert_true(path_set_legs(&w.p, false, false));
		assert_int_equal(w.p.kind, PATH_KIND_RELAY);
		assert_false(w.p.loss.is_tcp_leg);
	}
}

static void each_use_of_a_slot_has_another_age(void **state)
{
	struct origin to = direct();

	(void)state;
	begin(&to);
	for (unsigned i = 0; i < 600; i++) {
		uint8_t before = w.p.age;

		path_init(&w.p, w.now, 5, &to, CC_CUBIC, 1);
		assert_int_not_equal(w.p.age, before);
		assert_int_not_equal(w.p.age, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_exchange_then_a_padded_one),
		cmocka_unit_test(where_little_passes_little_is_asked),
		cmocka_unit_test(only_our_token_counts_and_only_once),
		cmocka_unit_test(the_answer_must_be_as_large_as_the_question),
		cmocka_unit_test(a_late_answer_to_a_small_check_is_no_padded_one),
		cmocka_unit_test(nine_checks_then_pauses_that_grow),
		cmocka_unit_test(events_without_end_are_no_flood),
		cmocka_unit_test(a_question_does_not_wait_for_the_beat),
		cmocka_unit_test(a_question_to_the_silent_is_repeated_soon),
		cmocka_unit_test(questions_make_no_path_narrow),
		cmocka_unit_test(a_narrow_path_is_found_out),
		cmocka_unit_test(the_path_of_the_handshake_is_trusted_until_it_fails),
		cmocka_unit_test(beats_while_busy_keepalives_while_not),
		cmocka_unit_test(traffic_is_as_good_as_a_beat),
		cmocka_unit_test(two_missed_beats_are_a_doubt_and_thirty_seconds_the_end),
		cmocka_unit_test(an_answer_ends_the_doubt),
		cmocka_unit_test(timeouts_of_data_are_no_doubt_that_hearing_ends),
		cmocka_unit_test(consent_ends_after_thirty_seconds),
		cmocka_unit_test(a_nomination_is_repeated_until_it_is_answered),
		cmocka_unit_test(a_nomination_is_said_again_when_all_is_settled),
		cmocka_unit_test(a_ping_is_one_round_trip_measured_now),
		cmocka_unit_test(many_questions_are_one_beat),
		cmocka_unit_test(refusals_are_counted_by_the_quarter_second),
		cmocka_unit_test(after_a_sleep_silence_begins_anew),
		cmocka_unit_test(the_size_is_searched_once_it_is_usable),
		cmocka_unit_test(more_than_usual_is_searched_where_it_may_pass),
		cmocka_unit_test(a_path_is_where_it_leads),
		cmocka_unit_test(kinds_follow_from_addresses),
		cmocka_unit_test(legs_of_tcp_make_it_patient),
		cmocka_unit_test(each_use_of_a_slot_has_another_age),
	};

	return cmocka_run_group_tests_name("path", tests, NULL, NULL);
}
