/* SPDX-License-Identifier: MIT */
#include "proxy/udp_exit.h"

#include <string.h>

/*
 *                  datagram                answer          too old, and a datagram
 *   FREE -----------------------> RESOLVING -----> KNOWN <------------> REFRESHING
 *     \     localhost: KNOWN at once  ^ |                  answer            |
 *      `---------------------------   | `--none--> FAILED <------not found--'
 *                                     `-- too old, and a datagram --'
 *
 * Datagrams wait at a name only while it is RESOLVING and until next_action() has worked them off.
 * A name that is being looked up or at which datagrams wait is never replaced by another.
 */

_Static_assert(UDP_EXIT_KEPT_SIZE_MAX <= UINT16_MAX, "a size fits");
_Static_assert(UDP_EXIT_NAMES_MAX <= UINT8_MAX, "an index fits");
_Static_assert(UDP_EXIT_LOOKUPS_MAX + UDP_EXIT_KEPT_MAX < UDP_EXIT_NAMES_MAX,
               "one name can always be replaced");
_Static_assert((UDP_EXIT_MAPPINGS_MAX & (UDP_EXIT_MAPPINGS_MAX - 1)) == 0, "a mask");

void udp_exit_init(struct udp_exit *x, uint64_t seed)
{
	memset(x, 0, sizeof(*x));
	x->seed = seed;
}

/* ---- whom the client has sent to ---- */

static struct addr without_port(const struct addr *a)
{
	struct addr ip = *a;

	ip.port = 0;
	ip.scope = 0;
	return ip;
}

static uint16_t *bucket_of(struct udp_exit *x, const struct addr *ip)
{
	return &x->buckets[addr_hash(ip, x->seed) & (UDP_EXIT_MAPPINGS_MAX - 1)];
}

static void unlink_by_age(struct udp_exit *x, struct udp_exit_mapping *m)
{
	if (m->newer)
		x->mappings[m->newer - 1].older = m->older;
	else
		x->newest = m->older;
	if (m->older)
		x->mappings[m->older - 1].newer = m->newer;
	else
		x->oldest = m->newer;
}

static void make_newest(struct udp_exit *x, uint16_t at, cv_time now)
{
	struct udp_exit_mapping *m = &x->mappings[at - 1];

	m->used_at = now;
	m->newer = 0;
	m->older = x->newest;
	if (x->newest)
		x->mappings[x->newest - 1].newer = at;
	x->newest = at;
	if (!x->oldest)
		x->oldest = at;
}

/* One more than the index; 0: none. */
static uint16_t find_mapping(struct udp_exit *x, const struct addr *ip)
{
	uint16_t at = x->newest;

	/* Nearly always the same as the last. */
	if (at && addr_equal_ip(&x->mappings[at - 1].ip, ip))
		return at;
	for (at = *bucket_of(x, ip); at; at = x->mappings[at - 1].chain) {
		if (addr_equal_ip(&x->mappings[at - 1].ip, ip))
			return at;
	}
	return 0;
}

static void use_mapping(struct udp_exit *x, uint16_t at, cv_time now)
{
	if (at == x->newest) {
		x->mappings[at - 1].used_at = now;
		return;
	}
	unlink_by_age(x, &x->mappings[at - 1]);
	make_newest(x, at, now);
}

static uint16_t take_oldest(struct udp_exit *x)
{
	uint16_t at = x->oldest;
	struct udp_exit_mapping *m = &x->mappings[at - 1];
	uint16_t *link = bucket_of(x, &m->ip);

	while (*link != at) {
		CV_ASSERT(*link);
		link = &x->mappings[*link - 1].chain;
	}
	*link = m->chain;
	unlink_by_age(x, m);
	return at;
}

static void note_sent(struct udp_exit *x, cv_time now, const struct addr *to)
{
	struct addr ip = without_port(to);
	uint16_t at = find_mapping(x, &ip), *bucket;

	if (at) {
		use_mapping(x, at, now);
		return;
	}
	at = x->mapping_count < UDP_EXIT_MAPPINGS_MAX ? ++x->mapping_count : take_oldest(x);
	bucket = bucket_of(x, &ip);
	x->mappings[at - 1].ip = ip;
	x->mappings[at - 1].chain = *bucket;
	*bucket = at;
	make_newest(x, at, now);
}

bool udp_exit_on_arrival(struct udp_exit *x, cv_time now, const struct addr *from)
{
	struct addr ip = without_port(from);
	uint16_t at = find_mapping(x, &ip);

	if (!at || cv_time_since(now, x->mappings[at - 1].used_at) > UDP_EXIT_MAPPING_IDLE)
		return false;
	/* RFC 4787, REQ-6: inbound traffic may refresh; a stream that only comes needs it. */
	use_mapping(x, at, now);
	return true;
}

