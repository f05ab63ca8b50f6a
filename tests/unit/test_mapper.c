/* SPDX-License-Identifier: MIT */

/*
 * Goal: a mapping is made as RFC 6887 and RFC 6886 say, in as few round trips as the gateway
 * allows, and nobody but the gateway is believed. Method: mapper_gateway.h; every request is
 * compared with what should be asked at that instant. What comes later is in test_mapper_life.c.
 */
#include "tests/unit/mapper_gateway.h"

/* ---- making ---- */

static void pcp_in_one_round_trip(void **state)
{
	(void)state;
	begin(true, true);
	run(0);
	assert_mapped(MAPPER_PCP);
	assert_int_equal(request_count, 1);
	assert_int_equal(requests[0].version, 2);
	assert_int_equal(requests[0].opcode, 1);
	assert_int_equal(requests[0].lifetime_s, 7200);
	assert_int_equal(requests[0].internal_port, PORT);
	assert_int_equal(requests[0].suggested_port, PORT);
	assert_int_equal(m.expires_at, now + CV_SEC(7200));
}

static void natpmp_at_once_where_pcp_is_refused(void **state)
{
	(void)state;
	begin(false, true);
	gw.is_refusing_version = true;
	run(0);
	assert_mapped(MAPPER_NATPMP);
	assert_int_equal(request_count, 3); /* PCP, port, address */
	assert_int_equal(requests[1].version, 0);
	assert_int_equal(requests[1].opcode, 1);
	assert_int_equal(requests[1].lifetime_s, 7200);
	assert_int_equal(requests[1].suggested_port, PORT);
	assert_int_equal(requests[2].opcode, 0);
}

static void natpmp_after_silence(void **state)
{
	const cv_time start = CV_SEC(5000);

	(void)state;
	begin(false, true);
	run(CV_SEC(2));
	assert_mapped(MAPPER_NATPMP);
	assert_int_equal(request_count, 5);
	assert_int_equal(requests[0].at, start);
	assert_int_equal(requests[1].at, start + CV_MS(250));
	assert_int_equal(requests[2].at, start + CV_MS(750));
	assert_int_equal(requests[3].at, start + CV_MS(1750));
	assert_int_equal(requests[3].version, 0);
}

/* Half an answer in NAT-PMP: only the other half is asked for again. */
static void the_missing_half_is_asked_for(void **state)
{
	uint8_t bytes[] = { 0, 0x80, 0, 0, 0, 0, 0, 9, 198, 51, 100, 7 };
	struct wr w = wr_init(bytes, sizeof(bytes));

	(void)state;
	begin(false, false);
	run(CV_SEC(2)); /* the first NAT-PMP requests went unanswered, and so did the second */
	w.pos = w.end;
	deliver_from(&gw.at, &w);
	assert_true(m.was_answered);
	request_count = 0;
	gw.has_natpmp = true;
	run(CV_SEC(1));
	assert_mapped(MAPPER_NATPMP);
	assert_int_equal(request_count, 1);
	assert_int_equal(requests[0].opcode, 1);
}

static void a_silent_gateway_is_asked_ever_more_rarely(void **state)
{
	cv_time last = 0;
	cv_duration gap;

	(void)state;
	begin(false, false);
	run(CV_SEC(6));
	assert_int_equal(m.state, MAPPER_WAITING);
	assert_false(m.was_answered);
	assert_string_equal(m.why, "the gateway does not answer");
	assert_int_equal(request_count, 3 + 2 * 4);
	for (unsigned i = 0; i < 8; i++) {
		request_count = 0;
		gap = m.next_at - now;
		assert_true(gap <= CV_SEC(1800));
		assert_true(gap > last || gap > CV_SEC(1790));
		last = gap;
		run(gap + CV_SEC(6));
		assert_int_equal(m.state, MAPPER_WAITING);
		assert_int_equal(request_count, 3 + 2 * 4);
	}
}

