/* SPDX-License-Identifier: MIT */

/*
 * Goal: what is concluded of a NAT is what RFC 4787 and 5780 allow to conclude, and nothing a
 * server says trips it. Method: tables of observations of each kind of router; ports drawn from
 * routers of known habits, with noise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/nat.h"

#define S1 addr_v4(203, 0, 113, 1, 1000)
#define S1_NEXT addr_v4(203, 0, 113, 1, 1001)
#define S2 addr_v4(203, 0, 113, 2, 1000)
#define ME(port) addr_v4(198, 51, 100, 7, (port))

struct row {
	const char *what;
	struct nat_seen seen[3];
	unsigned count;
	enum nat_rule mapping;
	bool is_stable;
};

static void mapping_needs_two_addresses(void **state)
{
	const struct row rows[] = {
		{ "nothing", { { { 0 }, { 0 } } }, 0, NAT_UNKNOWN, false },
		{ "one", { { S1, ME(5) } }, 1, NAT_UNKNOWN, false },
		{ "two ports of one", { { S1, ME(5) }, { S1_NEXT, ME(5) } }, 2, NAT_UNKNOWN, true },
		{ "port counts",
		  { { S1, ME(5) }, { S1_NEXT, ME(6) } },
		  2,
		  NAT_ADDRESS_AND_PORT_DEPENDENT,
		  false },
		{ "nothing counts",
		  { { S1, ME(5) }, { S1_NEXT, ME(5) }, { S2, ME(5) } },
		  3,
		  NAT_ENDPOINT_INDEPENDENT,
		  true },
		{ "address counts",
		  { { S1, ME(5) }, { S1_NEXT, ME(5) }, { S2, ME(6) } },
		  3,
		  NAT_ADDRESS_DEPENDENT,
		  false },
		{ "first preserved, then another",
		  { { S1, ME(4000) }, { S1_NEXT, ME(4001) }, { S2, ME(4002) } },
		  3,
		  NAT_ADDRESS_AND_PORT_DEPENDENT,
		  false },
		{ "the address of a pool changes",
		  { { S1, ME(5) }, { S2, addr_v4(198, 51, 100, 8, 5) } },
		  2,
		  NAT_ADDRESS_DEPENDENT,
		  false },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct addr local = addr_v4(192, 168, 1, 2, 4000);
		struct nat_view v;

		nat_view_init(&v, &local);
		for (unsigned k = 0; k < rows[i].count; k++)
			nat_view_add(&v, &rows[i].seen[k].to, &rows[i].seen[k].as);
		if (nat_mapping(&v) != rows[i].mapping || nat_is_stable(&v) != rows[i].is_stable)
			fail_msg("%s: %s", rows[i].what, nat_rule_name(nat_mapping(&v)));
	}
}

static void who_is_seen_as_he_is_has_no_nat(void **state)
{
	struct addr local = ME(4000), to = S1;
	struct nat_view v;

	(void)state;
	nat_view_init(&v, &local);
	assert_int_equal(nat_mapping(&v), NAT_UNKNOWN);
	nat_view_add(&v, &to, &local);
	assert_int_equal(nat_mapping(&v), NAT_NONE);
}

static void the_newest_word_of_a_server_counts(void **state)
{
	struct addr none = { 0 }, a = S1, b = S1_NEXT, old = ME(1), now = ME(2);
	struct nat_view v;

	(void)state;
	nat_view_init(&v, &none);
	nat_view_add(&v, &a, &old);
	nat_view_add(&v, &b, &now);
	assert_int_equal(nat_mapping(&v), NAT_ADDRESS_AND_PORT_DEPENDENT);
	nat_view_add(&v, &a, &now);
	assert_int_equal(v.count, 2);
	assert_true(nat_is_stable(&v));
	for (unsigned i = 0; i < 3 * NAT_SEEN_MAX; i++) {
		struct addr to = addr_v4(203, 0, 113, (uint8_t)i, 1);

		nat_view_add(&v, &to, &now);
		assert_in_range(v.count, 1, NAT_SEEN_MAX);
	}
	assert_int_equal(nat_mapping(&v), NAT_ENDPOINT_INDEPENDENT);
}

static struct nat_profile read(unsigned count, const uint16_t seen[])
{
	struct nat_samples s = { .count = count };
	struct nat_profile p = { 0 };

	for (unsigned i = 0; i < count; i++) {
		s.list[i].local = (uint16_t)(40000 + 7 * i);
		s.list[i].seen = seen[i];
	}
	nat_read_samples(&s, &p);
	return p;
}

static void regular_ports_are_known_with_their_step(void **state)
{
	static const struct {
		uint16_t seen[8];
		unsigned count;
		int step;
	} rows[] = {
		{ { 5000, 5001, 5002, 5003 }, 4, 1 },
		{ { 5000, 5002, 5004, 5006, 5008 }, 5, 2 },
		{ { 5003, 5002, 5001, 5000 }, 4, -1 },
		{ { 5000, 5001, 5004, 5005, 5006 }, 5, 1 },         /* others took two */
		{ { 65534, 65535, 1024, 1025, 1026, 1027 }, 6, 1 }, /* round the end */
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct nat_profile p = read(rows[i].count, rows[i].seen);

		assert_int_equal(p.ports, NAT_PORTS_REGULAR);
		assert_int_equal(p.step, rows[i].step);
	}
}

