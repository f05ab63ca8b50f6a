/* SPDX-License-Identifier: MIT */

/*
 * Goal: a datagram of the tunnel reaches the flow of its peer and id and no other; what comes
 * before its flow, or before the peer is connected, is kept within its limits, and goes on in
 * order; a flow hears of its time. Method: a bridge without sockets on one of two endpoints joined
 * in memory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "flows/bridge.h"
#include "net/clock.h"
#include "tests/unit/endpoint_pair.h"

enum { A = 0, B = 1, FLOWS = 40, KNOWN_EARLY = 32, HELD = 8 };

static struct pair p;
static struct bridge bridge; /* of B */
static uv_loop_t loop;

static struct test_flow {
	struct udp_flow flow;
	unsigned count, deadlines;
	uint8_t last;
} flows[FLOWS];

static void on_datagram(struct udp_flow *f, cv_time now, const uint8_t *bytes, size_t size)
{
	struct test_flow *t = CV_CONTAINER_OF(f, struct test_flow, flow);

	(void)now;
	assert_true(size > 0);
	t->count++;
	t->last = bytes[0];
}

static void on_nothing(struct udp_flow *f, cv_time now)
{
	(void)f;
	(void)now;
}

static void on_end(struct udp_flow *f, cv_time now, enum target_code code)
{
	(void)f;
	(void)now;
	(void)code;
}

static void on_deadline(struct udp_flow *f, cv_time now)
{
	(void)now;
	CV_CONTAINER_OF(f, struct test_flow, flow)->deadlines++;
}

static const struct udp_flow_ops ops = {
	.on_datagram = on_datagram,
	.on_readable = on_nothing,
	.on_end = on_end,
	.on_deadline = on_deadline,
};

static void begin(uint64_t seed)
{
	memset(flows, 0, sizeof(flows));
	memset(&bridge, 0, sizeof(bridge));
	pair_init(&p, seed);
	pair_start(&p);
	assert_int_equal(uv_loop_init(&loop), 0);
	bridge.loop = &loop;
	bridge.endpoint = p.side[B].e;
	udp_flows_init(&bridge);
}

static void end(void)
{
	for (unsigned i = 0; i < FLOWS; i++) {
		if (flows[i].flow.b)
			udp_flow_remove(&flows[i].flow, TARGET_ABORTED);
	}
	udp_flows_close(&bridge);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	udp_flows_deinit(&bridge);
	assert_int_equal(uv_loop_close(&loop), 0);
	pair_deinit(&p);
}

static void add(struct test_flow *t)
{
	t->flow.b = &bridge;
	t->flow.ops = &ops;
	t->flow.peer = p.side[B].peer;
	t->flow.streams = endpoint_streams(p.side[B].e, p.side[B].peer);
	assert_int_equal(streams_open(t->flow.streams, &t->flow.stream), 0);
	assert_int_equal(udp_flow_add(&t->flow, p.now), 0);
}

/* Side A sends, and it is at B before B has been asked. */
static void arrive(uint64_t id, uint8_t first, size_t size)
{
	static uint8_t bytes[4096];

	bytes[0] = first;
	assert_int_equal(
		endpoint_send_datagram(p.side[A].e, p.now, p.side[A].peer, id, bytes, size), 0);
	pair_poke(&p, A);
	while (p.first) {
		struct pair_datagram *d = p.first;
		struct arrival in = {
			.bytes = d->bytes,
			.size = d->size,
			.segment_size = d->size,
			.from = d->from,
		};
		struct endpoint *e = p.side[!d->sender].e;

		p.now = CV_MAX(p.now, d->at);
		endpoint_on_turn(e, p.now);
		endpoint_on_arrival(e, p.now, &in);
		pair_remove(&p, d);
		pair_give(&p, d);
		if (e == bridge.endpoint)
			udp_flows_drain(&bridge, p.now);
		pair_drain(&p, e != p.side[A].e);
	}
}

static void each_gets_its_own(void **state)
{
	(void)state;
	begin(1);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(1));
	for (unsigned i = 0; i < FLOWS; i++)
		add(&flows[i]);
	for (unsigned i = 0; i < 3 * FLOWS; i++)
		arrive(flows[i % FLOWS].flow.id, (uint8_t)i, 100);
	for (unsigned i = 0; i < FLOWS; i++) {
		assert_int_equal(flows[i].count, 3);
		assert_int_equal(flows[i].last, 2 * FLOWS + i);
	}
	assert_int_equal(bridge.udp.counters.unknown, 0);
	/* One that has gone gets nothing, the others still do. */
	udp_flow_remove(&flows[5].flow, TARGET_ABORTED);
	flows[5].flow.b = NULL;
	arrive(flows[5].flow.id, 1, 100);
	arrive(flows[6].flow.id, 77, 100);
	assert_int_equal(bridge.udp.counters.unknown, 1);
	assert_int_equal(flows[5].count, 3);
	assert_int_equal(flows[6].last, 77);
	end();
}

