/* SPDX-License-Identifier: MIT */

/*
 * Goal: one connection or one reason within ten seconds, never an address that the
 * policy refuses, never more than four attempts, nothing left running.
 * Method: small stories told as text (what the dial asks for next), the order of
 * failures as a table, and random stories against the invariants.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "proxy/dial.h"

#define START CV_SEC(100)

static struct pattern patterns[8];

struct story {
	struct dial dial;
	struct acl acl;
	cv_time now;
	char text[128]; /* of the last action */
};

static struct addr addr_of(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static void allow(struct story *s, const char *const *texts)
{
	const char *why;

	s->acl = (struct acl){ .allow = patterns };
	for (; *texts; texts++)
		assert_int_equal(pattern_parse(*texts, &patterns[s->acl.allow_count++], &why), 0);
}

static const char *const everything[] = { "*:*", "unix:/run/*", "localhost:*", NULL };

static void begin(struct story *s, const char *target)
{
	struct hostport to;
	const char *why;

	s->now = START;
	allow(s, everything);
	assert_int_equal(hostport_parse(target, 0, &to, &why), 0);
	dial_init(&s->dial, s->now, &to, false);
}

/* The next action as text; "" for none. */
static const char *next(struct story *s)
{
	char addr[ADDR_TEXT_MAX];
	struct dial_action a;
	bool has_action = dial_next_action(&s->dial, s->now, &s->acl, &a);

	assert_true(dial_check(&s->dial));
	assert_int_equal(has_action, a.kind != DIAL_NONE);
	s->text[0] = 0;
	switch (a.kind) {
	case DIAL_NONE:
		break;
	case DIAL_RESOLVE:
		snprintf(s->text, sizeof(s->text), "resolve %s", a.name);
		break;
	case DIAL_CANCEL_RESOLVE:
		snprintf(s->text, sizeof(s->text), "cancel lookup");
		break;
	case DIAL_CONNECT:
		snprintf(s->text, sizeof(s->text), "connect %u %s", a.index,
		         addr_format(&a.addr, addr));
		break;
	case DIAL_CONNECT_UNIX:
		snprintf(s->text, sizeof(s->text), "connect %u %s", a.index, a.name);
		break;
	case DIAL_CANCEL:
		snprintf(s->text, sizeof(s->text), "cancel %u", a.index);
		break;
	case DIAL_DONE:
		snprintf(s->text, sizeof(s->text), "done %u", a.index);
		break;
	case DIAL_FAIL:
		snprintf(s->text, sizeof(s->text), "fail %u", (unsigned)a.code);
		break;
	}
	return s->text;
}

#define NEXT(s, expected) assert_string_equal(next(s), expected)

static void next_fails(struct story *s, enum target_code code)
{
	char expected[16];

	snprintf(expected, sizeof(expected), "fail %u", (unsigned)code);
	NEXT(s, expected);
	NEXT(s, "");
	assert_true(dial_is_over(&s->dial));
	assert_int_equal(dial_deadline(&s->dial), CV_TIME_NEVER);
}

static void resolved(struct story *s, const char *const *texts)
{
	struct addr addrs[32];
	size_t count = 0;

	for (; *texts; texts++)
		addrs[count++] = addr_of(*texts);
	dial_on_resolved(&s->dial, s->now, addrs, count);
}

/* To just before the deadline, where nothing happens, and then to it. */
static void wait_for_deadline(struct story *s, cv_time expected)
{
	assert_int_equal(dial_deadline(&s->dial), expected);
	s->now = expected - 1;
	dial_on_deadline(&s->dial, s->now);
	NEXT(s, "");
	s->now = expected;
	dial_on_deadline(&s->dial, s->now);
}

static void an_address_is_dialled_at_once(void **state)
{
	struct story s;

	(void)state;
	begin(&s, "192.0.2.1:80");
	NEXT(&s, "connect 0 192.0.2.1:80");
	NEXT(&s, "");
	assert_int_equal(dial_deadline(&s.dial), START + CV_SEC(10));
	dial_on_connected(&s.dial, s.now, 0);
	NEXT(&s, "done 0");
	NEXT(&s, "");
	assert_true(dial_is_over(&s.dial));
}

static void a_unix_socket_is_dialled_at_once(void **state)
{
	struct story s;

	(void)state;
	begin(&s, "unix:/run/x");
	NEXT(&s, "connect 0 /run/x");
	dial_on_connect_failed(&s.dial, s.now, 0, -ENOENT);
	next_fails(&s, TARGET_HOST_UNREACHABLE);
	begin(&s, "unix:/run/x");
	NEXT(&s, "connect 0 /run/x");
	dial_on_connected(&s.dial, s.now, 0);
	NEXT(&s, "done 0");
	begin(&s, "unix:/etc/x");
	next_fails(&s, TARGET_POLICY);
}

static void families_take_turns(void **state)
{
	struct story s;

	(void)state;
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	NEXT(&s, "");
	assert_int_equal(dial_deadline(&s.dial), START + CV_SEC(5));
	s.now += CV_MS(30);
	resolved(&s, (const char *[]){ "1.0.0.1:0", "1.0.0.2:0", "[2001:db8::1]:0",
	                               "[2001:db8::2]:0", "1.0.0.1:0", "1.0.0.3:0", NULL });
	NEXT(&s, "connect 0 [2001:db8::1]:80");
	wait_for_deadline(&s, START + CV_MS(280));
	NEXT(&s, "connect 1 1.0.0.1:80");
	wait_for_deadline(&s, START + CV_MS(530));
	NEXT(&s, "connect 2 [2001:db8::2]:80");
	wait_for_deadline(&s, START + CV_MS(780));
	NEXT(&s, "connect 3 1.0.0.2:80");
	/* Four is all: now only the end of the ten seconds is awaited. */
	wait_for_deadline(&s, START + CV_SEC(10));
	NEXT(&s, "cancel 0");
	NEXT(&s, "cancel 1");
	NEXT(&s, "cancel 2");
	NEXT(&s, "cancel 3");
	next_fails(&s, TARGET_TIMEOUT);
}

static void a_failure_starts_the_next_at_once(void **state)
{
	struct story s;

	(void)state;
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	resolved(&s, (const char *[]){ "[2001:db8::1]:0", "1.0.0.1:0", "1.0.0.2:0", NULL });
	NEXT(&s, "connect 0 [2001:db8::1]:80");
	dial_on_connect_failed(&s.dial, s.now, 0, ENETUNREACH);
	NEXT(&s, "connect 1 1.0.0.1:80");
	NEXT(&s, "");
	s.now += CV_MS(10);
	dial_on_connect_failed(&s.dial, s.now, 1, -ETIMEDOUT);
	NEXT(&s, "connect 2 1.0.0.2:80");
	s.now += CV_MS(10);
	dial_on_connect_failed(&s.dial, s.now, 2, -ETIMEDOUT);
	next_fails(&s, TARGET_TIMEOUT);

	/* Also while another attempt is still running; and an address that comes twice is one. */
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	resolved(&s, (const char *[]){ "1.0.0.1:0", "1.0.0.1:7", "1.0.0.2:0", "1.0.0.3:0", NULL });
	NEXT(&s, "connect 0 1.0.0.1:80");
	s.now += CV_MS(250);
	NEXT(&s, "connect 1 1.0.0.2:80");
	s.now += CV_MS(1);
	dial_on_connect_failed(&s.dial, s.now, 1, ECONNREFUSED);
	NEXT(&s, "connect 2 1.0.0.3:80");
	dial_on_connect_failed(&s.dial, s.now, 0, ECONNREFUSED);
	NEXT(&s, "");
	dial_on_connect_failed(&s.dial, s.now, 2, ECONNREFUSED);
	next_fails(&s, TARGET_REFUSED);
}

static void the_first_to_connect_wins(void **state)
{
	struct story s;

	(void)state;
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	resolved(&s, (const char *[]){ "[2001:db8::1]:0", "1.0.0.1:0", "1.0.0.2:0", NULL });
	NEXT(&s, "connect 0 [2001:db8::1]:80");
	s.now += CV_MS(250);
	NEXT(&s, "connect 1 1.0.0.1:80");
	s.now += CV_MS(250);
	NEXT(&s, "connect 2 1.0.0.2:80");
	dial_on_connected(&s.dial, s.now, 1);
	dial_on_connected(&s.dial, s.now, 0);         /* in the same turn: too late */
	dial_on_connect_failed(&s.dial, s.now, 2, 5); /* and this needs no cancelling */
	NEXT(&s, "cancel 0");
	dial_on_connected(&s.dial, s.now, 0);
	dial_on_connect_failed(&s.dial, s.now, 0, ECONNREFUSED);
	NEXT(&s, "done 1");
	NEXT(&s, "");
	assert_true(dial_is_over(&s.dial));
	dial_on_deadline(&s.dial, START + CV_SEC(20));
	NEXT(&s, "");
}

static void every_address_is_judged_just_before(void **state)
{
	struct story s;

	(void)state;
	begin(&s, "evil.example:80");
	NEXT(&s, "resolve evil.example");
	resolved(&s, (const char *[]){ "127.0.0.2:0", "169.254.169.254:0", "0.0.0.0:0",
	                               "[::ffff:127.0.0.2]:0", "[fe80::1]:0",
	                               "[64:ff9b::169.254.169.254]:0", NULL });
	next_fails(&s, TARGET_POLICY);

	/* Denied ones cost neither time nor one of the four. */
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	resolved(&s, (const char *[]){ "127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0", "127.0.0.5:0",
	                               "1.0.0.1:0", NULL });
	NEXT(&s, "connect 0 1.0.0.1:80");
	dial_on_connect_failed(&s.dial, s.now, 0, ECONNREFUSED);
	next_fails(&s, TARGET_REFUSED);

	/* A reload between two attempts counts. */
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	resolved(&s, (const char *[]){ "1.0.0.1:0", "1.0.0.2:0", NULL });
	NEXT(&s, "connect 0 1.0.0.1:80");
	allow(&s, (const char *[]){ NULL });
	dial_on_connect_failed(&s.dial, s.now, 0, ETIMEDOUT);
	next_fails(&s, TARGET_TIMEOUT);
}

static void what_is_hopeless_is_not_looked_up(void **state)
{
	struct story s;

	(void)state;
	begin(&s, "a.example:80");
	allow(&s, (const char *[]){ "b.example:80", "10.0.0.0/8:81", NULL });
	next_fails(&s, TARGET_POLICY);
	begin(&s, "127.0.0.2:80");
	next_fails(&s, TARGET_POLICY);
}

static void localhost_needs_no_resolver(void **state)
{
	static const char *const names[] = { "localhost:80", "a.localhost:80" };
	struct story s;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		begin(&s, names[i]);
		NEXT(&s, "connect 0 [::1]:80");
		dial_on_connect_failed(&s.dial, s.now, 0, ECONNREFUSED);
		NEXT(&s, "connect 1 127.0.0.1:80");
	}
	begin(&s, "xlocalhost:80");
	NEXT(&s, "resolve xlocalhost");
}

