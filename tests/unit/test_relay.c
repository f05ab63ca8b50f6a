/* SPDX-License-Identifier: MIT */

/*
 * Goal: a packet goes to the other end of its channel or nowhere: whoever sends it, however large,
 * whenever. Method: two ports and rows of what is wrong; trains looked at as they leave; random
 * opening, closing and sending with the invariants checked.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "tunnel/relay.h"

enum { PORTS = 4 };

static struct rng_seeded seeded;
static struct rng rng;
static struct relay r;
static struct relay_port ports[PORTS];
static cv_time now;
static uint64_t a_number, b_number;
static uint8_t out_bytes[TRAIN_BYTES_MAX];
static struct train out;

static void start(uint64_t rate, bool is_small_only)
{
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	now = CV_SEC(1000);
	assert_int_equal(relay_init(&r, PORTS, rate, is_small_only, 1), 0);
	for (uint8_t i = 0; i < PORTS; i++) {
		relay_port_init(&ports[i]);
		ports[i].path = addr_v4(192, 0, 2, i, 1000);
		ports[i].heard_at = now;
	}
	assert_int_equal(relay_open(&r, &rng, &ports[0], 10, &ports[1], 11, &a_number, &b_number),
	                 0);
	out = (struct train){ .bytes = out_bytes };
}

static int setup(void **state)
{
	(void)state;
	start(0, false);
	return 0;
}

static int teardown(void **state)
{
	struct relay_end_info end;

	(void)state;
	assert_true(relay_check(&r));
	for (unsigned i = 0; i < PORTS; i++) {
		while (relay_first(&r, &ports[i], &end))
			relay_close(&r, end.number);
		relay_port_deinit(&r, &ports[i]);
	}
	assert_true(relay_check(&r));
	relay_deinit(&r);
	return 0;
}

static enum relay_verdict send(const struct relay_port *from, uint64_t number, size_t size,
                               uint8_t kind)
{
	uint8_t bytes[2000] = { 0 };
	struct relay_port *owner;
	enum relay_verdict v;

	wire_write_relay(bytes, number);
	bytes[WIRE_RELAY_HEADER] = kind;
	v = relay_on_datagram(&r, now, from->socket, &from->path, bytes, WIRE_RELAY_HEADER + size,
	                      &owner);
	assert_int_equal(owner == &ports[0],
	                 number == a_number && v != RELAY_UNKNOWN && v != RELAY_MALFORMED);
	return v;
}

static void the_number_is_swapped_in_place(void **state)
{
	uint64_t number;

	(void)state;
	assert_int_not_equal(a_number, b_number);
	assert_int_equal(send(&ports[0], a_number, 100, WIRE_DATA), RELAY_FORWARDED);
	assert_true(relay_write(&r, &out));
	assert_true(addr_equal(&out.to, &ports[1].path));
	assert_int_equal(out.size, WIRE_RELAY_HEADER + 100);
	assert_true(wire_read_relay(out.bytes, out.size, &number));
	assert_int_equal(number, b_number);
	assert_int_equal(out.bytes[WIRE_RELAY_HEADER], WIRE_DATA);
	assert_false(relay_write(&r, &out));
}

static void whatever_is_wrong_goes_nowhere(void **state)
{
	struct relay_port moved = ports[0];

	(void)state;
	moved.path.port++;
	assert_int_equal(send(&moved, a_number, 10, WIRE_DATA), RELAY_WRONG_SOURCE);
	moved = ports[0];
	moved.socket = 1;
	assert_int_equal(send(&moved, a_number, 10, WIRE_DATA), RELAY_WRONG_SOURCE);
	assert_int_equal(send(&ports[1], a_number, 10, WIRE_DATA), RELAY_WRONG_SOURCE);
	assert_int_equal(send(&ports[2], 12345, 10, WIRE_DATA), RELAY_UNKNOWN);
	assert_int_equal(send(&ports[0], 0, 10, WIRE_DATA), RELAY_UNKNOWN);
	assert_int_equal(send(&ports[0], a_number, 0, WIRE_DATA), RELAY_MALFORMED);
	assert_int_equal(send(&ports[0], a_number, 10, WIRE_RELAY), RELAY_MALFORMED); /* no loops */
	assert_int_equal(send(&ports[0], a_number, 10, 0x00), RELAY_MALFORMED);       /* STUN */
	assert_int_equal(send(&ports[0], a_number, WIRE_RELAYED_MAX, WIRE_DATA), RELAY_FORWARDED);
	assert_int_equal(send(&ports[0], a_number, WIRE_RELAYED_MAX + 1, WIRE_DATA),
	                 RELAY_TOO_LARGE);
	now += CV_SEC(30);
	assert_int_equal(send(&ports[0], a_number, 10, WIRE_DATA), RELAY_FORWARDED);
	now += 1;
	assert_int_equal(send(&ports[0], a_number, 10, WIRE_DATA), RELAY_SILENT);
	ports[1].heard_at = now;
	ports[1].strayed_at = now - CV_MS(1500);
	assert_int_equal(send(&ports[0], a_number, 10, WIRE_DATA), RELAY_FORWARDED);
	ports[1].strayed_at--;
	assert_int_equal(send(&ports[0], a_number, 10, WIRE_DATA), RELAY_SILENT);
	ports[1].strayed_at = 0;
	assert_int_equal(send(&ports[0], a_number, 10, WIRE_DATA), RELAY_FORWARDED);
	ports[1].path = (struct addr){ 0 };
	assert_int_equal(send(&ports[0], a_number, 10, WIRE_DATA), RELAY_SILENT);
}

