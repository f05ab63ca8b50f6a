/* SPDX-License-Identifier: MIT */
#pragma once

/* A loop for tests: runs until a condition holds, and fails when it does not within 10 s. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <uv.h>

#include "net/clock.h"

struct test_loop {
	uv_loop_t loop;
	uv_timer_t tick; /* so that a wait for nothing ends */
	unsigned turns;
};

static void test_loop_on_tick(uv_timer_t *timer)
{
	(void)timer;
}

static inline void test_loop_open(struct test_loop *t)
{
	t->turns = 0;
	assert_int_equal(uv_loop_init(&t->loop), 0);
	assert_int_equal(uv_timer_init(&t->loop, &t->tick), 0);
	assert_int_equal(uv_timer_start(&t->tick, test_loop_on_tick, 10, 10), 0);
	uv_unref((uv_handle_t *)&t->tick);
}

/* Everything else must have been closed, or this fails: nothing leaks. */
static inline void test_loop_close(struct test_loop *t)
{
	cv_time until = clock_now() + CV_SEC(10);

	uv_close((uv_handle_t *)&t->tick, NULL);
	while (uv_run(&t->loop, UV_RUN_NOWAIT) && clock_now() < until)
		;
	assert_int_equal(uv_loop_close(&t->loop), 0);
}

static inline void test_loop_turn(struct test_loop *t)
{
	uv_ref((uv_handle_t *)&t->tick);
	(void)uv_run(&t->loop, UV_RUN_ONCE);
	uv_unref((uv_handle_t *)&t->tick);
	t->turns++;
}

#define RUN_UNTIL(t, condition)                                                                    \
	do {                                                                                       \
		cv_time run_until_at = clock_now() + CV_SEC(10);                                   \
		while (!(condition)) {                                                             \
			if (clock_now() > run_until_at)                                            \
				fail_msg("not within 10 s: %s", #condition);                       \
			test_loop_turn(t);                                                         \
		}                                                                                  \
	} while (0)
