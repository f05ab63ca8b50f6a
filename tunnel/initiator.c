/* SPDX-License-Identifier: MIT */
#include "tunnel/initiator.h"

#include <sodium.h>
#include <string.h>

#include "tunnel/aead.h"

#define INTERVAL_FIRST CV_MS(250)
#define INTERVAL_MAX CV_SEC(1)
/* The responder changes its secret every 120 s. */
#define COOKIE_LIFE CV_SEC(120)

void initiator_init(struct initiator *i)
{
	*i = (struct initiator){ .send_at = CV_TIME_NEVER };
}

void initiator_start(struct initiator *i, cv_time now)
{
	i->send_at = now;
	if (i->is_running)
		return;
	i->is_running = true;
	i->started_at = now;
	i->interval = INTERVAL_FIRST;
	i->tries = 0;
	i->version_seen = 0;
}

void initiator_hasten(struct initiator *i, cv_time now)
{
	CV_ASSERT(i->is_running);
	i->send_at = now;
	i->interval = INTERVAL_FIRST;
}

/* The INIT in hand is over: its index goes back unless an epoch took it. */
static void discard(struct initiator *i, cv_time now, struct assoc *a)
{
	if (i->local_index != 0)
		indexes_free(a->opt.indexes, now, i->local_index);
	i->local_index = 0;
	handshake_wipe(&i->hs);
}

void initiator_stop(struct initiator *i, cv_time now, struct assoc *a)
{
	discard(i, now, a);
	i->is_running = false;
	i->send_at = CV_TIME_NEVER;
}

cv_time initiator_deadline(const struct initiator *i)
{
	return i->is_running ? i->send_at : CV_TIME_NEVER;
}

/* 250 ms x 1.5 up to 1 s, each drawn from the last fifth: two ends must not stay in step. */
static void plan(struct initiator *i, cv_time now, const struct rng *rng)
{
	cv_duration spread = i->interval / 5;

	i->send_at = cv_time_after(now, i->interval - rng_below(rng, spread));
	i->interval = CV_MIN(i->interval + i->interval / 2, INTERVAL_MAX);
	i->tries++;
}

static bool must_remake(const struct initiator *i, cv_time now, const struct assoc *a)
{
	if (i->local_index == 0 || cv_time_since(now, i->made_at) >= INITIATOR_INIT_LIFE)
		return true;
	return memcmp(i->ours, a->incarnation, INCARNATION_SIZE) != 0;
}

bool initiator_turn(struct initiator *i, cv_time now, struct assoc *a, const struct identity *me,
                    const struct remote *peer, enum handshake_role role, const struct rng *rng,
                    uint8_t aead_bits, uint8_t policy)
{
	struct wire_handshake head = { .version = WIRE_VERSION_1 };
	struct handshake_payload payload = { .aead_bits = aead_bits, .policy = policy };
	const uint8_t *mac2_secret;

	CV_ASSERT(i->is_running);
	plan(i, now, rng);
	if (!must_remake(i, now, a))
		return true;
	discard(i, now, a);
	i->local_index = indexes_take(a->opt.indexes, now, rng, a->opt.owner);
	if (i->local_index == 0)
		return false;
	head.sender = i->local_index;
	(void)assoc_continues(a, &head.receiver, &mac2_secret); /* 0 when there is nothing */
	head.number = a->number_next++;
	memcpy(payload.incarnation, a->incarnation, INCARNATION_SIZE);
	handshake_write_init(&i->hs, me, peer, role, rng, &head, &payload, i->init);
	memcpy(i->ours, a->incarnation, INCARNATION_SIZE);
	i->was_bound = a->is_bound;
	i->made_at = now;
	i->sent_to = 0;
	i->is_sent_elsewhere = false;
	return true;
}

static const struct initiator_cookie *find_cookie(const struct initiator *i, uint64_t path)
{
	for (unsigned k = 0; k < INITIATOR_COOKIES; k++) {
		if (path != 0 && i->cookies[k].path == path)
			return &i->cookies[k];
	}
	return NULL;
}

/* The epoch that the INIT in hand names: a newer one may have come since it was made. */
static const struct epoch *continued(const struct initiator *i, const struct assoc *a)
{
	for (unsigned k = 0; k < a->opt.epochs_max; k++) {
		const struct epoch *e = &a->opt.epochs[k];

		if (i->hs.head.receiver != 0 && e->local_index != 0 &&
		    e->remote_index == i->hs.head.receiver)
			return e;
	}
	return NULL;
}

