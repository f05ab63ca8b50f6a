/* SPDX-License-Identifier: MIT */

/*
 * Goal: a mapping is kept and taken back as RFC 6887 and RFC 6886 say; a gateway that is silent,
 * refuses or restarts holds up nothing. Method: as test_mapper.c.
 */
#include "tests/unit/mapper_gateway.h"

/* ---- keeping ---- */

static void renewed_at_half_life(void **state)
{
	cv_duration age;

	(void)state;
	for (unsigned natpmp = 0; natpmp < 2; natpmp++) {
		begin(!natpmp, natpmp);
		gw.is_refusing_version = natpmp;
		run(0);
		request_count = 0;
		run(CV_SEC(3599));
		assert_int_equal(request_count, 0);
		run(CV_SEC(901));
		assert_int_equal(request_count, 1 + natpmp);
		assert_mapped(natpmp ? MAPPER_NATPMP : MAPPER_PCP);
		assert_int_equal(requests[0].suggested_port, OUTSIDE_PORT);
		age = now - requests[0].at;
		assert_int_equal(m.expires_at, now - age + CV_SEC(7200));
		/* A day of it. */
		for (unsigned i = 0; i < 24; i++) {
			request_count = 0;
			run(CV_SEC(3600));
			assert_in_range(request_count, 0, 2 + 2 * natpmp);
			assert_mapped(natpmp ? MAPPER_NATPMP : MAPPER_PCP);
		}
	}
}

static void a_short_life_is_not_renewed_every_second(void **state)
{
	(void)state;
	begin(true, false);
	gw.lifetime_s = 1;
	run(0);
	request_count = 0;
	run(CV_SEC(120));
	assert_in_range(request_count, 8, 12);
	assert_mapped(MAPPER_PCP);
}

static void silence_ends_it(void **state)
{
	(void)state;
	begin(true, true);
	run(0);
	gw.has_pcp = gw.has_natpmp = false;
	request_count = 0;
	run(CV_SEC(7199));
	assert_int_equal(m.state, MAPPER_MAPPED); /* it may still be there */
	assert_in_range(request_count, 12, REQUESTS_MAX);
	request_count = 0;
	run(CV_SEC(2));
	assert_int_equal(m.external.family, ADDR_NONE);
	assert_int_equal(m.state, MAPPER_ASKING);
	gw.has_natpmp = true;
	run(CV_SEC(4));
	assert_mapped(MAPPER_NATPMP); /* the new firmware */
}

static void a_refused_renewal_ends_it(void **state)
{
	(void)state;
	begin(true, true);
	run(0);
	gw.result = PCP_NOT_AUTHORIZED;
	run(CV_SEC(4600));
	assert_int_equal(m.state, MAPPER_WAITING);
	assert_int_equal(m.external.family, ADDR_NONE);
}

static void the_gateway_may_change_its_mind(void **state)
{
	struct request req = { .lifetime_s = 7200, .internal_port = PORT };
	uint8_t bytes[64];
	struct wr w = wr_init(bytes, sizeof(bytes));

	(void)state;
	begin(true, false);
	run(0);
	memcpy(req.nonce, m.nonce, sizeof(req.nonce));
	now += CV_SEC(100);
	gw.outside = addr_of("203.0.113.9:50000");
	write_pcp_answer(&w, &req, 0);
	deliver_from(&gw.at, &w);
	assert_mapped(MAPPER_PCP);
	assert_int_equal(m.expires_at, now + CV_SEC(7200));
	/* An error that nobody asked for is none. */
	w = wr_init(bytes, sizeof(bytes));
	write_pcp_answer(&w, &req, PCP_NO_RESOURCES);
	deliver_from(&gw.at, &w);
	assert_mapped(MAPPER_PCP);
	/* But the end is one. */
	req.lifetime_s = 0;
	w = wr_init(bytes, sizeof(bytes));
	write_pcp_answer(&w, &req, 0);
	deliver_from(&gw.at, &w);
	assert_int_equal(m.state, MAPPER_WAITING);
}

/* ---- restarts and events ---- */

static void announce(bool is_pcp, uint32_t epoch_s)
{
	uint8_t bytes[24] = { 0 };
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct addr from = gw.at;

	wr_u8(&w, is_pcp ? 2 : 0);
	wr_u8(&w, 0x80);
	wr_zero(&w, 2);
	if (is_pcp)
		wr_zero(&w, 4);
	wr_u32(&w, epoch_s);
	if (is_pcp)
		wr_zero(&w, 12);
	else
		wr_copy(&w, gw.outside.ip, 4);
	from.port = 5353; /* any: they come from whatever socket */
	mapper_on_announcement(&m, now, &from, bytes, wr_size(&w));
	assert_true(mapper_check(&m));
}

