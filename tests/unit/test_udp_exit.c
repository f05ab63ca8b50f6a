/* SPDX-License-Identifier: MIT */

/*
 * Goal: no datagram leaves but to an address that the policy has judged; a name costs one lookup,
 * and what waits for it is bounded and keeps its order; only hosts that were sent to are heard.
 * Method: a small resolver played by the test, the policy of a real acl, and a model for the table
 * of hosts that knows nothing of lists.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/udp_exit.h"

#define NOW CV_SEC(1000)

static struct udp_exit exit_;
static struct pattern patterns[4];
static struct acl acl;

static void allow(const char *const *texts, size_t count)
{
	const char *why;

	for (size_t i = 0; i < count; i++)
		assert_int_equal(pattern_parse(texts[i], &patterns[i], &why), 0);
	acl = (struct acl){ .allow = patterns, .allow_count = count };
}

static void begin(const char *const *texts, size_t count)
{
	allow(texts, count);
	udp_exit_init(&exit_, 7);
}

static struct hostport host(const char *text)
{
	struct hostport h;
	const char *why;

	assert_int_equal(hostport_parse(text, 0, &h, &why), 0);
	return h;
}

static enum udp_exit_verdict send_at(cv_time now, const char *to, const char *data,
                                     struct addr *out)
{
	struct hostport h = host(to);
	struct udp_exit_bytes bytes = { (const uint8_t *)data, strlen(data) };
	enum udp_exit_verdict v = udp_exit_on_datagram(&exit_, now, &acl, &h, &bytes, out);

	assert_true(udp_exit_check(&exit_));
	return v;
}

static bool next(cv_time now, struct udp_exit_action *action)
{
	bool is_one = udp_exit_next_action(&exit_, now, &acl, action);

	assert_true(udp_exit_check(&exit_));
	return is_one;
}

static void assert_address(const struct addr *a, const char *text)
{
	char out[ADDR_TEXT_MAX];

	assert_string_equal(addr_format(a, out), text);
}

/* The one lookup that is asked for now. */
static unsigned expect_lookup(cv_time now, const char *name)
{
	struct udp_exit_action action;

	assert_true(next(now, &action));
	assert_int_equal(action.kind, UDP_EXIT_DO_RESOLVE);
	assert_string_equal(action.name, name);
	return action.index;
}

static void resolve(cv_time now, unsigned index, const char *const *texts, size_t count)
{
	struct addr list[UDP_EXIT_ADDRESSES_MAX + 4];

	for (size_t i = 0; i < count; i++)
		assert_int_equal(addr_parse_ip(texts[i], strlen(texts[i]), &list[i]), 0);
	udp_exit_on_resolved(&exit_, now, index, list, count);
	assert_true(udp_exit_check(&exit_));
}

static void addresses_are_judged_each_time(void **state)
{
	static const char *const rules[] = { "192.0.2.0/24:53/udp", "198.51.100.1:*" };
	static const struct {
		const char *to;
		enum udp_exit_verdict v;
	} rows[] = {
		{ "192.0.2.1:53", UDP_EXIT_SEND },
		{ "192.0.2.1:54", UDP_EXIT_DENIED },
		{ "198.51.100.1:53", UDP_EXIT_DENIED }, /* TCP only */
		{ "127.0.0.1:53", UDP_EXIT_DENIED },
		{ "[::ffff:192.0.2.9]:53", UDP_EXIT_SEND },
		{ "[::ffff:127.0.0.1]:53", UDP_EXIT_DENIED },
		{ "[::]:53", UDP_EXIT_DENIED },
	};
	struct udp_exit_action action;
	struct addr to;

	(void)state;
	begin(rules, 2);
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].to);
		assert_int_equal(send_at(NOW, rows[i].to, "x", &to), rows[i].v);
		assert_false(next(NOW, &action));
	}
	assert_int_equal(send_at(NOW, "[::ffff:192.0.2.9]:53", "x", &to), UDP_EXIT_SEND);
	assert_address(&to, "192.0.2.9:53");
	/* A reload counts from the next datagram on. */
	allow(rules + 1, 1);
	assert_int_equal(send_at(NOW, "192.0.2.1:53", "x", &to), UDP_EXIT_DENIED);
}

