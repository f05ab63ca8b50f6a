/* SPDX-License-Identifier: MIT */

/*
 * An errand and its thread. The lock guards two words, `is_over` and `is_abandoned`: whoever comes
 * second knows that the other is done with the loop's part.
 *
 *	thread: work, lock, is_over = true, wake the loop unless abandoned, unlock, end
 *	loop:   woken: join (the thread is at its end), close, call back, free
 *	        abandon: lock, is_abandoned = true, unlock, close; free if it is over,
 *	        else it becomes an orphan
 *
 * An orphan's memory is freed by the next errand that begins after its end: neither the thread (the
 * allocator counts, without locks) nor the loop (which may end first) can do it at once.
 *
 * uv_queue_work() would not do: the loop cannot end before the work does, and a gateway that has
 * died in mid-sentence would hold up the end of the program for seconds.
 */
#include "net/upnp.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#ifdef CULVERT_UPNP
#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpcommands.h>
#endif

#include "base/alloc.h"
#include "base/time.h"
#include "net/clock.h"
#include "net/convert.h"
#include "net/fds.h"
#include "tunnel/candidate.h"

struct upnp {
	uv_async_t async;
	uv_thread_t thread;
	uv_mutex_t lock;
	bool is_over, is_abandoned; /* under the lock */
	struct upnp_request req;
	struct upnp_result result;
	void (*on_done)(void *ctx, const struct upnp_result *result);
	void *ctx;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
	struct upnp *next_orphan;
};

#ifdef CULVERT_UPNP

/* ---- in the thread ---- */

/* A device may wait for a second before it answers (MX). */
#define FIND_TIMEOUT CV_MS(1600)
#define SEARCH_INTERVAL CV_MS(400)

static void search(int fd, const struct upnp_request *req)
{
	struct addr to[] = { addr_v4(239, 255, 255, 250, SSDP_PORT), req->gateway };
	char text[ADDR_TEXT_MAX], bytes[SSDP_SEARCH_MAX];
	struct sockaddr_storage sa;
	socklen_t sa_size;
	size_t size;

	to[1].port = SSDP_PORT;
	for (size_t i = 0; i < CV_ARRAY_SIZE(to); i++) {
		size = ssdp_write_search(bytes, addr_format(&to[i], text));
		sa_size = convert_to_sockaddr(&to[i], &sa);
		/* What does not leave is lost, as any datagram may be. */
		(void)sendto(fd, bytes, size, 0, (struct sockaddr *)&sa, sa_size);
	}
}

/* One datagram: true if it is the gateway's, with a URL that is too. */
static bool read_search(int fd, const struct upnp_request *req, char url[SSDP_URL_MAX])
{
	struct sockaddr_storage sa;
	socklen_t sa_size = sizeof(sa);
	uint8_t bytes[2048];
	ssize_t size = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&sa, &sa_size);
	struct addr from;

	if (size <= 0)
		return false;
	from = convert_from_sockaddr((struct sockaddr *)&sa, sa_size);
	return addr_equal_ip(&from, &req->gateway) && ssdp_read_answer(bytes, (size_t)size, url) &&
	       ssdp_is_at(url, &req->gateway);
}

static bool find(const struct upnp_request *req, char url[SSDP_URL_MAX])
{
	const cv_time until = clock_now() + FIND_TIMEOUT;
	struct addr own = req->client;
	struct sockaddr_storage sa;
	socklen_t sa_size;
	cv_time now, search_at = 0;
	struct pollfd poll_fd = { .events = POLLIN };
	bool is_found = false;
	int fd = fds_socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return false;
	own.port = 0;
	sa_size = convert_to_sockaddr(&own, &sa);
	/* Bound to our address in this LAN: multicast leaves there. */
	if (bind(fd, (struct sockaddr *)&sa, sa_size) == 0) {
		struct in_addr interface;

		memcpy(&interface, own.ip, sizeof(interface));
		(void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof(interface));
		poll_fd.fd = fd;
		while (!is_found && (now = clock_now()) < until) {
			if (now >= search_at) {
				search(fd, req);
				search_at = now + SEARCH_INTERVAL;
			}
			if (poll(&poll_fd, 1, (int)((search_at - now) / CV_MS(1)) + 1) > 0)
				is_found = read_search(fd, req, url);
		}
	}
	fds_close(&fd);
	return is_found;
}

/* From the description to the place for commands: true when the device has a service that maps
 * ports, and takes its commands at the gateway. The library's UPNP_GetValidIGD() would send the
 * first command before anybody could look where to. */
