/* SPDX-License-Identifier: MIT */
#include "tunnel/path.h"

#include <string.h>

/* UDP payloads of what carries them. */
enum {
	ETHERNET_V4 = 1500 - 28,
	ETHERNET_V6 = 1500 - 48,
	JUMBO_V4 = 9000 - 28,
	JUMBO_V6 = 9000 - 48,
	LOOPBACK_V6 = 65536 - 48, /* of IPv4: the largest that there is */
};

enum { CLAIM_FACTOR = 3 }; /* RFC 9000, 8.1 */

/* Largest UDP payload that an Ethernet carries, by family; a relay takes a little less. */
static uint32_t usual(const struct origin *to)
{
	if (to->is_relay)
		return WIRE_RELAYED_MAX + WIRE_RELAY_HEADER;
	return to->addr.family == ADDR_V6 ? ETHERNET_V6 : ETHERNET_V4;
}

/* The most that an interface towards there may carry: it says itself when it does not. */
static uint32_t ceiling(const struct origin *to)
{
	bool is_v6 = to->addr.family == ADDR_V6;

	if (to->is_relay)
		return usual(to);
	if (addr_class(&to->addr) == ADDR_CLASS_LOOPBACK)
		return is_v6 ? LOOPBACK_V6 : WIRE_DATAGRAM_MAX;
	return is_v6 ? JUMBO_V6 : JUMBO_V4;
}

static enum path_kind kind_of(const struct origin *to)
{
	if (to->is_relay)
		return PATH_KIND_RELAY;
	switch (addr_class(&to->addr)) {
	case ADDR_CLASS_LOOPBACK:
	case ADDR_CLASS_LINK_LOCAL:
	case ADDR_CLASS_PRIVATE:
		return PATH_KIND_LAN;
	case ADDR_CLASS_INVALID:
	case ADDR_CLASS_MULTICAST:
	case ADDR_CLASS_SHARED:
	case ADDR_CLASS_GLOBAL:
		return PATH_KIND_DIRECT;
	}
	CV_UNREACHABLE();
}

void path_init(struct path *p, cv_time now, uint8_t slot, const struct origin *to,
               enum cc_kind congestion, uint64_t seed)
{
	uint8_t age = (uint8_t)(p->age == UINT8_MAX ? 1 : p->age + 1);
	enum path_kind kind = kind_of(to);

	*p = (struct path){
		.state = PATH_CHECKING,
		.kind = (uint8_t)kind,
		.age = age,
		.to = *to,
		.made_at = now,
		.probe_at = now,
		.round_at = now,
		.retry_at = CV_TIME_NEVER,
		.retry_interval = PATH_RETRY_MIN,
		.keepalive = PATH_KEEPALIVE,
	};
	rtt_init(&p->rtt);
	pmtud_init(&p->pmtud, usual(to), usual(to));
	delivery_init(&p->delivery, now);
	cc_init(&p->cc, congestion, WIRE_DATAGRAM_BASE, UINT64_C(64) << 20, now, seed);
	pacer_init(&p->pacer, now);
	loss_init(&p->loss, slot, age, CV_MS(25));
	ecn_init(&p->ecn, to->is_relay);
}

void path_set_datagram_max(struct path *p, uint32_t max)
{
	CV_ASSERT(p->pmtud.state == PMTUD_BASE);
	pmtud_init(&p->pmtud, usual(&p->to), CV_MAX(CV_MIN(ceiling(&p->to), max), usual(&p->to)));
}

bool path_set_legs(struct path *p, bool is_tcp_here, bool is_tcp_there)
{
	uint8_t before = p->kind;

	CV_ASSERT(p->state != PATH_FREE && p->to.is_relay);
	p->is_tcp_here = is_tcp_here;
	p->is_tcp_there = is_tcp_there;
	p->loss.is_tcp_leg = is_tcp_here || is_tcp_there;
	p->kind = p->loss.is_tcp_leg ? PATH_KIND_TCP : PATH_KIND_RELAY;
	return p->kind != before;
}