static void a_name_costs_one_lookup(void **state)
{
	static const char *const rules[] = { "*.example:*/udp" };
	static const char *const found[] = { "192.0.2.1" };
	struct udp_exit_action action;
	struct addr to;
	unsigned index;

	(void)state;
	begin(rules, 1);
	assert_int_equal(send_at(NOW, "a.other:53", "x", &to), UDP_EXIT_DENIED);
	assert_false(next(NOW, &action)); /* a refused name is not even asked about */
	assert_int_equal(send_at(NOW, "a.example:53", "1", &to), UDP_EXIT_KEPT);
	index = expect_lookup(NOW, "a.example");
	assert_int_equal(send_at(NOW, "a.example:54", "2", &to), UDP_EXIT_KEPT);
	assert_false(next(NOW, &action));
	resolve(NOW, index, found, 1);
	/* None overtakes those that wait. */
	assert_int_equal(send_at(NOW, "a.example:55", "3", &to), UDP_EXIT_KEPT);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(next(NOW, &action));
		assert_int_equal(action.kind, UDP_EXIT_DO_SEND);
		assert_int_equal(action.size, 1);
		assert_int_equal(action.bytes[0], '1' + i);
		assert_int_equal(action.to.port, 53 + i);
	}
	assert_false(next(NOW, &action));
	assert_int_equal(send_at(NOW + UDP_EXIT_NAME_AGE - 1, "a.example:53", "4", &to),
	                 UDP_EXIT_SEND);
	assert_address(&to, "192.0.2.1:53");
	assert_false(next(NOW, &action));
}

static void every_address_of_a_name_is_judged(void **state)
{
	static const char *const rules[] = { "192.0.2.0/24:53/udp" };
	static const char *const mixed[] = { "127.0.0.1", "169.254.169.254", "192.0.2.7" };
	static const char *const bad[] = { "127.0.0.1", "::ffff:10.0.0.1" };
	struct udp_exit_action action;
	struct addr to;

	(void)state;
	begin(rules, 1);
	assert_int_equal(send_at(NOW, "a.example:53", "x", &to), UDP_EXIT_KEPT);
	resolve(NOW, expect_lookup(NOW, "a.example"), mixed, 3);
	assert_true(next(NOW, &action));
	assert_int_equal(action.kind, UDP_EXIT_DO_SEND);
	assert_address(&action.to, "192.0.2.7:53");
	assert_int_equal(send_at(NOW, "b.example:53", "x", &to), UDP_EXIT_KEPT);
	resolve(NOW, expect_lookup(NOW, "b.example"), bad, 2);
	assert_true(next(NOW, &action));
	assert_int_equal(action.kind, UDP_EXIT_DO_DROP);
	assert_int_equal(action.why, UDP_EXIT_DENIED);
	assert_string_equal(action.name, "b.example");
	assert_int_equal(action.to.port, 53);
	assert_int_equal(send_at(NOW, "b.example:53", "x", &to), UDP_EXIT_DENIED);
}

static void localhost_asks_nobody(void **state)
{
	static const char *const both[] = { "localhost:53/udp" };
	static const char *const v6[] = { "[::1]:53/udp" };
	struct udp_exit_action action;
	struct addr to;

	(void)state;
	begin(both, 1);
	assert_int_equal(send_at(NOW, "localhost:53", "x", &to), UDP_EXIT_SEND);
	assert_address(&to, "127.0.0.1:53");
	assert_int_equal(send_at(NOW, "db.localhost:53", "x", &to), UDP_EXIT_SEND);
	/* Without IPv4: the other one, for the same datagram and from then on. */
	assert_true(udp_exit_on_unreachable(&exit_, NOW, &acl, &to));
	assert_address(&to, "[::1]:53");
	assert_false(udp_exit_on_unreachable(&exit_, NOW, &acl, &to));
	begin(v6, 1);
	assert_int_equal(send_at(NOW, "localhost:53", "x", &to), UDP_EXIT_SEND);
	assert_address(&to, "[::1]:53");
	assert_false(next(NOW, &action));
}

