/* SPDX-License-Identifier: MIT */

/*
 * Goal: a line comes out whole, in either form, and a reader who stalls costs lines, never
 * time. Method: a pipe that nobody reads, filled to the brim. The entropy that shares no
 * state with it is looked at here too: no byte comes twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "net/entropy.h"
#include "net/logsink.h"

struct pipe_ends {
	int rx, tx;
};

static struct pipe_ends open_pipe(void)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	return (struct pipe_ends){ .rx = fds[0], .tx = fds[1] };
}

static void read_text(int fd, char *out, size_t cap)
{
	ssize_t n = read(fd, out, cap - 1);

	assert_true(n > 0);
	out[n] = 0;
}

static void text_and_json(void **state)
{
	struct pipe_ends p = open_pipe();
	struct logsink s;
	char out[256];

	(void)state;
	logsink_init(&s, p.tx, false);
	logsink_write(&s, LOG_INFO, "ready port=1");
	read_text(p.rx, out, sizeof(out));
	assert_int_equal(out[10], 'T');
	assert_string_equal(out + strlen("2026-01-01T00:00:00.000"), "Z info ready port=1\n");
	logsink_init(&s, p.tx, true);
	logsink_write(&s, LOG_WARN, "why=\"a\\b\"");
	read_text(p.rx, out, sizeof(out));
	assert_non_null(strstr(out, "\"level\":\"warn\",\"message\":\"why=\\\"a\\\\b\\\"\"}\n"));
	(void)close(p.rx);
	(void)close(p.tx);
}

static void a_full_pipe_drops_and_counts(void **state)
{
	struct pipe_ends p = open_pipe();
	static char out[70000];
	char line[1000];
	struct logsink s;
	uint64_t dropped;

	(void)state;
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = 0;
	logsink_init(&s, p.tx, false);
	for (int i = 0; i < 200; i++)
		logsink_write(&s, LOG_INFO, line);
	dropped = s.dropped;
	assert_in_range(dropped, 100, 199);
	assert_int_equal(s.dropped_in_all, dropped);
	while (read(p.rx, out, sizeof(out)) > 0)
		;
	logsink_write(&s, LOG_INFO, "again");
	read_text(p.rx, out, sizeof(out));
	assert_non_null(strstr(out, "warn log lines dropped count="));
	assert_non_null(strstr(out, "info again\n"));
	assert_int_equal(s.dropped, 0);
	(void)close(p.rx);
	logsink_write(&s, LOG_INFO, "to nobody"); /* SIGPIPE is ignored by main() */
	assert_int_equal(s.dropped, 1);
	(void)close(p.tx);
}

static void entropy_gives_nothing_twice(void **state)
{
	struct entropy e;
	struct rng rng = entropy_rng(&e);
	uint64_t seen[512];
	uint8_t large[ENTROPY_BUFFER_SIZE + 1] = { 0 }, zero[16] = { 0 };

	(void)state;
	entropy_init(&e);
	for (size_t i = 0; i < 512; i++) {
		seen[i] = rng_u64(&rng);
		for (size_t j = 0; j < i; j++)
			assert_true(seen[i] != seen[j]);
	}
	rng_fill(&rng, large, sizeof(large));
	assert_true(memcmp(large + sizeof(large) - 16, zero, 16) != 0);
	for (size_t i = 0; i < sizeof(e.bytes) - e.left; i++)
		assert_int_equal(e.bytes[i], 0);
	entropy_deinit(&e);
	assert_int_equal(e.left, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_and_json),
		cmocka_unit_test(a_full_pipe_drops_and_counts),
		cmocka_unit_test(entropy_gives_nothing_twice),
	};

	if (sodium_init() < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
