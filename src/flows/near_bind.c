/* SPDX-License-Identifier: MIT */

/*
 * near_bind - SOCKS5's BIND: the far side listens for one connection.
 *
 * Two answers come, and each becomes a reply: where it listens, and who has connected. In between
 * the client is read, so that its end is noticed; what it sends then is stream data.
 */
#include "flows/bridge.h"

#include "net/clock.h"

/* The far side's two minutes end first, and its answer comes. */
#define BOUND_TIMEOUT CV_SEC(125)

void near_bind(struct flow *f)
{
	struct near *n = f->near;

	if (n->to.kind == HOST_SERVICE) {
		near_refuse(f, TARGET_ADDRESS_UNSUPPORTED);
		return;
	}
	/* RFC 1928 knows no word for "anybody"; clients say 0.0.0.0. */
	if (n->to.kind == HOST_ADDR && addr_is_unspecified(&n->to.addr))
		n->to = (struct hostport){ .kind = HOST_NONE };
	n->request_kind = TARGET_KIND_BIND;
	near_open(f, clock_now());
}

void near_bind_wait(struct flow *f, cv_time now)
{
	f->near->is_bound = true;
	f->near->bound_until = cv_time_after(now, BOUND_TIMEOUT);
	flow_set_deadline(f, f->near->bound_until);
	near_go_eager(f);
}
