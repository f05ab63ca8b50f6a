/* SPDX-License-Identifier: MIT */
#include "tunnel/gate.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tunnel/train.h"

/*
 * Rule 9.1: each step costs more than the one before, and what a stranger can send fails early.
 *
 *   size, kind, mac1       one hash; who does not know our public key ends here
 *   version                answered, or the other end's operator looks for a firewall
 *   mac2 of an epoch       whoever shares keys with us passes by every bucket: a flood
 *                          must not stop the rekey of a living session (rule 3.2)
 *   mac2 of a cookie       when one is demanded: the source can receive; of a TCP connection
 *                          that is known
 *   buckets                of the source, of all relayed ones, of all
 *
 * COOKIE and VERSION are smaller than the INIT that they answer and cost one MAC, so their bucket
 * is wider than that of a handshake: after a restart a whole carrier NAT comes back at once.
 */

enum {
	PREFIX_RATE = 200,
	PREFIX_BURST = 100,
	SOURCE_RATE = 20,
	SOURCE_BURST = 5,
	CHANNEL_RATE = 20,
	CHANNEL_BURST = 5,
	CHANNELS_MAX = 1024,
	/* An IK responder needs about 230 us: a quarter of one core. */
	GLOBAL_RATE = 1000,
	GLOBAL_BURST = 250,
	RELAYED_RATE = GLOBAL_RATE / 2,
	RELAYED_BURST = GLOBAL_BURST / 2,
	SEEN_SLOTS = 1024, /* direct-mapped: a newer INIT may push out an older one */
};

#define PRESSED_TIME CV_SEC(10)

/* First byte of a source's name: the two kinds never share one. */
enum { NAME_ADDR = 1, NAME_RELAY = 2 };

void gate_source_addr(struct gate_source *s, uint16_t socket, const struct addr *from)
{
	struct wr w;

	*s = (struct gate_source){ .addr = *from, .is_proven = socket == SOCKET_TCP };
	w = wr_init(s->name, sizeof(s->name));
	wr_u8(&w, NAME_ADDR);
	wr_u16(&w, socket);
	wr_addr(&w, from);
	wr_u32(&w, from->scope);
	CV_ASSERT(!w.bad);
	s->name_size = (uint8_t)wr_size(&w);
}

void gate_source_relay(struct gate_source *s, uint32_t link, uint64_t channel)
{
	struct wr w;

	*s = (struct gate_source){ .relay_key = channel ^ (uint64_t)link << 32 };
	w = wr_init(s->name, sizeof(s->name));
	wr_u8(&w, NAME_RELAY);
	wr_u32(&w, link);
	wr_u64(&w, channel);
	CV_ASSERT(!w.bad);
	s->name_size = (uint8_t)wr_size(&w);
}

int gate_init(struct gate *g, const struct identity *me, bool is_strict, uint32_t sources_max,
              uint64_t seed)
{
	struct gate next = { .me = me, .is_strict = is_strict };

	next.seen = cv_zalloc_array(SEEN_SLOTS, sizeof(next.seen[0]));
	if (!next.seen ||
	    source_limit_init(&next.sources, sources_max, SOURCE_RATE, SOURCE_BURST, seed) < 0 ||
	    source_limit_init(&next.prefixes, sources_max, PREFIX_RATE, PREFIX_BURST, ~seed) < 0 ||
	    source_limit_init(&next.channels, CHANNELS_MAX, CHANNEL_RATE, CHANNEL_BURST, seed) <
	            0) {
		gate_deinit(&next);
		return -ENOMEM;
	}
	*g = next;
	return 0;
}

void gate_deinit(struct gate *g)
{
	source_limit_deinit(&g->sources);
	source_limit_deinit(&g->prefixes);
	source_limit_deinit(&g->channels);
	cv_free(g->seen);
	*g = (struct gate){ 0 };
}

void gate_press(struct gate *g, cv_time now)
{
	g->pressed_until = cv_time_after(now, PRESSED_TIME);
}

/* A channel as a key of the bucket table, which knows addresses and takes their first 8 bytes. */
static bool take_channel(struct gate *g, cv_time now, uint64_t key)
{
	struct addr a = { .family = ADDR_V6 };

	cv_store64(a.ip, key);
	return source_limit_take(&g->channels, now, &a, false);
}

static bool take_source(struct gate *g, cv_time now, const struct gate_source *from, bool is_proven)
{
	if (from->addr.family == ADDR_NONE) {
		if (!take_channel(g, now, from->relay_key))
			return false;
		return bucket_take(&g->relayed, now, RELAYED_RATE, RELAYED_BURST, 1);
	}
	return source_limit_take(&g->sources, now, &from->addr, is_proven);
}

