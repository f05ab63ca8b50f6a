/* SPDX-License-Identifier: MIT */

/*
 * A round is a row of requests, each repeated after twice the pause before it, until an answer
 * comes or the row ends:
 *
 *	PCP       0   0.25   0.75          silent at 1.75 s
 *	NAT-PMP   0   0.25   0.75   1.75   silent at 3.75 s
 *
 * RFC 6887, 8.1.1, would repeat after 3 s and for ever, RFC 6886, 3.1, as here but nine times, for
 * a minute. Gateways are one hop away and answer within milliseconds or not at all, and who has
 * just started waits for the direct path; a gateway that says nothing is asked again after a
 * minute, then ever more rarely.
 *
 * Which protocol: PCP first. A gateway that knows only NAT-PMP says so (version 0 in its refusal:
 * RFC 6887, appendix A), and is asked in it at once; one that drops what it does not know is asked
 * in it after the first round. NAT-PMP needs two answers, the port and the address, and asks for
 * both at once.
 *
 * A mapping is renewed at half of its life and a random bit (RFC 6887, 11.2.1), then at half of
 * what is left. A gateway that restarts has forgotten it: some say so to everybody (announcement),
 * of others (miniupnpd) the epoch in the next answer is not what it should be. So it is asked for
 * its epoch, and in NAT-PMP with it for its address, every two minutes between renewals.
 */
#include "tunnel/mapper.h"

#include <string.h>

#include "tunnel/candidate.h"

enum { TRIES_PCP = 3, TRIES_NATPMP = 4, TRIES_RENEW = 4, TRIES_DELETE = 2 };

#define PAUSE_FIRST CV_MS(250)
/* After a round in vain. */
#define WAIT_FIRST CV_SEC(60)
#define WAIT_MAX CV_SEC(1800)
/* What a gateway grants: never believed for less or longer. */
enum { LIFE_MIN_S = 20, LIFE_MAX_S = 86400 };
#define LOOK_INTERVAL CV_SEC(120)
#define RENEW_MIN CV_SEC(4) /* RFC 6887, 11.2.1: no sooner after the request before */
/* Events (network, announcements) that come one on another cause one request. */
#define CONFIRMED_FOR CV_SEC(5)
/* After an announcement all hosts of a LAN ask. RFC 6887, 14.1.3, has 5 s for networks of any size;
 * a second does for the few dozen of a LAN, and streams wait for it. */
#define ANNOUNCEMENT_SPREAD CV_SEC(1)

#define TO(state) (1u << (state))
static const unsigned edges[] = {
	[MAPPER_OFF] = TO(MAPPER_OFF) | TO(MAPPER_ASKING),
	[MAPPER_ASKING] = TO(MAPPER_ASKING) | TO(MAPPER_WAITING) | TO(MAPPER_MAPPED) |
	                  TO(MAPPER_DELETING) | TO(MAPPER_OFF),
	[MAPPER_WAITING] = TO(MAPPER_ASKING) | TO(MAPPER_OFF),
	[MAPPER_MAPPED] = TO(MAPPER_MAPPED) | TO(MAPPER_RENEWING) | TO(MAPPER_ASKING) |
	                  TO(MAPPER_WAITING) | TO(MAPPER_DELETING) | TO(MAPPER_OFF),
	[MAPPER_RENEWING] = TO(MAPPER_MAPPED) | TO(MAPPER_RENEWING) | TO(MAPPER_ASKING) |
	                    TO(MAPPER_WAITING) | TO(MAPPER_DELETING) | TO(MAPPER_OFF),
	[MAPPER_DELETING] = TO(MAPPER_OFF),
};

static bool is_mapped(const struct mapper *m)
{
	return m->state == MAPPER_MAPPED || m->state == MAPPER_RENEWING;
}

/* Requests go out, answers are awaited. */
static bool is_in_round(const struct mapper *m)
{
	return m->state == MAPPER_ASKING || m->state == MAPPER_RENEWING ||
	       m->state == MAPPER_DELETING;
}

/* The only place that writes the state. */
static void enter(struct mapper *m, cv_time now, enum mapper_state next)
{
	CV_ASSERT(edges[m->state] & TO(next));
	m->state = next;
	m->must_ask_port = false;
	m->must_ask_address = false;
	m->must_look = false;
	m->is_looking = false;
	m->next_at = CV_TIME_NEVER;
	if (!is_mapped(m)) {
		m->external = (struct addr){ .family = ADDR_NONE };
		m->expires_at = CV_TIME_NEVER;
	}
	trace_emit(m->trace, now, TRACE_MAPPER, m->target.client.family, next, m->protocol);
}

