/* SPDX-License-Identifier: MIT */

/*
 * Goal: of every pair of routers both sides come to the same plan, with one part each; the numbers
 * that it works with are those of the header. Method: all pairs of profiles, both ways round; every
 * size of an order; the chance to meet by arithmetic of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/rng.h"
#include "tunnel/punch_plan.h"

/* What matters of a router. */
enum kind {
	UNKNOWN,
	NONE,
	CONE,       /* lets in by port */
	OPEN_CONE,  /* the port does not count */
	HARD,       /* predictable */
	PRESERVING, /* likewise */
	RANDOM,
	WIDE,  /* random, but the same for all ports of an address, and lets any of them in */
	BLIND, /* hard, and nothing known of its ports */
	SUSPECT,
	SUSPECT_RANDOM,
	MAPPED, /* hard, but for a port that it was asked to open */
	KINDS,
};

static struct nat_profile profile(enum kind kind)
{
	struct nat_profile p = { .filtering = NAT_ADDRESS_AND_PORT_DEPENDENT };

	switch (kind) {
	case UNKNOWN:
		p.filtering = NAT_UNKNOWN;
		break;
	case NONE:
		p.mapping = NAT_NONE;
		p.filtering = NAT_ENDPOINT_INDEPENDENT;
		break;
	case CONE:
		p.mapping = NAT_ENDPOINT_INDEPENDENT;
		break;
	case OPEN_CONE:
		p.mapping = NAT_ENDPOINT_INDEPENDENT;
		p.filtering = NAT_ENDPOINT_INDEPENDENT;
		break;
	case HARD:
		p.mapping = NAT_ADDRESS_AND_PORT_DEPENDENT;
		p.ports = NAT_PORTS_REGULAR;
		break;
	case PRESERVING:
		p.mapping = NAT_ADDRESS_DEPENDENT;
		p.ports = NAT_PORTS_PRESERVED;
		break;
	case RANDOM:
		p.mapping = NAT_ADDRESS_AND_PORT_DEPENDENT;
		p.ports = NAT_PORTS_RANDOM;
		break;
	case WIDE:
		p.mapping = NAT_ADDRESS_DEPENDENT;
		p.filtering = NAT_ENDPOINT_INDEPENDENT;
		p.ports = NAT_PORTS_RANDOM;
		break;
	case BLIND:
		p.mapping = NAT_ADDRESS_AND_PORT_DEPENDENT;
		break;
	case SUSPECT:
		p.is_suspect = true;
		p.ports = NAT_PORTS_REGULAR;
		break;
	case SUSPECT_RANDOM:
		p.is_suspect = true;
		p.ports = NAT_PORTS_RANDOM;
		break;
	case MAPPED:
	case KINDS:
		p.mapping = NAT_ADDRESS_AND_PORT_DEPENDENT;
		p.ports = NAT_PORTS_RANDOM;
		p.has_mapped = true;
		break;
	}
	return p;
}

static bool is_easy(enum kind k)
{
	return k == UNKNOWN || k == NONE || k == CONE || k == OPEN_CONE || k == MAPPED;
}

static bool is_open(enum kind k)
{
	return k == NONE || k == OPEN_CONE;
}

static bool is_known_port(enum kind k)
{
	return k == HARD || k == PRESERVING || k == SUSPECT;
}

/* Of a pair, in words of the test. */
static enum punch_plan_kind expected(enum kind a, enum kind b)
{
	enum kind hard = is_easy(a) ? b : a;
	bool has_suspect =
		a == SUSPECT || a == SUSPECT_RANDOM || b == SUSPECT || b == SUSPECT_RANDOM;

	if (is_easy(a) && is_easy(b))
		return PUNCH_PLAN_NONE;
	if (is_easy(a) || is_easy(b)) {
		if (is_open(is_easy(a) ? a : b))
			return PUNCH_PLAN_NONE;
		return is_known_port(hard) ? PUNCH_PLAN_PREDICT : PUNCH_PLAN_BIRTHDAY;
	}
	if (is_known_port(a) && is_known_port(b))
		return PUNCH_PLAN_BOTH;
	if (!has_suspect)
		return a == WIDE || b == WIDE ? PUNCH_PLAN_BIRTHDAY : PUNCH_PLAN_CROSS;
	/* What is known to be hard leads, or what is cheap. */
	if (a == HARD || a == PRESERVING || b == HARD || b == PRESERVING)
		return PUNCH_PLAN_PREDICT;
	if (a == RANDOM || a == BLIND || a == WIDE || b == RANDOM || b == BLIND || b == WIDE)
		return PUNCH_PLAN_BIRTHDAY;
	return a == SUSPECT || b == SUSPECT ? PUNCH_PLAN_PREDICT : PUNCH_PLAN_BIRTHDAY;
}