/* May this source have an answer that costs us no state? */
static bool take_answer(struct gate *g, cv_time now, const struct gate_source *from)
{
	if (from->addr.family == ADDR_NONE)
		return take_channel(g, now, from->relay_key);
	return source_limit_take(&g->prefixes, now, &from->addr, false);
}

/* True when this INIT came before under the present cookie secret; notes it. */
static bool was_seen(struct gate *g, const uint8_t *init, size_t size)
{
	uint64_t mark = cv_load64(init + size - 2 * MAC_SIZE) | 1; /* 0 marks an empty slot */
	uint64_t *slot = &g->seen[mark >> 1 & (SEEN_SLOTS - 1)];

	if (g->seen_since != g->jar.changed_at) {
		memset(g->seen, 0, SEEN_SLOTS * sizeof(g->seen[0]));
		g->seen_since = g->jar.changed_at;
	}
	if (*slot == mark)
		return true;
	*slot = mark;
	return false;
}

static enum gate_verdict answer_version(struct gate *g, cv_time now, const struct gate_source *from,
                                        const uint8_t *init, uint8_t *reply, size_t *reply_size)
{
	if (!take_answer(g, now, from))
		return GATE_LIMITED;
	cookie_write_version(&g->me->macs, init, reply);
	*reply_size = WIRE_VERSION_SIZE;
	return GATE_VERSION;
}

static enum gate_verdict check_stranger(struct gate *g, cv_time now, const struct rng *rng,
                                        const struct gate_source *from, const uint8_t *init,
                                        size_t size, uint8_t *reply, size_t *reply_size)
{
	bool is_demanded = g->is_strict || now < g->pressed_until;
	bool is_proven;

	cookie_jar_turn(&g->jar, now, rng);
	is_proven =
		from->is_proven || cookie_check(&g->jar, now, from->name, from->name_size, init);
	if (is_demanded && !is_proven) {
		if (!take_answer(g, now, from))
			return GATE_LIMITED;
		cookie_write(&g->jar, &g->me->macs, rng, from->name, from->name_size, init, reply);
		*reply_size = WIRE_COOKIE_SIZE;
		return GATE_COOKIE;
	}
	/* Without this, one recorded INIT with its cookie would be good for two minutes (rule 3.3).
	 */
	if (is_demanded && was_seen(g, init, size))
		return GATE_STALE;
	if (!take_source(g, now, from, is_proven))
		return GATE_LIMITED;
	return bucket_take(&g->global, now, GLOBAL_RATE, GLOBAL_BURST, 1) ? GATE_PASS
	                                                                  : GATE_LIMITED;
}

static enum gate_verdict check(struct gate *g, cv_time now, const struct rng *rng,
                               const struct gate_source *from, struct assoc *continues,
                               const uint8_t *init, size_t size, struct wire_handshake *head,
                               uint8_t *reply, size_t *reply_size)
{
	const struct epoch *e;

	switch (handshake_check_init(g->me, init, size, head)) {
	case HANDSHAKE_OK:
		break;
	case HANDSHAKE_BAD_VERSION:
		return answer_version(g, now, from, init, reply, reply_size);
	case HANDSHAKE_BAD_MAC:
	case HANDSHAKE_FORGED:
		return GATE_BAD_MAC;
	case HANDSHAKE_MALFORMED:
		return GATE_MALFORMED;
	}
	e = continues ? assoc_find(continues, head->receiver) : NULL;
	if (e && cookie_check_mac2(e->mac2_secret, sizeof(e->mac2_secret), init)) {
		if (!assoc_accepts_number(continues, head->number))
			return GATE_STALE;
		return assoc_take_number(continues, now, head->number) ? GATE_CONTINUES
		                                                       : GATE_LIMITED;
	}
	return check_stranger(g, now, rng, from, init, size, reply, reply_size);
}

enum gate_verdict gate_check(struct gate *g, cv_time now, const struct rng *rng,
                             const struct gate_source *from, struct assoc *continues,
                             const uint8_t *init, size_t size, struct wire_handshake *head,
                             uint8_t *reply, size_t *reply_size)
{
	enum gate_verdict verdict =
		check(g, now, rng, from, continues, init, size, head, reply, reply_size);

	CV_ASSERT((size_t)verdict < CV_ARRAY_SIZE(g->drops));
	g->drops[verdict]++;
	return verdict;
}