bool path_is_to(const struct path *p, const struct origin *o)
{
	if (p->state == PATH_FREE || p->to.is_relay != o->is_relay)
		return false;
	if (o->is_relay)
		return p->to.server == o->server && p->to.channel == o->channel;
	return p->to.socket == o->socket && addr_equal(&p->to.addr, &o->addr);
}

size_t path_packet_max(const struct path *p)
{
	return p->is_scant ? (size_t)MESSAGE_RATE_SMALL_BYTES : p->pmtud.size - path_overhead(p);
}

bool path_can_carry(const struct path *p, cv_time now)
{
	if (p->state != PATH_USABLE && !(p->state == PATH_VALID && p->is_first) && !p->is_claimed)
		return false;
	return cv_time_since(now, p->heard_at) < path_alive(p) || now < p->grace_until;
}

void path_set_keepalive(struct path *p, cv_time now, cv_duration longest)
{
	bool is_shorter = longest < p->keepalive, is_alive = path_can_carry(p, now);

	p->keepalive = longest;
	if (!is_shorter || p->state != PATH_USABLE)
		return;
	p->probe_at = cv_time_min(p->probe_at, cv_time_after(CV_MIN(now, p->heard_at), longest));
	/* It was not asked because it did not have to be: it may answer first. */
	if (is_alive)
		p->grace_until = cv_time_after(now, PATH_ALIVE_MARGIN);
}

void path_on_heard(struct path *p, cv_time now)
{
	p->heard_at = now;
	p->asked_count = 0;
	p->beats_missed = 0;
	p->refusals = 0;
	if (p->loss.pto_count == 0 || p->state != PATH_USABLE)
		p->is_doubtful = false;
}

void path_on_flow(struct path *p, cv_time now)
{
	p->is_flowing = true;
	/* A receiver sends nothing by itself: when its router forgets the mapping, only its own
	 * probe can open the way again. */
	if (p->state == PATH_USABLE)
		p->probe_at = cv_time_min(p->probe_at, cv_time_after(now, PATH_BEAT_TAIL));
}

void path_on_handshake(struct path *p, cv_time now, bool is_proven)
{
	path_on_heard(p, now);
	p->is_doubtful = false;
	if (p->state == PATH_CHECKING || p->state == PATH_FAILED) {
		p->state = is_proven ? PATH_VALID : PATH_CHECKING;
		p->is_first = true;
		p->is_claimed = !is_proven;
		p->tries = 0;
		p->probe_at = now;
		p->retry_at = CV_TIME_NEVER;
	}
}

void path_on_received(struct path *p, size_t size)
{
	if (p->is_claimed)
		p->credit += CLAIM_FACTOR * (int64_t)size;
}

void path_on_packet(struct path *p, size_t size)
{
	if (p->is_claimed)
		p->credit -= (int64_t)size;
}

static void enter_checking(struct path *p, cv_time now, uint8_t tries)
{
	p->state = PATH_CHECKING;
	p->tries = tries;
	p->is_narrow = false;
	p->retry_at = CV_TIME_NEVER;
	p->probe_at = now;
}

/* Whom nobody has ever heard may be a victim that the peer points us at: it gets one quick round,
 * then a probe a second at most (T40). */
static void begin_round(struct path *p, cv_time now)
{
	enter_checking(p, now, p->heard_at == 0 ? PATH_CHECK_SLOW : 0);
	p->round_at = now;
}

void path_check_now(struct path *p, cv_time now)
{
	switch ((enum path_state)p->state) {
	case PATH_FREE:
		return;
	case PATH_FAILED:
		p->retry_interval = PATH_RETRY_MIN;
		begin_round(p, now);
		return;
	case PATH_CHECKING:
		/* Its next probe is less than a second away; but the last of them not sooner. */
		if (p->heard_at == 0)
			p->tries = CV_MIN(p->tries, PATH_CHECK_SLOW);
		else if (cv_time_since(now, p->round_at) >= PATH_ROUND)
			begin_round(p, now);
		return;
	case PATH_VALID:
	case PATH_USABLE:
		/* One probe may get lost, and what was asked before had other reasons. Questions
		 * that come faster than answers can do not make a path a narrow one. */
		p->beats_missed = CV_MIN(p->beats_missed, PATH_BEATS_MISSED);
		if (p->state == PATH_VALID)
			p->tries = CV_MIN(p->tries, PATH_PAD_SLOW);
		p->is_questioned = true;
		p->probe_at = cv_time_min(p->probe_at, now);
		return;
	}
	CV_UNREACHABLE();
}

