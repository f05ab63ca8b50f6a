/* SPDX-License-Identifier: MIT */

/*
 * One mapper a family, each with two sockets: one for its requests, one on the port where gateways
 * tell everybody that they have restarted. One errand of UPnP at most, in place of IPv4's mapper.
 *
 * The two ways for IPv4 exclude each other. Whichever has a mapping first keeps it: a second one
 * would be a second hole, and gateways that speak several protocols keep one table, so that taking
 * back what was made twice takes the other with it.
 *
 *	mapper asks ── 1 s without an answer, or refused ──▸ UPnP asks too
 *	mapper has one ──▸ UPnP is not asked           UPnP has one ──▸ mapper is dropped
 *	UPnP's is lost ──▸ both begin anew
 */
#include "net/portmap.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "net/clock.h"
#include "net/convert.h"
#include "net/deadline.h"
#include "net/fds.h"
#include "net/gateway.h"
#include "net/portmap_socket.h"
#include "net/upnp.h"
#include "tunnel/mapper.h"

enum { V4, V6, FAMILIES };

#define UPNP_AFTER CV_SEC(1)
#define UPNP_RETRY CV_SEC(60)
#define UPNP_RETRY_MAX CV_SEC(1800)
#define UPNP_LIFETIME CV_SEC(UPNP_LIFETIME_S)
/* UPnP has no epoch by which a gateway's restart shows: mapped again well before half of its life.
 */
#define UPNP_REFRESH CV_SEC(600)
#define CONFIRMED_FOR CV_SEC(30) /* doubts come in bursts, and an errand is not cheap */

/* One family. */
struct side {
	struct mapper mapper;
	struct portmap_socket *requests, *announcements; /* NULL: could not be opened */
	const char *why;                                 /* nobody is asked; static */
};

struct portmap {
	uv_loop_t *loop;
	struct portmap_options opt;
	struct side sides[FAMILIES];
	struct deadline deadline;

	/* UPnP, IPv4 only */
	struct upnp *errand; /* NULL: none is under way */
	enum upnp_task task; /* of it */
	struct addr upnp_gateway, upnp_client;
	struct addr upnp_external; /* ADDR_NONE: no mapping */
	struct upnp_control control;
	cv_time upnp_at; /* of the next errand; CV_TIME_NEVER */
	cv_time upnp_expires_at, upnp_confirmed_at;
	unsigned upnp_failures;
	const char *upnp_why;

	struct addr told[PORTMAP_ADDRESSES_MAX]; /* with the newest on_change() */
	unsigned told_count;

	cv_time close_at; /* CV_TIME_NEVER: it is open */
	bool is_ending;
	unsigned parts; /* of it that are still in the loop */
	void (*on_closed)(void *ctx);
	void *closed_ctx;
};

static void settle(struct portmap *p, cv_time now);

static bool has_upnp(const struct portmap *p)
{
	return p->upnp_external.family != ADDR_NONE;
}

/* ---- datagrams ---- */

static void write_requests(struct side *s, cv_time now)
{
	uint8_t bytes[PCP_REQUEST_MAX];
	struct addr to = s->mapper.target.gateway;

	to.port = PCP_PORT;
	for (;;) {
		struct wr w = wr_init(bytes, sizeof(bytes));

		if (!mapper_write(&s->mapper, now, &w))
			return;
		if (s->requests)
			portmap_socket_send(s->requests, &s->mapper.target.client, &to, bytes,
			                    wr_size(&w));
	}
}

static struct side *side_of(struct portmap *p, const struct addr *from)
{
	return &p->sides[from->family == ADDR_V6 ? V6 : V4];
}

static void on_answer(void *ctx, const struct addr *from, const uint8_t *bytes, size_t size)
{
	struct portmap *p = ctx;
	const cv_time now = clock_now();

	mapper_on_datagram(&side_of(p, from)->mapper, now, from, bytes, size);
	settle(p, now);
}