/* Its number may be another flow's in the session that came after. */
static void nothing_leaves_by_an_old_session(void **state)
{
	struct streams *now_its;

	(void)state;
	begin(5);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(1));
	add(&flows[0]);
	now_its = flows[0].flow.streams;
	assert_int_equal(udp_flow_try_send(&flows[0].flow, p.now, (const uint8_t *)"a", 1), 0);
	flows[0].flow.streams = endpoint_streams(p.side[A].e, p.side[A].peer);
	assert_int_equal(udp_flow_try_send(&flows[0].flow, p.now, (const uint8_t *)"b", 1),
	                 -ESTALE);
	flows[0].flow.streams = now_its;
	end();
}

static void a_few_may_be_early(void **state)
{
	uint64_t id;

	(void)state;
	begin(2);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(1));
	p.delay = CV_US(10); /* all within the time that they are kept */
	add(&flows[0]);
	id = flows[0].flow.id + 2; /* the next one's */
	for (unsigned i = 0; i < KNOWN_EARLY + 10; i++)
		arrive(id, (uint8_t)i, 50);
	assert_int_equal(bridge.udp.counters.unknown, KNOWN_EARLY + 10);
	add(&flows[1]);
	assert_int_equal(flows[1].flow.id, id);
	udp_flows_adopt_early(&bridge, p.now, p.side[B].peer, id);
	assert_int_equal(flows[1].count, KNOWN_EARLY);
	assert_int_equal(flows[0].count, 0);
	/* Once. */
	udp_flows_adopt_early(&bridge, p.now, p.side[B].peer, id);
	assert_int_equal(flows[1].count, KNOWN_EARLY);
	/* What is large, or came long ago, is not kept. */
	arrive(id + 2, 0, 2049);
	arrive(id + 2, 1, 50);
	add(&flows[2]);
	udp_flows_adopt_early(&bridge, p.now + CV_MS(251), p.side[B].peer, id + 2);
	assert_int_equal(flows[2].count, 0);
	end();
}

static void what_waits_for_a_peer_is_bounded(void **state)
{
	static uint8_t bytes[16384];

	(void)state;
	begin(3);
	add(&flows[0]);
	add(&flows[1]);
	for (unsigned i = 0; i < HELD + 3; i++)
		udp_flow_send(&flows[0].flow, p.now, bytes, 100);
	assert_int_equal(flows[0].flow.held_count, HELD);
	assert_int_equal(bridge.udp.counters.dropped, 3);
	udp_flow_send(&flows[1].flow, p.now, bytes, sizeof(bytes));
	udp_flow_send(&flows[1].flow, p.now, bytes, 1);
	assert_int_equal(flows[1].flow.held_count, 1);
	assert_int_equal(bridge.udp.held_size, HELD * 100 + sizeof(bytes));
	/* Nothing changes for another peer, or while it is still down. */
	udp_flows_on_peer(&bridge, p.now, p.side[B].peer + 1);
	udp_flows_on_peer(&bridge, p.now, p.side[B].peer);
	assert_int_equal(flows[0].flow.held_count, HELD);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(1));
	udp_flows_on_peer(&bridge, p.now, p.side[B].peer);
	assert_int_equal(bridge.udp.held_size, 0);
	assert_int_equal(flows[0].flow.held_count + flows[1].flow.held_count, 0);
	assert_true(endpoint_datagrams_queued(bridge.endpoint, p.side[B].peer) > sizeof(bytes));
	end();
}

static bool is_over(void)
{
	return flows[0].deadlines == 1;
}

static void a_flow_hears_of_its_time(void **state)
{
	(void)state;
	begin(4);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	add(&flows[0]);
	add(&flows[1]);
	udp_flow_set_deadline(&flows[0].flow, clock_now());
	udp_flow_set_deadline(&flows[1].flow, clock_now() + CV_SEC(3600));
	while (!is_over())
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(flows[1].deadlines, 0);
	/* The clock rests when no flow is left. */
	for (unsigned i = 0; i < 2; i++) {
		udp_flow_remove(&flows[i].flow, TARGET_ABORTED);
		flows[i].flow.b = NULL;
	}
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_false(bridge.udp.is_ticking);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_gets_its_own),
		cmocka_unit_test(nothing_leaves_by_an_old_session),
		cmocka_unit_test(a_few_may_be_early),
		cmocka_unit_test(what_waits_for_a_peer_is_bounded),
		cmocka_unit_test(a_flow_hears_of_its_time),
	};

	return cmocka_run_group_tests_name("udp_flow", tests, NULL, NULL);
}