static void ipv6_has_no_natpmp(void **state)
{
	struct mapper_target t = { addr_of("[fe80::1]:0"), addr_of("[2001:db8::5]:4660") };

	(void)state;
	begin(false, true);
	t.gateway.scope = 3;
	mapper_start(&m, now, &t);
	run(CV_SEC(6));
	assert_int_equal(m.state, MAPPER_WAITING);
	assert_int_equal(request_count, 3);

	/* A firewall is opened at the address itself; the scope is part of the gateway's. */
	gw.has_pcp = true;
	gw.at = addr_of("[fe80::1]:5351");
	gw.outside = t.client;
	run(CV_SEC(80));
	assert_int_equal(m.state, MAPPER_WAITING);
	gw.at.scope = 3;
	run(CV_SEC(300));
	assert_mapped(MAPPER_PCP);
}

static void refusals_are_named(void **state)
{
	static const struct {
		uint8_t result;
		const char *pcp, *natpmp;
	} rows[] = {
		{ 2, "does not allow", "does not allow" }, { 3, "refuses", "no connection" },
		{ 4, "refuses", "no more room" },          { 5, "refuses", "refuses" },
		{ 7, "no connection", "refuses" },         { 8, "no more room", "refuses" },
		{ 10, "no more room", "refuses" },         { 11, "no port", "refuses" },
		{ 12, "another NAT", "refuses" },          { 255, "refuses", "refuses" },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		for (unsigned natpmp = 0; natpmp < 2; natpmp++) {
			begin(!natpmp, natpmp);
			gw.is_refusing_version = natpmp;
			gw.result = rows[i].result;
			run(0);
			assert_int_equal(m.state, MAPPER_WAITING);
			assert_true(m.was_answered);
			assert_non_null(strstr(m.why, natpmp ? rows[i].natpmp : rows[i].pcp));
			/* It says 30 s; nobody is asked so often. */
			assert_int_equal(m.next_at, now + CV_SEC(60));
			request_count = 0;
			gw.result = 0;
			run(CV_SEC(60));
			assert_mapped(natpmp ? MAPPER_NATPMP : MAPPER_PCP);
		}
	}
}

/* It says for how long, but not for ever. */
static void a_refusal_is_asked_again(void **state)
{
	(void)state;
	begin(true, false);
	gw.result = 2;
	gw.refusal_s = UINT32_MAX;
	run(0);
	assert_int_equal(m.state, MAPPER_WAITING);
	assert_int_equal(m.next_at, now + CV_SEC(1800));
}

static void a_gateway_without_an_address_has_no_mapping(void **state)
{
	static const char *const outsides[] = { "0.0.0.0:40001", "127.0.0.1:40001",
		                                "224.0.0.1:40001", "198.51.100.7:0" };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(outsides); i++) {
		for (unsigned natpmp = 0; natpmp < 2; natpmp++) {
			begin(!natpmp, natpmp);
			gw.is_refusing_version = natpmp;
			gw.outside = addr_of(outsides[i]);
			run(0);
			assert_int_equal(m.state, MAPPER_WAITING);
			assert_int_equal(m.external.family, ADDR_NONE);
		}
	}
	/* Behind another NAT there is one, for what it is worth. */
	begin(true, false);
	gw.outside = addr_of("100.64.3.4:40001");
	run(0);
	assert_mapped(MAPPER_PCP);
}

/* ---- who is believed ---- */

static void only_the_gateway_is_believed(void **state)
{
	static const char *const strangers[] = { "192.168.1.2:5351", "192.168.1.1:5350",
		                                 "192.168.1.1:1", "[fe80::1]:5351" };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(strangers); i++) {
		begin(true, true);
		gw.at = addr_of(strangers[i]);
		run(CV_SEC(6));
		assert_int_equal(m.state, MAPPER_WAITING);
		assert_false(m.was_answered);
		assert_int_equal(m.foreign, request_count);
	}
}

