/* SPDX-License-Identifier: MIT */

/*
 * Goal: the endpoint keeps its promises to the shell: trains it can send, deadlines it can
 * arm, events in order, no memory per packet, refusals that change nothing. Method: a pair of
 * endpoints; the allocator counts, and fails at the k-th call for every k.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "tests/unit/endpoint_pair.h"
#include "tunnel/endpoint_inner.h"
#include "tunnel/rendezvous_state.h"
#include "tunnel/stun.h"

enum { A = 0, B = 1 };

static struct pair p;

static void meet(uint64_t seed)
{
	pair_init(&p, seed);
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
}

/* ---- memory ---- */

/* The pool grows to the most that was ever lent at once, which takes a while to be reached by
 * itself: a few blocks beyond that are lent and given back. */
static void warm_up(struct pool *pool)
{
	void *blocks[POOL_CLASSES][8];

	for (int class = 0; class < POOL_CLASSES; class ++) {
		for (unsigned i = 0; i < 8; i++) {
			blocks[class][i] = pool_take(pool, (enum pool_class) class);
			assert_non_null(blocks[class][i]);
		}
		for (unsigned i = 0; i < 8; i++)
			pool_give(pool, (enum pool_class) class, blocks[class][i]);
	}
}

static bool one_in_a_hundred(struct pair *pair, struct pair_datagram *d)
{
	(void)d;
	return rng_below(&pair->rng, 100) == 0;
}

static void transfer_without_heap(bool (*filter)(struct pair *p, struct pair_datagram *d))
{
	struct pair_flow *f, *g;
	uint64_t calls, packets;

	pair_init(&p, 1);
	p.delay = CV_MS(20);
	p.sinks = true;
	p.is_unchecked = true;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	f = pair_open(&p, A, UINT64_C(1) << 40);
	g = pair_open(&p, B, UINT64_C(1) << 40);
	/* Windows at their largest, every ring and buffer as long as it gets. */
	for (unsigned i = 0; i < 2; i++)
		cc_set_cwnd_max(&paths_active(&pair_session(&p, i)->paths)->cc, 200000);
	p.filter = filter;
	pair_run(&p, CV_SEC(8));
	warm_up(&p.side[A].pool);
	warm_up(&p.side[B].pool);
	calls = cv_alloc_calls();
	packets = p.side[A].datagrams + p.side[B].datagrams;
	pair_run(&p, CV_SEC(2));
	packets = p.side[A].datagrams + p.side[B].datagrams - packets;
	assert_true(packets > (filter ? 1000 : 10000));
	assert_int_equal(cv_alloc_calls(), calls);
	assert_false(f->is_reset || g->is_reset);
	pair_deinit(&p);
}

static void steady_transfer_never_reaches_the_heap(void **state)
{
	(void)state;
	transfer_without_heap(NULL);
}

/* Holes, ranges and what is sent again have their memory, too. */
static void losses_never_reach_the_heap(void **state)
{
	(void)state;
	transfer_without_heap(one_in_a_hundred);
}

static void an_idle_hour_never_reaches_the_heap(void **state)
{
	uint64_t calls;

	(void)state;
	meet(2);
	pair_run(&p, CV_SEC(400));
	calls = cv_alloc_calls();
	pair_run(&p, CV_SEC(3600)); /* keepalives, and thirty handshakes */
	assert_int_equal(cv_alloc_calls(), calls);
	pair_deinit(&p);
}

static int start(struct endpoint **out)
{
	struct endpoint_options opt = {
		.me = &p.side[A].me,
		.rng = &p.rng,
		.pool = &p.side[A].pool,
		.aead_bits = AEAD_BIT_CHACHA,
		.streams_max = 256,
		.congestion = CC_CUBIC,
	};
	struct endpoint_peer peer = { .pk = p.side[B].me.pk };
	uint8_t server_pk[32];
	struct endpoint *e;
	uint32_t number;
	int r;

	memcpy(server_pk, p.side[B].me.pk, 32);
	server_pk[0] ^= 1;
	r = endpoint_new(&e, p.now, &opt);
	if (r < 0)
		return r;
	r = endpoint_add_peer(e, p.now, &peer, &number);
	if (r == 0)
		r = endpoint_add_server(e, p.now, server_pk, &number);
	if (r < 0) {
		/* What failed changed nothing. */
		assert_true(endpoint_check(e));
		endpoint_free(e, p.now);
		return r;
	}
	*out = e;
	return 0;
}

