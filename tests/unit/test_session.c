/* SPDX-License-Identifier: MIT */

/*
 * Goal: two sessions are one object each, joined to each other, through every order of
 * handshakes, rekeys and restarts; and a peer that breaks a rule, though it holds the keys, is cut
 * off with a code. Method: a pair of endpoints (endpoint_pair.h); each datagram of the beginning is
 * lost in turn; broken rules are sealed with the peer's own keys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"

enum { A = 0, B = 1, MARK = 5 };

static struct pair p;

static void meet(uint64_t seed)
{
	pair_init(&p, seed);
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
}

static void expect_echo(unsigned side, uint64_t size)
{
	struct pair_flow *f = pair_open(&p, side, size);

	assert_non_null(f);
	pair_run(&p, CV_SEC(5));
	assert_true(pair_is_echoed(f));
	assert_false(f->is_reset);
}

static void expect_joined(void)
{
	const struct assoc *a = &pair_session(&p, A)->assoc, *b = &pair_session(&p, B)->assoc;

	assert_memory_equal(a->incarnation, b->peer_incarnation, INCARNATION_SIZE);
	assert_memory_equal(b->incarnation, a->peer_incarnation, INCARNATION_SIZE);
}

/* ---- handshakes ---- */

static void one_round_trip_and_both_are_up(void **state)
{
	(void)state;
	pair_init(&p, 1);
	p.side[B].has_address = false; /* only one knows where the other is */
	pair_start(&p);
	pair_run(&p, 2 * p.delay);
	assert_int_equal(p.side[A].ups, 1);
	pair_run(&p, p.delay);
	assert_int_equal(p.side[B].ups, 1);
	assert_int_equal(p.side[A].kinds[WIRE_INIT >> 4], 1);
	assert_int_equal(p.side[B].kinds[WIRE_RESP >> 4], 1);
	expect_joined();
	expect_echo(B, 1000);
	expect_echo(A, 300000);
	pair_deinit(&p);
}

static bool lose_one(struct pair *pair, struct pair_datagram *d)
{
	(void)d;
	return pair->arg-- == 0;
}

static void crossing_handshakes_with_each_message_lost(void **state)
{
	(void)state;
	for (unsigned lost = 0; lost < 24; lost++) {
		pair_init(&p, 100 + lost);
		p.arg = lost;
		p.filter = lose_one;
		pair_start(&p); /* both at the same instant */
		assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
		expect_echo(A, 20000);
		expect_echo(B, 20000);
		expect_joined();
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(p.side[i].ups, 1);
			assert_int_equal(p.side[i].downs, 0);
			assert_int_equal(p.side[i].duplicates, 0);
		}
		pair_deinit(&p);
	}
}

/* Every other datagram is lost, in every pattern of the first ten. */
static bool lose_by_mask(struct pair *pair, struct pair_datagram *d)
{
	bool lost = (pair->arg & 1) != 0;

	(void)d;
	pair->arg >>= 1;
	return lost;
}

static void any_subset_of_the_first_messages_lost(void **state)
{
	(void)state;
	for (unsigned mask = 0; mask < 1024; mask += 7) {
		pair_init(&p, mask);
		p.is_unchecked = true;
		p.arg = mask;
		p.filter = lose_by_mask;
		pair_start(&p);
		assert_true(pair_until(&p, CV_SEC(5), pair_is_up));
		expect_echo(A, 2000);
		expect_joined();
		assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
		pair_deinit(&p);
	}
}

/* ---- keys ---- */

static unsigned epochs_of(unsigned side)
{
	unsigned count = 0;

	for (unsigned i = 0; i < ASSOC_EPOCHS_MAX; i++)
		count += pair_session(&p, side)->epochs[i].local_index != 0;
	return count;
}