static void what_cannot_be_reached_is_passed_over(void **state)
{
	static const char *const rules[] = { "*:*/udp" };
	static const char *const found[] = { "2001:db8::1", "2001:db8::2", "192.0.2.1" };
	struct udp_exit_action action;
	struct addr to;

	(void)state;
	begin(rules, 1);
	assert_int_equal(send_at(NOW, "a.example:53", "x", &to), UDP_EXIT_KEPT);
	resolve(NOW, expect_lookup(NOW, "a.example"), found, 3);
	assert_true(next(NOW, &action));
	to = action.to;
	assert_address(&to, "[2001:db8::1]:53");
	assert_true(udp_exit_on_unreachable(&exit_, NOW, &acl, &to));
	assert_true(udp_exit_on_unreachable(&exit_, NOW, &acl, &to));
	assert_address(&to, "192.0.2.1:53");
	assert_false(udp_exit_on_unreachable(&exit_, NOW, &acl, &to));
	assert_int_equal(send_at(NOW, "a.example:99", "x", &to), UDP_EXIT_SEND);
	assert_address(&to, "192.0.2.1:99");
	/* An address that was given as such has no second one. */
	to = addr_v4(203, 0, 113, 1, 53);
	assert_false(udp_exit_on_unreachable(&exit_, NOW, &acl, &to));
}

static void a_name_is_refreshed_while_it_serves(void **state)
{
	static const char *const rules[] = { "*:*/udp" };
	static const char *const first[] = { "192.0.2.1", "192.0.2.2" };
	static const char *const turned[] = { "192.0.2.3", "192.0.2.2", "192.0.2.1" };
	static const char *const moved[] = { "192.0.2.9" };
	cv_time now = NOW;
	struct udp_exit_action action;
	struct addr to;
	unsigned index;

	(void)state;
	begin(rules, 1);
	assert_int_equal(send_at(now, "a.example:53", "x", &to), UDP_EXIT_KEPT);
	resolve(now, expect_lookup(now, "a.example"), first, 2);
	assert_true(next(now, &action));
	for (unsigned round = 0; round < 3; round++) {
		now += UDP_EXIT_NAME_AGE;
		assert_int_equal(send_at(now, "a.example:53", "x", &to), UDP_EXIT_SEND);
		assert_address(&to, "192.0.2.1:53");
		index = expect_lookup(now, "a.example");
		assert_int_equal(send_at(now, "a.example:53", "x", &to), UDP_EXIT_SEND);
		assert_false(next(now, &action));
		/* In another order: the same address. No answer: the same address. */
		if (round == 1)
			udp_exit_on_resolve_failed(&exit_, now, index, DIAL_RESOLVE_TIMEOUT);
		else
			resolve(now, index, turned, 3);
		assert_int_equal(send_at(now, "a.example:53", "x", &to), UDP_EXIT_SEND);
		assert_address(&to, "192.0.2.1:53");
	}
	now += UDP_EXIT_NAME_AGE;
	assert_int_equal(send_at(now, "a.example:53", "x", &to), UDP_EXIT_SEND);
	resolve(now, expect_lookup(now, "a.example"), moved, 1);
	assert_int_equal(send_at(now, "a.example:53", "x", &to), UDP_EXIT_SEND);
	assert_address(&to, "192.0.2.9:53");
	/* The name is gone. */
	now += UDP_EXIT_NAME_AGE;
	assert_int_equal(send_at(now, "a.example:53", "x", &to), UDP_EXIT_SEND);
	index = expect_lookup(now, "a.example");
	udp_exit_on_resolve_failed(&exit_, now, index, DIAL_RESOLVE_NOT_FOUND);
	assert_int_equal(send_at(now, "a.example:53", "x", &to), UDP_EXIT_UNRESOLVED);
}

static void a_bad_name_is_remembered_for_a_while(void **state)
{
	static const char *const rules[] = { "*:*/udp" };
	struct udp_exit_action action;
	cv_time now = NOW;
	struct addr to;

	(void)state;
	begin(rules, 1);
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(send_at(now, "a.example:53", "x", &to), UDP_EXIT_KEPT);
		udp_exit_on_resolve_failed(&exit_, now, expect_lookup(now, "a.example"),
		                           round == 0 ? DIAL_RESOLVE_NOT_FOUND
		                                      : DIAL_RESOLVE_TIMEOUT);
		assert_true(next(now, &action));
		assert_int_equal(action.kind, UDP_EXIT_DO_DROP);
		assert_int_equal(action.why, UDP_EXIT_UNRESOLVED);
		assert_int_equal(send_at(now + UDP_EXIT_FAILURE_AGE - 1, "a.example:53", "x", &to),
		                 UDP_EXIT_UNRESOLVED);
		assert_false(next(now, &action));
		now += UDP_EXIT_FAILURE_AGE;
	}
}

