/* SPDX-License-Identifier: MIT */
#include "proxy/dial.h"

#include <string.h>

/*
 *   START --name--> RESOLVING --addresses--> CONNECTING --connected--> CONNECTED
 *     |                 |                        |
 *     |--address, unix--+----------------------->|
 *     +--denied---------+--no addresses----------+--all failed, denied--> FAILED
 *
 * CANCELLED can be entered from each of the first three. Deadlines: RESOLVING and
 * CONNECTING have one; START lives only until the first dial_next_action().
 *
 * Inputs change the state, dial_next_action() works off what follows from it: in a
 * final state first what still runs is cancelled, then the outcome is told. So the
 * caller has no cleaning up to remember.
 */

#define TO(state) (1u << (state))
static const unsigned edges[] = {
	[DIAL_START] =
		TO(DIAL_RESOLVING) | TO(DIAL_CONNECTING) | TO(DIAL_FAILED) | TO(DIAL_CANCELLED),
	[DIAL_RESOLVING] = TO(DIAL_CONNECTING) | TO(DIAL_FAILED) | TO(DIAL_CANCELLED),
	[DIAL_CONNECTING] = TO(DIAL_CONNECTED) | TO(DIAL_FAILED) | TO(DIAL_CANCELLED),
	[DIAL_CONNECTED] = 0,
	[DIAL_FAILED] = 0,
	[DIAL_CANCELLED] = 0,
};

/* The only place that writes d->state. */
static void enter(struct dial *d, cv_time now, enum dial_state next)
{
	CV_ASSERT(edges[d->state] & TO(next));
	d->state = next;
	if (next == DIAL_CONNECTING)
		d->next_attempt_at = now;
	if (next == DIAL_FAILED)
		CV_ASSERT(d->code != TARGET_OK);
}

static void fail(struct dial *d, cv_time now, enum target_code code)
{
	d->code = code;
	enter(d, now, DIAL_FAILED);
}

static unsigned running_count(const struct dial *d)
{
	unsigned count = 0;

	for (unsigned i = 0; i < d->attempt_count; i++)
		count += d->attempts[i] == DIAL_ATTEMPT_RUNNING;
	return count;
}

static bool has_candidates(const struct dial *d)
{
	return d->candidate_index < d->candidate_count && d->attempt_count < DIAL_ATTEMPTS_MAX;
}

void dial_init(struct dial *d, cv_time now, const struct hostport *to, bool is_udp)
{
	CV_ASSERT(to->kind == HOST_ADDR || to->kind == HOST_NAME || to->kind == HOST_UNIX);
	memset(d, 0, sizeof(*d));
	d->state = DIAL_START;
	d->to = *to;
	d->is_udp = is_udp;
	d->give_up_at = cv_time_after(now, DIAL_TOTAL_TIMEOUT);
	d->resolve_until_at = cv_time_after(now, DIAL_LOOKUP_TIMEOUT);
	d->next_attempt_at = now;
}

/*
 * How much a failure says about the target, most first. "Network unreachable"
 * comes below "timed out": a host without IPv6 says it at once of every IPv6
 * address, which would hide what became of the IPv4 one.
 */
static unsigned telling(enum target_code code)
{
	static const enum target_code order[] = {
		TARGET_REFUSED,         TARGET_HOST_UNREACHABLE, TARGET_TIMEOUT,
		TARGET_NET_UNREACHABLE, TARGET_POLICY,           TARGET_LIMIT,
	};

	if (code == TARGET_OK)
		return 0;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(order); i++) {
		if (order[i] == code)
			return (unsigned)CV_ARRAY_SIZE(order) + 1 - i;
	}
	return 1;
}

enum target_code dial_more_telling(enum target_code a, enum target_code b)
{
	return telling(b) > telling(a) ? b : a;
}

static void note(struct dial *d, enum target_code code)
{
	d->code = dial_more_telling(d->code, code);
}