/* ---- names ---- */

static bool is_being_looked_up(const struct udp_exit_name *n)
{
	return n->state == UDP_EXIT_RESOLVING || n->state == UDP_EXIT_REFRESHING;
}

/* The first address from the current one on that may be sent to; false: none. */
static bool choose(const struct udp_exit_name *n, const struct acl *acl, uint16_t port,
                   struct addr *to)
{
	for (unsigned i = n->current; i < n->address_count; i++) {
		struct addr a = n->addresses[i];

		a.port = port;
		if (acl_check_dial(acl, n->text, &a, true) != ACL_ALLOW)
			continue;
		*to = a;
		return true;
	}
	return false;
}

static struct udp_exit_name *find_name(struct udp_exit *x, const char *text)
{
	for (unsigned i = 0; i < UDP_EXIT_NAMES_MAX; i++) {
		struct udp_exit_name *n = &x->names[i];

		if (n->state != UDP_EXIT_FREE && strcmp(n->text, text) == 0)
			return n;
	}
	return NULL;
}

/* A free place, or that of the longest unused name for which nothing waits. */
static struct udp_exit_name *make_room(struct udp_exit *x)
{
	struct udp_exit_name *best = NULL;

	for (unsigned i = 0; i < UDP_EXIT_NAMES_MAX; i++) {
		struct udp_exit_name *n = &x->names[i];

		if (n->state == UDP_EXIT_FREE)
			return n;
		if (is_being_looked_up(n) || n->kept_count > 0)
			continue;
		if (!best || n->used_at < best->used_at)
			best = n;
	}
	CV_ASSERT(best);
	return best;
}

static void become(struct udp_exit_name *n, cv_time now, enum udp_exit_name_state state,
                   cv_duration age)
{
	n->state = (uint8_t)state;
	n->good_until_at = cv_time_after(now, age);
}

static void become_known(struct udp_exit_name *n, cv_time now, const struct addr *addrs,
                         size_t count)
{
	struct addr used = { .family = ADDR_NONE };

	if (n->state == UDP_EXIT_REFRESHING && n->current < n->address_count)
		used = n->addresses[n->current];
	n->address_count = 0;
	n->current = 0;
	for (size_t i = 0; i < count && n->address_count < UDP_EXIT_ADDRESSES_MAX; i++) {
		struct addr a = dial_form(&addrs[i]);

		if (a.family == ADDR_NONE)
			continue;
		n->addresses[n->address_count] = without_port(&a);
		/* Servers give their addresses in another order each time. */
		if (addr_equal(&n->addresses[n->address_count], &used))
			n->current = n->address_count;
		n->address_count++;
	}
	if (n->address_count > 0)
		become(n, now, UDP_EXIT_KNOWN, UDP_EXIT_NAME_AGE);
	else
		become(n, now, UDP_EXIT_FAILED, UDP_EXIT_FAILURE_AGE);
}

/* Into RESOLVING or REFRESHING, or for localhost into KNOWN; false: too many lookups. */
static bool look_up(struct udp_exit *x, struct udp_exit_name *n, cv_time now)
{
	static const struct addr loopback[] = {
		{ .family = ADDR_V4, .ip = { 127, 0, 0, 1 } },
		{ .family = ADDR_V6, .ip = { [15] = 1 } },
	};

	if (dial_is_localhost(n->text)) {
		become_known(n, now, loopback, CV_ARRAY_SIZE(loopback));
		return true;
	}
	if (x->lookup_count == UDP_EXIT_LOOKUPS_MAX)
		return false;
	x->lookup_count++;
	n->state = n->state == UDP_EXIT_KNOWN ? UDP_EXIT_REFRESHING : UDP_EXIT_RESOLVING;
	n->is_asked = false;
	return true;
}

static enum udp_exit_verdict keep(struct udp_exit *x, struct udp_exit_name *n, uint16_t port,
                                  const struct udp_exit_bytes *data)
{
	struct udp_exit_kept *k = x->kept;

	if (data->size > UDP_EXIT_KEPT_SIZE_MAX || x->kept_count == UDP_EXIT_KEPT_MAX ||
	    n->kept_count == UDP_EXIT_KEPT_EACH_MAX)
		return UDP_EXIT_LIMIT;
	while (k->is_used)
		k++;
	k->is_used = true;
	k->name_index = (uint8_t)(n - x->names);
	k->port = port;
	k->size = (uint16_t)data->size;
	k->number = x->kept_number++;
	if (data->size > 0)
		memcpy(k->bytes, data->at, data->size);
	x->kept_count++;
	n->kept_count++;
	return UDP_EXIT_KEPT;
}