static void the_smaller_key_renews_the_epoch(void **state)
{
	struct pair_flow *f;
	uint64_t inits;
	uint8_t incarnation[INCARNATION_SIZE];

	(void)state;
	meet(2);
	memcpy(incarnation, pair_session(&p, A)->assoc.incarnation, INCARNATION_SIZE);
	f = pair_open(&p, A, 500);
	pair_run(&p, CV_SEC(110));
	inits = p.side[A].kinds[WIRE_INIT >> 4];
	assert_int_equal(epochs_of(A), epochs_of(B));
	pair_run(&p, CV_SEC(17)); /* 120 s and the jitter */
	assert_int_equal(p.side[A].kinds[WIRE_INIT >> 4], inits + 1);
	assert_memory_equal(pair_session(&p, A)->assoc.incarnation, incarnation, INCARNATION_SIZE);
	assert_true(pair_is_echoed(f));
	/* For an hour: keys come and go, the object stays. */
	inits = p.side[B].kinds[WIRE_INIT >> 4];
	pair_run(&p, CV_SEC(3600));
	assert_int_equal(p.side[A].ups + p.side[B].ups, 2);
	assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
	assert_int_equal(p.side[B].kinds[WIRE_INIT >> 4], inits); /* it leaves that to the other */
	assert_memory_equal(pair_session(&p, A)->assoc.incarnation, incarnation, INCARNATION_SIZE);
	expect_echo(B, 5000);
	pair_deinit(&p);
}

static void in_calm_on_the_active_path_alone(void **state)
{
	uint64_t inits;

	(void)state;
	pair_init(&p, 40);
	p.side[A].announced = p.side[B].announced = 7;
	pair_start(&p);
	pair_run(&p, CV_SEC(110));
	inits = p.side[A].kinds[WIRE_INIT >> 4];
	pair_run(&p, CV_SEC(17));
	assert_int_equal(p.side[A].kinds[WIRE_INIT >> 4], inits + 1);
	pair_deinit(&p);
}

static bool lose_inits_of_a(struct pair *pair, struct pair_datagram *d)
{
	(void)pair;
	return d->sender == A && (d->bytes[0] & WIRE_KIND_MASK) == WIRE_INIT;
}

static void the_other_renews_it_if_need_be(void **state)
{
	(void)state;
	meet(3);
	p.filter = lose_inits_of_a;
	pair_run(&p, CV_SEC(145));
	assert_true(assoc_is_live(&pair_session(&p, A)->assoc, p.now));
	pair_run(&p, CV_SEC(600));
	assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
	expect_echo(A, 5000);
	pair_deinit(&p);
}

static void many_packets_renew_it_too(void **state)
{
	unsigned before;
	struct epoch *e;

	(void)state;
	meet(4);
	pair_run(&p, CV_SEC(1));
	before = (unsigned)p.side[A].kinds[WIRE_INIT >> 4];
	e = assoc_send_epoch(&pair_session(&p, A)->assoc, p.now);
	assert_non_null(e);
	e->sealed = EPOCH_LIMITS_AGENT.rekey_packets;
	expect_echo(A, 1000);
	assert_int_equal(p.side[A].kinds[WIRE_INIT >> 4], before + 1);
	assert_ptr_not_equal(assoc_send_epoch(&pair_session(&p, A)->assoc, p.now), e);
	expect_echo(B, 1000);
	pair_deinit(&p);
}

/* ---- ends ---- */

static void a_goodbye_resets_streams_at_once(void **state)
{
	struct pair_flow *f;

	(void)state;
	meet(5);
	f = pair_open(&p, A, 1000000);
	pair_run(&p, CV_MS(50));
	assert_false(f->is_reset);
	pair_stop_side(&p, B, true);
	pair_run(&p, p.delay);
	assert_true(f->is_reset);
	assert_int_equal(f->code, CLOSE_SHUTDOWN);
	assert_int_equal(p.side[A].downs, 1);
	assert_int_equal(p.side[A].down_code, CLOSE_SHUTDOWN);
	assert_int_equal(endpoint_peer_state(p.side[A].e, p.side[A].peer), PEER_DOWN);
	/* And it may come back. */
	pair_start_side(&p, B);
	assert_true(pair_until(&p, CV_SEC(6), pair_is_up));
	expect_echo(A, 1000);
	pair_deinit(&p);
}