struct addr dial_form(const struct addr *a)
{
	static const struct addr nat64 = { .family = ADDR_V6, .ip = { 0, 0x64, 0xff, 0x9b } };

	if (addr_in_net(a, &nat64, 96))
		return *a;
	return addr_canonical(a);
}

static void add_candidate(struct dial *d, const struct addr *addr)
{
	for (unsigned i = 0; i < d->candidate_count; i++) {
		if (addr_equal(&d->candidates[i], addr))
			return;
	}
	d->candidates[d->candidate_count++] = *addr;
}

/* Moves *@at to the next address of @family; false when there is none. */
static bool next_of(const struct addr *addrs, size_t count, enum addr_family family, size_t *at,
                    struct addr *out)
{
	while (*at < count) {
		*out = dial_form(&addrs[(*at)++]);
		if (out->family == (uint8_t)family)
			return true;
	}
	return false;
}

/* RFC 8305, 4: the families take turns, IPv6 first; inside each the resolver's order holds. */
static void interleave(struct dial *d, const struct addr *addrs, size_t count)
{
	size_t v6_at = 0, v4_at = 0;
	bool has_v6 = true, has_v4 = true;
	struct addr addr;

	while ((has_v6 || has_v4) && d->candidate_count < DIAL_CANDIDATES_MAX) {
		has_v6 = next_of(addrs, count, ADDR_V6, &v6_at, &addr);
		if (has_v6) {
			addr.port = d->to.port;
			add_candidate(d, &addr);
		}
		if (d->candidate_count == DIAL_CANDIDATES_MAX)
			return;
		has_v4 = next_of(addrs, count, ADDR_V4, &v4_at, &addr);
		if (has_v4) {
			addr.port = d->to.port;
			add_candidate(d, &addr);
		}
	}
}

void dial_on_resolved(struct dial *d, cv_time now, const struct addr *addrs, size_t count)
{
	if (d->state != DIAL_RESOLVING)
		return; /* cancelled meanwhile */
	d->is_resolving = false;
	interleave(d, addrs, count);
	if (d->candidate_count == 0)
		fail(d, now, TARGET_NAME_NOT_RESOLVED);
	else
		enter(d, now, DIAL_CONNECTING);
}

void dial_on_resolve_failed(struct dial *d, cv_time now, enum dial_resolve_error why)
{
	if (d->state != DIAL_RESOLVING)
		return; /* cancelled meanwhile */
	d->is_resolving = false;
	switch (why) {
	case DIAL_RESOLVE_NOT_FOUND:
		fail(d, now, TARGET_NAME_NOT_RESOLVED);
		return;
	case DIAL_RESOLVE_TIMEOUT:
		fail(d, now, TARGET_RESOLVER_TIMEOUT);
		return;
	case DIAL_RESOLVE_LIMIT:
		fail(d, now, TARGET_LIMIT);
		return;
	}
	CV_UNREACHABLE();
}

void dial_on_connected(struct dial *d, cv_time now, unsigned index)
{
	CV_ASSERT(index < d->attempt_count);
	if (d->state != DIAL_CONNECTING || d->attempts[index] != DIAL_ATTEMPT_RUNNING)
		return; /* lost the race; it is, or will be, cancelled */
	d->attempts[index] = DIAL_ATTEMPT_OVER;
	d->winner = (uint8_t)index;
	d->code = TARGET_OK;
	enter(d, now, DIAL_CONNECTED);
}

void dial_on_connect_failed(struct dial *d, cv_time now, unsigned index, int error)
{
	CV_ASSERT(index < d->attempt_count);
	if (d->attempts[index] != DIAL_ATTEMPT_RUNNING)
		return; /* cancelled meanwhile */
	d->attempts[index] = DIAL_ATTEMPT_OVER;
	if (d->state != DIAL_CONNECTING)
		return; /* one less to cancel */
	note(d, target_code_from_errno(error));
	d->next_attempt_at = now; /* RFC 8305, 5: a failure starts the next one at once */
}