/* The name's entry, known or being looked up; NULL: too many lookups. */
static struct udp_exit_name *name_for(struct udp_exit *x, cv_time now, const char *text)
{
	struct udp_exit_name *n = find_name(x, text);

	if (n && (is_being_looked_up(n) || now < n->good_until_at))
		return n;
	if (n)
		return look_up(x, n, now) || n->state == UDP_EXIT_KNOWN ? n : NULL;
	/* First, so that nobody's place is taken for nothing. */
	if (x->lookup_count == UDP_EXIT_LOOKUPS_MAX && !dial_is_localhost(text))
		return NULL;
	n = make_room(x);
	memset(n, 0, sizeof(*n));
	memcpy(n->text, text, strlen(text) + 1);
	return look_up(x, n, now) ? n : NULL;
}

static enum udp_exit_verdict to_name(struct udp_exit *x, cv_time now, const struct acl *acl,
                                     const struct hostport *host, const struct udp_exit_bytes *data,
                                     struct addr *to)
{
	struct udp_exit_name *n;

	if (acl_check_name(acl, host, true) != ACL_ALLOW)
		return UDP_EXIT_DENIED;
	n = name_for(x, now, host->text);
	if (!n)
		return UDP_EXIT_LIMIT;
	n->used_at = now;
	/* Behind those that wait still, so that none overtakes. */
	if (n->state == UDP_EXIT_RESOLVING || n->kept_count > 0)
		return keep(x, n, host->port, data);
	if (n->state == UDP_EXIT_FAILED)
		return UDP_EXIT_UNRESOLVED;
	return choose(n, acl, host->port, to) ? UDP_EXIT_SEND : UDP_EXIT_DENIED;
}

enum udp_exit_verdict udp_exit_on_datagram(struct udp_exit *x, cv_time now, const struct acl *acl,
                                           const struct hostport *host,
                                           const struct udp_exit_bytes *data, struct addr *to)
{
	enum udp_exit_verdict v = UDP_EXIT_DENIED;
	struct addr a;

	CV_ASSERT(host->kind == HOST_ADDR || host->kind == HOST_NAME);
	if (host->kind == HOST_NAME) {
		v = to_name(x, now, acl, host, data, &a);
	} else {
		a = dial_form(&host->addr);
		a.port = host->port;
		if (acl_check_dial(acl, NULL, &a, true) == ACL_ALLOW)
			v = UDP_EXIT_SEND;
	}
	if (v == UDP_EXIT_SEND) {
		note_sent(x, now, &a);
		*to = a;
	}
	return v;
}

bool udp_exit_on_unreachable(struct udp_exit *x, cv_time now, const struct acl *acl,
                             struct addr *to)
{
	struct addr failed = without_port(to);

	for (unsigned i = 0; i < UDP_EXIT_NAMES_MAX; i++) {
		struct udp_exit_name *n = &x->names[i];
		unsigned at = n->current;

		if (n->state != UDP_EXIT_KNOWN && n->state != UDP_EXIT_REFRESHING)
			continue;
		while (at < n->address_count && !addr_equal(&n->addresses[at], &failed))
			at++;
		if (at + 1 >= n->address_count)
			continue; /* not from this name, or its last: nothing better is known */
		n->current = (uint8_t)(at + 1);
		if (choose(n, acl, to->port, to)) {
			note_sent(x, now, to);
			return true;
		}
	}
	return false;
}

/* ---- results and actions ---- */

static struct udp_exit_name *answered(struct udp_exit *x, unsigned index)
{
	struct udp_exit_name *n;

	CV_ASSERT(index < UDP_EXIT_NAMES_MAX);
	n = &x->names[index];
	CV_ASSERT(is_being_looked_up(n));
	CV_ASSERT(x->lookup_count > 0);
	x->lookup_count--;
	return n;
}

void udp_exit_on_resolved(struct udp_exit *x, cv_time now, unsigned index, const struct addr *addrs,
                          size_t count)
{
	become_known(answered(x, index), now, addrs, count);
}

void udp_exit_on_resolve_failed(struct udp_exit *x, cv_time now, unsigned index,
                                enum dial_resolve_error why)
{
	struct udp_exit_name *n = answered(x, index);