/* MAPPED: renewed then, and looked at until then. */
static void rest(struct mapper *m, cv_time now, cv_time renew_at)
{
	enter(m, now, MAPPER_MAPPED);
	m->renew_at = renew_at;
	m->look_at = cv_time_after(now, LOOK_INTERVAL);
	m->next_at = cv_time_min(m->renew_at, m->look_at);
}

static void begin_round(struct mapper *m, cv_time now, enum mapper_state state,
                        enum mapper_protocol protocol, unsigned tries)
{
	m->protocol = protocol;
	enter(m, now, state);
	m->tries_left = tries;
	m->pause = PAUSE_FIRST;
	m->next_at = now;
	m->has_port = false;
	m->has_address = protocol == MAPPER_PCP;
	m->told = (struct addr){ .family = ADDR_NONE };
	m->asked_at = now;
}

static void ask(struct mapper *m, cv_time now)
{
	begin_round(m, now, MAPPER_ASKING, MAPPER_PCP, TRIES_PCP);
}

/* Nothing for now: again after @wait. */
static void give_up(struct mapper *m, cv_time now, const char *why, cv_duration wait)
{
	enter(m, now, MAPPER_WAITING);
	m->protocol = MAPPER_NONE;
	m->why = why;
	m->failures++;
	m->next_at = cv_time_after(now, wait);
}

static cv_duration back_off(const struct mapper *m)
{
	cv_duration wait = WAIT_FIRST;

	for (unsigned i = 0; i < m->failures && wait < WAIT_MAX; i++)
		wait *= 2;
	return CV_MIN(wait, WAIT_MAX);
}

/* ---- the owner's calls ---- */

void mapper_init(struct mapper *m, const struct rng *rng, const struct trace *trace)
{
	*m = (struct mapper){
		.rng = rng, .trace = trace, .next_at = CV_TIME_NEVER, .expires_at = CV_TIME_NEVER
	};
}

static bool is_same_target(const struct mapper *m, const struct mapper_target *t)
{
	return addr_equal_ip(&m->target.gateway, &t->gateway) &&
	       addr_equal(&m->target.client, &t->client);
}

void mapper_start(struct mapper *m, cv_time now, const struct mapper_target *target)
{
	CV_ASSERT(target->gateway.family != ADDR_NONE);
	CV_ASSERT(target->gateway.family == target->client.family);
	CV_ASSERT(target->client.port != 0);
	CV_ASSERT(m->state != MAPPER_DELETING);
	if (m->state == MAPPER_OFF || !is_same_target(m, target)) {
		mapper_drop(m, now);
		m->target = *target;
		rng_fill(m->rng, m->nonce, sizeof(m->nonce));
		ask(m, now);
		return;
	}
	m->failures = 0;
	if (m->state == MAPPER_WAITING)
		m->next_at = cv_time_min(m->next_at,
		                         CV_MAX(now, cv_time_after(m->asked_at, CONFIRMED_FOR)));
	mapper_renew(m, now);
}

void mapper_renew(struct mapper *m, cv_time now)
{
	if (m->state == MAPPER_MAPPED && cv_time_since(now, m->confirmed_at) >= CONFIRMED_FOR)
		begin_round(m, now, MAPPER_RENEWING, m->protocol, TRIES_RENEW);
}

void mapper_drop(struct mapper *m, cv_time now)
{
	enter(m, now, MAPPER_OFF);
	m->protocol = MAPPER_NONE;
	m->why = NULL;
	m->failures = 0;
	m->was_answered = false;
	m->has_epoch = false;
}

void mapper_stop(struct mapper *m, cv_time now)
{
	switch (m->state) {
	case MAPPER_ASKING: /* an answer may be on its way */
	case MAPPER_MAPPED:
	case MAPPER_RENEWING:
		begin_round(m, now, MAPPER_DELETING, m->protocol, TRIES_DELETE);
		mapper_on_deadline(m, now);
		return;
	case MAPPER_OFF:
	case MAPPER_WAITING:
		mapper_drop(m, now);
		return;
	case MAPPER_DELETING:
		return;
	}
	CV_UNREACHABLE();
}

/* ---- answers ---- */

/*
 * Has the gateway lost its state since its last answer? Its clock and ours must have gone on by the
 * same, give or take a sixteenth and two seconds (RFC 6887, 8.5). NAT-PMP's clock may be slower by
 * an eighth, and one that is too fast says nothing (RFC 6886, 3.6).
 */