void initiator_write(struct initiator *i, const struct assoc *a, cv_time now, uint64_t path,
                     uint8_t out[WIRE_INIT_SIZE])
{
	const struct initiator_cookie *c = find_cookie(i, path);
	const struct epoch *e = continued(i, a);

	CV_ASSERT(i->local_index != 0);
	i->is_sent_elsewhere |= path != 0 && i->sent_to != 0 && i->sent_to != path;
	i->sent_to = path != 0 ? path : i->sent_to;
	memcpy(out, i->init, WIRE_INIT_SIZE);
	/* A cookie given for this very INIT says that the epoch which it names is not known there:
	 * the other side has restarted. */
	if (c && cv_time_since(now, c->at) < COOKIE_LIFE && (!e || c->at >= i->made_at))
		cookie_write_mac2(c->cookie, COOKIE_SIZE, out);
	else if (e)
		cookie_write_mac2(e->mac2_secret, sizeof(e->mac2_secret), out);
}

void initiator_on_opens(struct initiator *i)
{
	i->is_sent_elsewhere = true;
}

bool initiator_asked_only(const struct initiator *i, uint64_t path)
{
	return i->sent_to == path && !i->is_sent_elsewhere;
}

static struct initiator_cookie *room_for_cookie(struct initiator *i, uint64_t path)
{
	struct initiator_cookie *best = &i->cookies[0];

	for (unsigned k = 0; k < INITIATOR_COOKIES; k++) {
		struct initiator_cookie *c = &i->cookies[k];

		if (c->path == path)
			return c;
		if (best->path != 0 && (c->path == 0 || c->at < best->at))
			best = c;
	}
	return best;
}

bool initiator_on_cookie(struct initiator *i, cv_time now, const struct remote *peer, uint64_t path,
                         const uint8_t *bytes, size_t size)
{
	uint8_t cookie[COOKIE_SIZE];
	struct initiator_cookie *c;
	bool is_known;

	CV_ASSERT(path != 0);
	if (!i->is_running || i->local_index == 0)
		return false;
	if (!cookie_read(&peer->macs, i->hs.mac1, bytes, size, cookie))
		return false;
	c = room_for_cookie(i, path);
	/* One repeat for one cookie, or a duplicated COOKIE makes duplicated INITs for ever. */
	is_known = c->path == path && c->at >= i->made_at &&
	           memcmp(c->cookie, cookie, COOKIE_SIZE) == 0;
	c->path = path;
	c->at = now;
	memcpy(c->cookie, cookie, COOKIE_SIZE);
	if (!is_known)
		i->send_at = now;
	return true;
}

void initiator_on_version(struct initiator *i, const struct remote *peer, const uint8_t *bytes,
                          size_t size)
{
	uint8_t newest;

	if (!i->is_running || i->local_index == 0)
		return;
	if (cookie_read_version(&peer->macs, i->hs.mac1, bytes, size, &newest))
		i->version_seen = newest;
}

bool initiator_matches(const struct initiator *i, uint32_t receiver)
{
	return i->is_running && receiver != 0 && i->local_index == receiver;
}

enum assoc_verdict initiator_on_resp(struct initiator *i, cv_time now, struct assoc *a,
                                     const struct identity *me, const struct remote *peer,
                                     const struct rng *rng, const uint8_t *bytes, size_t size,
                                     bool *is_forged)
{
	struct handshake_payload payload;
	struct handshake_secrets secrets;
	struct assoc_join join = { .is_initiator = true, .was_bound = i->was_bound };
	enum assoc_verdict verdict;

	*is_forged = true;
	if (!i->is_running || i->local_index == 0)
		return ASSOC_VOID;
	if (handshake_read_resp(&i->hs, me, peer, bytes, size, &payload, &join.remote_index,
	                        &secrets) != HANDSHAKE_OK)
		return ASSOC_VOID;
	*is_forged = false;
	join.secrets = &secrets;
	join.ours = i->ours;
	join.theirs = payload.incarnation;
	/* One of those offered: handshake_read_resp() has seen to it. */
	join.aead = payload.aead_bits == AEAD_BIT_AES ? AEAD_AES256_GCM : AEAD_CHACHA20_POLY1305;
	join.policy = payload.policy;
	join.local_index = i->local_index;
	verdict = assoc_join(a, now, rng, &join);
	sodium_memzero(&secrets, sizeof(secrets));
	i->local_index = 0; /* an epoch's now, or freed */
	initiator_stop(i, now, a);
	return verdict;
}
