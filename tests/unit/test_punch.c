/* SPDX-License-Identifier: MIT */

/*
 * Goal: each plan is carried out as PROTOCOL.md says, within its budget, to an end; what a peer
 * asks for costs no more than it may, and goes nowhere else; and no socket is left open that no
 * path has. Method: punch_world, which plays all that is around it and keeps the budgets; and peers
 * that ask for anything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/punch_words.h"

/* ---- we lead ---- */

static void row_is_told_and_probed(void **state)
{
	struct wire_punch said = { 0 };
	cv_time begin;

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_easy());
	begin = w.now;
	world_run(&w, CV_MS(100));
	assert_int_equal(w.open, 5);
	assert_int_equal(w.requests, 1);
	assert_non_null(w.s->punch_doing);
	/* The sample's port is the first: the row is what follows. */
	assert_true(world_said(&w, &said));
	assert_int_equal(said.kind, PUNCH_ROW);
	assert_int_equal(said.address.port, WORLD_FIRST_PORT + 1);
	assert_int_equal(said.step, 1);
	assert_int_equal(said.count, 16);
	assert_true(addr_equal_ip(&said.address, &w.outside));
	assert_int_equal(w.probe_count, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(addr_equal(&probe(i)->to, &w.peer));
		assert_int_equal(probe(i)->socket, SOCKET_EXTRA + 1 + i);
		/* In the row that was told. */
		assert_int_equal(w.seen[probe(i)->socket], WORLD_FIRST_PORT + 1 + i);
	}
	/* Four rounds, with new sockets, then nothing. */
	world_run(&w, CV_SEC(9));
	assert_int_equal(w.opened, 4 * 5);
	assert_true(world_said(&w, &said));
	assert_int_equal(said.count, 128);
	is_over();
	assert_int_equal(w.s->punches_failed, 1);
	assert_int_equal(w.e->punch.stats.attempts, 1);
	assert_true(w.s->punch_at >= begin + CV_SEC(28) && w.s->punch_at <= begin + CV_SEC(30));
	/* Again after 20 s, then 40. */
	world_run(&w, CV_SEC(30));
	assert_int_equal(w.e->punch.stats.attempts, 2);
	assert_int_equal(w.s->punches_failed, 2);
	assert_true(w.s->punch_at > w.now + CV_SEC(30));
	world_deinit(&w);
}

/* Where ports are preserved the socket's own port is the row's first, and no server is asked. */
static void preserved_ports_need_no_sample(void **state)
{
	struct wire_punch said = { 0 };

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_PRESERVED), world_easy());
	world_run(&w, CV_MS(100));
	assert_int_equal(w.open, 4);
	assert_int_equal(w.requests, 0);
	assert_true(world_said(&w, &said));
	assert_int_equal(said.address.port, w.port[SOCKET_EXTRA]);
	assert_int_equal(said.step, 1);
	assert_int_equal(w.probe_count, 4);
	assert_int_equal(probe(0)->socket, SOCKET_EXTRA);
	world_deinit(&w);
}

/* A server that does not answer: nothing is told, and it ends. */
static void no_sample_no_row(void **state)
{
	struct wire_punch said = { 0 };

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_easy());
	w.is_mute = true;
	world_run(&w, CV_SEC(10));
	assert_false(world_said(&w, &said));
	is_over();
	/* Nor is there anybody to ask. */
	world_deinit(&w);
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_easy());
	w.e->discovery.servers[0].is_up = false;
	world_run(&w, CV_SEC(1));
	is_over();
	assert_int_equal(w.probe_count, 0);
	world_deinit(&w);
}