/* 90 packets of three sizes leave as trains of one size, the last of each perhaps shorter. */
static void trains_have_one_size(void **state)
{
	static const size_t sizes[] = { 100, 100, 100, 50, 100, 100, 200, 200, 1 };
	static const unsigned counts[] = { 4, 2, 3 };

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(sizes); i++)
		assert_int_equal(send(&ports[0], a_number, sizes[i], WIRE_DATA), RELAY_FORWARDED);
	for (unsigned i = 0; i < CV_ARRAY_SIZE(counts); i++) {
		assert_true(relay_write(&r, &out));
		assert_int_equal(out.count, counts[i]);
		assert_true(out.size <= out.count * out.segment_size);
		assert_true(out.size > (out.count - 1) * out.segment_size);
	}
	assert_false(relay_write(&r, &out));
}

static void destinations_take_turns(void **state)
{
	uint64_t c, d;

	(void)state;
	assert_int_equal(relay_open(&r, &rng, &ports[0], 1, &ports[2], 2, &c, &d), 0);
	assert_int_equal(send(&ports[0], a_number, 100, WIRE_DATA), RELAY_FORWARDED);
	assert_int_equal(send(&ports[0], a_number, 200, WIRE_DATA), RELAY_FORWARDED);
	a_number = c; /* the owner check of send() knows one number */
	assert_int_equal(send(&ports[0], c, 100, WIRE_DATA), RELAY_FORWARDED);
	assert_true(relay_write(&r, &out));
	assert_true(addr_equal(&out.to, &ports[1].path));
	assert_true(relay_write(&r, &out));
	assert_true(addr_equal(&out.to, &ports[2].path));
	assert_true(relay_write(&r, &out));
	assert_true(addr_equal(&out.to, &ports[1].path));
	assert_int_equal(out.segment_size, WIRE_RELAY_HEADER + 200);
}

static void queues_are_bounded_in_packets_and_bytes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(send(&ports[0], a_number, 10, WIRE_DATA), RELAY_FORWARDED);
	assert_int_equal(ports[1].count, RELAY_QUEUE_PACKETS);
	assert_int_equal(r.dropped, 100 - RELAY_QUEUE_PACKETS);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(send(&ports[0], a_number, WIRE_RELAYED_MAX, WIRE_DATA),
		                 RELAY_FORWARDED);
	assert_true(ports[1].bytes <= RELAY_QUEUE_BYTES);
	assert_true(relay_check(&r));
}

static void forwarding_takes_no_memory(void **state)
{
	uint64_t calls = cv_alloc_calls();

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(send(&ports[0], a_number, 1000, WIRE_DATA), RELAY_FORWARDED);
		if (i % 10 == 9)
			assert_true(relay_write(&r, &out));
	}
	assert_int_equal(cv_alloc_calls(), calls);
}

