/* SPDX-License-Identifier: MIT */
#include "flows/bridge.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/log.h"
#include "flows/associate.h"
#include "flows/far_listen.h"
#include "flows/far_udp.h"
#include "flows/remote.h"
#include "net/clock.h"

static void on_timer(uv_timer_t *timer);

static void arm(struct bridge *b)
{
	const struct heap_node *first = heap_first(&b->deadlines);
	cv_time now;
	uint64_t ms;

	if (b->is_closing)
		return;
	if (!first) {
		uv_timer_stop(&b->timer);
		return;
	}
	now = clock_now();
	/* Whole milliseconds, rounded up: early would be a wasted turn. */
	ms = first->at <= now ? 0 : (first->at - now + CV_MS(1) - 1) / CV_MS(1);
	uv_update_time(b->loop);
	(void)uv_timer_start(&b->timer, on_timer, ms, 0); /* fails only for a NULL callback */
}

void flow_set_deadline(struct flow *f, cv_time at)
{
	const struct heap_node *first = heap_first(&f->b->deadlines);

	heap_set(&f->b->deadlines, &f->deadline, at);
	if (heap_first(&f->b->deadlines) != first || first == &f->deadline)
		arm(f->b);
}

static void on_timer(uv_timer_t *timer)
{
	struct bridge *b = timer->data;
	cv_time now = clock_now();
	struct heap_node *first;

	while ((first = heap_first(&b->deadlines)) != NULL && first->at <= now) {
		struct flow *f = CV_CONTAINER_OF(first, struct flow, deadline);

		heap_remove(&b->deadlines, first);
		if (f->state == FLOW_HANDSHAKE || f->state == FLOW_WAITING)
			near_on_deadline(f, now);
		else if (f->state == FLOW_REQUEST || f->state == FLOW_DIALLING)
			far_on_deadline(f, now);
		else if (f->state == FLOW_BINDING)
			far_bind_on_deadline(f);
		else if (f->state == FLOW_PUMPING)
			flow_on_deadline(f, now);
		else if (f->state == FLOW_LINGERING)
			flow_abandon(f, TARGET_ABORTED, false);
	}
	arm(b);
}

/* ---- life ---- */

int bridge_init(struct bridge *b, uv_loop_t *loop, const struct config *config,
                struct endpoint *endpoint, struct tcp_set *conns, struct resolver *resolver)
{
	*b = (struct bridge){
		.loop = loop,
		.endpoint = endpoint,
		.conns = conns,
		.resolver = resolver,
		.config = config,
		/* Both directions of every peer's streams fit; the conns' own limit comes first. */
		.flows_max = UINT32_C(2) * config->tunnel.streams_max + 64,
	};
	list_init(&b->flows);
	list_init(&b->asking);
	heap_init(&b->deadlines);
	udp_flows_init(b);
	list_init(&b->far_associations);
	(void)uv_timer_init(loop, &b->timer); /* never fails */
	b->timer.data = b;
	return 0;
}

void bridge_limit_udp_sockets(struct bridge *b, uint32_t max)
{
	b->udp.far_sockets_max = max;
}

int bridge_reserve_peers(struct bridge *b, uint32_t size)
{
	struct bridge_peer *peers;

	if (size <= b->peers_size)
		return 0;
	peers = cv_zalloc_array(size, sizeof(*peers));
	if (!peers)
		return -ENOMEM;
	if (b->peers)
		memcpy(peers, b->peers, b->peers_size * sizeof(*peers));
	cv_free(b->peers);
	b->peers = peers;
	b->peers_size = size;
	return 0;
}

/* Clients that have not been answered yet. */
static void rebind_clients(struct bridge *b, const uint32_t *proxies)
{
	struct list *at, *next;

	list_for_each(at, next, &b->flows)
	{
		struct flow *f = list_entry(at, struct flow, node);

		if (f->associate)
			associate_rebind(f, proxies);
		if (f->kind != FLOW_PROXY || !f->near)
			continue;
		if (proxies[f->near->proxy_index] != UINT32_MAX)
			near_proxy_rebind(f, proxies[f->near->proxy_index]);
		else if (f->state != FLOW_CLOSING)
			flow_abandon(f, TARGET_ABORTED, true);
	}
}

void bridge_adopt(struct bridge *b, struct tables *tables, const uint32_t *proxies)
{
	struct tables before = b->tables;

	CV_ASSERT(tables->peers_size <= b->peers_size);
	b->tables = *tables;
	b->config = tables->config;
	*tables = (struct tables){ .config = NULL };
	for (size_t i = 0; i < b->config->peer_count; i++) {
		const char *name = b->config->peers[i].name;
		struct bridge_peer *p = &b->peers[b->tables.slots[i]];

		memcpy(p->name, name, strlen(name) + 1);
	}
	if (proxies)
		rebind_clients(b, proxies);
	remote_adopt(b);
	far_listen_adopt(b);
	tables_deinit(&before);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct bridge *b = handle->data;

	b->is_timer_closed = true;
}

void bridge_close(struct bridge *b)
{
	struct list *at, *next;

	b->is_closing = true;
	list_for_each(at, next, &b->flows)
	{
		struct flow *f = list_entry(at, struct flow, node);

		if (f->state != FLOW_CLOSING)
			flow_abandon(f, TARGET_SESSION_LOST, true);
	}
	far_udp_close_all(b);
	far_associate_close_all(b);
	udp_flows_close(b);
	if (b->timer.data)
		uv_close((uv_handle_t *)&b->timer, on_timer_closed);
}