void path_retry(struct path *p, cv_time now)
{
	CV_ASSERT(p->state == PATH_FAILED);
	enter_checking(p, now, PATH_CHECK_SLOW);
}

void path_fail(struct path *p, cv_time now)
{
	p->state = PATH_FAILED;
	ecn_restart(&p->ecn);
	p->is_first = false;
	p->is_claimed = false;
	p->credit = 0;
	p->tries = 0;
	p->probe_at = CV_TIME_NEVER;
	p->retry_at = cv_time_after(now, p->retry_interval);
	p->retry_interval = CV_MIN(p->retry_interval * 3 / 2, PATH_RETRY_MAX);
	memset(p->tokens, 0, sizeof(p->tokens));
}

static void remember(struct path *p, cv_time now, const struct path_probe *probe)
{
	struct path_token *oldest = &p->tokens[0];

	for (unsigned i = 0; i < PATH_TOKENS; i++) {
		if (p->tokens[i].token == 0) {
			oldest = &p->tokens[i];
			break;
		}
		if (p->tokens[i].sent_at < oldest->sent_at)
			oldest = &p->tokens[i];
	}
	*oldest = (struct path_token){
		.token = probe->token,
		.sent_at = now,
		.size = probe->size + path_overhead(p),
	};
	p->sent_at = now;
}

cv_duration path_patience(const struct path *p)
{
	cv_duration rtt = p->probe_rtt ? p->probe_rtt : RTT_INITIAL;

	/* What TCP lost it sends again: an answer is late before it is missing. */
	return CV_MAX(p->loss.is_tcp_leg ? CV_SEC(1) : CV_MS(200), 2 * rtt);
}

/* Plans the probe after a small check: 100 ms doubling, at most 1 s, a bounded number of them. */
static void plan_check(struct path *p, cv_time now)
{
	cv_duration wait = CV_MS(100) << CV_MIN(p->tries, 4);

	p->tries++;
	p->probe_at = cv_time_after(now, CV_MIN(wait, CV_SEC(1)));
}

/* Liveness of a usable path: beats while busy, keepalives while not. */
static bool beat_due(struct path *p, cv_time now, const struct rng *rng, bool is_busy,
                     bool is_active)
{
	cv_duration longest = is_busy ? CV_MIN(p->keepalive, PATH_KEEPALIVE) : p->keepalive;
	cv_duration interval = longest - rng_below(rng, longest / 5);
	/* What we said ourselves keeps our mapping; what we heard proves the way. */
	cv_time spoke_until = cv_time_after(p->sent_at, longest);
	cv_time due;

	if (is_busy && is_active)
		interval = p->is_flowing ? PATH_BEAT_TAIL : PATH_BEAT_BUSY;
	if (p->beats_missed > 0)
		interval = 0; /* a probe is out and unanswered: probe_at alone says when the next
		                 goes */
	due = cv_time_after(p->heard_at, interval);
	/* Traffic heard since the last plan moves the beat; a nomination or a doubt never waits,
	 * nor does a question: what was heard came before whatever it is that makes us ask. */
	if (!p->must_nominate && !p->is_doubtful && !p->is_pinging && !p->is_questioned &&
	    p->beats_missed == 0 && due > now && spoke_until > now && p->state == PATH_USABLE) {
		p->probe_at = cv_time_min(due, spoke_until);
		return false;
	}
	if (p->beats_missed >= PATH_BEATS_MISSED &&
	    cv_time_since(now, p->beat_at) >= path_patience(p))
		p->is_doubtful = true;
	return true;
}