static void every_failing_allocation_leaves_nothing(void **state)
{
	uint64_t live;
	struct endpoint *e;
	unsigned k = 0;
	int r;

	(void)state;
	pair_init(&p, 3);
	pool_init(&p.side[A].pool, UINT64_C(64) << 20);
	live = cv_alloc_live();
	do {
		cv_alloc_fail_at(++k);
		r = start(&e);
		if (r < 0) {
			assert_int_equal(r, -ENOMEM);
			assert_int_equal(cv_alloc_live(), live);
		}
		assert_true(k < 1000);
	} while (r < 0);
	cv_alloc_fail_at(0);
	assert_true(k > 10);
	endpoint_free(e, p.now);
	assert_int_equal(cv_alloc_live(), live);
	pool_deinit(&p.side[A].pool);
	endpoint_free(NULL, 0);
}

/* ---- peers ---- */

static void keys_that_cannot_be_peers(void **state)
{
	static const uint8_t low_order[32] = { 0 }, one[32] = { 1 };
	struct {
		const char *what;
		const uint8_t *pk;
	} rows[] = {
		{ "our own", p.side[A].me.pk },
		{ "of low order", low_order },
		{ "of low order too", one },
		{ "configured already", p.side[B].me.pk },
	};
	uint32_t number = 77;

	(void)state;
	meet(4);
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct endpoint_peer peer = { .pk = rows[i].pk };

		print_message("%s\n", rows[i].what);
		assert_int_equal(endpoint_add_peer(p.side[A].e, p.now, &peer, &number), -EINVAL);
		assert_int_equal(number, 77);
		assert_true(endpoint_check(p.side[A].e));
	}
	pair_run(&p, CV_SEC(1));
	assert_true(pair_is_up(&p));
	pair_deinit(&p);
}

static void servers_are_counted(void **state)
{
	uint8_t pk[32];
	uint32_t number;

	(void)state;
	meet(5);
	memcpy(pk, p.side[B].me.pk, 32);
	for (unsigned i = 0; i < ENDPOINT_SERVERS_MAX; i++) {
		pk[1] = (uint8_t)(pk[1] + 1);
		assert_int_equal(endpoint_add_server(p.side[A].e, p.now, pk, &number), 0);
		assert_int_equal(number, i);
	}
	pk[1] = (uint8_t)(pk[1] + 1);
	assert_int_equal(endpoint_add_server(p.side[A].e, p.now, pk, &number), -ENOBUFS);
	pair_drain(&p, A);
	pair_deinit(&p);
}

/* ---- turns ---- */

/* Several datagrams of one sender come as one batch (GRO): the last may be shorter. */
static void a_batch_is_its_datagrams(void **state)
{
	uint8_t batch[3 * 100];
	struct endpoint_counters before, after;
	struct arrival in = { .bytes = batch,
		              .size = sizeof(batch) - 40,
		              .segment_size = 100,
		              .from = addr_v4(203, 0, 113, 9, 1) };

	(void)state;
	meet(6);
	endpoint_counters(p.side[A].e, &before);
	memset(batch, 0xff, sizeof(batch));
	endpoint_on_arrival(p.side[A].e, p.now, &in);
	endpoint_counters(p.side[A].e, &after);
	assert_int_equal(after.rx_packets - before.rx_packets, 3);
	assert_int_equal(after.rx_bytes - before.rx_bytes, 260);
	assert_int_equal(after.malformed - before.malformed, 3);
	in.segment_size = 0; /* one datagram */
	endpoint_on_arrival(p.side[A].e, p.now, &in);
	endpoint_counters(p.side[A].e, &after);
	assert_int_equal(after.rx_packets - before.rx_packets, 4);
	in.size = 0;
	endpoint_on_arrival(p.side[A].e, p.now, &in);
	endpoint_counters(p.side[A].e, &after);
	assert_int_equal(after.rx_packets - before.rx_packets, 4);
	pair_deinit(&p);
}