static void every_pair_agrees(void **state)
{
	(void)state;
	for (enum kind a = UNKNOWN; a < KINDS; a++) {
		for (enum kind b = UNKNOWN; b < KINDS; b++) {
			struct nat_profile mine = profile(a), theirs = profile(b);
			struct punch_plan here = punch_plan(&mine, &theirs, true);
			struct punch_plan there = punch_plan(&theirs, &mine, false);

			assert_int_equal(here.kind, expected(a, b));
			assert_int_equal(there.kind, here.kind);
			if (here.kind == PUNCH_PLAN_NONE)
				assert_false(here.leads || there.leads);
			else
				assert_true(here.leads != there.leads);
			/* The one that is easy helps. */
			if (is_easy(a) != is_easy(b) && here.kind != PUNCH_PLAN_NONE)
				assert_int_equal(here.leads, is_easy(b));
			if (here.kind == PUNCH_PLAN_BOTH)
				assert_true(here.leads);
			/* Whose packets are many. */
			if (here.kind == PUNCH_PLAN_CROSS && is_known_port(a) != is_known_port(b))
				assert_int_equal(here.leads, is_known_port(b));
			/* Whose socket can answer from the port that was met. */
			if (a == WIDE && (b == RANDOM || b == HARD || b == BLIND))
				assert_true(here.leads);
		}
	}
}

static void who_is_only_suspect_helps(void **state)
{
	static const struct {
		const char *what;
		enum kind mine, theirs;
		bool has_smaller_key, leads;
	} rows[] = {
		{ "known random, suspect", RANDOM, SUSPECT, false, true },
		{ "suspect, known random", SUSPECT, RANDOM, true, false },
		{ "known regular, suspect random", HARD, SUSPECT_RANDOM, false, true },
		{ "two suspects, ours regular", SUSPECT, SUSPECT_RANDOM, false, true },
		{ "two suspects, theirs regular", SUSPECT_RANDOM, SUSPECT, true, false },
		{ "two random suspects, smaller", SUSPECT_RANDOM, SUSPECT_RANDOM, true, true },
		{ "two random suspects, larger", SUSPECT_RANDOM, SUSPECT_RANDOM, false, false },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct nat_profile mine = profile(rows[i].mine), theirs = profile(rows[i].theirs);
		struct punch_plan plan = punch_plan(&mine, &theirs, rows[i].has_smaller_key);

		if (plan.leads != rows[i].leads)
			print_message("%s\n", rows[i].what);
		assert_int_equal(plan.leads, rows[i].leads);
		assert_true(plan.kind == PUNCH_PLAN_PREDICT || plan.kind == PUNCH_PLAN_BIRTHDAY);
	}
}

/* 1 - (1 - s/N)^p, or no port left unprobed. */
static double chance(unsigned ports, unsigned sockets, unsigned packets)
{
	double miss = 1;

	if (packets >= ports)
		return 1;
	for (unsigned i = 0; i < packets; i++)
		miss *= 1 - (double)sockets / ports;
	return 1 - miss;
}

static void sockets_suffice(void **state)
{
	static const struct {
		unsigned ports, sockets;
	} rows[] = {
		{ 64512, 256 }, { 4096, 38 }, { 1024, 10 }, { 512, 8 }, { 64, 8 }, { 1, 8 },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++)
		assert_int_equal(punch_plan_sockets(rows[i].ports, 256, 768), rows[i].sockets);
	/* As the header says: 95 % over all ports, nearly always within a range. */
	assert_true(chance(64512, 256, 768) > 0.95);
	for (unsigned ports = 1; ports <= 65536; ports++) {
		unsigned sockets = punch_plan_sockets(ports, 256, 768);

		assert_true(sockets >= 1 && sockets <= 256);
		if (sockets < 256)
			assert_true(chance(ports, sockets, 768) > 0.999);
	}
	assert_int_equal(punch_plan_sockets(64512, 1, 768), 1);
	assert_int_equal(punch_plan_sockets(64512, 256, 0), 256);
	assert_int_equal(punch_plan_sockets(64512, 1024, 65536), 8);
}

