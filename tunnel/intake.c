/* SPDX-License-Identifier: MIT */
#include "tunnel/intake.h"

#include <string.h>

#include "tunnel/attempt.h"
#include "tunnel/inbound.h"

struct session *intake_find_peer(const struct endpoint *e, const uint8_t pk[32])
{
	struct session *s;

	endpoint_for_each_session(e, i, s)
	{
		if (memcmp(s->remote.pk, pk, 32) == 0)
			return s;
	}
	return NULL;
}

static void reply(struct endpoint *e, const struct origin *to, const uint8_t *bytes, size_t size)
{
	unsigned i = e->reply_count;
	size_t head = 0;

	/* Sixteen a batch: an initiator repeats what is not answered. */
	if (i == CV_ARRAY_SIZE(e->replies))
		return;
	e->replies[i].socket = to->socket;
	e->replies[i].to = to->addr;
	if (to->is_relay) {
		if (!rendezvous_address(e->servers[to->server].r, &e->replies[i].socket,
		                        &e->replies[i].to))
			return;
		wire_write_relay(e->replies[i].bytes, to->channel);
		head = WIRE_RELAY_HEADER;
	}
	memcpy(e->replies[i].bytes + head, bytes, size);
	e->replies[i].size = (uint16_t)(head + size);
	e->reply_count++;
}

/* An INIT that we know, and where it comes from now: under `path: relay` of either side whoever
 * repeats it directly would learn whether we are there. */
static void repeat_resp(struct endpoint *e, const struct origin *from, struct pending *known)
{
	const struct session *s = endpoint_find_session(e, known->owner);

	if (!from->is_relay && (!s || s->policy == POLICY_RELAY || known->policy == POLICY_RELAY)) {
		e->counters.gate_drops++;
		return;
	}
	pending_add_source(known, attempt_path_name(from));
	reply(e, from, known->resp, WIRE_RESP_SIZE);
}

/* Whether anybody may come off the relay. If not, even a COOKIE would tell who knows our key that
 * we are there. */
static bool has_direct_peers(const struct endpoint *e)
{
	const struct session *s;

	endpoint_for_each_session(e, i, s)
	{
		if (s->policy != POLICY_RELAY)
			return true;
	}
	return false;
}

void intake_init(struct endpoint *e, cv_time now, const struct origin *from, const uint8_t *bytes,
                 size_t size)
{
	struct gate_source source;
	struct wire_handshake head;
	struct handshake_in in = { 0 };
	struct session *s = NULL;
	struct assoc *continues = NULL;
	struct pending *repeat;
	uint8_t out[WIRE_INIT_SIZE];
	size_t out_size = 0;
	enum gate_verdict v;

	if (size != WIRE_INIT_SIZE || e->is_closing) {
		e->counters.malformed++;
		return;
	}
	if (!from->is_relay && !has_direct_peers(e)) {
		e->counters.gate_drops++;
		return;
	}
	repeat = pendings_repeat(&e->pendings, bytes + WIRE_INIT_SIZE - 2 * MAC_SIZE);
	if (repeat) {
		repeat_resp(e, from, repeat);
		return;
	}
	if (from->is_relay)
		gate_source_relay(&source, from->server, from->channel);
	else
		gate_source_addr(&source, from->socket, &from->addr);
	if (wire_read_handshake(bytes, size, &head) && head.receiver != 0) {
		s = endpoint_find_session(e, indexes_find(&e->indexes, head.receiver));
		if (s)
			continues = &s->assoc;
		s = NULL;
	}
	if (pendings_under_pressure(&e->pendings, now))
		gate_press(&e->gate, now);
	v = gate_check(&e->gate, now, e->core.rng, &source, continues, bytes, size, &head, out,
	               &out_size);
	if (v == GATE_COOKIE || v == GATE_VERSION)
		reply(e, from, out, out_size);
	if (v != GATE_PASS && v != GATE_CONTINUES) {
		e->counters.gate_drops++;
		return;
	}
	if (handshake_read_init_key(&in, e->core.me, HANDSHAKE_PEER, bytes) == HANDSHAKE_OK)
		s = intake_find_peer(e, in.peer_pk);
	if (s && !s->is_leaving &&
	    handshake_read_init_payload(&in, &s->remote, bytes) == HANDSHAKE_OK &&
	    inbound_on_init(s, now, &in, bytes, from, v == GATE_CONTINUES && &s->assoc == continues,
	                    out)) {
		reply(e, from, out, WIRE_RESP_SIZE);
		endpoint_touch_session(e, s);
	}
	handshake_in_wipe(&in);
}