static void a_restart_resets_the_streams_of_the_life_before(void **state)
{
	(void)state;
	for (unsigned side = 0; side < 2; side++) {
		struct pair_flow *f, *g;

		meet(6 + side);
		f = pair_open(&p, side, 3000000);
		pair_run(&p, CV_MS(100));
		assert_false(f->is_reset || f->is_at_end);
		pair_stop_side(&p, !side, false);
		pair_run(&p, CV_MS(500));
		pair_start_side(&p, !side);
		pair_run(&p, CV_SEC(2));
		assert_true(pair_is_up(&p));
		assert_true(f->is_reset);
		assert_int_equal(f->code, CLOSE_REPLACED);
		assert_int_equal(p.side[side].downs, 1);
		assert_int_equal(p.side[side].ups, 2);
		assert_int_equal(p.side[0].duplicates + p.side[1].duplicates, 0);
		expect_joined();
		g = pair_open(&p, side, 10000);
		pair_run(&p, CV_SEC(2));
		assert_true(pair_is_echoed(g));
		pair_deinit(&p);
	}
}

/* Every datagram of one life comes again, in the next: nothing of it counts. */
static bool keep_all(struct pair *pair, struct pair_datagram *d)
{
	if (pair->arg > 0) {
		pair->arg--;
		pair_copy(pair, d, PAIR_START + CV_SEC(20) + (d->at - PAIR_START));
	}
	return false;
}

static void an_old_life_comes_again(void **state)
{
	struct endpoint_counters counters;

	(void)state;
	pair_init(&p, 8);
	p.filter = keep_all;
	p.arg = 400;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	expect_echo(A, 100000);
	p.filter = NULL;
	expect_echo(A, 100);
	pair_stop_side(&p, B, false);
	pair_start_side(&p, B);
	pair_run(&p, CV_SEC(8));
	assert_int_equal(p.side[A].ups, 2);
	pair_run(&p, CV_SEC(20));
	assert_int_equal(p.side[A].ups, 2);
	assert_int_equal(p.side[B].ups, 1);
	assert_int_equal(p.side[A].downs + p.side[B].downs, 1);
	assert_int_equal(p.side[A].duplicates + p.side[B].duplicates, 0);
	endpoint_counters(p.side[B].e, &counters);
	assert_true(counters.unknown_index + counters.gate_drops > 0);
	expect_echo(B, 100000);
	pair_deinit(&p);
}

static bool double_all(struct pair *pair, struct pair_datagram *d)
{
	pair_copy(pair, d, d->at + CV_MS(3));
	pair_copy(pair, d, d->at + CV_MS(900));
	return false;
}

static void every_datagram_three_times(void **state)
{
	struct endpoint_counters counters;

	(void)state;
	pair_init(&p, 9);
	p.filter = double_all;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	expect_echo(A, 300000);
	expect_echo(B, 300000);
	pair_run(&p, CV_SEC(10));
	expect_joined();
	assert_int_equal(p.side[A].ups + p.side[B].ups, 2);
	assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
	endpoint_counters(p.side[A].e, &counters);
	assert_true(counters.replayed > 500);
	pair_deinit(&p);
}

/* ---- broken rules ---- */

static void expect_cut_off(const char *what, const uint8_t *frames, size_t size)
{
	struct pair_flow *f;

	print_message("%s\n", what);
	meet(10);
	f = pair_open(&p, B, 5000000);
	pair_run(&p, CV_MS(100));
	assert_false(f->is_at_end);
	assert_true(pair_forge(&p, A, 0, frames, size));
	pair_run(&p, CV_MS(30));
	assert_int_equal(p.side[B].downs, 1);
	assert_int_equal(p.side[B].down_code, CLOSE_PROTOCOL);
	assert_true(f->is_reset);
	assert_int_equal(f->code, CLOSE_PROTOCOL);
	assert_int_equal(p.side[A].down_code, CLOSE_PROTOCOL); /* it is told why */
	assert_int_equal(p.side[A].downs, 1);
	/* Not at once, but they may meet again. */
	pair_run(&p, CV_SEC(3));
	assert_int_equal(p.side[A].ups, 1);
	assert_true(pair_until(&p, CV_SEC(6), pair_is_up));
	expect_echo(B, 1000);
	pair_deinit(&p);
}