static void quotas_are_of_sender_and_receiver(void **state)
{
	unsigned passed = 0;

	(void)state;
	(void)teardown(state);
	start(100000, false);
	for (unsigned i = 0; i < 1000; i++)
		passed += send(&ports[0], a_number, 1000, WIRE_DATA) == RELAY_FORWARDED;
	assert_int_equal(passed, 256 * 1024 / 1000);
	assert_int_equal(send(&ports[0], a_number, RELAY_SMALL_MAX + 1, WIRE_DATA), RELAY_QUOTA);
	passed = 0;
	for (unsigned i = 0; i < 100; i++)
		passed += send(&ports[0], a_number, RELAY_SMALL_MAX, WIRE_DATA) == RELAY_FORWARDED;
	assert_int_equal(passed, RELAY_SMALL_RATE);
	passed = 0;
	for (unsigned i = 0; i < 100; i++) { /* the other direction has its own */
		now += CV_MS(1);
		passed += send(&ports[1], b_number, 1000, WIRE_DATA) == RELAY_FORWARDED;
	}
	assert_int_equal(passed, 100);
	now += CV_SEC(1);
	assert_int_equal(send(&ports[0], a_number, 1000, WIRE_DATA), RELAY_FORWARDED);
}

static void a_closed_channel_is_closed_at_both_ends(void **state)
{
	struct relay_end_info end;

	(void)state;
	assert_false(relay_find(&r, &ports[1], a_number, &end)); /* not his to close (T56) */
	assert_true(relay_find(&r, &ports[1], b_number, &end));
	assert_int_equal(end.name, 11);
	assert_int_equal(end.other_name, 10);
	assert_ptr_equal(end.other, &ports[0]);
	relay_close(&r, b_number);
	assert_int_equal(send(&ports[0], a_number, 10, WIRE_DATA), RELAY_UNKNOWN);
	assert_false(relay_first(&r, &ports[0], &end));
}

static void channels_are_limited(void **state)
{
	uint64_t x, y;
	unsigned count = 1;

	(void)state;
	while (relay_open(&r, &rng, &ports[2], 0, &ports[3], 0, &x, &y) == 0)
		count++;
	assert_int_equal(count, r.max);
	assert_int_equal(relay_open(&r, &rng, &ports[2], 0, &ports[3], 0, &x, &y), -ENOBUFS);
	relay_close(&r, a_number);
	cv_alloc_fail_at(1);
	assert_int_equal(relay_open(&r, &rng, &ports[2], 0, &ports[3], 0, &x, &y), -ENOMEM);
	cv_alloc_fail_at(0);
	assert_true(relay_check(&r));
	assert_int_equal(relay_open(&r, &rng, &ports[2], 0, &ports[3], 0, &x, &y), 0);
}

static void random_operations_keep_the_books(void **state)
{
	struct relay_end_info end;
	uint64_t x, y;

	(void)state;
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)rng_below(&rng, PORTS);
		unsigned k = (i + 1 + (unsigned)rng_below(&rng, PORTS - 1)) % PORTS;

		now += CV_US(rng_below(&rng, 1000));
		ports[i].heard_at = now;
		switch (rng_below(&rng, 10)) {
		case 0:
			if (relay_open(&r, &rng, &ports[i], i, &ports[k], k, &x, &y) < 0)
				assert_int_equal(r.count, r.max);
			break;
		case 1:
			if (relay_first(&r, &ports[i], &end))
				relay_close(&r, end.number);
			break;
		case 2:
		case 3:
			if (relay_write(&r, &out))
				assert_true(out.count <= TRAIN_SEGMENTS_MAX);
			break;
		default:
			if (relay_first(&r, &ports[i], &end)) {
				a_number = i == 0 ? end.number : 0;
				(void)send(&ports[i], end.number, 1 + rng_below(&rng, 1452),
				           WIRE_DATA);
			}
			break;
		}
		if (step % 16 == 0)
			assert_true(relay_check(&r));
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_number_is_swapped_in_place),
		TEST(whatever_is_wrong_goes_nowhere),
		TEST(trains_have_one_size),
		TEST(destinations_take_turns),
		TEST(queues_are_bounded_in_packets_and_bytes),
		TEST(forwarding_takes_no_memory),
		TEST(quotas_are_of_sender_and_receiver),
		TEST(a_closed_channel_is_closed_at_both_ends),
		TEST(channels_are_limited),
		TEST(random_operations_keep_the_books),
	};

	return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