static void the_form_that_was_judged_is_dialled(void **state)
{
	struct story s;

	(void)state;
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	resolved(&s, (const char *[]){ "[::ffff:1.0.0.1]:0", "[64:ff9b::1.0.0.2]:0",
	                               "[64:ff9b:1::1.0.0.3]:0", "[2002:100:4::]:0", "1.0.0.1:0",
	                               NULL });
	NEXT(&s, "connect 0 [64:ff9b::100:2]:80"); /* DNS64: as resolved */
	s.now += CV_MS(250);
	NEXT(&s, "connect 1 1.0.0.1:80");
	s.now += CV_MS(250);
	NEXT(&s, "connect 2 1.0.0.3:80");
	s.now += CV_MS(250);
	NEXT(&s, "connect 3 1.0.0.4:80");
}

static void lookups_fail(void **state)
{
	static const struct {
		enum dial_resolve_error why;
		enum target_code code;
	} rows[] = {
		{ DIAL_RESOLVE_NOT_FOUND, TARGET_NAME_NOT_RESOLVED },
		{ DIAL_RESOLVE_TIMEOUT, TARGET_RESOLVER_TIMEOUT },
		{ DIAL_RESOLVE_LIMIT, TARGET_LIMIT },
	};
	struct story s;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		begin(&s, "a.example:80");
		NEXT(&s, "resolve a.example");
		dial_on_resolve_failed(&s.dial, s.now, rows[i].why);
		next_fails(&s, rows[i].code);
	}
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	resolved(&s, (const char *[]){ NULL });
	next_fails(&s, TARGET_NAME_NOT_RESOLVED);

	/* Nobody answers; the late answer changes nothing. */
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	wait_for_deadline(&s, START + CV_SEC(5));
	NEXT(&s, "cancel lookup");
	resolved(&s, (const char *[]){ "1.0.0.1:0", NULL });
	dial_on_resolve_failed(&s.dial, s.now, DIAL_RESOLVE_NOT_FOUND);
	next_fails(&s, TARGET_RESOLVER_TIMEOUT);

	/* A late lookup leaves only the rest of the ten seconds. */
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	s.now += CV_MS(4900);
	resolved(&s, (const char *[]){ "1.0.0.1:0", NULL });
	NEXT(&s, "connect 0 1.0.0.1:80");
	wait_for_deadline(&s, START + CV_SEC(10));
	NEXT(&s, "cancel 0");
	next_fails(&s, TARGET_TIMEOUT);
}