static void on_announcement(void *ctx, const struct addr *from, const uint8_t *bytes, size_t size)
{
	struct portmap *p = ctx;
	const cv_time now = clock_now();

	if (p->close_at != CV_TIME_NEVER)
		return;
	/* UPnP has no such word, but one gateway speaks all three. */
	if (has_upnp(p) && addr_equal_ip(from, &p->upnp_gateway))
		portmap_on_doubt(p);
	mapper_on_announcement(&side_of(p, from)->mapper, now, from, bytes, size);
	settle(p, now);
}

/* ---- UPnP ---- */

static void on_errand(void *ctx, const struct upnp_result *result);

static void start_errand(struct portmap *p, cv_time now, enum upnp_task task)
{
	struct upnp_request req = { .task = task,
		                    .gateway = p->upnp_gateway,
		                    .client = p->upnp_client,
		                    .control = p->control };
	int r;

	CV_ASSERT(!p->errand);
	if (has_upnp(p)) {
		req.ports[0] = p->upnp_external.port;
	} else {
		/* The one inside, then any. */
		req.ports[0] = p->upnp_client.port;
		for (unsigned i = 1; i < UPNP_PORTS_MAX; i++)
			req.ports[i] = (uint16_t)(1024 + rng_below(p->opt.rng, 65536 - 1024));
	}
	p->task = task;
	p->upnp_at = CV_TIME_NEVER;
	r = upnp_start(p->loop, &req, on_errand, p, &p->errand);
	if (r == 0)
		return;
	p->errand = NULL;
	p->upnp_why = r == -ENOTSUP ? "UPnP is not built in" : "UPnP could not be tried";
	if (r != -ENOTSUP)
		p->upnp_at = cv_time_after(now, UPNP_RETRY_MAX);
}

static void forget_upnp(struct portmap *p)
{
	p->upnp_external = (struct addr){ .family = ADDR_NONE };
	p->upnp_expires_at = CV_TIME_NEVER;
	p->control.url[0] = '\0';
}

static void on_upnp_mapped(struct portmap *p, cv_time now, const struct upnp_result *result)
{
	const struct addr *other = &p->sides[V4].mapper.external;

	p->control = result->control;
	p->upnp_external = result->external;
	p->upnp_confirmed_at = now;
	p->upnp_expires_at = cv_time_after(now, UPNP_LIFETIME);
	p->upnp_at = cv_time_after(now, UPNP_REFRESH);
	p->upnp_failures = 0;
	p->upnp_why = NULL;
	if (other->family == ADDR_NONE) {
		mapper_drop(&p->sides[V4].mapper, now);
		return;
	}
	/* The mapper was faster after all. */
	if (other->port != result->external.port)
		start_errand(p, now, UPNP_UNMAP);
	forget_upnp(p);
	p->upnp_at = CV_TIME_NEVER;
}

/* UPnP's mapping is gone: both ways are open again. */
static void lose_upnp(struct portmap *p, cv_time now)
{
	const struct mapper_target t = { p->upnp_gateway, p->upnp_client };

	forget_upnp(p);
	p->upnp_at = CV_TIME_NEVER;
	mapper_start(&p->sides[V4].mapper, now, &t);
}

static void on_upnp_failed(struct portmap *p, cv_time now, const struct upnp_result *result)
{
	cv_duration wait = UPNP_RETRY;

	p->upnp_why = result->why;
	p->control.url[0] = '\0'; /* it may be another one, or elsewhere */
	if (has_upnp(p) && p->upnp_failures == 0) {
		p->upnp_at = now; /* once more, from the beginning */
		p->upnp_failures = 1;
		return;
	}
	if (has_upnp(p))
		lose_upnp(p, now);
	for (unsigned i = 0; i < p->upnp_failures && wait < UPNP_RETRY_MAX; i++)
		wait *= 2;
	p->upnp_failures++;
	p->upnp_at = cv_time_after(now, CV_MIN(wait, UPNP_RETRY_MAX));
}