static void early_calls_change_nothing(void **state)
{
	cv_time deadline;
	uint64_t sent;

	(void)state;
	meet(7);
	pair_run(&p, CV_SEC(3));
	deadline = p.side[A].deadline;
	sent = p.side[A].datagrams;
	assert_true(deadline > p.now + CV_MS(100));
	for (unsigned i = 0; i < 100; i++) {
		p.now += CV_MS(1);
		endpoint_on_turn(p.side[A].e, p.now);
		endpoint_on_deadline(p.side[A].e, p.now);
		pair_drain(&p, A);
	}
	assert_int_equal(p.side[A].datagrams, sent);
	assert_int_equal(p.side[A].deadline, deadline);
	pair_deinit(&p);
}

static void counters_count(void **state)
{
	struct endpoint_counters a, b;

	(void)state;
	meet(8);
	(void)pair_open(&p, A, 100000);
	pair_run(&p, CV_SEC(2));
	endpoint_counters(p.side[A].e, &a);
	endpoint_counters(p.side[B].e, &b);
	assert_int_equal(a.tx_packets, p.side[A].datagrams);
	assert_int_equal(a.tx_bytes, p.side[A].bytes);
	assert_int_equal(b.rx_packets, a.tx_packets);
	assert_int_equal(b.rx_bytes, a.tx_bytes);
	assert_int_equal(a.malformed + a.unknown_index + a.forged + a.replayed + a.relay_strays, 0);
	pair_deinit(&p);
}

static void a_datagram_too_large_shrinks_the_path(void **state)
{
	struct endpoint_peer_stats stats;

	(void)state;
	meet(9);
	pair_run(&p, CV_SEC(2));
	endpoint_peer_stats(p.side[A].e, p.now, p.side[A].peer, &stats);
	assert_int_equal(stats.mtu, 1472);
	endpoint_on_too_large(p.side[A].e, p.now, 0, &p.side[B].addr[PAIR_PUBLIC], 1400);
	pair_poke(&p, A);
	endpoint_peer_stats(p.side[A].e, p.now, p.side[A].peer, &stats);
	assert_in_range(stats.mtu, WIRE_DATAGRAM_BASE, 1399);
	p.side[A].largest = 0;
	(void)pair_open(&p, A, 100000);
	pair_run(&p, CV_SEC(1));
	assert_in_range(p.side[A].largest, WIRE_DATAGRAM_BASE, 1399);
	/* Of addresses that lead nowhere nothing is believed. */
	endpoint_on_too_large(p.side[A].e, p.now, 0, &(struct addr){ .family = ADDR_V4 }, 1);
	pair_deinit(&p);
}

static void a_ping_is_answered_once(void **state)
{
	struct endpoint_ping got = { 0 };

	(void)state;
	meet(10);
	pair_run(&p, CV_SEC(2));
	assert_false(endpoint_ping_result(p.side[A].e, p.now, p.side[A].peer, &got));
	endpoint_ping(p.side[A].e, p.now, p.side[A].peer);
	pair_drain(&p, A);
	pair_run(&p, 2 * p.delay - 1);
	assert_false(endpoint_ping_result(p.side[A].e, p.now, p.side[A].peer, &got));
	pair_run(&p, 1);
	assert_true(endpoint_ping_result(p.side[A].e, p.now, p.side[A].peer, &got));
	assert_int_equal(got.rtt, 2 * p.delay);
	assert_int_equal(got.server, UINT32_MAX);
	assert_false(endpoint_ping_result(p.side[A].e, p.now, p.side[A].peer, &got));
	pair_deinit(&p);
}