static bool describe(const struct upnp_request *req, const char *url, struct upnp_control *out)
{
	struct UPNPUrls urls = { .controlURL = NULL };
	struct IGDdatas data = { .level = 0 };
	char own[64];
	bool is_good;

	if (UPNP_GetIGDFromUrl(url, &urls, &data, own, sizeof(own)) != 1)
		return false;
	is_good = data.first.servicetype[0] && urls.controlURL &&
	          strlen(urls.controlURL) < sizeof(out->url) &&
	          ssdp_is_at(urls.controlURL, &req->gateway);
	if (is_good) {
		memcpy(out->url, urls.controlURL, strlen(urls.controlURL) + 1);
		(void)snprintf(out->service, sizeof(out->service), "%s", data.first.servicetype);
	}
	FreeUPNPUrls(&urls);
	return is_good;
}

static bool read_external(const struct upnp_control *control, struct addr *out)
{
	char text[64] = "";

	if (UPNP_GetExternalIPAddress(control->url, control->service, text) != UPNPCOMMAND_SUCCESS)
		return false;
	text[sizeof(text) - 1] = '\0';
	return addr_parse_ip(text, strlen(text), out) == 0 && out->family == ADDR_V4 &&
	       candidate_is_announced(out); /* 0.0.0.0: it is not connected */
}

enum {
	UPNP_INVALID_ARGS = 402,
	UPNP_ACTION_FAILED = 501,
	UPNP_NOT_AUTHORIZED = 606,
	UPNP_CONFLICT = 718,
	UPNP_ONLY_PERMANENT = 725,
};

static int add(const struct upnp_request *req, const struct upnp_control *control, uint16_t outside,
               unsigned lifetime_s)
{
	char client[ADDR_TEXT_MAX], port[8], outside_text[8], lifetime[16];

	(void)addr_format_ip(&req->client, client);
	(void)snprintf(port, sizeof(port), "%u", req->client.port);
	(void)snprintf(outside_text, sizeof(outside_text), "%u", outside);
	(void)snprintf(lifetime, sizeof(lifetime), "%u", lifetime_s);
	return UPNP_AddPortMapping(control->url, control->service, outside_text, port, client,
	                           "culvert", "UDP", NULL, lifetime);
}

/* Tries the ports in turn while others have them. What only knows mappings without end (725, or an
 * error that means it) gets one; it is taken back when we end. */
static int add_one_of(const struct upnp_request *req, const struct upnp_control *control,
                      uint16_t *outside)
{
	int r = UPNP_CONFLICT;

	for (unsigned i = 0; i < UPNP_PORTS_MAX && r == UPNP_CONFLICT; i++) {
		if (req->ports[i] == 0)
			continue;
		*outside = req->ports[i];
		r = add(req, control, *outside, UPNP_LIFETIME_S);
		if (r == UPNP_ONLY_PERMANENT || r == UPNP_INVALID_ARGS || r == UPNP_ACTION_FAILED)
			r = add(req, control, *outside, 0);
	}
	return r;
}

static void map(const struct upnp_request *req, struct upnp_result *out)
{
	uint16_t outside = 0;
	int r = add_one_of(req, &out->control, &outside);

	out->verdict = UPNP_REFUSED;
	if (r == UPNP_CONFLICT)
		out->why = "the ports wanted at the gateway are taken (UPnP)";
	else if (r == UPNP_NOT_AUTHORIZED)
		out->why = "the gateway does not allow port mappings (UPnP)";
	else if (r < 0)
		out->why = "the gateway stopped answering (UPnP)";
	else if (r != UPNPCOMMAND_SUCCESS)
		out->why = "the gateway refuses port mappings (UPnP)";
	else if (!read_external(&out->control, &out->external))
		out->why = "the gateway has no address outside (UPnP)";
	else
		out->verdict = UPNP_DONE;
	out->external.port = outside;
	if (out->verdict != UPNP_DONE)
		out->external = (struct addr){ .family = ADDR_NONE };
}

static void unmap(const struct upnp_request *req, struct upnp_result *out)
{
	char outside[8];

	(void)snprintf(outside, sizeof(outside), "%u", req->ports[0]);
	if (UPNP_DeletePortMapping(out->control.url, out->control.service, outside, "UDP", NULL) !=
	    UPNPCOMMAND_SUCCESS)
		*out = (struct upnp_result){ .verdict = UPNP_REFUSED,
			                     .why = "the gateway keeps the mapping (UPnP)" };
}