static void on_errand(void *ctx, const struct upnp_result *result)
{
	struct portmap *p = ctx;
	const cv_time now = clock_now();

	p->errand = NULL;
	if (p->task == UPNP_MAP && result->verdict != UPNP_DONE) {
		if (p->close_at == CV_TIME_NEVER)
			on_upnp_failed(p, now, result);
	} else if (p->task == UPNP_MAP) {
		on_upnp_mapped(p, now, result);
		if (p->close_at != CV_TIME_NEVER && has_upnp(p))
			start_errand(p, now, UPNP_UNMAP);
	}
	settle(p, now);
}

/* Whether it is UPnP's turn. */
static void plan_upnp(struct portmap *p, cv_time now)
{
	const struct mapper *m = &p->sides[V4].mapper;

	if (p->upnp_client.family == ADDR_NONE || m->external.family != ADDR_NONE) {
		if (!has_upnp(p))
			p->upnp_at = CV_TIME_NEVER;
		return;
	}
	if (!p->errand && p->upnp_at == CV_TIME_NEVER && upnp_is_built_in())
		p->upnp_at = cv_time_after(now, UPNP_AFTER);
	/* The gateway answers, and will not: no need to wait. */
	if (m->state == MAPPER_WAITING && m->was_answered && p->upnp_failures == 0)
		p->upnp_at = cv_time_min(p->upnp_at, now);
}

static void on_upnp_deadline(struct portmap *p, cv_time now)
{
	if (has_upnp(p) && now >= p->upnp_expires_at)
		lose_upnp(p, now);
	if (now >= p->upnp_at && !p->errand)
		start_errand(p, now, UPNP_MAP);
}

/* ---- which gateway ---- */

static const char *why_no_gateway(int r)
{
	if (r == -ENOTSUP)
		return "gateways cannot be found on this system";
	if (r == -ENOENT)
		return "the route to the internet has no gateway";
	return "there is no route to the internet";
}

/* UPnP is for this gateway and this address of ours from now on, or for none. */
static void retarget_upnp(struct portmap *p, const struct mapper_target *t)
{
	if (p->errand)
		upnp_abandon(p->errand, NULL, NULL);
	p->errand = NULL;
	forget_upnp(p);
	p->upnp_gateway = t->gateway;
	p->upnp_client = t->client;
	p->upnp_at = CV_TIME_NEVER;
	p->upnp_failures = 0;
	p->upnp_why = NULL;
}

/* Looks for the gateway of a family, and asks it for what this host needs. */
static void look(struct portmap *p, cv_time now, unsigned family)
{
	struct side *s = &p->sides[family];
	struct mapper_target t;
	struct gateway gw;
	bool is_public;
	int r = gateway_find(family == V4 ? ADDR_V4 : ADDR_V6, &gw);

	s->why = NULL;
	if (r < 0) {
		s->why = why_no_gateway(r);
	} else {
		is_public = addr_class(&gw.own) == ADDR_CLASS_GLOBAL;
		if (family == V4 && is_public)
			s->why = "none is needed: this host has a public address";
		else if (family == V6 && !is_public)
			s->why = "this host has no public address";
	}
	if (s->why) {
		mapper_drop(&s->mapper, now);
		if (family == V4)
			retarget_upnp(p, &(struct mapper_target){ .client = { 0 } });
		return;
	}
	t = (struct mapper_target){ gw.address, gw.own };
	t.client.port = p->opt.port;
	if (family == V4 && !(addr_equal(&t.client, &p->upnp_client) &&
	                      addr_equal_ip(&t.gateway, &p->upnp_gateway)))
		retarget_upnp(p, &t);
	if (family != V4 || !has_upnp(p))
		mapper_start(&s->mapper, now, &t);
}

void portmap_on_network_change(struct portmap *p)
{
	const cv_time now = clock_now();

	if (p->close_at != CV_TIME_NEVER)
		return;
	for (unsigned i = 0; i < FAMILIES; i++)
		look(p, now, i);
	portmap_on_doubt(p);
}