static void what_waits_is_bounded(void **state)
{
	static const char *const rules[] = { "*:*/udp" };
	static uint8_t big[UDP_EXIT_KEPT_SIZE_MAX + 1];
	struct udp_exit_action action;
	struct hostport h = host("big.example:53");
	struct udp_exit_bytes data = { big, sizeof(big) };
	char name[32];
	struct addr to;

	(void)state;
	begin(rules, 1);
	/* Too large to wait, but its lookup begins. */
	assert_int_equal(udp_exit_on_datagram(&exit_, NOW, &acl, &h, &data, &to), UDP_EXIT_LIMIT);
	(void)expect_lookup(NOW, "big.example");
	data.size--;
	assert_int_equal(udp_exit_on_datagram(&exit_, NOW, &acl, &h, &data, &to), UDP_EXIT_KEPT);
	for (unsigned i = 1; i < UDP_EXIT_KEPT_EACH_MAX; i++)
		assert_int_equal(send_at(NOW, "big.example:53", "x", &to), UDP_EXIT_KEPT);
	assert_int_equal(send_at(NOW, "big.example:53", "x", &to), UDP_EXIT_LIMIT);
	for (unsigned i = 1; i < UDP_EXIT_LOOKUPS_MAX; i++) {
		memcpy(name, "n0.example:53", 14);
		name[1] = (char)('0' + i);
		assert_int_equal(send_at(NOW, name, "x", &to), UDP_EXIT_KEPT);
	}
	assert_int_equal(exit_.lookup_count, UDP_EXIT_LOOKUPS_MAX);
	assert_int_equal(send_at(NOW, "one.more.example:53", "x", &to), UDP_EXIT_LIMIT);
	for (unsigned i = exit_.kept_count; i < UDP_EXIT_KEPT_MAX; i++) {
		name[1] = (char)('1' + i % 5);
		assert_int_equal(send_at(NOW, name, "x", &to), UDP_EXIT_KEPT);
	}
	name[1] = '7';
	assert_int_equal(send_at(NOW, name, "x", &to), UDP_EXIT_LIMIT);
	for (unsigned i = 1; i < UDP_EXIT_LOOKUPS_MAX; i++)
		assert_true(next(NOW, &action));
	assert_false(next(NOW, &action));
}

/* The oldest name makes room; one that is being looked up never does. */
static void names_make_room(void **state)
{
	static const char *const rules[] = { "*:*/udp" };
	static const char *const found[] = { "192.0.2.1" };
	struct udp_exit_action action;
	struct addr to;
	char name[32];

	(void)state;
	begin(rules, 1);
	assert_int_equal(send_at(NOW, "slow.example:53", "x", &to), UDP_EXIT_KEPT);
	(void)expect_lookup(NOW, "slow.example");
	for (unsigned i = 0; i < 2 * UDP_EXIT_NAMES_MAX; i++) {
		memcpy(name, "aa.example:53", 14);
		name[0] = (char)('a' + i / 26);
		name[1] = (char)('a' + i % 26);
		assert_int_equal(send_at(NOW + i, name, "x", &to), UDP_EXIT_KEPT);
		assert_true(next(NOW + i, &action));
		assert_int_equal(action.kind, UDP_EXIT_DO_RESOLVE);
		resolve(NOW + i, action.index, found, 1);
		assert_true(next(NOW + i, &action));
		assert_int_equal(action.kind, UDP_EXIT_DO_SEND);
	}
	assert_int_equal(send_at(NOW + 1000, name, "x", &to), UDP_EXIT_SEND);
	assert_int_equal(send_at(NOW + 1000, "slow.example:53", "x", &to), UDP_EXIT_KEPT);
	assert_false(next(NOW + 1000, &action));
	assert_int_equal(send_at(NOW + 1000, "aa.example:53", "x", &to), UDP_EXIT_KEPT);
	(void)expect_lookup(NOW + 1000, "aa.example");
}

