/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * deadline - one timer that is exact to microseconds and counts sleep.
 *
 * Linux: a timerfd on CLOCK_BOOTTIME under uv_poll. Elsewhere libuv's timer, rounded up to
 * milliseconds, which goes off at least every 2 s so that sleep is noticed.
 */

#include <stdbool.h>
#include <uv.h>

#include "base/compiler.h"
#include "base/time.h"

/* Embedded by its owner; only deadline.c looks inside. */
struct deadline {
	union {
		uv_poll_t poll;
		uv_timer_t timer;
	} as;
	int fd;           /* timerfd, or -1 */
	cv_time armed_at; /* when the kernel will wake us; CV_TIME_NEVER: not */
	void (*on_due)(void *ctx);
	void (*on_closed)(void *ctx);
	void *ctx;
};

/* 0, or a negative errno and nothing to close. */
CV_NODISCARD int deadline_open(struct deadline *d, uv_loop_t *loop, void (*on_due)(void *ctx),
                               void *ctx);
/**
 * deadline_arm() - call back at @at or some time before it
 * A later instant than the one armed costs nothing: the timer goes off at the earlier one, and
 * the owner arms it again. CV_TIME_NEVER likewise. After it went off it is not armed.
 */
void deadline_arm(struct deadline *d, cv_time now, cv_time at);
/* @on_closed (with the ctx of deadline_open()) is when @d may go. */
void deadline_close(struct deadline *d, void (*on_closed)(void *ctx));