static void a_restart_is_heard_of(void **state)
{
	(void)state;
	for (unsigned is_pcp = 0; is_pcp < 2; is_pcp++) {
		begin(true, true);
		run(CV_SEC(2)); /* soon after the last answer */
		gw.restarted_at = now;
		gw.has_mapping = false;
		announce(is_pcp, 0);
		request_count = 0;
		run(CV_SEC(1));
		assert_int_equal(request_count, 1);
		assert_mapped(MAPPER_PCP);
		/* Its repetitions (ten, RFC 6886, 3.2.1) cost one request. */
		for (unsigned i = 0; i < 9; i++) {
			announce(is_pcp, epoch());
			run(CV_MS(250));
		}
		run(CV_SEC(20));
		assert_in_range(request_count, 1, 3);
	}
}

/* Some restart without a word. */
static void a_silent_restart_is_found(void **state)
{
	(void)state;
	for (unsigned natpmp = 0; natpmp < 2; natpmp++) {
		begin(!natpmp, natpmp);
		gw.is_refusing_version = natpmp;
		gw.restarted_at = CV_SEC(4000);
		run(CV_SEC(600));
		assert_int_equal(look_count, 5);
		gw.restarted_at = now;
		gw.has_mapping = false;
		request_count = 0;
		run(CV_SEC(120));
		assert_int_equal(request_count, 1 + natpmp);
		assert_mapped(natpmp ? MAPPER_NATPMP : MAPPER_PCP);
		request_count = 0;
		run(CV_SEC(600)); /* and that was that */
		assert_int_equal(request_count, 0);
	}
	/* NAT-PMP tells the address with it. */
	gw.outside = addr_of("203.0.113.200:40001");
	run(CV_SEC(120));
	assert_mapped(MAPPER_NATPMP);
}

static void the_epochs_of_an_undisturbed_gateway(void **state)
{
	static const struct {
		const char *what;
		uint32_t ours, theirs; /* seconds that went by */
		bool is_broken;
	} rows[] = {
		{ "equal", 1000, 1000, false },
		{ "a little slow", 1000, 940, false },
		{ "too slow", 1000, 930, true },
		{ "a little fast", 1000, 1060, false },
		{ "too fast", 1000, 1080, true },
		{ "at once, two seconds off", 0, 2, false },
		{ "at once, three seconds off", 0, 3, true },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].what);
		begin(true, false);
		run(0);
		request_count = 0;
		now += CV_SEC(rows[i].ours);
		announce(true, 5000 + rows[i].theirs);
		/* A sound epoch means that something else has changed: asked too, but not within
		 * seconds of the last answer. */
		assert_int_equal(m.next_at <= now + CV_SEC(1),
		                 rows[i].is_broken || rows[i].ours >= 5);
	}
	begin(true, false);
	run(0);
	announce(true, 4999); /* overtaken by one second: no restart */
	assert_true(m.next_at >= now + CV_SEC(5));
	announce(true, 4997);
	assert_true(m.next_at <= now + CV_SEC(1));
}

static void strangers_announce_nothing(void **state)
{
	cv_time before;

	(void)state;
	begin(true, false);
	run(CV_SEC(100));
	before = m.next_at;
	gw.at = addr_of("192.168.1.9:5351");
	announce(true, 0);
	announce(false, 0);
	assert_int_equal(m.next_at, before);
	assert_int_equal(m.foreign, 2);
}

static void a_gateway_that_comes_up_is_asked(void **state)
{
	(void)state;
	begin(false, false);
	run(CV_SEC(10));
	assert_int_equal(m.state, MAPPER_WAITING);
	gw.has_pcp = true;
	announce(true, 0);
	run(CV_SEC(1));
	assert_mapped(MAPPER_PCP);
}