static void few_samples_say_nothing(void **state)
{
	static const uint16_t seen[] = { 5000, 5001, 5002 };

	(void)state;
	assert_int_equal(read(0, seen).ports, NAT_PORTS_UNKNOWN);
	assert_int_equal(read(3, seen).ports, NAT_PORTS_UNKNOWN);
}

static void preserved_ports_are_known(void **state)
{
	static const uint16_t seen[] = { 40000, 40007, 40014, 40021 };

	(void)state;
	assert_int_equal(read(4, seen).ports, NAT_PORTS_PRESERVED);
}

/* Whatever range a router draws from, random ports are called random, and a block that is guessed
 * holds nearly all further ports. */
static void random_ports_and_their_blocks(void **state)
{
	static const uint32_t sizes[] = { 512, 1024, 2048, 4096, 64512 };
	struct rng_seeded seed;
	struct rng rng;

	(void)state;
	rng_seeded_init(&seed, 7);
	rng = rng_from_seeded(&seed);
	for (size_t k = 0; k < CV_ARRAY_SIZE(sizes); k++) {
		unsigned inside = 0, tries = 400, width = 0;

		for (unsigned i = 0; i < tries; i++) {
			uint32_t base =
				sizes[k] > 60000
					? 1024
					: (1 + (uint32_t)rng_below(&rng, 60000 / sizes[k])) *
						  sizes[k];
			uint16_t seen[8];
			struct nat_profile p;
			uint16_t next = (uint16_t)(base + rng_below(&rng, sizes[k]));

			for (unsigned n = 0; n < 8; n++)
				seen[n] = (uint16_t)(base + rng_below(&rng, sizes[k]));
			p = read(8, seen);
			if (p.ports != NAT_PORTS_RANDOM)
				continue; /* eight ports in a row: it happens */
			assert_true(p.port_low >= NAT_PORT_MIN && p.port_low < p.port_high);
			inside += next >= p.port_low && next <= p.port_high;
			width += (unsigned)(p.port_high - p.port_low) / tries;
		}
		assert_true(inside * 100 >= tries * 93);
		assert_true(width <= 2 * sizes[k]);
	}
}

static void the_hard_are_known(void **state)
{
	struct nat_profile p = { .mapping = NAT_ADDRESS_AND_PORT_DEPENDENT };

	(void)state;
	assert_true(nat_is_hard(&p));
	p.has_mapped = true;
	assert_false(nat_is_hard(&p));
	p = (struct nat_profile){ .mapping = NAT_UNKNOWN };
	assert_false(nat_is_hard(&p));
	for (unsigned i = 0; i < NAT_RULES; i++)
		assert_non_null(nat_rule_name((enum nat_rule)i));
	for (unsigned i = 0; i < NAT_PORTS_KINDS; i++)
		assert_non_null(nat_ports_name((enum nat_ports)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mapping_needs_two_addresses),
		cmocka_unit_test(who_is_seen_as_he_is_has_no_nat),
		cmocka_unit_test(the_newest_word_of_a_server_counts),
		cmocka_unit_test(regular_ports_are_known_with_their_step),
		cmocka_unit_test(few_samples_say_nothing),
		cmocka_unit_test(preserved_ports_are_known),
		cmocka_unit_test(random_ports_and_their_blocks),
		cmocka_unit_test(the_hard_are_known),
	};

	return cmocka_run_group_tests_name("nat", tests, NULL, NULL);
}
