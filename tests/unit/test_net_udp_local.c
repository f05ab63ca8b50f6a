/* SPDX-License-Identifier: MIT */

/*
 * Goal: datagrams of every size pass both ways whole, many a call, answers leave from the address
 * that was asked, and what ICMP says of a target is told from the loop. Method: real sockets on the
 * loopback: one that is bound and echoes, one that is connected to it; conditions with deadlines.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/udp_local.h"
#include "tests/unit/test_net_loop.h"

enum { COUNT = 100, LARGEST = 65507 };

static struct test_loop loop;
static struct udp_set *set;
static struct udp_local *server, *client;
static struct {
	unsigned asked, answered, batches, errors;
	int error;
	size_t size; /* of the last answer */
	struct addr to;
} seen;
static uint8_t bytes[LARGEST];

static void on_question(void *ctx, const struct udp_local_arrival *in)
{
	struct udp_dest dest = udp_dest_make(in->from, in->to);

	(void)ctx;
	seen.asked++;
	seen.to = *in->to;
	udp_local_send(server, &dest, in->bytes, in->size);
	udp_set_flush(set); /* before the memory of both goes */
}

static void on_answer(void *ctx, const struct udp_local_arrival *in)
{
	(void)ctx;
	assert_memory_equal(in->bytes, bytes, in->size);
	seen.answered++;
	seen.size = in->size;
}

static void on_batch(void *ctx)
{
	(void)ctx;
	seen.batches++;
}

static void on_error(void *ctx, int error)
{
	(void)ctx;
	seen.errors++;
	seen.error = error;
}

static const struct udp_local_events server_events = { on_question, on_batch, on_error };
static const struct udp_local_events client_events = { on_answer, on_batch, on_error };

static void begin(const struct addr *at, const struct addr *asked)
{
	struct addr to = *asked;

	memset(&seen, 0, sizeof(seen));
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 8));
	test_loop_open(&loop);
	assert_int_equal(udp_set_open(&loop.loop, &set), 0);
	assert_int_equal(udp_local_bind(set, at, &server_events, NULL, &server), 0);
	to.port = udp_local_address(server).port;
	assert_true(to.port != 0);
	assert_int_equal(udp_local_connect(set, &to, &client_events, NULL, &client), 0);
}

static void finish(void)
{
	if (server)
		udp_local_close(server, NULL, NULL);
	udp_local_close(client, NULL, NULL);
	udp_set_close(set);
	test_loop_close(&loop);
	udp_set_free(set);
}

static void every_size(void **state)
{
	static const size_t sizes[] = { 0, 1, 1200, 1452, 1453, 9000, LARGEST };
	struct addr at = addr_v4(127, 0, 0, 1, 0);

	(void)state;
	begin(&at, &at);
	for (unsigned i = 0; i < CV_ARRAY_SIZE(sizes); i++) {
		udp_local_send(client, NULL, bytes, sizes[i]);
		udp_set_flush(set);
		RUN_UNTIL(&loop, seen.answered == i + 1);
		assert_int_equal(seen.size, sizes[i]);
	}
	assert_int_equal(seen.to.family, ADDR_NONE); /* it is not on a wildcard */
	finish();
}

/* A hundred leave in a call or two, and the last of a train may be smaller. */
static void many_a_call(void **state)
{
	struct addr at = addr_v4(127, 0, 0, 1, 0);
	struct udp_set_counters before, after;
	unsigned wanted = COUNT;

	(void)state;
	begin(&at, &at);
	udp_set_counters(set, &before);
	for (unsigned i = 0; i < COUNT; i++)
		udp_local_send(client, NULL, bytes, i % 10 == 9 ? 500 : 1200);
	udp_set_flush(set);
	udp_set_counters(set, &after);
	assert_int_equal(after.tx_datagrams - before.tx_datagrams, COUNT);
	assert_in_range(after.tx_calls - before.tx_calls, 1, COUNT / 4);
	assert_int_equal(after.tx_dropped, 0);
	RUN_UNTIL(&loop, seen.answered == wanted);
	assert_int_equal(seen.asked, COUNT);
	finish();
}

static void answers_leave_from_where_they_were_asked(void **state)
{
	struct addr at = addr_v4(0, 0, 0, 0, 0), asked = addr_v4(127, 0, 0, 9, 0);
	unsigned wanted = 1;

	(void)state;
	begin(&at, &asked);
	/* It is connected: an answer from another address would not come. */
	udp_local_send(client, NULL, bytes, 10);
	udp_set_flush(set);
	RUN_UNTIL(&loop, seen.answered == wanted);
	assert_true(addr_equal_ip(&seen.to, &asked));
	finish();
}

static void a_refusal_is_told(void **state)
{
	struct addr at = addr_v4(127, 0, 0, 1, 0);

	(void)state;
	begin(&at, &at);
	udp_local_close(server, NULL, NULL);
	server = NULL;
	(void)uv_run(&loop.loop, UV_RUN_NOWAIT);
	udp_local_send(client, NULL, bytes, 10);
	udp_set_flush(set);
	assert_int_equal(seen.errors, 0); /* not from within a call of ours */
	RUN_UNTIL(&loop, seen.errors > 0);
	assert_int_equal(seen.error, -ECONNREFUSED);
	finish();
}

static void what_is_paused_waits(void **state)
{
	struct addr at = addr_v4(127, 0, 0, 1, 0);
	unsigned wanted = 1;

	(void)state;
	begin(&at, &at);
	udp_local_pause(server, true);
	udp_local_send(client, NULL, bytes, 10);
	udp_set_flush(set);
	for (int i = 0; i < 10; i++)
		(void)uv_run(&loop.loop, UV_RUN_NOWAIT);
	assert_int_equal(seen.asked, 0);
	udp_local_pause(server, false);
	RUN_UNTIL(&loop, seen.answered == wanted);
	finish();
}

static void a_port_is_taken_once(void **state)
{
	struct addr at = addr_v4(127, 0, 0, 1, 0);
	struct udp_local *other;

	(void)state;
	begin(&at, &at);
	at = udp_local_address(server);
	assert_int_equal(udp_local_bind(set, &at, &server_events, NULL, &other), -EADDRINUSE);
	finish();
}

/* Whose port is it? Ours, on that address or on all of them, until it is closed. */
static void its_own_are_known(void **state)
{
	struct addr at = addr_v4(127, 0, 0, 1, 0), from, other;

	(void)state;
	begin(&at, &at);
	from = udp_local_address(client);
	assert_true(udp_set_has(set, &from));
	other = from;
	other.ip[3]++;
	assert_false(udp_set_has(set, &other));
	other = udp_local_address(server);
	assert_true(udp_set_has(set, &other));
	udp_local_close(server, NULL, NULL);
	assert_false(udp_set_has(set, &other));
	at = addr_v4(0, 0, 0, 0, 0);
	assert_int_equal(udp_local_bind(set, &at, &server_events, NULL, &server), 0);
	other.port = udp_local_address(server).port;
	assert_true(udp_set_has(set, &other));
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size),
		cmocka_unit_test(many_a_call),
		cmocka_unit_test(answers_leave_from_where_they_were_asked),
		cmocka_unit_test(a_refusal_is_told),
		cmocka_unit_test(what_is_paused_waits),
		cmocka_unit_test(a_port_is_taken_once),
		cmocka_unit_test(its_own_are_known),
	};

	return cmocka_run_group_tests_name("net_udp_local", tests, NULL, NULL);
}