static void expect_frame_cuts_off(const char *what, const struct wire_frame *f)
{
	uint8_t bytes[1200];
	struct wr w = wr_init(bytes, sizeof(bytes));

	wire_write_frame(&w, f);
	assert_false(w.bad);
	expect_cut_off(what, bytes, wr_size(&w));
}

static void broken_rules_end_the_session(void **state)
{
	static const uint8_t unknown[] = { FRAME_PING, 0x7f, 0, 0 };
	static const uint8_t torn[] = { FRAME_MAX_DATA, 0xc0 };
	static const uint8_t zeros[16];
	const struct wire_frame frames[] = {
		{ .type = FRAME_ACK, .ack = { .count = 1, .ranges = { { 0, 1u << 20 } } } },
		{ .type = FRAME_MESSAGE,
		  .message = { .seq = 0, .type = 8, .body = zeros, .size = 16 } },
		{ .type = FRAME_MESSAGE_ACK },
		/* Further than any window: */
		{ .type = FRAME_STREAM,
		  .stream = { .id = 40, .offset = 1u << 30, .bytes = zeros, .size = 16 } },
		/* Of the victim's own, which it never opened: */
		{ .type = FRAME_STREAM, .stream = { .id = 4001, .bytes = zeros, .size = 16 } },
		/* More than it may open: */
		{ .type = FRAME_STREAM, .stream = { .id = 1u << 20, .bytes = zeros, .size = 16 } },
	};
	static const char *const what[] = {
		"an ACK of packets never sent", "a server's message", "and its ACK",
		"bytes beyond the window",      "a stream of ours",   "streams beyond the limit",
	};

	(void)state;
	expect_cut_off("an unknown frame", unknown, sizeof(unknown));
	expect_cut_off("half a frame", torn, sizeof(torn));
	for (size_t i = 0; i < CV_ARRAY_SIZE(frames); i++)
		expect_frame_cuts_off(what[i], &frames[i]);
}

static void the_next_number_is_not_acknowledged_yet(void **state)
{
	uint64_t next;

	(void)state;
	for (unsigned above = 0; above < 2; above++) {
		struct wire_frame f = { .type = FRAME_ACK, .ack = { .count = 1 } };

		meet(11);
		pair_run(&p, CV_SEC(1));
		next = pair_session(&p, B)->sent.next;
		f.ack.ranges[0] = (struct wire_range){ next - 1, next + above };
		assert_true(pair_forge_frame(&p, A, &f));
		pair_run(&p, CV_MS(30));
		assert_int_equal(p.side[B].downs, above);
		pair_deinit(&p);
	}
}

/* T20: numbers that were never used are traps for those who acknowledge in advance. */
static void an_optimist_is_caught(void **state)
{
	struct session *victim;
	struct wire_frame f = { .type = FRAME_ACK, .ack = { .count = 1 } };
	uint64_t opened;

	(void)state;
	meet(12);
	victim = pair_session(&p, B);
	assert_non_null(pair_open(&p, B, 4000000));
	opened = victim->sent.next;
	while (victim->sent.skip_count == 0) {
		assert_true(pair_step(&p, p.now + CV_SEC(1)));
		assert_true(victim->sent.next < opened + 2000);
	}
	assert_int_equal(p.side[B].downs, 0); /* who is honest never meets it */
	f.ack.ranges[0] = (struct wire_range){ victim->sent.skips[0], victim->sent.skips[0] + 1 };
	assert_true(pair_forge_frame(&p, A, &f));
	pair_run(&p, CV_MS(30));
	assert_int_equal(p.side[B].down_code, CLOSE_PROTOCOL);
	pair_deinit(&p);
}