/* What each sends, and how often they meet, in a million. */
static const struct {
	enum kind leader, helper;
	unsigned leader_block, helper_block; /* 0: all ports */
	unsigned sockets_max, packets_max;
	struct punch_part leads, helps; /* ports, aims, packets, sockets */
	uint32_t one_in;
	bool is_worth_it;
} crosses[] = {
	/* A row of 32 to one port: half a block of 512 meets half the time. */
	{ RANDOM, HARD, 512, 0, 256, 768, { 512, 32, 256, 8 }, { 32, 1, 32, 32 }, 2, true },
	{ RANDOM, HARD, 4096, 0, 256, 768, { 4096, 32, 768, 24 }, { 32, 1, 32, 32 }, 5, true },
	{ RANDOM, HARD, 0, 0, 256, 768, { 64512, 32, 768, 24 }, { 32, 1, 32, 32 }, 84, false },
	{ RANDOM, HARD, 0, 0, 512, 8192, { 64512, 32, 8192, 256 }, { 32, 1, 32, 32 }, 7, true },
	{ RANDOM, HARD, 512, 0, 4, 16, { 512, 4, 16, 4 }, { 4, 1, 4, 4 }, 32, false },
	{ RANDOM, RANDOM, 512, 512, 256, 768, { 512, 512, 256, 1 }, { 512, 512, 256, 1 }, 4, true },
	{ RANDOM,
	  RANDOM,
	  1024,
	  4096,
	  256,
	  768,
	  { 1024, 4096, 512, 1 },
	  { 4096, 1024, 768, 1 },
	  11,
	  true },
	{ RANDOM, RANDOM, 64, 2048, 256, 768, { 64, 2048, 32, 1 }, { 2048, 64, 768, 12 }, 5, true },
	{ RANDOM,
	  RANDOM,
	  0,
	  0,
	  256,
	  768,
	  { 64512, 64512, 768, 1 },
	  { 64512, 64512, 768, 1 },
	  7142,
	  false },
	{ RANDOM,
	  RANDOM,
	  0,
	  512,
	  256,
	  768,
	  { 64512, 512, 768, 2 },
	  { 512, 64512, 256, 1 },
	  168,
	  false },
	/* All of its probes come from one port, which is known. */
	{ RANDOM, PRESERVING, 512, 0, 256, 768, { 512, 1, 256, 256 }, { 1, 512, 512, 1 }, 1, true },
};

static void crossings(void **state)
{
	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(crosses); i++) {
		struct nat_profile leader = profile(crosses[i].leader),
				   helper = profile(crosses[i].helper);
		struct punch_cross got;

		if (crosses[i].leader_block > 0) {
			leader.port_low = 2048;
			leader.port_high = (uint16_t)(2048 + crosses[i].leader_block - 1);
		}
		if (crosses[i].helper_block > 0) {
			helper.port_low = 8192;
			helper.port_high = (uint16_t)(8192 + crosses[i].helper_block - 1);
		}
		got = punch_plan_cross(&leader, &helper, crosses[i].sockets_max,
		                       crosses[i].packets_max);
		assert_memory_equal(&got.leader, &crosses[i].leads, sizeof(got.leader));
		assert_memory_equal(&got.helper, &crosses[i].helps, sizeof(got.helper));
		assert_int_equal(got.one_in, crosses[i].one_in);
		assert_int_equal(got.is_worth_it, crosses[i].is_worth_it);
	}
}

static void order_covers_all_once(void **state)
{
	static uint8_t seen[65536];
	struct rng_seeded seeded;
	struct rng rng;

	(void)state;
	rng_seeded_init(&seeded, 3);
	rng = rng_from_seeded(&seeded);
	for (uint32_t size = 1; size <= 65536; size += size < 300 ? 1 : size / 7) {
		struct punch_order o;
		uint32_t n;

		memset(seen, 0, sizeof(seen));
		punch_order_init(&o, size, rng_u64(&rng));
		for (uint32_t i = 0; i < size; i++) {
			assert_true(punch_order_next(&o, &n));
			assert_true(n < size && !seen[n]);
			seen[n] = 1;
		}
		assert_false(punch_order_next(&o, &n));
	}
	/* Random numbers of the ends. */
	for (unsigned i = 0; i < 4; i++) {
		struct punch_order o;
		uint32_t n;

		punch_order_init(&o, 65536, i == 0 ? 0 : UINT64_MAX >> i);
		assert_true(punch_order_next(&o, &n) && n < 65536);
	}
}

/* Ports go round between 1024 and 65535, whatever anybody asks for. */
static void ports_stay_in_range(void **state)
{
	static const struct {
		uint16_t from;
		int steps;
		uint16_t port;
	} rows[] = {
		{ 40000, 0, 40000 }, { 40000, 1, 40001 },   { 40000, -3, 39997 },
		{ 65535, 1, 1024 },  { 65534, 3, 1025 },    { 1024, -1, 65535 },
		{ 1025, -3, 65534 }, { 1024, 64512, 1024 }, { 1023, 0, 65535 },
		{ 0, 0, 64512 },     { 1, 0, 64513 },       { 65535, 65535, 2046 },
		{ 1024, -1, 65535 },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++)
		assert_int_equal(punch_plan_port(rows[i].from, rows[i].steps), rows[i].port);
	for (unsigned from = 0; from <= UINT16_MAX; from += 13) {
		for (int step = -32768; step <= 32767; step += 257) {
			uint16_t port = punch_plan_port((uint16_t)from, step * 382);

			assert_true(port >= NAT_PORT_MIN);
			/* And back again. */
			if (from >= NAT_PORT_MIN)
				assert_int_equal(punch_plan_port(port, -step * 382), from);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair_agrees),
		cmocka_unit_test(who_is_only_suspect_helps),
		cmocka_unit_test(sockets_suffice),
		cmocka_unit_test(crossings),
		cmocka_unit_test(order_covers_all_once),
		cmocka_unit_test(ports_stay_in_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