void portmap_on_doubt(struct portmap *p)
{
	const cv_time now = clock_now();

	if (p->close_at != CV_TIME_NEVER)
		return;
	for (unsigned i = 0; i < FAMILIES; i++)
		mapper_renew(&p->sides[i].mapper, now);
	if (has_upnp(p) && cv_time_since(now, p->upnp_confirmed_at) >= CONFIRMED_FOR)
		p->upnp_at = now;
	settle(p, now);
}

/* ---- turns ---- */

static void on_part_closed(void *ctx)
{
	struct portmap *p = ctx;

	CV_ASSERT(p->parts > 0);
	if (--p->parts > 0)
		return;
	if (p->on_closed)
		p->on_closed(p->closed_ctx);
	cv_free(p);
}

static void end(struct portmap *p)
{
	p->is_ending = true;
	p->parts = 1; /* the deadline */
	for (unsigned i = 0; i < FAMILIES; i++) {
		struct portmap_socket *sockets[] = { p->sides[i].requests,
			                             p->sides[i].announcements };

		for (size_t k = 0; k < CV_ARRAY_SIZE(sockets); k++) {
			if (!sockets[k])
				continue;
			p->parts++;
			portmap_socket_close(sockets[k], on_part_closed, p);
		}
	}
	if (p->errand) {
		p->parts++;
		upnp_abandon(p->errand, on_part_closed, p);
	}
	deadline_close(&p->deadline, on_part_closed);
}

static bool is_closed(const struct portmap *p, cv_time now)
{
	bool is_over = !p->errand;

	for (unsigned i = 0; i < FAMILIES; i++)
		is_over &= p->sides[i].mapper.state == MAPPER_OFF;
	return is_over || now >= p->close_at;
}

/* Tells the owner when something is different. */
static void tell(struct portmap *p)
{
	struct addr list[PORTMAP_ADDRESSES_MAX];
	unsigned count = portmap_addresses(p, list);
	bool is_new = count != p->told_count;

	for (unsigned i = 0; i < count && !is_new; i++)
		is_new = !addr_equal(&list[i], &p->told[i]);
	if (!is_new)
		return;
	memcpy(p->told, list, count * sizeof(list[0]));
	p->told_count = count;
	p->opt.on_change(p->opt.ctx);
}

/* After every input: what is due is sent, what is new is told, the timer is armed. */
static void settle(struct portmap *p, cv_time now)
{
	cv_time at = p->close_at;

	if (p->is_ending)
		return;
	for (unsigned i = 0; i < FAMILIES; i++) {
		mapper_on_deadline(&p->sides[i].mapper, now);
		write_requests(&p->sides[i], now);
		at = cv_time_min(at, mapper_deadline(&p->sides[i].mapper));
	}
	if (p->close_at != CV_TIME_NEVER) {
		if (is_closed(p, now))
			end(p);
		else
			deadline_arm(&p->deadline, now, at);
		return;
	}
	on_upnp_deadline(p, now);
	plan_upnp(p, now);
	at = cv_time_min(at, cv_time_min(p->upnp_at, p->upnp_expires_at));
	deadline_arm(&p->deadline, now, at);
	tell(p);
}

static void on_due(void *ctx)
{
	settle(ctx, clock_now());
}

/* ---- life ---- */