static void the_most_telling_failure_is_reported(void **state)
{
	static const struct {
		int errors[3]; /* 0: hangs until the end */
		enum target_code code;
	} rows[] = {
		{ { ECONNREFUSED, ETIMEDOUT, ENETUNREACH }, TARGET_REFUSED },
		{ { ETIMEDOUT, EHOSTUNREACH, ECONNREFUSED }, TARGET_REFUSED },
		{ { ENETUNREACH, EHOSTUNREACH, ETIMEDOUT }, TARGET_HOST_UNREACHABLE },
		{ { ENETUNREACH, ETIMEDOUT, ENETUNREACH }, TARGET_TIMEOUT },
		{ { ENETUNREACH, ENETUNREACH, EACCES }, TARGET_NET_UNREACHABLE },
		{ { EACCES, EMFILE, EIO }, TARGET_POLICY },
		{ { EIO, EMFILE, EIO }, TARGET_LIMIT },
		{ { EIO, EIO, EIO }, TARGET_INTERNAL },
		{ { ENETUNREACH, 0, ENETUNREACH }, TARGET_TIMEOUT },
		{ { 0, ECONNREFUSED, 0 }, TARGET_REFUSED },
		{ { 0, 0, EHOSTUNREACH }, TARGET_HOST_UNREACHABLE },
	};
	struct story s;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		begin(&s, "a.example:80");
		NEXT(&s, "resolve a.example");
		resolved(&s, (const char *[]){ "1.0.0.1:0", "1.0.0.2:0", "1.0.0.3:0", NULL });
		for (unsigned k = 0; k < 3; k++) {
			assert_non_null(strstr(next(&s), "connect "));
			s.now += CV_MS(250);
			if (rows[i].errors[k])
				dial_on_connect_failed(&s.dial, s.now, k, rows[i].errors[k]);
		}
		if (strcmp(next(&s), "") == 0) {
			wait_for_deadline(&s, START + CV_SEC(10));
			(void)next(&s);
			while (strncmp(s.text, "cancel ", 7) == 0)
				(void)next(&s);
		}
		print_message("%zu: %s\n", i, s.text);
		assert_int_equal(s.dial.code, rows[i].code);
		assert_int_equal(strncmp(s.text, "fail ", 5), 0);
		NEXT(&s, "");
	}
}