void dial_cancel(struct dial *d)
{
	switch (d->state) {
	case DIAL_START:
	case DIAL_RESOLVING:
	case DIAL_CONNECTING:
		enter(d, 0, DIAL_CANCELLED);
		return;
	case DIAL_CONNECTED: /* the outcome is on its way: the caller has the socket, or the code */
	case DIAL_FAILED:
	case DIAL_CANCELLED:
		return;
	}
	CV_UNREACHABLE();
}

cv_time dial_deadline(const struct dial *d)
{
	switch (d->state) {
	case DIAL_RESOLVING:
		return cv_time_min(d->resolve_until_at, d->give_up_at);
	case DIAL_CONNECTING:
		return has_candidates(d) ? cv_time_min(d->next_attempt_at, d->give_up_at)
		                         : d->give_up_at;
	case DIAL_START: /* wants its first dial_next_action(), not a timer */
	case DIAL_CONNECTED:
	case DIAL_FAILED:
	case DIAL_CANCELLED:
		return CV_TIME_NEVER;
	}
	CV_UNREACHABLE();
}

void dial_on_deadline(struct dial *d, cv_time now)
{
	switch (d->state) {
	case DIAL_RESOLVING:
		if (now >= d->resolve_until_at)
			fail(d, now, TARGET_RESOLVER_TIMEOUT);
		return;
	case DIAL_CONNECTING:
		if (now < d->give_up_at)
			return; /* the stagger: dial_next_action() sees for itself */
		note(d, TARGET_TIMEOUT);
		enter(d, now, DIAL_FAILED);
		return;
	case DIAL_START:
	case DIAL_CONNECTED:
	case DIAL_FAILED:
	case DIAL_CANCELLED:
		return;
	}
	CV_UNREACHABLE();
}

bool dial_is_localhost(const char *name)
{
	static const char suffix[] = ".localhost";
	size_t size = strlen(name), suffix_size = sizeof(suffix) - 1;

	if (strcmp(name, suffix + 1) == 0)
		return true;
	return size > suffix_size && strcmp(name + size - suffix_size, suffix) == 0;
}

/* Out of DIAL_START; true when a lookup is the first action. */
static bool start(struct dial *d, cv_time now, const struct acl *acl)
{
	static const struct addr loopback[] = {
		{ .family = ADDR_V6, .ip = { [15] = 1 } },
		{ .family = ADDR_V4, .ip = { 127, 0, 0, 1 } },
	};

	if (acl_check_name(acl, &d->to, d->is_udp) != ACL_ALLOW) {
		fail(d, now, TARGET_POLICY);
		return false;
	}
	if (d->to.kind == HOST_NAME && !dial_is_localhost(d->to.text)) {
		enter(d, now, DIAL_RESOLVING);
		d->is_resolving = true;
		return true;
	}
	if (d->to.kind == HOST_ADDR)
		interleave(d, &d->to.addr, 1);
	else if (d->to.kind == HOST_NAME)
		interleave(d, loopback, CV_ARRAY_SIZE(loopback));
	enter(d, now, DIAL_CONNECTING);
	return false;
}

static void begin_attempt(struct dial *d, cv_time now, struct dial_action *out)
{
	CV_ASSERT(d->attempt_count < DIAL_ATTEMPTS_MAX);
	out->index = d->attempt_count;
	d->attempts[d->attempt_count++] = DIAL_ATTEMPT_RUNNING;
	d->next_attempt_at = cv_time_after(now, DIAL_STAGGER_INTERVAL);
}

/* The next address that may be dialled; false when there is none left. */
static bool next_attempt(struct dial *d, cv_time now, const struct acl *acl,
                         struct dial_action *out)
{
	const char *name = d->to.kind == HOST_NAME ? d->to.text : NULL;
	const struct addr *addr;