static void a_close_means_what_its_code_says(void **state)
{
	static const struct {
		const char *what;
		uint16_t code;
		bool is_twin;
	} rows[] = {
		{ "the process ends", CLOSE_SHUTDOWN, false },
		{ "no longer configured", CLOSE_REMOVED, false },
		{ "another took our place", CLOSE_REPLACED, true },
		{ "so a server says", CLOSE_DUPLICATE, true },
		{ "a code of the future", 999, false },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct wire_frame f = { .type = FRAME_CLOSE, .close = { .code = rows[i].code } };

		print_message("%s\n", rows[i].what);
		f.close.text = (const uint8_t *)"";
		meet(13);
		assert_true(pair_forge_frame(&p, A, &f));
		pair_stop_side(&p, A, false);
		pair_run(&p, CV_MS(20));
		assert_int_equal(p.side[B].downs, 1);
		assert_int_equal(p.side[B].down_code, rows[i].code);
		assert_int_equal(p.side[B].duplicates, rows[i].is_twin);
		/* A twin is left alone for a minute: else each would end the other's streams for
		 * ever. */
		p.side[B].kinds[WIRE_INIT >> 4] = 0;
		pair_run(&p, CV_SEC(55));
		endpoint_want_peer(p.side[B].e, p.now, p.side[B].peer);
		pair_poke(&p, B);
		assert_int_equal(p.side[B].kinds[WIRE_INIT >> 4] == 0, rows[i].is_twin);
		pair_run(&p, CV_SEC(15));
		assert_true(p.side[B].kinds[WIRE_INIT >> 4] > 0);
		pair_deinit(&p);
	}
}

/* ---- candidates ---- */

static void expect_stray(const char *text, bool expected)
{
	struct addr a;
	bool found = false;

	assert_int_equal(addr_parse(text, &a), 0);
	for (unsigned i = 0; i < p.stray_count; i++)
		found |= addr_equal(&p.strays[i], &a);
	assert_int_equal(found, expected);
}

static void dangerous_candidates_are_never_probed(void **state)
{
	static const char *const dangerous[] = {
		"127.0.0.1:4000",   "169.254.169.254:80",  "224.0.0.1:4000", "255.255.255.255:4000",
		"0.0.0.0:4000",     "198.51.100.99:53",    "10.1.2.3:4000",  "[::1]:4000",
		"[fe80::1]:4000",   "[::ffff:10.0.0.1]:1", "[ff02::1]:4000", "192.168.1.1:1900",
		"198.51.100.99:123"
	};
	static const char *const harmless[] = { "203.0.113.5:4000", "192.168.7.200:4000" };
	struct wire_frame f = { .type = FRAME_CANDIDATES };

	(void)state;
	pair_init(&p, 14);
	p.side[B].announced = 1 << PAIR_LAN;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	for (size_t i = 0; i < CV_ARRAY_SIZE(dangerous); i++) {
		f.candidates.list[f.candidates.count].kind = CANDIDATE_HOST;
		assert_int_equal(
			addr_parse(dangerous[i], &f.candidates.list[f.candidates.count++].addr), 0);
	}
	for (size_t i = 0; i < CV_ARRAY_SIZE(harmless); i++) {
		f.candidates.list[f.candidates.count].kind = CANDIDATE_HOST;
		assert_int_equal(
			addr_parse(harmless[i], &f.candidates.list[f.candidates.count++].addr), 0);
	}
	assert_true(pair_forge_frame(&p, A, &f));
	pair_run(&p, CV_SEC(6));
	for (size_t i = 0; i < CV_ARRAY_SIZE(dangerous); i++)
		expect_stray(dangerous[i], false);
	for (size_t i = 0; i < CV_ARRAY_SIZE(harmless); i++)
		expect_stray(harmless[i], true);
	assert_int_equal(p.side[B].downs, 0);
	pair_deinit(&p);
}