static void a_client_may_go_away_any_time(void **state)
{
	struct story s;

	(void)state;
	begin(&s, "a.example:80");
	dial_cancel(&s.dial);
	NEXT(&s, "");
	assert_true(dial_is_over(&s.dial));

	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	dial_cancel(&s.dial);
	assert_false(dial_is_over(&s.dial));
	NEXT(&s, "cancel lookup");
	NEXT(&s, "");
	assert_true(dial_is_over(&s.dial));

	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	resolved(&s, (const char *[]){ "1.0.0.1:0", "1.0.0.2:0", NULL });
	NEXT(&s, "connect 0 1.0.0.1:80");
	s.now += CV_MS(250);
	NEXT(&s, "connect 1 1.0.0.2:80");
	dial_cancel(&s.dial);
	dial_cancel(&s.dial);
	NEXT(&s, "cancel 0");
	NEXT(&s, "cancel 1");
	NEXT(&s, "");
	assert_true(dial_is_over(&s.dial));
}

static void one_family_does_not_crowd_out_the_other(void **state)
{
	struct addr addrs[40];
	struct story s;

	(void)state;
	for (unsigned i = 0; i < 39; i++)
		addrs[i] = (struct addr){ .family = ADDR_V6, .ip = { 0x20, 1, [15] = (uint8_t)i } };
	addrs[39] = addr_v4(1, 0, 0, 1, 0);
	begin(&s, "a.example:80");
	NEXT(&s, "resolve a.example");
	dial_on_resolved(&s.dial, s.now, addrs, 40);
	NEXT(&s, "connect 0 [2001::]:80");
	s.now += CV_MS(250);
	NEXT(&s, "connect 1 1.0.0.1:80");
}

/* What a random story has running, as its shell would know it. */
struct world {
	bool is_looking_up;
	bool is_running[DIAL_ATTEMPTS_MAX];
	unsigned connect_count, outcome_count;
};