	/* A resolver that hiccups says nothing about the name. */
	if (n->state == UDP_EXIT_REFRESHING && why != DIAL_RESOLVE_NOT_FOUND) {
		become(n, now, UDP_EXIT_KNOWN, UDP_EXIT_FAILURE_AGE);
		return;
	}
	become_known(n, now, NULL, 0);
}

/* The oldest that waits for nothing any more. */
static struct udp_exit_kept *next_kept(struct udp_exit *x)
{
	struct udp_exit_kept *best = NULL;

	for (unsigned i = 0; i < UDP_EXIT_KEPT_MAX; i++) {
		struct udp_exit_kept *k = &x->kept[i];

		if (k->is_used && x->names[k->name_index].state != UDP_EXIT_RESOLVING &&
		    (!best || k->number < best->number))
			best = k;
	}
	return best;
}

static void work_off(struct udp_exit *x, struct udp_exit_kept *k, cv_time now,
                     const struct acl *acl, struct udp_exit_action *out)
{
	struct udp_exit_name *n = &x->names[k->name_index];

	k->is_used = false; /* the bytes stay until the next input */
	x->kept_count--;
	n->kept_count--;
	*out = (struct udp_exit_action){
		.kind = UDP_EXIT_DO_DROP,
		.index = k->name_index,
		.name = n->text,
		.to = { .port = k->port },
		.bytes = k->bytes,
		.size = k->size,
		.why = UDP_EXIT_UNRESOLVED,
	};
	if (n->state != UDP_EXIT_KNOWN)
		return;
	out->why = UDP_EXIT_DENIED;
	if (choose(n, acl, k->port, &out->to)) {
		out->kind = UDP_EXIT_DO_SEND;
		out->why = UDP_EXIT_SEND;
		note_sent(x, now, &out->to);
	}
}

bool udp_exit_next_action(struct udp_exit *x, cv_time now, const struct acl *acl,
                          struct udp_exit_action *out)
{
	struct udp_exit_kept *k;

	*out = (struct udp_exit_action){ .kind = UDP_EXIT_DO_NOTHING };
	for (unsigned i = 0; i < UDP_EXIT_NAMES_MAX && x->lookup_count > 0; i++) {
		struct udp_exit_name *n = &x->names[i];

		if (!is_being_looked_up(n) || n->is_asked)
			continue;
		n->is_asked = true;
		out->kind = UDP_EXIT_DO_RESOLVE;
		out->index = i;
		out->name = n->text;
		return true;
	}
	k = x->kept_count > 0 ? next_kept(x) : NULL;
	if (!k)
		return false;
	work_off(x, k, now, acl, out);
	return true;
}

static bool check_mappings(const struct udp_exit *x)
{
	unsigned by_age = 0, by_hash = 0;
	cv_time at = CV_TIME_NEVER;

	for (uint16_t i = x->newest; i; i = x->mappings[i - 1].older) {
		if (++by_age > UDP_EXIT_MAPPINGS_MAX || x->mappings[i - 1].used_at > at)
			return false;
		at = x->mappings[i - 1].used_at;
	}
	for (unsigned b = 0; b < UDP_EXIT_MAPPINGS_MAX; b++) {
		for (uint16_t i = x->buckets[b]; i; i = x->mappings[i - 1].chain) {
			if (++by_hash > UDP_EXIT_MAPPINGS_MAX)
				return false;
		}
	}
	return by_age == x->mapping_count && by_hash == x->mapping_count;
}

bool udp_exit_check(const struct udp_exit *x)
{
	unsigned kept = 0, lookups = 0, waiting = 0;

	for (unsigned i = 0; i < UDP_EXIT_KEPT_MAX; i++) {
		const struct udp_exit_kept *k = &x->kept[i];

		kept += k->is_used;
		if (k->is_used && x->names[k->name_index].state == UDP_EXIT_FREE)
			return false;
	}
	for (unsigned i = 0; i < UDP_EXIT_NAMES_MAX; i++) {
		const struct udp_exit_name *n = &x->names[i];

		lookups += is_being_looked_up(n);
		waiting += n->kept_count;
		if (n->kept_count > UDP_EXIT_KEPT_EACH_MAX || n->current > n->address_count)
			return false;
		if ((n->state == UDP_EXIT_KNOWN || n->state == UDP_EXIT_REFRESHING) &&
		    n->address_count == 0)
			return false;
	}
	return kept == x->kept_count && waiting == kept && lookups == x->lookup_count &&
	       lookups <= UDP_EXIT_LOOKUPS_MAX && check_mappings(x);
}