bool path_probe_due(struct path *p, cv_time now, const struct rng *rng, bool is_busy,
                    bool is_active, struct path_probe *out)
{
	uint32_t padded = WIRE_DATAGRAM_BASE - path_overhead(p);
	uint32_t search;

	*out = (struct path_probe){ .size = WIRE_PROBE_MIN };
	if (p->state == PATH_FREE || p->state == PATH_FAILED)
		return false;
	search = p->state == PATH_USABLE ? pmtud_due(&p->pmtud, now) : 0;
	if (search) {
		out->size = search - path_overhead(p);
		out->token = rng_u64(rng) | 1;
		pmtud_on_sent(&p->pmtud, now, out->token, rtt_pto(&p->rtt));
		p->sent_at = now;
		return true;
	}
	if (now < p->probe_at)
		return false;

	switch ((enum path_state)p->state) {
	case PATH_CHECKING:
		if (p->tries >= PATH_CHECK_TRIES) {
			path_fail(p, now);
			return false;
		}
		if (p->tries == 0 && p->is_candidate && p->kind == PATH_KIND_DIRECT &&
		    p->heard_at == 0)
			out->ttl = PATH_FIRST_TTL;
		plan_check(p, now);
		break;
	case PATH_VALID:
		if (p->tries >= PATH_PAD_TRIES) {
			p->is_narrow = true;
			path_fail(p, now);
			return false;
		}
		p->tries++;
		if (!p->is_scant) {
			out->size = padded;
			out->flags = PROBE_FLAG_PAD_ANSWER;
		}
		p->probe_at = cv_time_after(now, path_patience(p) * p->tries);
		break;
	case PATH_USABLE:
		if (!beat_due(p, now, rng, is_busy, is_active))
			return false;
		p->is_flowing = false;
		p->is_questioned = false;
		/* Several events within a round trip make several probes, but one unanswered. */
		if (p->beats_missed == 0 || cv_time_since(now, p->beat_at) >= path_patience(p)) {
			p->beats_missed++;
			p->beat_at = now;
		}
		p->probe_at = cv_time_after(
			now, CV_MIN(path_patience(p) * p->beats_missed, PATH_BEAT_MISSED_MAX));
		if (cv_time_since(now, p->heard_at) >= path_alive(p) && p->beats_missed > 3) {
			path_fail(p, now);
			return false;
		}
		break;
	case PATH_FREE:
	case PATH_FAILED:
		CV_UNREACHABLE();
	}
	if (p->must_nominate)
		out->flags |= PROBE_FLAG_NOMINATE;
	out->token = rng_u64(rng) | 1;
	remember(p, now, out);
	return true;
}

static void measure(struct path *p, cv_time now, cv_duration sample)
{
	p->probe_rtt = p->probe_rtt ? (p->probe_rtt * 7 + sample) / 8 : sample;
	p->probe_rtt = CV_MAX(p->probe_rtt, 1);
	if (p->rtt.has_sample)
		return;
	rtt_on_sample(&p->rtt, sample, 0);
	p->cc.ops->on_first_rtt(&p->cc, now, &p->rtt);
	pacer_set_rate(&p->pacer, now, p->cc.pacing_rate, p->cc.mss);
}

bool path_has_asked(const struct path *p, uint64_t token)
{
	if (p->state == PATH_FREE || token == 0)
		return false;
	for (unsigned i = 0; i < PATH_TOKENS; i++) {
		if (p->tokens[i].token == token)
			return true;
	}
	return p->pmtud.probing != 0 && p->pmtud.token == token;
}