/* T40: nor is the same one, told again and again, a means to have somebody flooded. */
static void one_candidate_told_for_ever_is_a_probe_now_and_then(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		struct wire_frame f = { .type = FRAME_CANDIDATES, .candidates.count = 1 };
		uint64_t before;

		meet(16);
		pair_run(&p, CV_SEC(2));
		before = p.side[B].kinds[WIRE_PROBE >> 4];
		/* A stranger's, or its own. */
		f.candidates.list[0].kind = CANDIDATE_HOST;
		f.candidates.list[0].addr =
			k == 0 ? addr_v4(203, 0, 113, 5, 4000) : p.side[A].addr[PAIR_PUBLIC];
		for (unsigned i = 0; i < 2000; i++) {
			assert_true(pair_forge_frame(&p, A, &f));
			pair_run(&p, CV_MS(5));
		}
		assert_in_range(p.side[B].kinds[WIRE_PROBE >> 4] - before, 9, 32 + 3 * 10 + 5);
		pair_deinit(&p);
	}
}

/* T40: ten thousand candidates are a few probes. */
static void a_flood_of_candidates_is_a_trickle_of_probes(void **state)
{
	uint64_t before;

	(void)state;
	meet(15);
	pair_run(&p, CV_SEC(2));
	before = p.side[B].datagrams;
	for (unsigned i = 0; i < 625; i++) {
		struct wire_frame f = { .type = FRAME_CANDIDATES };

		for (unsigned k = 0; k < FRAME_CANDIDATES_MAX; k++) {
			unsigned n = i * FRAME_CANDIDATES_MAX + k;

			f.candidates.list[k] = (struct wire_candidate){
				CANDIDATE_HOST, addr_v4(203, (uint8_t)(n >> 16), (uint8_t)(n >> 8),
				                        (uint8_t)n, 4000)
			};
		}
		f.candidates.count = FRAME_CANDIDATES_MAX;
		assert_true(pair_forge_frame(&p, A, &f));
		pair_run(&p, CV_MS(1));
	}
	pair_run(&p, CV_SEC(8));
	assert_true(p.side[B].kinds[WIRE_PROBE >> 4] < 256);
	assert_true(p.side[B].datagrams - before < 1500); /* ACKs of ours among them */
	expect_echo(B, 1000);
	pair_deinit(&p);
}

/* A server that grants next to nothing is not obeyed. */
static void a_relay_has_a_least_rate(void **state)
{
	static const struct {
		uint32_t kbit;
		uint64_t cap;
	} rows[] = { { 0, 0 }, { 1, 12000 }, { 96, 12000 }, { 97, 12125 }, { 50000, 6250000 } };
	struct origin o = { .is_relay = true, .channel = 77 };
	struct session *s;

	(void)state;
	meet(31);
	s = pair_session(&p, A);
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		session_add_relay(s, p.now, 0, o.channel, rows[i].kbit, LEG_UDP);
		assert_int_equal(s->paths.list[paths_find(&s->paths, &o)].pacer.cap, rows[i].cap);
	}
	session_drop_relay(s, p.now, 0); /* there is no such server */
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_round_trip_and_both_are_up),
		cmocka_unit_test(crossing_handshakes_with_each_message_lost),
		cmocka_unit_test(any_subset_of_the_first_messages_lost),
		cmocka_unit_test(the_smaller_key_renews_the_epoch),
		cmocka_unit_test(in_calm_on_the_active_path_alone),
		cmocka_unit_test(the_other_renews_it_if_need_be),
		cmocka_unit_test(many_packets_renew_it_too),
		cmocka_unit_test(a_goodbye_resets_streams_at_once),
		cmocka_unit_test(a_restart_resets_the_streams_of_the_life_before),
		cmocka_unit_test(an_old_life_comes_again),
		cmocka_unit_test(every_datagram_three_times),
		cmocka_unit_test(broken_rules_end_the_session),
		cmocka_unit_test(the_next_number_is_not_acknowledged_yet),
		cmocka_unit_test(an_optimist_is_caught),
		cmocka_unit_test(a_close_means_what_its_code_says),
		cmocka_unit_test(dangerous_candidates_are_never_probed),
		cmocka_unit_test(a_flood_of_candidates_is_a_trickle_of_probes),
		cmocka_unit_test(one_candidate_told_for_ever_is_a_probe_now_and_then),
		cmocka_unit_test(a_relay_has_a_least_rate),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
