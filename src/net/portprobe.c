/* SPDX-License-Identifier: MIT */
#include "net/portprobe.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "net/clock.h"
#include "net/deadline.h"
#include "net/gateway.h"
#include "net/portmap_socket.h"
#include "net/upnp.h"
#include "tunnel/candidate.h"
#include "tunnel/pcp.h"

#define ASK_INTERVAL CV_MS(300)

struct portprobe {
	struct portprobe_result result;
	struct deadline deadline;
	struct portmap_socket *socket; /* NULL: nobody is asked */
	struct upnp *errand;           /* NULL: over, or never begun */
	cv_time end_at, ask_at;
	bool is_over;
	unsigned parts; /* still in the loop */
	void (*on_done)(void *ctx, const struct portprobe_result *result);
	void *ctx;
};

static void on_part_closed(void *ctx)
{
	struct portprobe *p = ctx;

	CV_ASSERT(p->parts > 0);
	if (--p->parts == 0)
		cv_free(p);
}

static void end(struct portprobe *p)
{
	CV_ASSERT(!p->is_over);
	p->is_over = true;
	p->parts = 1u + (p->socket != NULL) + (p->errand != NULL);
	if (p->socket)
		portmap_socket_close(p->socket, on_part_closed, p);
	if (p->errand)
		upnp_abandon(p->errand, on_part_closed, p);
	deadline_close(&p->deadline, on_part_closed);
}

void portprobe_cancel(struct portprobe *p)
{
	end(p);
}

static void ask(struct portprobe *p, enum pcp_kind kind)
{
	const struct pcp_request req = { .kind = kind, .client = p->result.own };
	struct addr to = p->result.gateway;
	uint8_t bytes[PCP_REQUEST_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));

	to.port = PCP_PORT;
	pcp_write_request(&w, &req);
	portmap_socket_send(p->socket, &p->result.own, &to, bytes, wr_size(&w));
}

static bool is_all_known(const struct portprobe *p)
{
	return !p->socket || (p->result.has_pcp && p->result.has_natpmp && !p->errand);
}

static void settle(struct portprobe *p, cv_time now)
{
	if (p->is_over)
		return;
	if (now >= p->end_at || is_all_known(p)) {
		end(p);
		p->on_done(p->ctx, &p->result);
		return;
	}
	if (now >= p->ask_at) {
		p->ask_at = now + ASK_INTERVAL;
		if (!p->result.has_pcp)
			ask(p, PCP_ANNOUNCE);
		if (!p->result.has_natpmp)
			ask(p, NATPMP_ADDRESS);
	}
	deadline_arm(&p->deadline, now, cv_time_min(p->ask_at, p->end_at));
}

static void on_due(void *ctx)
{
	settle(ctx, clock_now());
}

static void on_answer(void *ctx, const struct addr *from, const uint8_t *bytes, size_t size)
{
	struct portprobe *p = ctx;
	struct pcp_answer a;

	if (from->port != PCP_PORT || !addr_equal_ip(from, &p->result.gateway) ||
	    pcp_read_answer(bytes, size, &a) != PCP_READ_DONE)
		return;
	/* A refusal of the version says which one is spoken. */
	p->result.has_pcp |= a.version == 2;
	p->result.has_natpmp |= a.version == 0;
	if (a.kind == NATPMP_ADDRESS && a.result == PCP_SUCCESS &&
	    candidate_is_announced(&a.external))
		p->result.external = a.external;
	settle(p, clock_now());
}

static void on_upnp(void *ctx, const struct upnp_result *result)
{
	struct portprobe *p = ctx;

	p->errand = NULL;
	p->result.has_upnp = result->verdict == UPNP_DONE;
	if (p->result.external.family == ADDR_NONE)
		p->result.external = result->external;
	settle(p, clock_now());
}

static const char *look(struct portprobe *p)
{
	struct gateway gw;
	int r = gateway_find(ADDR_V4, &gw);

	if (r == -ENOTSUP)
		return "gateways cannot be found on this system";
	if (r == -ENOENT)
		return "the route to the internet has no gateway";
	if (r < 0)
		return "there is no route to the internet";
	p->result.gateway = gw.address;
	p->result.own = gw.own;
	return NULL;
}

int portprobe_start(uv_loop_t *loop,
                    void (*on_done)(void *ctx, const struct portprobe_result *result), void *ctx,
                    struct portprobe **out)
{
	struct portprobe *p = cv_zalloc(sizeof(*p));
	struct upnp_request req = { .task = UPNP_FIND };
	const cv_time now = clock_now();
	int r;

	if (!p)
		return -ENOMEM;
	p->on_done = on_done;
	p->ctx = ctx;
	p->end_at = now + PORTPROBE_TIMEOUT;
	r = deadline_open(&p->deadline, loop, on_due, p);
	if (r < 0) {
		cv_free(p);
		return r;
	}
	p->result.is_upnp_built_in = upnp_is_built_in();
	p->result.why = look(p);
	if (!p->result.why && portmap_socket_open(loop, AF_INET, 0, on_answer, p, &p->socket) < 0)
		p->socket = NULL;
	if (p->socket) {
		req.gateway = p->result.gateway;
		req.client = p->result.own;
		if (upnp_start(loop, &req, on_upnp, p, &p->errand) < 0)
			p->errand = NULL; /* not built in, or no thread: as if it were silent */
	}
	deadline_arm(&p->deadline, now, now); /* the first request leaves from the loop */
	*out = p;
	return 0;
}