static void range_is_told_and_spent(void **state)
{
	struct nat_profile mine = world_hard(NAT_PORTS_RANDOM);
	struct wire_punch said = { 0 };

	(void)state;
	meet(LARGER, mine, world_easy());
	world_run(&w, CV_MS(100));
	assert_int_equal(w.open, 256);
	assert_true(world_said(&w, &said));
	assert_int_equal(said.kind, PUNCH_RANGE);
	assert_int_equal(said.address.port, NAT_PORT_MIN);
	assert_int_equal(said.port_high, UINT16_MAX);
	world_run(&w, CV_SEC(12));
	is_over();
	assert_true(w.probe_count > 700 && w.probe_count <= PUNCH_PACKETS_DEFAULT);
	/* Each socket's turn comes. */
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(probe(i)->socket, SOCKET_EXTRA + i);
	/* Not again before routers have forgotten it, as the user is told. */
	assert_true(w.s->range_at > w.now && w.s->punch_at >= w.s->range_at);
	world_run(&w, CV_SEC(70));
	assert_int_equal(w.e->punch.stats.attempts, 1);
	world_run(&w, CV_SEC(30));
	assert_int_equal(w.e->punch.stats.attempts, 2);
	world_deinit(&w);
	/* A carrier's block: as few sockets as it takes. */
	mine.port_low = 8192;
	mine.port_high = 8192 + 511;
	meet(LARGER, mine, world_easy());
	world_run(&w, CV_MS(100));
	assert_int_equal(w.open, 8);
	assert_true(world_said(&w, &said));
	assert_int_equal(said.address.port, 8192);
	assert_int_equal(said.port_high, 8192 + 511);
	world_deinit(&w);
}

static void pair_meets_port_by_port(void **state)
{
	struct wire_punch said = { 0 }, answer = asks(PUNCH_ANSWER, 0);

	(void)state;
	meet(SMALLER, world_hard(NAT_PORTS_REGULAR), world_hard(NAT_PORTS_REGULAR));
	world_run(&w, CV_MS(100));
	assert_int_equal(w.open, 2);
	assert_true(world_said(&w, &said));
	assert_int_equal(said.kind, PUNCH_ASK);
	assert_int_equal(said.shift, 0);
	assert_int_equal(said.address.port, WORLD_FIRST_PORT + 1);
	assert_int_equal(w.probe_count, 0);
	/* Of another round, and then the right one. */
	answer.round = (uint16_t)(said.round + 1);
	world_says_punch(&w, &answer);
	world_run(&w, CV_MS(100));
	assert_int_equal(w.probe_count, 0);
	answer.round = said.round;
	world_says_punch(&w, &answer);
	world_run(&w, CV_MS(100));
	assert_int_equal(w.probe_count, 8);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(probe(i)->to.port, 20000 + i);
		assert_int_equal(probe(i)->socket, SOCKET_EXTRA + 1);
	}
	/* Nobody answers any more: the shift grows, and it ends. */
	world_run(&w, CV_SEC(6));
	assert_true(world_said(&w, &said));
	assert_int_equal(said.shift, 2);
	world_run(&w, CV_SEC(4));
	is_over();
	world_deinit(&w);
}

static void easy_and_hopeless_pairs_do_nothing(void **state)
{
	static const struct {
		enum nat_ports mine, theirs; /* UNKNOWN: easy */
	} rows[] = {
		{ NAT_PORTS_UNKNOWN, NAT_PORTS_UNKNOWN }, { NAT_PORTS_UNKNOWN, NAT_PORTS_REGULAR },
		{ NAT_PORTS_UNKNOWN, NAT_PORTS_RANDOM },  { NAT_PORTS_RANDOM, NAT_PORTS_REGULAR },
		{ NAT_PORTS_REGULAR, NAT_PORTS_RANDOM },  { NAT_PORTS_RANDOM, NAT_PORTS_RANDOM },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		meet(SMALLER, rows[i].mine ? world_hard(rows[i].mine) : world_easy(),
		     rows[i].theirs ? world_hard(rows[i].theirs) : world_easy());
		world_run(&w, CV_SEC(30));
		assert_int_equal(w.probe_count + w.opened, 0);
		world_deinit(&w);
	}
	/* The larger key of two hard ones waits to be asked. */
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_hard(NAT_PORTS_REGULAR));
	world_run(&w, CV_SEC(30));
	assert_int_equal(w.probe_count + w.opened, 0);
	world_deinit(&w);
}

/* ---- ends ---- */

