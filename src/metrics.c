/* SPDX-License-Identifier: MIT */
#include "metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "metrics_text.h"

#ifndef CULVERT_METRICS

bool metrics_is_built_in(void)
{
	return false;
}

int metrics_open(uv_loop_t *loop, const struct metrics_ops *ops, void *ctx, struct metrics **out)
{
	(void)loop;
	(void)ops;
	(void)ctx;
	(void)out;
	return -ENOTSUP;
}

void metrics_take(struct metrics *m, int fd, bool is_unix)
{
	(void)m;
	(void)is_unix;
	(void)close(fd);
}

void metrics_close(struct metrics *m)
{
	(void)m;
}

#else

#include <microhttpd.h>

enum { REQUEST_SIZE = 16 * 1024, IDLE_TIMEOUT_S = 10, TICK_MS = 1000 };

struct metrics {
	uv_poll_t poll; /* of the daemon's epoll: our loop runs it */
	uv_timer_t timer;
	unsigned handles_open;
	struct MHD_Daemon *daemon;
	const struct metrics_ops *ops;
	void *ctx;
};

bool metrics_is_built_in(void)
{
	return true;
}

/* What is answered, written to memory of malloc(). */
struct page {
	char *text;
	size_t size;
	FILE *out;
};

static unsigned fill(struct metrics *m, const char *path, const char *host, struct page *page,
                     const char **type)
{
	json_t *status;

	if (strcmp(path, "/proxy.pac") == 0 && m->ops->pac) {
		*type = "application/x-ns-proxy-autoconfig";
		m->ops->pac(m->ctx, host, page->out);
		return MHD_HTTP_OK;
	}
	if (strcmp(path, "/") != 0 && strcmp(path, "/metrics") != 0) {
		(void)fputs("not found\n", page->out);
		return MHD_HTTP_NOT_FOUND;
	}
	status = m->ops->status(m->ctx);
	if (!status) {
		(void)fputs("out of memory\n", page->out);
		return MHD_HTTP_SERVICE_UNAVAILABLE;
	}
	if (path[1] == 0) {
		*type = "text/html; charset=utf-8";
		metrics_text_write_page(status, m->ops->pac != NULL, page->out);
	} else {
		*type = "text/plain; version=0.0.4; charset=utf-8";
		metrics_text_write(status, page->out);
	}
	json_decref(status);
	return MHD_HTTP_OK;
}

static bool is_by_unix(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return info && info->client_addr && info->client_addr->sa_family == AF_UNIX;
}

static unsigned answer(struct metrics *m, struct MHD_Connection *c, const char *path,
                       const char *method, struct page *page, const char **type)
{
	const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host");

	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
		(void)fputs("GET and HEAD only\n", page->out);
		return MHD_HTTP_METHOD_NOT_ALLOWED;
	}
	if (!is_by_unix(c) && !metrics_text_is_our_host(host)) {
		(void)fputs("this page is asked for by an address or localhost, not by another "
		            "name\n",
		            page->out);
		return MHD_HTTP_FORBIDDEN;
	}
	return fill(m, path, host, page, type);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_size, void **state)
{
	static const char *const headers[][2] = {
		{ "Cache-Control", "no-store" },
		{ "X-Content-Type-Options", "nosniff" },
		{ "Content-Security-Policy", "default-src 'none'" },
		{ "Connection", "close" },
	};
	const char *type = "text/plain; charset=utf-8";
	struct MHD_Response *response;
	struct page page = { .text = NULL };
	enum MHD_Result r;
	unsigned code;

	(void)version;
	(void)body;
	(void)body_size; /* whoever sends one is answered before it is read */
	(void)state;
	page.out = open_memstream(&page.text, &page.size);
	if (!page.out)
		return MHD_NO;
	code = answer(ctx, c, path, method, &page, &type);
	if (fclose(page.out) != 0) {
		free(page.text);
		return MHD_NO;
	}
	response = MHD_create_response_from_buffer(page.size, page.text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(page.text);
		return MHD_NO;
	}
	(void)MHD_add_response_header(response, "Content-Type", type);
	if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(response, "Allow", "GET, HEAD");
	for (size_t i = 0; i < CV_ARRAY_SIZE(headers); i++)
		(void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
	r = MHD_queue_response(c, code, response);
	MHD_destroy_response(response);
	return r;
}

/* ---- on our loop ---- */

static void on_timer(uv_timer_t *timer);

/* Silent connections end by its own clock, which somebody has to look at. */
static void run(struct metrics *m)
{
	MHD_UNSIGNED_LONG_LONG ms;

	(void)MHD_run(m->daemon);
	if (MHD_get_timeout(m->daemon, &ms) == MHD_YES)
		(void)uv_timer_start(&m->timer, on_timer, CV_MIN((uint64_t)ms, (uint64_t)TICK_MS),
		                     0);
	else
		(void)uv_timer_stop(&m->timer);
}

static void on_timer(uv_timer_t *timer)
{
	run(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	run(poll->data);
}

static void on_panic_log(void *ctx, const char *fmt, va_list args)
{
	(void)ctx;
	(void)fmt;
	(void)args; /* what clients do is not for our log */
}

static void on_closed(uv_handle_t *handle)
{
	struct metrics *m = handle->data;

	if (--m->handles_open > 0)
		return;
	MHD_stop_daemon(m->daemon);
	cv_free(m);
}

int metrics_open(uv_loop_t *loop, const struct metrics_ops *ops, void *ctx, struct metrics **out)
{
	struct metrics *m = cv_zalloc(sizeof(*m));
	const union MHD_DaemonInfo *info = NULL;

	if (!m)
		return -ENOMEM;
	m->ops = ops;
	m->ctx = ctx;
	m->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG,
	                             0, NULL, NULL, on_request, m, MHD_OPTION_EXTERNAL_LOGGER,
	                             on_panic_log, NULL, MHD_OPTION_CONNECTION_LIMIT,
	                             (unsigned)METRICS_CONNS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
	                             (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	                             (size_t)REQUEST_SIZE, MHD_OPTION_STRICT_FOR_CLIENT, 1,
	                             MHD_OPTION_END);
	if (m->daemon)
		info = MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || uv_poll_init(loop, &m->poll, info->epoll_fd) < 0) {
		if (m->daemon)
			MHD_stop_daemon(m->daemon);
		cv_free(m);
		return -ENOMEM;
	}
	(void)uv_timer_init(loop, &m->timer); /* never fails */
	m->handles_open = 2;
	m->poll.data = m->timer.data = m;
	(void)uv_poll_start(&m->poll, UV_READABLE, on_poll);
	*out = m;
	return 0;
}

void metrics_take(struct metrics *m, int fd, bool is_unix)
{
	struct sockaddr_storage from = { .ss_family = is_unix ? AF_UNIX : AF_INET };
	socklen_t size = sizeof(from);

	if (!is_unix && getpeername(fd, (struct sockaddr *)&from, &size) < 0)
		size = sizeof(struct sockaddr);
	/* It closes the descriptor where it cannot take it. */
	(void)MHD_add_connection(m->daemon, fd, (struct sockaddr *)&from,
	                         is_unix ? (socklen_t)sizeof(sa_family_t) : size);
	run(m);
}

void metrics_close(struct metrics *m)
{
	(void)uv_poll_stop(&m->poll);
	uv_close((uv_handle_t *)&m->poll, on_closed);
	uv_close((uv_handle_t *)&m->timer, on_closed);
}

#endif