void bridge_deinit(struct bridge *b)
{
	CV_ASSERT(b->flow_count == 0);
	cv_free(b->remotes);
	udp_flows_deinit(b);
	udp_scratch_free(b);
	heap_deinit(&b->deadlines);
	cv_free(b->peers);
	tables_deinit(&b->tables);
}

void bridge_add_own(struct bridge *b, const struct addr *a)
{
	if (b->own_count < CV_ARRAY_SIZE(b->own))
		b->own[b->own_count++] = *a;
}

void bridge_add_own_unix(struct bridge *b, const char *path)
{
	struct stat st;

	if (b->own_unix_count < CV_ARRAY_SIZE(b->own_unix) && stat(path, &st) == 0)
		b->own_unix[b->own_unix_count++] = (struct own_socket){ st.st_dev, st.st_ino };
}

void bridge_remove_own(struct bridge *b, const struct addr *a)
{
	for (size_t i = 0; i < b->own_count; i++) {
		if (addr_equal(&b->own[i], a)) {
			b->own[i] = b->own[--b->own_count];
			return;
		}
	}
}

void bridge_remove_own_unix(struct bridge *b, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return;
	for (size_t i = 0; i < b->own_unix_count; i++) {
		if (b->own_unix[i].device == st.st_dev && b->own_unix[i].number == st.st_ino) {
			b->own_unix[i] = b->own_unix[--b->own_unix_count];
			return;
		}
	}
}

bool bridge_is_own_unix(const struct bridge *b, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	for (size_t i = 0; i < b->own_unix_count; i++) {
		if (b->own_unix[i].device == st.st_dev && b->own_unix[i].number == st.st_ino)
			return true;
	}
	return false;
}

void bridge_set_local(struct bridge *b, const struct addr *list, size_t count)
{
	b->local_count = CV_MIN(count, CV_ARRAY_SIZE(b->local));
	memcpy(b->local, list, b->local_count * sizeof(list[0]));
}

/* ---- events ---- */

void bridge_on_stream(struct bridge *b, cv_time now, const struct endpoint_event *ev)
{
	/* Streams of an object that was replaced: whatever is said of them is that they are lost.
	 */
	bool is_lost = ev->streams != endpoint_streams(b->endpoint, ev->peer);
	struct flow *f;

	if (!ev->stream.stream)
		return;
	if (udp_flow_is_tag(stream_tag(ev->stream.stream))) {
		udp_flows_on_stream(b, now, ev, is_lost);
		return;
	}
	f = (struct flow *)(uintptr_t)stream_tag(ev->stream.stream);
	if (!f) {
		if (ev->stream.kind == STREAM_EVENT_OPENED && !b->is_closing && !is_lost)
			far_open(b, now, ev);
		else
			stream_release(ev->streams, ev->stream.stream, TARGET_ABORTED);
		return;
	}
	switch ((enum flow_state)f->state) {
	case FLOW_WAITING:
		near_on_stream(f, now, ev, is_lost);
		return;
	case FLOW_REQUEST:
	case FLOW_DIALLING:
		far_on_stream(f, now, ev, is_lost);
		return;
	case FLOW_ASKING:
		remote_on_stream(f, now, ev, is_lost);
		return;
	case FLOW_LISTENING:
		far_listen_on_stream(f, now, ev);
		return;
	case FLOW_BINDING:
		far_bind_on_stream(f, ev);
		return;
	case FLOW_PUMPING:
		flow_on_stream(f, now, ev, is_lost);
		return;
	case FLOW_HANDSHAKE:  /* has no stream */
	case FLOW_ASSOCIATED: /* its streams are flows of datagrams */
	case FLOW_LINGERING:  /* has let go of it, like the next */
	case FLOW_CLOSING:
		break;
	}
	CV_UNREACHABLE();
}

void bridge_on_peer(struct bridge *b, cv_time now, uint32_t peer)
{
	struct list *at, *next;
	enum peer_state state = endpoint_peer_state(b->endpoint, peer);
	cv_duration since;

	if (state == PEER_CONNECTED && !b->is_closing)
		remote_on_peer(b, now, peer);
	udp_flows_on_peer(b, now, peer);
	if (state != PEER_DOWN &&
	    !(state == PEER_CONNECTED && endpoint_peer_is_held(b->endpoint, now, peer, &since)))
		return;
	list_for_each(at, next, &b->flows)
	{
		struct flow *f = list_entry(at, struct flow, node);

		if (f->state == FLOW_WAITING && f->peer == peer)
			near_on_deadline(f, now);
	}
}

void bridge_relieve(struct bridge *b)
{
	struct flow *worst = NULL;
	size_t most = 0;

	for (size_t i = 0; i < b->config->peer_count; i++) {
		struct stream *st =
			streams_most_held(endpoint_streams(b->endpoint, b->tables.slots[i]));
		uint64_t tag = st ? stream_tag(st) : 0;
		struct flow *f = udp_flow_is_tag(tag) ? NULL : (struct flow *)(uintptr_t)tag;

		if (f && f->state == FLOW_PUMPING && stream_readable(st) > most) {
			most = stream_readable(st);
			worst = f;
		}
	}
	if (!worst)
		return;
	log_warn("stream reset peer=%s cause=\"memory is nearly used up and this stream, which "
	         "nobody "
	         "reads, holds most\"",
	         flow_peer_name(worst));
	flow_overrun(worst);
}