	if (d->to.kind == HOST_UNIX) {
		if (d->attempt_count > 0)
			return false;
		out->kind = DIAL_CONNECT_UNIX;
		out->name = d->to.text;
		begin_attempt(d, now, out);
		return true;
	}
	while (has_candidates(d)) {
		addr = &d->candidates[d->candidate_index++];
		if (acl_check_dial(acl, name, addr, d->is_udp) != ACL_ALLOW) {
			d->denied_count++;
			continue;
		}
		out->kind = DIAL_CONNECT;
		out->addr = *addr;
		begin_attempt(d, now, out);
		return true;
	}
	return false;
}

/* What is left to do in a final state, one thing a call. */
static bool wind_up(struct dial *d, struct dial_action *out)
{
	if (d->is_resolving) {
		d->is_resolving = false;
		out->kind = DIAL_CANCEL_RESOLVE;
		return true;
	}
	for (unsigned i = 0; i < d->attempt_count; i++) {
		if (d->attempts[i] != DIAL_ATTEMPT_RUNNING)
			continue;
		d->attempts[i] = DIAL_ATTEMPT_OVER;
		out->kind = DIAL_CANCEL;
		out->index = i;
		return true;
	}
	if (d->is_reported || d->state == DIAL_CANCELLED)
		return false;
	d->is_reported = true;
	out->kind = d->state == DIAL_CONNECTED ? DIAL_DONE : DIAL_FAIL;
	out->index = d->winner;
	out->code = d->code;
	return true;
}

bool dial_next_action(struct dial *d, cv_time now, const struct acl *acl, struct dial_action *out)
{
	*out = (struct dial_action){ .kind = DIAL_NONE };
	if (d->state == DIAL_START && start(d, now, acl)) {
		out->kind = DIAL_RESOLVE;
		out->name = d->to.text;
		return true;
	}
	if (d->state == DIAL_RESOLVING)
		return false;
	if (d->state == DIAL_CONNECTING) {
		if (running_count(d) > 0 && now < d->next_attempt_at)
			return false;
		if (next_attempt(d, now, acl, out))
			return true;
		if (running_count(d) > 0)
			return false;
		/* Each that was tried has said why not; if none was, all were denied. */
		if (d->code == TARGET_OK)
			d->code = TARGET_POLICY;
		enter(d, now, DIAL_FAILED);
	}
	return wind_up(d, out);
}

bool dial_is_over(const struct dial *d)
{
	bool is_final =
		d->state == DIAL_CONNECTED || d->state == DIAL_FAILED || d->state == DIAL_CANCELLED;

	return is_final && !d->is_resolving && running_count(d) == 0 &&
	       (d->is_reported || d->state == DIAL_CANCELLED);
}

bool dial_check(const struct dial *d)
{
	if (d->attempt_count > DIAL_ATTEMPTS_MAX || d->candidate_count > DIAL_CANDIDATES_MAX)
		return false;
	if (d->candidate_index > d->candidate_count || d->denied_count > d->candidate_index)
		return false;
	for (unsigned i = 0; i < DIAL_ATTEMPTS_MAX; i++) {
		if ((d->attempts[i] == DIAL_ATTEMPT_NONE) != (i >= d->attempt_count))
			return false;
	}
	switch (d->state) {
	case DIAL_START:
		return d->attempt_count == 0 && !d->is_resolving;
	case DIAL_RESOLVING:
		return d->is_resolving && dial_deadline(d) != CV_TIME_NEVER;
	case DIAL_CONNECTING:
		return !d->is_resolving && dial_deadline(d) != CV_TIME_NEVER;
	case DIAL_CONNECTED:
		return d->winner < d->attempt_count && d->code == TARGET_OK;
	case DIAL_FAILED:
		return d->code != TARGET_OK;
	case DIAL_CANCELLED:
		return true;
	}
	return false;
}