bool path_on_answer(struct path *p, cv_time now, uint64_t token, uint32_t size)
{
	struct path_token *found = NULL;

	if (pmtud_on_answer(&p->pmtud, now, token)) {
		cc_set_mss(&p->cc, p->pmtud.size);
		path_on_heard(p, now);
		return true;
	}
	for (unsigned i = 0; i < PATH_TOKENS && token != 0; i++) {
		if (p->tokens[i].token == token)
			found = &p->tokens[i];
	}
	if (!found)
		return false;

	path_on_heard(p, now);
	p->is_doubtful = false;
	/* What was answered may yet be overtaken by an older word, of another path and epoch. */
	p->must_nominate &= found->sent_at < p->settled_at;
	measure(p, now, CV_MAX(cv_time_since(now, found->sent_at), 1));
	if (p->is_pinging) {
		p->is_pinging = false;
		p->ping_rtt = CV_MAX(cv_time_since(now, found->sent_at), 1);
	}
	if (p->state == PATH_CHECKING) {
		p->state = PATH_VALID;
		p->is_claimed = false;
		p->tries = 0;
		p->probe_at = now;
	} else if (p->state == PATH_VALID && (p->is_scant || (found->size >= WIRE_DATAGRAM_BASE &&
	                                                      size >= WIRE_DATAGRAM_BASE))) {
		p->state = PATH_USABLE;
		p->tries = 0;
		p->retry_interval = PATH_RETRY_MIN;
		p->probe_at = cv_time_after(now, PATH_BEAT_BUSY);
		if (!p->is_scant)
			pmtud_start(&p->pmtud, now);
	} else if (p->state == PATH_USABLE) {
		p->probe_at = cv_time_after(now, PATH_BEAT_BUSY);
	}
	if (p->must_nominate)
		p->probe_at = cv_time_min(p->probe_at, CV_MAX(now, p->settled_at));
	*found = (struct path_token){ 0 };
	return true;
}

bool path_on_seen(struct path *p, const struct addr *seen)
{
	struct addr before = p->seen;

	if (seen->family == ADDR_NONE)
		return false;
	p->seen = *seen;
	return addr_equal_ip(&before, seen) && before.port != seen->port;
}

void path_on_refused(struct path *p, cv_time now)
{
	/* One refusal a quarter second counts: a burst of packets draws a burst of ICMP. */
	if (p->refusals > 0 && cv_time_since(now, p->refused_at) < CV_MS(250))
		return;
	if (p->refusals < UINT8_MAX)
		p->refusals++;
	p->refused_at = now;
	/* Soon known, not asked for ever: a router may refuse whatever it does not let in. */
	if (p->refusals < PATH_REFUSALS && (p->state == PATH_USABLE || p->state == PATH_VALID))
		p->probe_at = cv_time_min(p->probe_at, cv_time_after(now, CV_MS(300)));
}

cv_time path_deadline(const struct path *p)
{
	switch ((enum path_state)p->state) {
	case PATH_FREE:
		return CV_TIME_NEVER;
	case PATH_FAILED:
		return p->retry_at;
	case PATH_CHECKING:
	case PATH_VALID:
		return p->probe_at;
	case PATH_USABLE:
		return cv_time_min(p->probe_at, pmtud_deadline(&p->pmtud));
	}
	CV_UNREACHABLE();
}

void path_restart_control(struct path *p, cv_time now)
{
	cv_time last = p->loss.last_eliciting_at ? p->loss.last_eliciting_at : p->made_at;

	p->cc.ops->on_idle(&p->cc, now, cv_time_since(now, last));
}

void path_on_network(struct path *p, cv_time now)
{
	if (p->state == PATH_FREE)
		return;
	loss_on_network(&p->loss);
	ecn_restart(&p->ecn);
	path_check_now(p, now);
}

void path_restart(struct path *p, cv_time now)
{
	if (p->state == PATH_FREE)
		return;
	path_restart_control(p, now);
	if (p->heard_at != 0) /* never heard is never heard */
		p->heard_at = CV_MAX(p->heard_at, now);
	p->beats_missed = 0;
	p->is_doubtful = false;
	loss_restart(&p->loss, now);
	ecn_restart(&p->ecn);
	path_check_now(p, now);
}

bool path_check(const struct path *p)
{
	if (p->state == PATH_FREE)
		return true;
	if (p->is_claimed && (p->state != PATH_CHECKING || !p->is_first))
		return false;
	/* Every state of a path has a deadline: none can be forgotten. */
	return path_deadline(p) != CV_TIME_NEVER && cc_check(&p->cc) && pacer_check(&p->pacer) &&
	       pmtud_check(&p->pmtud) && ecn_check(&p->ecn);
}

const char *path_kind_name(enum path_kind kind)
{
	switch (kind) {
	case PATH_KIND_NONE:
		return "none";
	case PATH_KIND_TCP:
		return "tcp";
	case PATH_KIND_RELAY:
		return "relay";
	case PATH_KIND_DIRECT:
		return "direct";
	case PATH_KIND_LAN:
		return "lan";
	}
	CV_UNREACHABLE();
}