static void pull(struct story *s, struct world *w)
{
	struct dial_action a;

	while (dial_next_action(&s->dial, s->now, &s->acl, &a)) {
		assert_true(dial_check(&s->dial));
		assert_int_equal(w->outcome_count, 0);
		switch (a.kind) {
		case DIAL_RESOLVE:
			w->is_looking_up = true;
			break;
		case DIAL_CANCEL_RESOLVE:
			assert_true(w->is_looking_up);
			w->is_looking_up = false;
			break;
		case DIAL_CONNECT:
			assert_int_equal(a.index, w->connect_count++);
			assert_int_equal(acl_check_dial(&s->acl, NULL, &a.addr, false), ACL_ALLOW);
			w->is_running[a.index] = true;
			break;
		case DIAL_CANCEL:
			assert_true(w->is_running[a.index]);
			w->is_running[a.index] = false;
			break;
		case DIAL_DONE:
		case DIAL_FAIL:
			w->outcome_count++;
			break;
		case DIAL_CONNECT_UNIX:
		case DIAL_NONE:
			fail();
		}
	}
	assert_true(dial_check(&s->dial));
	assert_int_equal(dial_is_over(&s->dial), w->outcome_count == 1);
}

static void random_event(struct story *s, struct world *w, const struct rng *rng)
{
	static const int errors[] = { ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EMFILE, EIO };
	unsigned index = (unsigned)rng_below(rng, DIAL_ATTEMPTS_MAX);
	struct addr addrs[20];
	size_t count = rng_below(rng, 20);

	switch (rng_below(rng, 8)) {
	case 0:
		for (size_t i = 0; i < count; i++)
			addrs[i] = addr_v4(rng_below(rng, 2) ? 127 : 1, 0, 0,
			                   (uint8_t)rng_below(rng, 9), 0);
		if (w->is_looking_up)
			dial_on_resolved(&s->dial, s->now, addrs, count);
		w->is_looking_up = false;
		return;
	case 1:
		if (w->is_looking_up && rng_below(rng, 8) == 0) {
			w->is_looking_up = false;
			dial_on_resolve_failed(&s->dial, s->now, DIAL_RESOLVE_NOT_FOUND);
		}
		return;
	case 2:
		if (w->is_running[index]) {
			dial_on_connected(&s->dial, s->now, index);
			w->is_running[index] = false;
		}
		return;
	case 3:
	case 4:
		if (w->is_running[index]) {
			w->is_running[index] = false;
			dial_on_connect_failed(&s->dial, s->now, index,
			                       errors[rng_below(rng, CV_ARRAY_SIZE(errors))]);
		}
		return;
	default:
		s->now += rng_below(rng, CV_MS(800));
		dial_on_deadline(&s->dial, s->now);
		return;
	}
}

static void random_stories_end(void **state)
{
	struct rng_seeded seeded;
	struct rng rng;
	struct story s;
	struct world w;

	(void)state;
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < 10000; i++) {
		memset(&w, 0, sizeof(w));
		begin(&s, "a.example:80");
		allow(&s, (const char *[]){ "*:80", NULL });
		pull(&s, &w);
		while (!dial_is_over(&s.dial)) {
			random_event(&s, &w, &rng);
			pull(&s, &w);
			assert_true(s.now < START + CV_SEC(11));
		}
		assert_false(w.is_looking_up);
		for (unsigned k = 0; k < DIAL_ATTEMPTS_MAX; k++)
			assert_false(w.is_running[k]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_dialled_at_once),
		cmocka_unit_test(a_unix_socket_is_dialled_at_once),
		cmocka_unit_test(families_take_turns),
		cmocka_unit_test(a_failure_starts_the_next_at_once),
		cmocka_unit_test(the_first_to_connect_wins),
		cmocka_unit_test(every_address_is_judged_just_before),
		cmocka_unit_test(what_is_hopeless_is_not_looked_up),
		cmocka_unit_test(localhost_needs_no_resolver),
		cmocka_unit_test(the_form_that_was_judged_is_dialled),
		cmocka_unit_test(lookups_fail),
		cmocka_unit_test(the_most_telling_failure_is_reported),
		cmocka_unit_test(a_client_may_go_away_any_time),
		cmocka_unit_test(one_family_does_not_crowd_out_the_other),
		cmocka_unit_test(random_stories_end),
	};

	return cmocka_run_group_tests_name("dial", tests, NULL, NULL);
}
