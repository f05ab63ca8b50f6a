/* SPDX-License-Identifier: MIT */
#include "net/deadline.h"

#include <errno.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/timerfd.h>
#include <time.h>
#endif

#include "base/limits.h"
#include "net/fds.h"

static void on_closed(uv_handle_t *handle)
{
	struct deadline *d = handle->data;

	d->on_closed(d->ctx);
}

#ifdef __linux__

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct deadline *d = poll->data;
	uint64_t times;

	(void)status; /* a timerfd knows no errors */
	(void)events;
	/* Nothing to read: it was armed again since. It will go off again, then. */
	if (read(d->fd, &times, sizeof(times)) < 0)
		return;
	d->armed_at = CV_TIME_NEVER;
	d->on_due(d->ctx);
}

int deadline_open(struct deadline *d, uv_loop_t *loop, void (*on_due)(void *ctx), void *ctx)
{
	int r;

	*d = (struct deadline){ .armed_at = CV_TIME_NEVER, .on_due = on_due, .ctx = ctx };
	d->fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (d->fd < 0)
		return -errno;
	r = uv_poll_init(loop, &d->as.poll, d->fd);
	if (r < 0) {
		fds_close(&d->fd);
		return r;
	}
	d->as.poll.data = d;
	r = uv_poll_start(&d->as.poll, UV_READABLE, on_readable);
	CV_ASSERT(r == 0); /* fails only for a handle that is closing */
	return 0;
}

void deadline_arm(struct deadline *d, cv_time now, cv_time at)
{
	struct itimerspec spec = { .it_interval = { .tv_sec = 0 } };
	int r;

	(void)now;
	if (at >= d->armed_at)
		return;
	/* All zero would disarm; 1 ns after boot is as much in the past. */
	spec.it_value.tv_sec = (time_t)(at / CV_SEC(1));
	spec.it_value.tv_nsec = (long)(at % CV_SEC(1)) | 1;
	r = timerfd_settime(d->fd, TFD_TIMER_ABSTIME, &spec, NULL);
	CV_ASSERT(r == 0);
	d->armed_at = at;
}

void deadline_close(struct deadline *d, void (*closed)(void *ctx))
{
	d->on_closed = closed;
	uv_close((uv_handle_t *)&d->as.poll, on_closed);
	fds_close(&d->fd);
}

#else

static void on_timer(uv_timer_t *timer)
{
	struct deadline *d = timer->data;

	d->armed_at = CV_TIME_NEVER;
	d->on_due(d->ctx);
}

int deadline_open(struct deadline *d, uv_loop_t *loop, void (*on_due)(void *ctx), void *ctx)
{
	int r;

	*d = (struct deadline){ .fd = -1, .armed_at = CV_TIME_NEVER, .on_due = on_due, .ctx = ctx };
	r = uv_timer_init(loop, &d->as.timer);
	if (r < 0)
		return r;
	d->as.timer.data = d;
	return 0;
}

void deadline_arm(struct deadline *d, cv_time now, cv_time at)
{
	cv_duration wait;

	at = cv_time_min(at, cv_time_after(now, WAKE_UP_AFTER));
	if (at >= d->armed_at)
		return;
	wait = at > now ? at - now : 0;
	/* Rounded up, or it would go off before it is due. */
	(void)uv_timer_start(&d->as.timer, on_timer, (wait + CV_MS(1) - 1) / CV_MS(1), 0);
	d->armed_at = at;
}

void deadline_close(struct deadline *d, void (*closed)(void *ctx))
{
	d->on_closed = closed;
	uv_close((uv_handle_t *)&d->as.timer, on_closed);
}

#endif