int portmap_open(uv_loop_t *loop, const struct portmap_options *opt, struct portmap **out)
{
	struct portmap *p = cv_zalloc(sizeof(*p));
	cv_time now = clock_now();
	int r;

	CV_ASSERT(opt->port != 0);
	if (!p)
		return -ENOMEM;
	p->loop = loop;
	p->opt = *opt;
	p->close_at = CV_TIME_NEVER;
	p->upnp_at = CV_TIME_NEVER;
	p->upnp_expires_at = CV_TIME_NEVER;
	r = deadline_open(&p->deadline, loop, on_due, p);
	if (r < 0) {
		cv_free(p);
		return r;
	}
	for (unsigned i = 0; i < FAMILIES; i++) {
		struct side *s = &p->sides[i];
		const int family = i == V4 ? AF_INET : AF_INET6;

		mapper_init(&s->mapper, opt->rng, opt->trace);
		/* A host may have no IPv6, and another program may be alone on the port of
		 * announcements: then restarts are noticed later. */
		if (portmap_socket_open(loop, family, 0, on_answer, p, &s->requests) < 0)
			s->requests = NULL;
		if (portmap_socket_open(loop, family, PCP_ANNOUNCE_PORT, on_announcement, p,
		                        &s->announcements) < 0)
			s->announcements = NULL;
	}
	for (unsigned i = 0; i < FAMILIES; i++)
		look(p, now, i);
	*out = p;
	settle(p, now);
	return 0;
}

void portmap_close(struct portmap *p, void (*on_closed)(void *ctx), void *ctx)
{
	const cv_time now = clock_now();

	CV_ASSERT(p->close_at == CV_TIME_NEVER);
	p->on_closed = on_closed;
	p->closed_ctx = ctx;
	p->close_at = cv_time_after(now, PORTMAP_CLOSE_TIMEOUT);
	for (unsigned i = 0; i < FAMILIES; i++)
		mapper_stop(&p->sides[i].mapper, now);
	/* What an errand is about to map is taken back when it is done, if that is in time. */
	if (has_upnp(p) && !p->errand)
		start_errand(p, now, UPNP_UNMAP);
	settle(p, now);
}

/* ---- what is known ---- */

static const struct addr *external_of(const struct portmap *p, unsigned family)
{
	if (family == V4 && has_upnp(p))
		return &p->upnp_external;
	return &p->sides[family].mapper.external;
}

unsigned portmap_addresses(const struct portmap *p, struct addr out[PORTMAP_ADDRESSES_MAX])
{
	unsigned count = 0;

	for (unsigned i = 0; i < FAMILIES; i++) {
		if (external_of(p, i)->family != ADDR_NONE)
			out[count++] = *external_of(p, i);
	}
	return count;
}

static void say_why_not(const struct portmap *p, char out[PORTMAP_WHY_MAX])
{
	const struct side *s = &p->sides[V4];
	const struct mapper *m = &s->mapper;

	if (s->why)
		(void)snprintf(out, PORTMAP_WHY_MAX, "%s", s->why);
	else if (m->why && p->upnp_why)
		(void)snprintf(out, PORTMAP_WHY_MAX, "%s%s; %s", m->why,
		               m->was_answered ? "" : " PCP or NAT-PMP", p->upnp_why);
	else if (m->why && !p->errand && p->upnp_at == CV_TIME_NEVER)
		(void)snprintf(out, PORTMAP_WHY_MAX, "%s", m->why);
	else
		(void)snprintf(out, PORTMAP_WHY_MAX, "the gateway has not answered yet");
}

static void fill_mapping(const struct portmap *p, unsigned family, struct portmap_status *out)
{
	static const char *const names[] = { NULL, "pcp", "nat-pmp" };
	const struct mapper *m = &p->sides[family].mapper;
	const bool is_upnp = family == V4 && has_upnp(p);

	out->protocol = is_upnp ? "upnp" : names[m->protocol];
	out->address = *external_of(p, family);
	out->expires = cv_time_since(is_upnp ? p->upnp_expires_at : m->expires_at, clock_now());
	if (family == V4 && addr_class(&out->address) != ADDR_CLASS_GLOBAL)
		(void)snprintf(out->why, sizeof(out->why),
		               "the gateway's own address is not public: another NAT follows");
}

void portmap_status(const struct portmap *p, struct portmap_status *out)
{
	*out = (struct portmap_status){ .protocol = NULL };
	for (unsigned i = 0; i < FAMILIES; i++) {
		if (external_of(p, i)->family != ADDR_NONE) {
			fill_mapping(p, i, out);
			return;
		}
	}
	say_why_not(p, out->why);
}