static void only_with_our_nonce_and_port(void **state)
{
	(void)state;
	begin(true, false);
	gw.is_wrong_nonce = true;
	run(CV_SEC(6));
	assert_int_equal(m.state, MAPPER_WAITING);
	assert_int_equal(m.unasked, 3);
	assert_false(m.was_answered);

	begin(true, false);
	gw.is_wrong_port = true;
	run(CV_SEC(6));
	assert_int_equal(m.state, MAPPER_WAITING);
	assert_int_equal(m.unasked, 3);

	begin(false, true);
	gw.is_wrong_port = true;
	run(CV_SEC(6));
	assert_int_equal(m.state, MAPPER_WAITING);
	assert_int_equal(m.unasked, 4);
}

static void nothing_is_believed_that_was_not_asked(void **state)
{
	uint8_t bytes[64];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct request req = { .lifetime_s = 7200, .internal_port = PORT };

	(void)state;
	begin(false, false);
	run(CV_SEC(6));
	assert_int_equal(m.state, MAPPER_WAITING);
	memcpy(req.nonce, m.nonce, sizeof(req.nonce));
	write_pcp_answer(&w, &req, 0);
	deliver_from(&gw.at, &w);
	assert_int_equal(m.state, MAPPER_WAITING);
	assert_int_equal(m.unasked, 1);
	w = wr_init(bytes, sizeof(bytes));
	wr_zero(&w, 9);
	deliver_from(&gw.at, &w);
	assert_int_equal(m.malformed, 1);
	/* Switched off, it hears nobody. */
	mapper_drop(&m, now);
	deliver_from(&gw.at, &w);
	assert_int_equal(m.foreign, 1);
}

/* The second refusal of the version is late: NAT-PMP is spoken by then. */
static void a_late_refusal_of_the_version_is_ignored(void **state)
{
	uint8_t bytes[] = { 0, 0x81, 0, 1, 0, 0, 0, 9 };
	struct wr w = wr_init(bytes, sizeof(bytes));

	(void)state;
	begin(false, false);
	run(CV_MS(300));
	w.pos = w.end;
	deliver_from(&gw.at, &w);
	assert_int_equal(m.protocol, MAPPER_NATPMP);
	deliver_from(&gw.at, &w);
	assert_int_equal(m.state, MAPPER_ASKING);
	assert_int_equal(m.protocol, MAPPER_NATPMP);
	assert_int_equal(m.unasked, 1);
}

static void another_version_is_a_refusal(void **state)
{
	uint8_t bytes[24] = { 1, 0x81, 0, 1 };
	struct wr w = wr_init(bytes, sizeof(bytes));

	(void)state;
	begin(false, false);
	run(0);
	w.pos = w.end;
	deliver_from(&gw.at, &w);
	assert_int_equal(m.state, MAPPER_WAITING);
	assert_string_equal(m.why, "the gateway speaks another version of PCP");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pcp_in_one_round_trip),
		cmocka_unit_test(natpmp_at_once_where_pcp_is_refused),
		cmocka_unit_test(natpmp_after_silence),
		cmocka_unit_test(the_missing_half_is_asked_for),
		cmocka_unit_test(a_silent_gateway_is_asked_ever_more_rarely),
		cmocka_unit_test(ipv6_has_no_natpmp),
		cmocka_unit_test(refusals_are_named),
		cmocka_unit_test(a_refusal_is_asked_again),
		cmocka_unit_test(a_gateway_without_an_address_has_no_mapping),
		cmocka_unit_test(only_the_gateway_is_believed),
		cmocka_unit_test(only_with_our_nonce_and_port),
		cmocka_unit_test(nothing_is_believed_that_was_not_asked),
		cmocka_unit_test(a_late_refusal_of_the_version_is_ignored),
		cmocka_unit_test(another_version_is_a_refusal),
	};

	return cmocka_run_group_tests_name("mapper", tests, NULL, NULL);
}
