/* SPDX-License-Identifier: MIT */
#include "net/signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

#include "base/alloc.h"

static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };

struct signals {
	uv_signal_t handles[CV_ARRAY_SIZE(numbers)];
	unsigned handles_open;
	struct signals_events events;
	void *ctx;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
};

void signals_ignore_pipe(void)
{
	struct sigaction ignore = { .sa_flags = 0 };

	ignore.sa_handler = SIG_IGN;
	(void)sigemptyset(&ignore.sa_mask);
	(void)sigaction(SIGPIPE, &ignore, NULL); /* cannot fail for this signal */
}

static void on_signal(uv_signal_t *handle, int number)
{
	const struct signals *s = handle->data;

	if (number != SIGHUP)
		s->events.on_stop(s->ctx);
	else if (s->events.on_reload)
		s->events.on_reload(s->ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct signals *s = handle->data;

	CV_ASSERT(s->handles_open > 0);
	if (--s->handles_open > 0)
		return;
	if (s->on_closed)
		s->on_closed(s->closed_ctx);
	cv_free(s);
}

int signals_open(uv_loop_t *loop, const struct signals_events *events, void *ctx,
                 struct signals **out)
{
	struct signals *s = cv_zalloc(sizeof(*s));
	int r = 0;

	CV_ASSERT(events->on_stop);
	if (!s)
		return -ENOMEM;
	s->events = *events;
	s->ctx = ctx;
	signals_ignore_pipe();
	for (size_t i = 0; i < CV_ARRAY_SIZE(numbers) && r == 0; i++) {
		r = uv_signal_init(loop, &s->handles[i]);
		if (r < 0)
			break;
		s->handles[i].data = s;
		s->handles_open++;
		r = uv_signal_start(&s->handles[i], on_signal, numbers[i]);
		/* Signals alone do not keep a loop alive that has nothing else to do. */
		uv_unref((uv_handle_t *)&s->handles[i]);
	}
	if (r == 0) {
		*out = s;
		return 0;
	}
	if (s->handles_open == 0)
		cv_free(s);
	else
		signals_close(s, NULL, NULL);
	return r;
}

void signals_close(struct signals *s, void (*on_closed)(void *ctx), void *ctx)
{
	unsigned count = s->handles_open;

	s->on_closed = on_closed;
	s->closed_ctx = ctx;
	for (unsigned i = 0; i < count; i++)
		uv_close((uv_handle_t *)&s->handles[i], on_handle_closed);
}
