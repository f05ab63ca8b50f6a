/* SPDX-License-Identifier: MIT */

/*
 * Goal: our addresses without the loopback's, and one word about a burst of changes.
 * Method: the list as it is; then a network namespace of our own, where the loopback goes
 * up and down as we like. Skipped where namespaces are forbidden. Signals, the other thing
 * that comes from outside, are tried here too.
 */
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

#include "net/fds.h"
#include "net/interfaces.h"
#include "net/signals.h"
#include "test_net_loop.h"

struct told {
	unsigned changes, closed, stops, reloads;
};

static void on_change(void *ctx)
{
	struct told *told = ctx;

	told->changes++;
}

static void on_closed(void *ctx)
{
	struct told *told = ctx;

	told->closed++;
}

static void on_stop(void *ctx)
{
	struct told *told = ctx;

	told->stops++;
}

static void on_reload(void *ctx)
{
	struct told *told = ctx;

	told->reloads++;
}

static void the_list_is_of_others(void **state)
{
	struct addr list[INTERFACES_MAX];
	unsigned count = interfaces_list(list, INTERFACES_MAX);

	(void)state;
	assert_in_range(count, 0, INTERFACES_MAX);
	for (unsigned i = 0; i < count; i++) {
		assert_true(list[i].family == ADDR_V4 || list[i].family == ADDR_V6);
		assert_int_equal(list[i].port, 0);
		assert_true(addr_class(&list[i]) != ADDR_CLASS_LOOPBACK);
	}
	if (count > 1)
		assert_int_equal(interfaces_list(list, 1), 1);
	assert_int_equal(interfaces_list(list, 0), 0);
}

static void signals_become_calls(void **state)
{
	const struct signals_events events = { .on_stop = on_stop, .on_reload = on_reload };
	struct told told = { .changes = 0 };
	struct signals *s;
	struct test_loop t;
	int fds[2];

	(void)state;
	test_loop_open(&t);
	assert_int_equal(signals_open(&t.loop, &events, &told, &s), 0);
	assert_int_equal(raise(SIGHUP), 0);
	RUN_UNTIL(&t, told.reloads == 1);
	assert_int_equal(raise(SIGTERM), 0);
	RUN_UNTIL(&t, told.stops == 1);
	assert_int_equal(raise(SIGINT), 0);
	RUN_UNTIL(&t, told.stops == 2);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(close(fds[0]), 0);
	assert_int_equal(write(fds[1], "x", 1), -1); /* and we live */
	assert_int_equal(errno, EPIPE);
	assert_int_equal(close(fds[1]), 0);
	signals_close(s, on_closed, &told);
	RUN_UNTIL(&t, told.closed == 1);
	test_loop_close(&t);
}

#ifdef __linux__

static void loopback_goes(bool is_up)
{
	int fd = fds_socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	memcpy(request.ifr_name, "lo", 3);
	request.ifr_flags = is_up ? IFF_UP : 0;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	fds_close(&fd);
}

static void changes_are_told_once(void **state)
{
	struct told told = { .changes = 0 };
	struct interfaces *i;
	struct test_loop t;
	cv_time begin;

	(void)state;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		skip();
	test_loop_open(&t);
	assert_int_equal(interfaces_open(&t.loop, on_change, &told, &i), 0);
	begin = clock_now();
	for (int n = 0; n < 5; n++) {
		loopback_goes(true);
		loopback_goes(false);
		test_loop_turn(&t);
	}
	RUN_UNTIL(&t, told.changes > 0);
	/* The debounce begins with the first message; libuv's idea of now may be a turn old. */
	assert_true(clock_now() - begin >= CV_MS(150));
	assert_int_equal(told.changes, 1);
	loopback_goes(true);
	RUN_UNTIL(&t, told.changes == 2);
	interfaces_close(i, on_closed, &told);
	RUN_UNTIL(&t, told.closed == 1);
	test_loop_close(&t);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_list_is_of_others), cmocka_unit_test(signals_become_calls),
#ifdef __linux__
		cmocka_unit_test(changes_are_told_once), /* last: it leaves the network */
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