/* A datagram that names an index of ours: which session or server is it for? */
static void on_indexed(struct endpoint *e, cv_time now, const struct origin *from, uint8_t *bytes,
                       size_t size, uint32_t index)
{
	uint64_t owner = indexes_find(&e->indexes, index);
	struct session *s;

	if (owner >= OWNER_SERVER && owner < (uint64_t)OWNER_SERVER + e->server_count &&
	    !from->is_relay) {
		rendezvous_on_datagram(e->servers[owner - OWNER_SERVER].r, now, from->socket,
		                       &from->addr, bytes, size);
		return;
	}
	/* Bare packets of a peer do not come by a server's TCP. */
	s = endpoint_find_session(e, owner);
	if (!s || from->socket == SOCKET_TCP) {
		e->counters.unknown_index++;
		return;
	}
	switch (bytes[0] & WIRE_KIND_MASK) {
	case WIRE_DATA:
		inbound_on_data(s, now, from, bytes, size);
		break;
	case WIRE_PROBE:
		inbound_on_probe(s, now, from, bytes, size);
		break;
	case WIRE_RESP:
		inbound_on_resp(s, now, from, bytes, size);
		break;
	case WIRE_COOKIE:
		inbound_on_cookie(s, now, from, bytes, size);
		break;
	case WIRE_VERSION:
		inbound_on_version(s, bytes, size);
		break;
	default:
		return;
	}
	endpoint_touch_session(e, s);
}

/* Where the receiver's index stands, by kind; 0: too short, or a kind without one. */
static size_t index_offset(const uint8_t *bytes, size_t size)
{
	size_t at;

	switch (bytes[0] & WIRE_KIND_MASK) {
	case WIRE_DATA:
	case WIRE_PROBE:
		at = 1;
		break;
	case WIRE_RESP:
		at = 8;
		break;
	case WIRE_COOKIE:
	case WIRE_VERSION:
		at = 4;
		break;
	default:
		return 0;
	}
	return size >= at + 4 ? at : 0;
}

void intake_datagram(struct endpoint *e, cv_time now, const struct origin *from, uint8_t *bytes,
                     size_t size)
{
	size_t at;

	if (size == 0) {
		e->counters.malformed++;
		return;
	}
	if (wire_is_stun(bytes[0])) {
		if (from->is_relay || from->socket == SOCKET_TCP ||
		    !discovery_on_datagram(&e->discovery, now, from->socket, &from->addr, bytes,
		                           size))
			e->counters.malformed++;
		return;
	}
	if ((bytes[0] & WIRE_KIND_MASK) == WIRE_INIT && from->socket != SOCKET_TCP) {
		intake_init(e, now, from, bytes, size);
		return;
	}
	at = index_offset(bytes, size);
	if (at == 0) {
		e->counters.malformed++;
		return;
	}
	on_indexed(e, now, from, bytes, size, cv_load32(bytes + at));
}

/* RELAY is taken only from the server in whose session the channel was announced (rule 3.1). */
void intake_relayed(struct endpoint *e, cv_time now, const struct origin *outer, uint8_t *bytes,
                    size_t size)
{
	struct origin from = { .is_relay = true };
	uint32_t peer;

	if (!wire_read_relay(bytes, size, &from.channel))
		return;
	for (from.server = 0; from.server < e->server_count; from.server++) {
		struct rendezvous *r = e->servers[from.server].r;

		if (rendezvous_is_from(r, outer->socket, &outer->addr) &&
		    rendezvous_find_channel(r, from.channel, &peer)) {
			rendezvous_on_relayed(r, now, outer->socket);
			intake_datagram(e, now, &from, bytes + WIRE_RELAY_HEADER,
			                size - WIRE_RELAY_HEADER);
			return;
		}
	}
	e->counters.relay_strays++;
}
