/* SPDX-License-Identifier: MIT */

/*
 * Goal: a path is what its two ends make of it: its size, its kind, its patience, its name. Method:
 * one path of each kind, answered by hand. How it lives and dies is test_path's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/path_world.h"

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
		cmocka_unit_test(the_size_is_searched_once_it_is_usable),
		cmocka_unit_test(more_than_usual_is_searched_where_it_may_pass),
		cmocka_unit_test(a_path_is_where_it_leads),
		cmocka_unit_test(kinds_follow_from_addresses),
		cmocka_unit_test(legs_of_tcp_make_it_patient),
		cmocka_unit_test(each_use_of_a_slot_has_another_age),
	};

	return cmocka_run_group_tests_name("path_places", tests, NULL, NULL);
}