static bool is_epoch_broken(struct mapper *m, cv_time now, const struct pcp_answer *a)
{
	uint64_t ours, theirs;

	if (!m->has_epoch)
		return false;
	if (a->epoch_s < m->epoch_s)
		return m->epoch_s - a->epoch_s > 1; /* out of order, by so much at most */
	ours = cv_time_since(now, m->epoch_at) / CV_SEC(1);
	theirs = a->epoch_s - m->epoch_s;
	if (a->version == 0)
		return theirs + 2 < ours - ours / 8;
	return ours + 2 < theirs - theirs / 16 || theirs + 2 < ours - ours / 16;
}

static void note_epoch(struct mapper *m, cv_time now, const struct pcp_answer *a)
{
	m->has_epoch = true;
	m->epoch_s = a->epoch_s;
	m->epoch_at = now;
}

static const char *pcp_refusal(uint16_t result)
{
	switch (result) {
	case PCP_NOT_AUTHORIZED:
		return "the gateway does not allow port mappings (PCP)";
	case PCP_UNSUPP_VERSION:
		return "the gateway speaks another version of PCP";
	case PCP_NETWORK_FAILURE:
		return "the gateway has no connection (PCP)";
	case PCP_NO_RESOURCES:
	case PCP_USER_EX_QUOTA:
		return "the gateway has no more room for port mappings (PCP)";
	case PCP_CANNOT_PROVIDE_EXTERNAL:
		return "the gateway has no port or address to give (PCP)";
	case PCP_ADDRESS_MISMATCH:
		return "another NAT lies between this host and the gateway (PCP)";
	default: /* what a wrong request gets, and numbers of the future */
		return "the gateway refuses port mappings (PCP)";
	}
}

static const char *natpmp_refusal(uint16_t result)
{
	switch (result) {
	case 2:
		return "the gateway does not allow port mappings (NAT-PMP)";
	case 3:
		return "the gateway has no connection (NAT-PMP)";
	case 4:
		return "the gateway has no more room for port mappings (NAT-PMP)";
	default:
		return "the gateway refuses port mappings (NAT-PMP)";
	}
}

static void on_refusal(struct mapper *m, cv_time now, const struct pcp_answer *a)
{
	if (m->state == MAPPER_DELETING) {
		mapper_drop(m, now); /* then there is nothing to delete */
		return;
	}
	if (m->protocol == MAPPER_NATPMP) {
		give_up(m, now, natpmp_refusal(a->result), back_off(m));
		return;
	}
	if (a->result == PCP_UNSUPP_VERSION && a->version == 0 &&
	    m->target.client.family == ADDR_V4) {
		begin_round(m, now, m->state, MAPPER_NATPMP, TRIES_NATPMP);
		return;
	}
	/* How long it will stay so is the gateway's to say (RFC 6887, 7.4), within reason. */
	give_up(m, now, pcp_refusal(a->result),
	        CV_MAX(back_off(m), CV_MIN(CV_SEC(a->lifetime_s), WAIT_MAX)));
}

static void on_granted(struct mapper *m, cv_time now)
{
	cv_duration life = CV_SEC(CV_MIN(CV_MAX(m->told_s, LIFE_MIN_S), LIFE_MAX_S));

	if (m->told_s == 0) {
		give_up(m, now, "the gateway has taken the port mapping back", back_off(m));
		return;
	}
	if (m->told.port == 0 || !candidate_is_announced(&m->told)) {
		/* 0.0.0.0 is what they say who are not connected themselves. */
		give_up(m, now, "the gateway has no address outside", back_off(m));
		return;
	}
	rest(m, now, cv_time_after(now, life / 2 + rng_below(m->rng, life / 8)));
	m->external = m->told;
	m->confirmed_at = now;
	m->expires_at = cv_time_after(now, life);
	m->failures = 0;
	m->why = NULL;
}

static void on_mapping(struct mapper *m, cv_time now, const struct pcp_answer *a)
{
	if (m->state == MAPPER_DELETING) {
		if (a->lifetime_s == 0) /* else it is late, and of the request before */
			mapper_drop(m, now);
		return;
	}
	m->has_port = true;
	m->told_s = a->lifetime_s;
	m->told.port = a->external.port;
	if (a->kind == PCP_MAP)
		m->told = a->external;
	if (m->has_address)
		on_granted(m, now);
}

static bool is_of_mapping(const struct mapper *m, const struct pcp_answer *a)
{
	return m->protocol == MAPPER_PCP && a->internal_port == m->target.client.port &&
	       memcmp(a->nonce, m->nonce, sizeof(m->nonce)) == 0;
}