static bool find_control(const struct upnp_request *req, struct upnp_result *out)
{
	char url[SSDP_URL_MAX];

	if (!find(req, url)) {
		*out = (struct upnp_result){ .verdict = UPNP_ABSENT,
			                     .why = "the gateway does not answer UPnP" };
		return false;
	}
	if (!describe(req, url, &out->control)) {
		*out = (struct upnp_result){ .verdict = UPNP_REFUSED,
			                     .why = "the gateway's description of itself (UPnP) "
			                            "names no service for port mappings" };
		return false;
	}
	return true;
}

static void work(const struct upnp_request *req, struct upnp_result *out)
{
	*out = (struct upnp_result){ .verdict = UPNP_DONE, .control = req->control };
	if (!out->control.url[0] && !find_control(req, out))
		return;
	switch (req->task) {
	case UPNP_FIND:
		if (!read_external(&out->control, &out->external))
			out->external = (struct addr){ .family = ADDR_NONE };
		return;
	case UPNP_MAP:
		map(req, out);
		return;
	case UPNP_UNMAP:
		unmap(req, out);
		return;
	}
	CV_UNREACHABLE();
}

static void thread_main(void *arg)
{
	struct upnp *u = arg;

	work(&u->req, &u->result);
	uv_mutex_lock(&u->lock);
	u->is_over = true;
	if (!u->is_abandoned)
		(void)uv_async_send(&u->async);
	uv_mutex_unlock(&u->lock);
}

/* ---- in the loop ---- */

static struct upnp *orphans;

bool upnp_is_built_in(void)
{
	return true;
}

static bool is_over(struct upnp *u)
{
	bool over;

	uv_mutex_lock(&u->lock);
	over = u->is_over;
	uv_mutex_unlock(&u->lock);
	return over;
}

static void free_upnp(struct upnp *u)
{
	(void)uv_thread_join(&u->thread);
	uv_mutex_destroy(&u->lock);
	cv_free(u);
}

static void free_orphans(void)
{
	for (struct upnp **at = &orphans; *at;) {
		struct upnp *u = *at;

		if (!is_over(u)) {
			at = &u->next_orphan;
			continue;
		}
		*at = u->next_orphan;
		free_upnp(u);
	}
}

static void on_closed(uv_handle_t *handle)
{
	struct upnp *u = handle->data;

	if (u->on_closed)
		u->on_closed(u->closed_ctx);
	if (u->is_abandoned && !is_over(u)) {
		u->next_orphan = orphans;
		orphans = u;
		return;
	}
	free_upnp(u);
}

static void on_over(uv_async_t *async)
{
	struct upnp *u = async->data;

	if (uv_is_closing((uv_handle_t *)async))
		return;
	uv_close((uv_handle_t *)async, on_closed);
	u->on_done(u->ctx, &u->result);
}

int upnp_start(uv_loop_t *loop, const struct upnp_request *req,
               void (*on_done)(void *ctx, const struct upnp_result *result), void *ctx,
               struct upnp **out)
{
	struct upnp *u;
	int r;

	CV_ASSERT(req->gateway.family == ADDR_V4 && req->client.family == ADDR_V4);
	free_orphans();
	u = cv_zalloc(sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->req = *req;
	u->on_done = on_done;
	u->ctx = ctx;
	r = uv_mutex_init(&u->lock);
	if (r < 0)
		goto fail;
	r = uv_async_init(loop, &u->async, on_over);
	if (r < 0) {
		uv_mutex_destroy(&u->lock);
		goto fail;
	}
	u->async.data = u;
	r = uv_thread_create(&u->thread, thread_main, u);
	if (r < 0) {
		u->is_abandoned = true; /* for good: what is left is closed and kept, once */
		uv_close((uv_handle_t *)&u->async, on_closed);
		return r;
	}
	*out = u;
	return 0;
fail:
	cv_free(u);
	return r;
}

void upnp_abandon(struct upnp *u, void (*closed)(void *ctx), void *ctx)
{
	uv_mutex_lock(&u->lock);
	u->is_abandoned = true;
	uv_mutex_unlock(&u->lock);
	u->on_closed = closed;
	u->closed_ctx = ctx;
	uv_close((uv_handle_t *)&u->async, on_closed);
}

#else

bool upnp_is_built_in(void)
{
	return false;
}

int upnp_start(uv_loop_t *loop, const struct upnp_request *req,
               void (*on_done)(void *ctx, const struct upnp_result *result), void *ctx,
               struct upnp **out)
{
	(void)loop;
	(void)req;
	(void)on_done;
	(void)ctx;
	(void)out;
	return -ENOTSUP;
}

void upnp_abandon(struct upnp *u, void (*on_closed)(void *ctx), void *ctx)
{
	(void)u;
	(void)on_closed;
	(void)ctx;
	CV_UNREACHABLE(); /* none was ever begun */
}

#endif