static void a_network_event_asks_again(void **state)
{
	struct mapper_target other;
	uint8_t nonce[PCP_NONCE_SIZE];

	(void)state;
	begin(true, false);
	run(0);
	request_count = 0;
	for (unsigned i = 0; i < 10; i++) { /* a burst */
		mapper_start(&m, now, target());
		run(CV_MS(200));
	}
	assert_int_equal(request_count, 0);
	run(CV_SEC(10));
	mapper_start(&m, now, target());
	assert_int_equal(m.state, MAPPER_RENEWING);
	assert_true(addr_equal(&m.external, &gw.outside)); /* and is not given up meanwhile */
	run(0);
	assert_int_equal(request_count, 1);

	/* Another address of ours is another mapping. */
	memcpy(nonce, m.nonce, sizeof(nonce));
	other = *target();
	other.client.ip[3] = 6;
	mapper_start(&m, now, &other);
	assert_int_equal(m.external.family, ADDR_NONE);
	assert_memory_not_equal(nonce, m.nonce, sizeof(nonce));
	run(0);
	assert_mapped(MAPPER_PCP);

	/* Where nothing answered, an event is a reason to try. */
	begin(false, false);
	run(CV_SEC(20));
	request_count = 0;
	gw.has_pcp = true;
	mapper_start(&m, now, target());
	run(0);
	assert_mapped(MAPPER_PCP);
}

/* ---- the end ---- */

static void it_is_taken_back(void **state)
{
	(void)state;
	for (unsigned natpmp = 0; natpmp < 2; natpmp++) {
		begin(!natpmp, natpmp);
		gw.is_refusing_version = natpmp;
		run(CV_SEC(1));
		request_count = 0;
		mapper_stop(&m, now);
		run(0);
		assert_int_equal(m.state, MAPPER_OFF);
		assert_false(gw.has_mapping);
		assert_int_equal(request_count, 1);
		assert_int_equal(requests[0].lifetime_s, 0);
		assert_int_equal(requests[0].suggested_port, 0);
		assert_int_equal(requests[0].internal_port, PORT);
	}
}

static void a_silent_gateway_does_not_hold_up_the_end(void **state)
{
	(void)state;
	begin(true, false);
	run(CV_SEC(1));
	gw.has_pcp = false;
	request_count = 0;
	mapper_stop(&m, now);
	mapper_stop(&m, now);
	run(CV_MS(740));
	assert_int_equal(m.state, MAPPER_DELETING);
	run(CV_MS(10));
	assert_int_equal(m.state, MAPPER_OFF);
	assert_int_equal(request_count, 2);
	assert_int_equal(mapper_deadline(&m), CV_TIME_NEVER);
}

/* The request left, the answer did not come yet: there may be a mapping. */
static void what_may_be_there_is_taken_back_too(void **state)
{
	struct request req;
	uint8_t bytes[64];
	struct wr w = wr_init(bytes, sizeof(bytes));

	(void)state;
	begin(false, false);
	run(CV_MS(10));
	req = requests[0];
	mapper_stop(&m, now);
	gw.has_mapping = true;
	write_pcp_answer(&w, &req, 0); /* the answer to the first one: not yet the end */
	deliver_from(&gw.at, &w);
	assert_int_equal(m.state, MAPPER_DELETING);
	gw.has_pcp = true;
	run(CV_MS(300));
	assert_int_equal(m.state, MAPPER_OFF);
	assert_false(gw.has_mapping);
}

static void a_refused_end_is_an_end(void **state)
{
	(void)state;
	begin(true, false);
	run(CV_SEC(1));
	gw.result = PCP_NOT_AUTHORIZED;
	mapper_stop(&m, now);
	run(0);
	assert_int_equal(m.state, MAPPER_OFF);
	/* And where nothing is, nothing is sent. */
	begin(false, false);
	run(CV_SEC(6));
	request_count = 0;
	mapper_stop(&m, now);
	run(CV_SEC(1));
	assert_int_equal(request_count, 0);
	assert_int_equal(m.state, MAPPER_OFF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(renewed_at_half_life),
		cmocka_unit_test(a_short_life_is_not_renewed_every_second),
		cmocka_unit_test(silence_ends_it),
		cmocka_unit_test(a_refused_renewal_ends_it),
		cmocka_unit_test(the_gateway_may_change_its_mind),
		cmocka_unit_test(a_restart_is_heard_of),
		cmocka_unit_test(a_silent_restart_is_found),
		cmocka_unit_test(the_epochs_of_an_undisturbed_gateway),
		cmocka_unit_test(strangers_announce_nothing),
		cmocka_unit_test(a_gateway_that_comes_up_is_asked),
		cmocka_unit_test(a_network_event_asks_again),
		cmocka_unit_test(it_is_taken_back),
		cmocka_unit_test(a_silent_gateway_does_not_hold_up_the_end),
		cmocka_unit_test(what_may_be_there_is_taken_back_too),
		cmocka_unit_test(a_refused_end_is_an_end),
	};

	return cmocka_run_group_tests_name("mapper_life", tests, NULL, NULL);
}