/* Does it answer what we are asking? */
static bool is_asked(const struct mapper *m, const struct pcp_answer *a)
{
	if (m->state == MAPPER_MAPPED && a->result != PCP_SUCCESS)
		return false;
	if (m->state == MAPPER_MAPPED && (a->kind == PCP_ANNOUNCE || a->kind == NATPMP_ADDRESS))
		return m->is_looking;
	/* PCP tells of itself when a mapping has changed, or ended (RFC 6887, 14.2). */
	if (m->state == MAPPER_MAPPED)
		return a->kind == PCP_MAP && is_of_mapping(m, a);
	if (!is_in_round(m))
		return false;
	/* No nonce, no port: refused before the gateway looked at them. A second one of those is
	 * late, when we speak the older protocol already. */
	if (a->result == PCP_UNSUPP_VERSION)
		return m->protocol == MAPPER_PCP;
	switch (a->kind) {
	case PCP_MAP:
		return is_of_mapping(m, a);
	case NATPMP_MAP: /* a refusal names no port */
		return m->protocol == MAPPER_NATPMP &&
		       (a->internal_port == m->target.client.port || a->result != PCP_SUCCESS);
	case NATPMP_ADDRESS:
		return m->protocol == MAPPER_NATPMP && m->state != MAPPER_DELETING;
	case PCP_ANNOUNCE:
		return false;
	}
	CV_UNREACHABLE();
}

/* From the gateway, and well formed; counted if not. */
static bool is_gateways(struct mapper *m, const struct addr *from, const uint8_t *bytes,
                        size_t size, struct pcp_answer *out)
{
	if (m->state == MAPPER_OFF || !addr_equal_ip(from, &m->target.gateway)) {
		m->foreign++;
		return false;
	}
	if (pcp_read_answer(bytes, size, out) != PCP_READ_DONE) {
		m->malformed++;
		return false;
	}
	return true;
}

/* The gateway as it is now: another one than it was? */
static void on_look(struct mapper *m, cv_time now, const struct pcp_answer *a)
{
	bool is_other = is_epoch_broken(m, now, a);

	m->is_looking = false;
	note_epoch(m, now, a);
	if (a->kind == NATPMP_ADDRESS)
		is_other |= !addr_equal_ip(&a->external, &m->external);
	if (is_other)
		begin_round(m, now, MAPPER_RENEWING, m->protocol, TRIES_RENEW);
}

void mapper_on_datagram(struct mapper *m, cv_time now, const struct addr *from,
                        const uint8_t *bytes, size_t size)
{
	struct pcp_answer a;

	if (!is_gateways(m, from, bytes, size, &a))
		return;
	if (from->port != PCP_PORT) {
		m->foreign++;
		return;
	}
	if (!is_asked(m, &a)) {
		m->unasked++;
		return;
	}
	m->was_answered = true;
	if (a.result != PCP_SUCCESS) {
		on_refusal(m, now, &a);
		return;
	}
	if (m->is_looking && a.kind != PCP_MAP) {
		on_look(m, now, &a);
		return;
	}
	note_epoch(m, now, &a);
	if (a.kind != NATPMP_ADDRESS) {
		on_mapping(m, now, &a);
		return;
	}
	m->has_address = true;
	a.external.port = m->told.port;
	m->told = a.external;
	if (m->has_port)
		on_granted(m, now);
}

void mapper_on_announcement(struct mapper *m, cv_time now, const struct addr *from,
                            const uint8_t *bytes, size_t size)
{
	struct pcp_answer a;
	cv_time at = cv_time_after(now, rng_below(m->rng, ANNOUNCEMENT_SPREAD));

	if (!is_gateways(m, from, bytes, size, &a) || a.result != PCP_SUCCESS)
		return;
	if (a.kind != PCP_ANNOUNCE && a.kind != NATPMP_ADDRESS) {
		m->unasked++;
		return;
	}
	switch (m->state) {
	case MAPPER_MAPPED:
		/* A restart is believed at once; else it is of another address, or a repetition
		 * (the RFCs have ten). */
		if (!is_epoch_broken(m, now, &a))
			at = CV_MAX(at, cv_time_after(m->confirmed_at, CONFIRMED_FOR));
		note_epoch(m, now, &a);
		m->renew_at = cv_time_min(m->renew_at, at);
		m->next_at = cv_time_min(m->next_at, at);
		return;
	case MAPPER_WAITING:
		at = CV_MAX(at, cv_time_after(m->asked_at, CONFIRMED_FOR));
		m->next_at = cv_time_min(m->next_at, at);
		return;
	case MAPPER_OFF:
	case MAPPER_ASKING:
	case MAPPER_RENEWING:
	case MAPPER_DELETING:
		return; /* it is being asked */
	}
	CV_UNREACHABLE();
}