/* Asked before there is a session it leaves with the first path. */
static void a_ping_waits_for_a_path(void **state)
{
	struct endpoint_ping got = { 0 };
	cv_time begin;

	(void)state;
	pair_init(&p, 11);
	pair_start(&p);
	endpoint_ping(p.side[A].e, p.now, p.side[A].peer);
	begin = p.now;
	for (;;) {
		pair_run(&p, CV_MS(1));
		if (endpoint_ping_result(p.side[A].e, p.now, p.side[A].peer, &got))
			break;
		pair_poke(&p, A);
		assert_true(p.now < begin + CV_SEC(2));
	}
	assert_in_range(got.rtt, 2 * p.delay, 2 * p.delay + CV_MS(1));
	assert_string_equal(got.path_kind, "direct");
	pair_deinit(&p);
}

/* Streams wait while the way that there is is not the one that is wanted. */
static void a_policy_of_direct_holds_streams(void **state)
{
	struct session *s;
	cv_duration since;
	uint8_t slot;

	(void)state;
	meet(12);
	s = pair_session(&p, A);
	slot = s->paths.active;
	assert_false(endpoint_peer_is_held(p.side[A].e, p.now, p.side[A].peer, &since));
	s->policy = POLICY_DIRECT;
	assert_false(endpoint_peer_is_held(p.side[A].e, p.now, p.side[A].peer, &since));
	s->paths.list[slot].to.is_relay = true;
	s->relayed_at = p.now;
	assert_true(endpoint_peer_is_held(p.side[A].e, p.now + 7, p.side[A].peer, &since));
	assert_int_equal(since, 7);
	s->policy = POLICY_AUTO;
	assert_false(endpoint_peer_is_held(p.side[A].e, p.now, p.side[A].peer, &since));
	s->assoc.peer_policy = POLICY_DIRECT;
	assert_true(endpoint_peer_is_held(p.side[A].e, p.now, p.side[A].peer, &since));
	s->policy = POLICY_RELAY; /* refused altogether */
	assert_false(endpoint_peer_is_held(p.side[A].e, p.now, p.side[A].peer, &since));
	s->paths.list[slot].to.is_relay = false;
	s->policy = POLICY_AUTO;
	s->assoc.peer_policy = POLICY_AUTO;
	pair_deinit(&p);
}

static uint8_t relayed_by(struct session *s, uint32_t server)
{
	struct origin o = { .is_relay = true, .server = server, .channel = 70 + server };

	return paths_find(&s->paths, &o);
}

/* Streams wait where only small packets pass, and go on when the relay is lent, or another is. */
static void a_relay_that_is_not_lent_holds_streams(void **state)
{
	struct session *s;
	cv_duration since;
	uint8_t direct;

	(void)state;
	meet(13);
	s = pair_session(&p, A);
	direct = s->paths.active;
	for (uint32_t i = 0; i < 2; i++) {
		session_add_relay(s, p.now, i, 70 + i, i ? 50000 : MESSAGE_RATE_SMALL,
		                  i ? LEG_TCP : LEG_UDP);
		path_on_handshake(&s->paths.list[relayed_by(s, i)], p.now, true);
	}
	assert_true(s->paths.list[relayed_by(s, 0)].is_scant);
	assert_false(s->paths.list[relayed_by(s, 1)].is_scant);
	paths_remove(&s->paths, direct);
	session_rechoose(s, p.now);
	/* A slow way is one, and that is none. */
	assert_int_equal(s->paths.active, relayed_by(s, 1));
	assert_false(endpoint_peer_is_held(p.side[A].e, p.now, p.side[A].peer, &since));
	session_drop_relay(s, p.now, 1);
	assert_int_equal(s->paths.active, relayed_by(s, 0));
	assert_true(endpoint_peer_is_held(p.side[A].e, p.now, p.side[A].peer, &since));
	/* The same channel, lent by now: another way. */
	session_add_relay(s, p.now, 0, 70, 0, LEG_UDP);
	assert_false(s->paths.list[relayed_by(s, 0)].is_scant);
	path_on_handshake(&s->paths.list[relayed_by(s, 0)], p.now, true);
	session_rechoose(s, p.now);
	assert_int_equal(s->paths.active, relayed_by(s, 0));
	assert_false(endpoint_peer_is_held(p.side[A].e, p.now, p.side[A].peer, &since));
	/* Said again, nothing changes. */
	session_add_relay(s, p.now, 0, 70, 0, LEG_UDP);
	assert_int_equal(s->paths.active, relayed_by(s, 0));
	session_drop_relay(s, p.now, 0);
	pair_deinit(&p);
}