/* A gateway says that it forwards a port. That is believed until the probes to what the peer
 * announced have failed, as they do where it forwards nothing and gives each its own port. */
static void a_mapping_that_does_not_help(void **state)
{
	struct nat_profile mine = world_hard(NAT_PORTS_REGULAR);
	const struct origin o = { .addr = addr_v4(203, 0, 113, 9, 28583) };
	struct path *path;

	(void)state;
	mine.has_mapped = true;
	meet(LARGER, mine, world_easy());
	path = &w.s->paths.list[paths_add(&w.s->paths, w.now, &o)];
	path->is_candidate = true;
	world_run(&w, CV_SEC(5));
	is_over();
	assert_int_equal(w.e->punch.stats.attempts, 0);
	path_fail(path, w.now);
	world_run(&w, CV_MS(100));
	assert_int_equal(role_now(), PUNCH_LEAD_ROW);
	/* Until something happens. */
	path_check_now(path, w.now);
	world_run(&w, CV_MS(100));
	is_over();
	world_deinit(&w);
}

static void first_hole_ends_it(void **state)
{
	struct path *path;
	uint64_t before;

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_RANDOM), world_easy());
	world_run(&w, CV_SEC(1));
	assert_int_equal(w.open, 256);
	/* Heard: no more holes before it is known whether this is one. */
	before = w.probe_count;
	path = world_hear(&w, w.s, SOCKET_EXTRA + 100);
	assert_non_null(path);
	(void)world_hear(&w, w.s, SOCKET_EXTRA + 101);
	world_run(&w, CV_SEC(1));
	assert_int_equal(w.probe_count, before);
	world_choose(w.s, path);
	world_run(&w, CV_MS(300));
	assert_null(world_attempt(&w));
	assert_int_equal(w.e->punch.stats.succeeded, 1);
	assert_int_equal(w.s->punches_failed, 0);
	assert_int_equal(w.open, 1);
	assert_true(w.is_open[SOCKET_EXTRA + 100]);
	/* The other one went with its socket. */
	for (unsigned i = 0; i < PATHS_MAX; i++)
		assert_true(w.s->paths.list[i].state == PATH_FREE ||
		            w.s->paths.list[i].to.is_relay || &w.s->paths.list[i] == path);
	/* It stays as long as it has a path. */
	world_run(&w, CV_SEC(60));
	assert_int_equal(w.open, 1);
	world_choose(w.s, NULL);
	world_run(&w, CV_SEC(11));
	assert_int_equal(w.open, 1);
	paths_remove(&w.s->paths, (uint8_t)(path - w.s->paths.list));
	w.s->punch_at = CV_TIME_NEVER;
	world_run(&w, CV_SEC(11));
	is_over();
	world_deinit(&w);
}

/* A peer whose packets come and whose path never is one holds nothing for ever. */
static void what_is_heard_has_to_become_a_path(void **state)
{
	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_RANDOM), world_easy());
	world_run(&w, CV_SEC(1));
	for (unsigned i = 0; i < 30 * 2; i++) {
		(void)world_hear(&w, w.s, SOCKET_EXTRA + 7);
		world_run(&w, CV_MS(500));
	}
	assert_null(world_attempt(&w));
	assert_int_equal(w.open, 0);
	world_deinit(&w);
}

static void whoever_is_there_ends_with_it(void **state)
{
	static const char *const why[] = { "policy", "object gone", "closing" };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(why); i++) {
		meet(LARGER, world_hard(NAT_PORTS_RANDOM), world_easy());
		world_run(&w, CV_MS(500));
		assert_int_equal(w.open, 256);
		if (i == 0)
			w.s->paths.is_relay_only = true;
		else if (i == 1)
			w.s->assoc.is_bound = false;
		else
			endpoint_close(w.e, w.now);
		world_run(&w, CV_MS(1));
		is_over();
		world_run(&w, CV_SEC(100));
		assert_int_equal(w.open, 0);
		w.s->assoc.is_bound = true;
		world_deinit(&w);
	}
}