/* ---- time, and requests ---- */

/* The end of a round. */
static void on_silence(struct mapper *m, cv_time now)
{
	switch (m->state) {
	case MAPPER_ASKING:
		if (m->protocol == MAPPER_PCP && m->target.client.family == ADDR_V4)
			begin_round(m, now, MAPPER_ASKING, MAPPER_NATPMP, TRIES_NATPMP);
		else
			give_up(m, now, "the gateway does not answer", back_off(m));
		return;
	case MAPPER_RENEWING: /* after half of what is left, and again */
		rest(m, now,
		     cv_time_after(now, CV_MAX(RENEW_MIN, cv_time_since(m->expires_at, now) / 2)));
		return;
	case MAPPER_DELETING:
		mapper_drop(m, now);
		return;
	case MAPPER_OFF:
	case MAPPER_WAITING:
	case MAPPER_MAPPED:
		break;
	}
	CV_UNREACHABLE();
}

void mapper_on_deadline(struct mapper *m, cv_time now)
{
	if (is_mapped(m) && now >= m->expires_at) {
		ask(m, now);
		m->why = "the gateway has stopped to answer";
	}
	if (now < m->next_at)
		return;
	if (m->state == MAPPER_WAITING) {
		ask(m, now);
	} else if (m->state == MAPPER_MAPPED && now >= m->renew_at) {
		begin_round(m, now, MAPPER_RENEWING, m->protocol, TRIES_RENEW);
	} else if (m->state == MAPPER_MAPPED) {
		m->must_look = true;
		m->look_at = cv_time_after(now, LOOK_INTERVAL);
		m->next_at = cv_time_min(m->renew_at, m->look_at);
	} else if (is_in_round(m) && m->tries_left == 0) {
		on_silence(m, now);
	}
	if (!is_in_round(m) || now < m->next_at)
		return;
	CV_ASSERT(m->tries_left > 0);
	m->tries_left--;
	m->next_at = cv_time_after(now, m->pause);
	m->pause *= 2;
	m->must_ask_port = !m->has_port;
	m->must_ask_address = !m->has_address && m->state != MAPPER_DELETING;
}

bool mapper_write(struct mapper *m, cv_time now, struct wr *w)
{
	struct pcp_request req = { .client = m->target.client,
		                   .internal_port = m->target.client.port };

	(void)now;
	if (m->must_ask_port) {
		m->must_ask_port = false;
		req.kind = m->protocol == MAPPER_PCP ? PCP_MAP : NATPMP_MAP;
		memcpy(req.nonce, m->nonce, sizeof(req.nonce));
		/* To delete, both are zero (RFC 6887, 15; RFC 6886, 3.4). */
		if (m->state != MAPPER_DELETING) {
			req.lifetime_s = MAPPER_LIFETIME_S;
			req.suggested = m->external; /* what we have, if we have it */
			if (m->external.family == ADDR_NONE)
				req.suggested.port = m->target.client.port;
		}
	} else if (m->must_ask_address) {
		m->must_ask_address = false;
		req.kind = NATPMP_ADDRESS;
	} else if (m->must_look) {
		m->must_look = false;
		m->is_looking = true;
		req.kind = m->protocol == MAPPER_PCP ? PCP_ANNOUNCE : NATPMP_ADDRESS;
	} else {
		return false;
	}
	pcp_write_request(w, &req);
	CV_ASSERT(!w->bad);
	return true;
}

cv_time mapper_deadline(const struct mapper *m)
{
	return cv_time_min(m->next_at, m->expires_at);
}

bool mapper_check(const struct mapper *m)
{
	const bool has_mapping = m->external.family != ADDR_NONE;

	return has_mapping == is_mapped(m) && has_mapping == (m->expires_at != CV_TIME_NEVER) &&
	       (m->state == MAPPER_OFF) == (m->next_at == CV_TIME_NEVER) &&
	       (!has_mapping || (m->external.port != 0 && candidate_is_announced(&m->external))) &&
	       (!(m->must_ask_port || m->must_ask_address) || is_in_round(m)) &&
	       (!(m->must_look || m->is_looking) || m->state == MAPPER_MAPPED) &&
	       (!is_in_round(m) || m->protocol != MAPPER_NONE) && (!m->why || !has_mapping);
}