/* ---- ways ---- */

static void candidates_lead_to_the_lan(void **state)
{
	struct endpoint_peer_stats stats;
	struct pair_flow *f;

	(void)state;
	pair_init(&p, 11);
	p.side[A].announced = p.side[B].announced = 1 << PAIR_LAN;
	pair_start(&p);
	pair_run(&p, CV_SEC(3));
	for (unsigned i = 0; i < 2; i++) {
		endpoint_peer_stats(p.side[i].e, p.now, p.side[i].peer, &stats);
		assert_string_equal(stats.path_kind, "lan");
		assert_true(addr_equal(&stats.path_address, &p.side[!i].addr[PAIR_LAN]));
		assert_int_equal(stats.rtt, 2 * p.delay);
		assert_string_equal(stats.why, "");
	}
	/* And back, in the middle of a transfer. */
	f = pair_open(&p, A, 3000000);
	pair_run(&p, CV_MS(150));
	p.is_cut[A][PAIR_LAN] = p.is_cut[B][PAIR_LAN] = true;
	pair_run(&p, CV_SEC(8));
	assert_true(pair_is_echoed(f));
	assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
	endpoint_peer_stats(p.side[A].e, p.now, p.side[A].peer, &stats);
	assert_string_equal(stats.path_kind, "direct");
	p.is_cut[A][PAIR_LAN] = p.is_cut[B][PAIR_LAN] = false;
	pair_run(&p, CV_SEC(70));
	endpoint_peer_stats(p.side[A].e, p.now, p.side[A].peer, &stats);
	assert_string_equal(stats.path_kind, "lan");
	pair_deinit(&p);
}

/* The path of @side to @to, or NULL. */
static const struct path *path_to(unsigned side, const struct addr *to)
{
	struct origin o = { .addr = *to };
	uint8_t slot = paths_find(&pair_session(&p, side)->paths, &o);

	return slot == PATHS_NONE ? NULL : &pair_session(&p, side)->paths.list[slot];
}

/* Who had no LAN when the peer named its own asks there once it has one: the peer has no cause to
 * say it again. */
static void a_lan_that_comes_later(void **state)
{
	const struct addr *own = &p.side[B].addr[PAIR_LAN];

	(void)state;
	pair_init(&p, 11);
	p.side[A].announced = 1 << PAIR_LAN;
	pair_start(&p);
	pair_run(&p, CV_SEC(3));
	assert_null(path_to(B, &p.side[A].addr[PAIR_LAN]));
	endpoint_set_local_addresses(p.side[B].e, p.now, own, 1);
	assert_non_null(path_to(B, &p.side[A].addr[PAIR_LAN]));
	pair_deinit(&p);
}

static void a_port_mapping_is_a_way_in(void **state)
{
	struct addr list[ENDPOINT_MAPPED_MAX] = { addr_v4(100, 64, 0, 9, 4000),
		                                  addr_v4(127, 0, 0, 1, 4000) };
	struct session_core *core;

	(void)state;
	meet(13);
	core = &p.side[B].e->core;
	/* A carrier's address is told, but opens nothing by itself; the loopback is not told. */
	endpoint_set_mapped_addresses(p.side[B].e, p.now, list, 2);
	pair_poke(&p, B);
	assert_false(core->has_mapping);
	assert_int_equal(core->candidates[0].kind, CANDIDATE_MAPPED);
	assert_true(addr_equal(&core->candidates[0].addr, &list[0]));
	pair_run(&p, CV_SEC(1));
	assert_non_null(path_to(A, &list[0]));
	assert_null(path_to(A, &list[1]));

	list[0] = p.side[B].addr[PAIR_V6];
	list[1] = addr_v4(198, 51, 100, 200, 0);
	endpoint_set_mapped_addresses(p.side[B].e, p.now, list, 2);
	assert_false(core->has_mapping); /* a firewall that was opened is no NAT */
	assert_int_equal(core->candidate_count, 1);
	list[1].port = 4000;
	endpoint_set_mapped_addresses(p.side[B].e, p.now, list, 2);
	pair_poke(&p, B);
	assert_true(core->has_mapping);
	assert_int_equal(core->candidate_count, 2);
	pair_run(&p, CV_SEC(1));
	assert_non_null(path_to(A, &list[0]));
	assert_int_equal(path_to(A, &list[0])->state, PATH_USABLE);

	endpoint_set_mapped_addresses(p.side[B].e, p.now, NULL, 0);
	assert_false(core->has_mapping);
	assert_int_equal(core->candidate_count, 0);
	pair_deinit(&p);
}