/* What changes the plan is acted upon at once, but not for ever. */
static void plans_are_overtaken(void **state)
{
	struct nat_profile theirs = world_easy();

	(void)state;
	meet(SMALLER, world_hard(NAT_PORTS_REGULAR), world_easy());
	world_run(&w, CV_MS(100));
	assert_int_equal(role_now(), PUNCH_LEAD_ROW);
	theirs = world_hard(NAT_PORTS_REGULAR);
	world_says_nat(&w, &theirs);
	world_run(&w, CV_MS(100));
	assert_int_equal(role_now(), PUNCH_LEAD_PAIR);
	assert_int_equal(w.open, 2);
	/* Back and forth: the attempt goes on. */
	for (unsigned i = 0; i < 40; i++) {
		theirs = i % 2 ? world_hard(NAT_PORTS_REGULAR) : world_easy();
		theirs.step = (int16_t)(1 + i); /* news each time */
		world_says_nat(&w, &theirs);
		world_run(&w, CV_MS(50));
	}
	assert_true(w.e->punch.stats.attempts <= 3);
	world_deinit(&w);
}

static void nothing_without_an_address(void **state)
{
	struct nat_profile mine = world_hard(NAT_PORTS_RANDOM);

	(void)state;
	mine.address = (struct addr){ 0 };
	meet(LARGER, mine, world_easy());
	world_run(&w, CV_SEC(30));
	assert_int_equal(w.opened, 0);
	world_deinit(&w);
	/* Nor to one that must not be probed. */
	meet(LARGER, world_hard(NAT_PORTS_RANDOM), world_easy());
	w.s->punch.peer.address = addr_v4(127, 0, 0, 1, 7000);
	world_run(&w, CV_SEC(30));
	assert_int_equal(w.opened, 0);
	world_deinit(&w);
}

/* ---- we help ---- */

static void row_is_sprayed_twice(void **state)
{
	struct wire_punch row;

	(void)state;
	meet(SMALLER, world_easy(), world_hard(NAT_PORTS_REGULAR));
	row = asks(PUNCH_ROW, 1);
	row.address.port = 65533;
	world_says_punch(&w, &row);
	world_run(&w, CV_MS(100));
	world_says_punch(&w, &row); /* told again: the same round */
	world_run(&w, CV_SEC(5));
	assert_int_equal(w.probe_count, 16);
	for (unsigned i = 0; i < 16; i++) {
		unsigned port = 65533 + i % 8;

		assert_int_equal(probe(i)->to.port, port > 65535 ? port - 64512 : port);
		assert_int_equal(probe(i)->socket, SOCKET_MAIN);
	}
	is_over();
	assert_int_equal(w.e->punch.stats.attempts, 0); /* it is the peer's */
	world_deinit(&w);
}

static void range_is_sprayed_once(void **state)
{
	static bool seen[65536];
	struct wire_punch range;

	(void)state;
	meet(SMALLER, world_easy(), world_hard(NAT_PORTS_RANDOM));
	range = asks(PUNCH_RANGE, 1);
	range.port_high = 20000 + 299;
	world_says_punch(&w, &range);
	world_run(&w, CV_SEC(20));
	assert_int_equal(w.probe_count, 300);
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < 300; i++) {
		uint16_t port = probe(i)->to.port;

		assert_true(port >= 20000 && port <= 20299 && !seen[port]);
		seen[port] = true;
	}
	is_over();
	/* All ports: as many as the budget has; none below 1024. */
	range = asks(PUNCH_RANGE, 2);
	range.address.port = 1;
	range.port_high = UINT16_MAX;
	world_run(&w, CV_SEC(30));
	world_says_punch(&w, &range);
	world_run(&w, CV_SEC(40));
	assert_int_equal(w.probe_count, 300 + PUNCH_PACKETS_DEFAULT);
	is_over();
	world_deinit(&w);
}