static bool hears(cv_time now, const char *from)
{
	struct addr a;
	bool is_heard;

	assert_int_equal(addr_parse(from, &a), 0);
	is_heard = udp_exit_on_arrival(&exit_, now, &a);
	assert_true(udp_exit_check(&exit_));
	return is_heard;
}

/* RFC 4787, REQ-8: address-dependent filtering. */
static void only_who_was_sent_to_is_heard(void **state)
{
	static const char *const rules[] = { "*:*/udp" };
	struct addr to;
	cv_time now = NOW;

	(void)state;
	begin(rules, 1);
	assert_false(hears(now, "192.0.2.1:53"));
	assert_int_equal(send_at(now, "192.0.2.1:53", "x", &to), UDP_EXIT_SEND);
	assert_true(hears(now, "192.0.2.1:53"));
	assert_true(hears(now, "192.0.2.1:54")); /* another port of it: a STUN server's second */
	assert_false(hears(now, "192.0.2.2:53"));
	assert_false(hears(now, "[2001:db8::1]:53"));
	/* What is denied opens nothing. */
	assert_int_equal(send_at(now, "127.0.0.1:53", "x", &to), UDP_EXIT_DENIED);
	assert_false(hears(now, "127.0.0.1:53"));
	/* Five minutes, from the last datagram of either direction. */
	now += UDP_EXIT_MAPPING_IDLE;
	assert_true(hears(now, "192.0.2.1:53"));
	now += UDP_EXIT_MAPPING_IDLE;
	assert_true(hears(now, "192.0.2.1:53"));
	now += UDP_EXIT_MAPPING_IDLE + 1;
	assert_false(hears(now, "192.0.2.1:53"));
}

static struct addr numbered(unsigned n)
{
	return addr_v4(192, 0, (uint8_t)(n >> 8), (uint8_t)n, 53);
}

/* 20,000 datagrams to and from 900 hosts beside a model that is only an array of instants. */
static void the_longest_unused_host_makes_room(void **state)
{
	static const char *const rules[] = { "*:*/udp" };
	enum { HOSTS = 900 };
	static cv_time used_at[HOSTS]; /* 0: not in the table */
	struct hostport h = { .kind = HOST_ADDR, .port = 53 };
	struct udp_exit_bytes data = { (const uint8_t *)"x", 1 };
	uint32_t dice = 1;
	unsigned count = 0, oldest;
	cv_time now = NOW;
	struct addr to;

	(void)state;
	begin(rules, 1);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned n;

		dice = dice * 1664525 + 1013904223;
		n = (dice >> 8) % HOSTS;
		now++;
		h.addr = numbered(n);
		if (dice >> 31) {
			bool is_heard = udp_exit_on_arrival(&exit_, now, &h.addr);

			assert_int_equal(is_heard, used_at[n] != 0);
			used_at[n] = is_heard ? now : 0;
			continue;
		}
		assert_int_equal(udp_exit_on_datagram(&exit_, now, &acl, &h, &data, &to),
		                 UDP_EXIT_SEND);
		if (used_at[n] == 0 && count < UDP_EXIT_MAPPINGS_MAX) {
			count++;
		} else if (used_at[n] == 0) {
			oldest = HOSTS;
			for (unsigned i = 0; i < HOSTS; i++) {
				if (used_at[i] && (oldest == HOSTS || used_at[i] < used_at[oldest]))
					oldest = i;
			}
			used_at[oldest] = 0;
		}
		used_at[n] = now;
		if (step % 97 == 0)
			assert_true(udp_exit_check(&exit_));
	}
	assert_int_equal(exit_.mapping_count, UDP_EXIT_MAPPINGS_MAX);
	assert_true(udp_exit_check(&exit_));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_judged_each_time),
		cmocka_unit_test(a_name_costs_one_lookup),
		cmocka_unit_test(every_address_of_a_name_is_judged),
		cmocka_unit_test(localhost_asks_nobody),
		cmocka_unit_test(what_cannot_be_reached_is_passed_over),
		cmocka_unit_test(a_name_is_refreshed_while_it_serves),
		cmocka_unit_test(a_bad_name_is_remembered_for_a_while),
		cmocka_unit_test(what_waits_is_bounded),
		cmocka_unit_test(names_make_room),
		cmocka_unit_test(only_who_was_sent_to_is_heard),
		cmocka_unit_test(the_longest_unused_host_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