static void a_forgotten_mapping_is_followed(void **state)
{
	struct pair_flow *f;

	(void)state;
	for (unsigned side = 0; side < 2; side++) {
		meet(12 + side);
		pair_run(&p, CV_SEC(2));
		f = pair_open(&p, side, 3000000);
		pair_run(&p, CV_MS(100));
		p.side[side].addr[PAIR_PUBLIC].port++;
		pair_run(&p, CV_SEC(10));
		assert_true(pair_is_echoed(f));
		assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
		pair_deinit(&p);
	}
}

/* What came from a new place, and nothing any more from the old, is believed once the new one has
 * answered both exchanges: no timeout is waited for. */
static void and_within_three_round_trips(void **state)
{
	struct endpoint_peer_stats stats;
	struct pair_flow *f;

	(void)state;
	meet(16);
	pair_run(&p, CV_SEC(3));
	p.side[A].addr[PAIR_PUBLIC].port++;
	f = pair_open(&p, A, 10);
	pair_run(&p, 3 * 2 * p.delay + CV_MS(5));
	endpoint_peer_stats(p.side[B].e, p.now, p.side[B].peer, &stats);
	assert_true(addr_equal(&stats.path_address, &p.side[A].addr[PAIR_PUBLIC]));
	pair_run(&p, 2 * p.delay);
	assert_true(pair_is_echoed(f));
	pair_deinit(&p);
}

/* T41: copies of genuine packets from elsewhere move nothing. */
static bool copy_from_elsewhere(struct pair *pair, struct pair_datagram *d)
{
	if (d->sender == A && pair->arg > 0) {
		struct pair_datagram copy = *d;

		copy.from = addr_v4(203, 0, 113, 66, 4000);
		copy.at = d->at - CV_MS(1); /* and faster */
		pair_copy(pair, &copy, copy.at);
	}
	return false;
}

static void copies_from_elsewhere_move_nothing(void **state)
{
	struct endpoint_peer_stats stats;
	struct pair_flow *f;

	(void)state;
	meet(14);
	pair_run(&p, CV_SEC(2));
	p.filter = copy_from_elsewhere;
	p.arg = 1;
	f = pair_open(&p, A, 1000000);
	pair_run(&p, CV_SEC(5));
	assert_true(pair_is_echoed(f));
	endpoint_peer_stats(p.side[B].e, p.now, p.side[B].peer, &stats);
	assert_true(addr_equal(&stats.path_address, &p.side[A].addr[PAIR_PUBLIC]));
	/* The stranger was asked, and got little more than that. */
	assert_in_range(p.stray_count, 1, PATH_CHECK_TRIES);
	pair_deinit(&p);
}