static void pair_is_answered(void **state)
{
	struct wire_punch said = { 0 }, ask;

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_hard(NAT_PORTS_REGULAR));
	ask = asks(PUNCH_ASK, 3);
	ask.shift = 2;
	world_says_punch(&w, &ask);
	world_run(&w, CV_MS(200));
	assert_int_equal(w.open, 2);
	assert_true(world_said(&w, &said));
	assert_int_equal(said.kind, PUNCH_ANSWER);
	assert_int_equal(said.round, 3);
	assert_int_equal(said.address.port, WORLD_FIRST_PORT + 1);
	assert_int_equal(w.probe_count, 8);
	/* Ours may have moved on by two, its author believes. */
	assert_int_equal(probe(0)->to.port, 20002);
	assert_int_equal(probe(0)->socket, SOCKET_EXTRA + 1);
	world_run(&w, CV_SEC(5));
	is_over();
	world_deinit(&w);
	/* Preserved: no sample. */
	meet(LARGER, world_hard(NAT_PORTS_PRESERVED), world_hard(NAT_PORTS_REGULAR));
	world_says_punch(&w, &ask);
	world_run(&w, CV_MS(100));
	assert_int_equal(w.open, 1);
	assert_int_equal(w.requests, 0);
	assert_true(world_said(&w, &said));
	assert_int_equal(said.address.port, w.port[SOCKET_EXTRA]);
	world_deinit(&w);
}

/* Ports that were preserved are not any more, while an attempt runs: its sockets are what they were
 * when it began. */
static void knowledge_changes_in_mid_round(void **state)
{
	struct nat_profile later = world_hard(NAT_PORTS_REGULAR);
	struct wire_punch said = { 0 };

	(void)state;
	meet(SMALLER, world_hard(NAT_PORTS_PRESERVED), world_hard(NAT_PORTS_REGULAR));
	/* At the last number there is. */
	(void)extras_take(&w.e->extras, SOCKETS_EXTRA_MAX - 1);
	world_run(&w, CV_MS(50));
	assert_true(world_said(&w, &said));
	assert_int_equal(said.kind, PUNCH_ASK);
	w.e->core.nat = later;
	w.e->core.nat_version++;
	said.kind = PUNCH_ANSWER;
	said.address = w.peer;
	world_says_punch(&w, &said);
	world_run(&w, CV_MS(100));
	assert_int_equal(w.probe_count, 8);
	assert_int_equal(probe(0)->socket, SOCKET_EXTRA + SOCKETS_EXTRA_MAX - 1);
	world_deinit(&w);
}

static void larger_key_gives_way(void **state)
{
	struct wire_punch row;

	(void)state;
	for (unsigned side = SMALLER; side <= LARGER; side++) {
		meet(side, world_hard(NAT_PORTS_REGULAR), world_easy());
		world_run(&w, CV_MS(100));
		row = asks(PUNCH_ROW, 1);
		world_says_punch(&w, &row);
		assert_int_equal(role_now(), side == LARGER ? PUNCH_HELP_SPRAY : PUNCH_LEAD_ROW);
		assert_int_equal(w.s->punches_failed, 0);
		world_run(&w, CV_SEC(1));
		assert_int_equal(role_now(), side == LARGER ? PUNCH_HELP_SPRAY : PUNCH_LEAD_ROW);
		world_deinit(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(row_is_told_and_probed),
		cmocka_unit_test(preserved_ports_need_no_sample),
		cmocka_unit_test(no_sample_no_row),
		cmocka_unit_test(range_is_told_and_spent),
		cmocka_unit_test(pair_meets_port_by_port),
		cmocka_unit_test(easy_and_hopeless_pairs_do_nothing),
		cmocka_unit_test(a_mapping_that_does_not_help),
		cmocka_unit_test(first_hole_ends_it),
		cmocka_unit_test(what_is_heard_has_to_become_a_path),
		cmocka_unit_test(whoever_is_there_ends_with_it),
		cmocka_unit_test(plans_are_overtaken),
		cmocka_unit_test(nothing_without_an_address),
		cmocka_unit_test(row_is_sprayed_twice),
		cmocka_unit_test(range_is_sprayed_once),
		cmocka_unit_test(pair_is_answered),
		cmocka_unit_test(knowledge_changes_in_mid_round),
		cmocka_unit_test(larger_key_gives_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