/* A foreign server tells where we are seen: the peer is told. */
static void what_stun_tells_is_a_candidate(void **state)
{
	const struct addr foreign = addr_v4(198, 51, 100, 53, 3478);
	const struct addr seen = addr_v4(203, 0, 113, 77, 40007);
	static uint8_t out[TRAIN_BYTES_MAX];
	struct train t = { .bytes = out };
	struct endpoint_event ev;
	struct stun_message m;
	struct stun_told told = { .mapped = seen };
	uint8_t answer[STUN_ANSWER_MAX];
	struct arrival in = { .bytes = answer, .from = foreign };
	struct session_core *core;
	bool is_told = false;

	(void)state;
	meet(7);
	core = &p.side[A].e->core;
	endpoint_set_stun_addresses(p.side[A].e, p.now, &foreign, 1);
	p.now += CV_MS(60);
	endpoint_on_deadline(p.side[A].e, p.now);
	do {
		assert_true(endpoint_write(p.side[A].e, p.now, &t));
	} while (!addr_equal(&t.to, &foreign) || t.socket != SOCKET_MAIN);
	assert_true(stun_read(t.bytes, t.size, &m));
	in.size = in.segment_size = stun_write_answer(answer, sizeof(answer), &m, &told);
	endpoint_on_arrival(p.side[A].e, p.now, &in);
	p.now += CV_SEC(3);
	endpoint_on_deadline(p.side[A].e, p.now);
	(void)endpoint_next_event(p.side[A].e, p.now, &ev);
	for (unsigned i = 0; i < core->candidate_count; i++)
		is_told |= core->candidates[i].kind == CANDIDATE_SERVER &&
		           addr_equal(&core->candidates[i].addr, &seen);
	assert_true(is_told);
	pair_deinit(&p);
}

static bool is_announced(const struct addr *a)
{
	const struct session_core *core = &p.side[A].e->core;
	bool is_told = false;

	for (unsigned i = 0; i < core->candidate_count; i++)
		is_told |= addr_equal(&core->candidates[i].addr, a);
	return is_told;
}

/* What a server saw is of use while it may be true: a foreign one's word counts as soon as it is
 * not up, and with its removal it is forgotten. */
static void what_a_server_saw_ends_with_it(void **state)
{
	const struct addr old = addr_v4(203, 0, 113, 77, 40007);
	const struct addr seen = addr_v4(203, 0, 113, 78, 40008);
	uint8_t sk[32] = { 9 };
	struct identity server;
	struct endpoint *e;
	uint32_t number;

	(void)state;
	meet(8);
	e = p.side[A].e;
	identity_init(&server, sk);
	assert_int_equal(endpoint_add_server(e, p.now, server.pk, &number), 0);
	e->servers[number].r->public_address = old;
	e->servers[number].is_up = true;
	e->core.nat.address = seen;
	endpoint_announce(e, p.now);
	assert_true(is_announced(&old));
	assert_false(is_announced(&seen));
	e->servers[number].is_up = false;
	endpoint_announce(e, p.now);
	assert_true(is_announced(&old)); /* it may come back, and so may we */
	assert_true(is_announced(&seen));
	endpoint_remove_server(e, p.now, number);
	assert_false(is_announced(&old));
	assert_true(is_announced(&seen));
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steady_transfer_never_reaches_the_heap),
		cmocka_unit_test(losses_never_reach_the_heap),
		cmocka_unit_test(an_idle_hour_never_reaches_the_heap),
		cmocka_unit_test(every_failing_allocation_leaves_nothing),
		cmocka_unit_test(keys_that_cannot_be_peers),
		cmocka_unit_test(servers_are_counted),
		cmocka_unit_test(a_batch_is_its_datagrams),
		cmocka_unit_test(early_calls_change_nothing),
		cmocka_unit_test(counters_count),
		cmocka_unit_test(a_datagram_too_large_shrinks_the_path),
		cmocka_unit_test(a_ping_is_answered_once),
		cmocka_unit_test(a_ping_waits_for_a_path),
		cmocka_unit_test(a_policy_of_direct_holds_streams),
		cmocka_unit_test(a_relay_that_is_not_lent_holds_streams),
		cmocka_unit_test(candidates_lead_to_the_lan),
		cmocka_unit_test(a_lan_that_comes_later),
		cmocka_unit_test(a_port_mapping_is_a_way_in),
		cmocka_unit_test(what_stun_tells_is_a_candidate),
		cmocka_unit_test(what_a_server_saw_ends_with_it),
		cmocka_unit_test(a_forgotten_mapping_is_followed),
		cmocka_unit_test(and_within_three_round_trips),
		cmocka_unit_test(copies_from_elsewhere_move_nothing),
	};

	return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
