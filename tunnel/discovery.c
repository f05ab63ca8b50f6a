/* SPDX-License-Identifier: MIT */
#include "tunnel/discovery.h"

#include <string.h>

#include "tunnel/stun.h"

#define ROUND_DELAY CV_MS(50) /* several servers come up at once */
#define ROUND_TIME CV_MS(2500)
#define SAMPLE_SPACING CV_MS(2)
#define SAMPLING_TIME CV_MS(1500)
#define REPEAT_FIRST CV_MS(150) /* doubles; RFC 8489's 39.5 s are for who has no other way */
#define FILTER_PATIENCE CV_MS(600)

enum {
	TRIES_MAX = 4,
	/* A round makes up to 21 mappings in a router that may have 1,024, and a server that tells
	 * another address each time begins one each time. In tenths of a round. */
	ROUND_COST = 10,
	ROUND_RATE = 1,
	ROUND_BURST = 6 * ROUND_COST,
};

enum state { IDLE, ASKING, SAMPLING };

enum purpose {
	NOTHING,
	MAPPING,        /* of the main socket */
	FILTER_PLAIN,   /* of a fresh socket: it hears the server at all */
	FILTER_CHANGED, /* and its other port? */
	SAMPLE,
	PUNCH,
};

void discovery_init(struct discovery *d, struct extras *extras)
{
	*d = (struct discovery){ .extras = extras,
		                 .begin_at = CV_TIME_NEVER,
		                 .until = CV_TIME_NEVER,
		                 .turn_at = CV_TIME_NEVER };
}

void discovery_restart(struct discovery *d, cv_time now)
{
	d->begin_at = cv_time_min(d->begin_at, cv_time_after(now, ROUND_DELAY));
}

void discovery_set_server(struct discovery *d, cv_time now, unsigned i, const struct addr *address,
                          const struct addr *seen)
{
	struct discovery_server next = { .address = *address, .is_up = true };
	struct discovery_server *s;

	if (i >= DISCOVERY_SERVERS_MAX)
		return;
	s = &d->servers[i];
	if (address->family != ADDR_V4) {
		*s = (struct discovery_server){ 0 };
		return;
	}
	if (seen->family == ADDR_V4)
		next.seen = *seen;
	next.was_asked = s->was_asked && addr_equal(&next.address, &s->address) &&
	                 addr_equal(&next.seen, &s->seen);
	*s = next;
	if (next.was_asked)
		return;
	d->answering |= 1u << i; /* until it is known better */
	discovery_restart(d, now);
}

void discovery_drop_server(struct discovery *d, unsigned i)
{
	if (i < DISCOVERY_SERVERS_MAX)
		d->servers[i].is_up = false;
}

void discovery_set_foreign(struct discovery *d, cv_time now, const struct addr *list,
                           unsigned count)
{
	unsigned before = d->foreign_count;
	bool is_new = false;

	d->foreign_count = 0;
	for (unsigned i = 0; i < count && d->foreign_count < DISCOVERY_FOREIGN_MAX; i++) {
		unsigned at = d->foreign_count;

		if (list[i].family != ADDR_V4)
			continue;
		is_new |= at >= before || !addr_equal(&d->foreign[at], &list[i]);
		d->foreign[d->foreign_count++] = list[i];
	}
	if (is_new)
		discovery_restart(d, now);
}

/* Whatever it found out by now. */
static void end_round(struct discovery *d)
{
	for (uint16_t i = 0; d->samples && i < DISCOVERY_SAMPLES; i++)
		d->sampled[i] = extras_port(d->extras, (uint16_t)(d->samples + i));
	d->state = IDLE;
	d->until = d->turn_at = CV_TIME_NEVER;
	if (d->filter)
		extras_give_back(d->extras, d->filter, 1);
	if (d->samples)
		extras_give_back(d->extras, d->samples, DISCOVERY_SAMPLES);
	d->filter = d->samples = 0;
	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		if (d->questions[i].purpose != PUNCH)
			d->questions[i].purpose = NOTHING;
	}
}

void discovery_set_local(struct discovery *d, cv_time now, const struct addr *list, unsigned count)
{
	d->local_count = 0;
	for (unsigned i = 0; i < count && d->local_count < CV_ARRAY_SIZE(d->local); i++) {
		if (list[i].family == ADDR_V4)
			d->local[d->local_count++] = list[i];
	}
	d->is_suspect = false;
	end_round(d);
	/* Such news come in flocks: after the last of them. */
	d->begin_at = cv_time_after(now, ROUND_DELAY);
}

void discovery_stop(struct discovery *d)
{
	end_round(d);
	d->begin_at = CV_TIME_NEVER;
	d->foreign_count = 0;
	memset(d->servers, 0, sizeof(d->servers));
}

void discovery_suspect(struct discovery *d, cv_time now)
{
	if (d->is_suspect || !d->has_profile || d->profile.mapping != NAT_UNKNOWN)
		return;
	d->is_suspect = true;
	discovery_restart(d, now);
}

bool discovery_take_news(struct discovery *d)
{
	bool is_new = d->is_new;

	d->is_new = false;
	return is_new;
}

/* ---- questions ---- */

static uint8_t ask(struct discovery *d, cv_time now, const struct rng *rng, enum purpose purpose,
                   uint16_t socket, const struct addr *to)
{
	for (uint8_t i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		struct discovery_question *q = &d->questions[i];

		if (q->purpose != NOTHING)
			continue;
		*q = (struct discovery_question){
			.purpose = (uint8_t)purpose,
			.socket = socket,
			.to = *to,
			.due_at = now,
		};
		rng_fill(rng, q->id, sizeof(q->id));
		return i;
	}
	return DISCOVERY_NOBODY;
}

static bool are_answered(const struct discovery *d, unsigned purposes)
{
	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		const struct discovery_question *q = &d->questions[i];

		if ((purposes & 1u << q->purpose) && !q->is_answered)
			return false;
	}
	return true;
}

static const struct discovery_question *find(const struct discovery *d, enum purpose purpose)
{
	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		if (d->questions[i].purpose == purpose)
			return &d->questions[i];
	}
	return NULL;
}

/* The one with bit @i of .answering, if it can be asked. */
static bool server_at(const struct discovery *d, unsigned i, struct addr *out)
{
	unsigned foreign = i - DISCOVERY_SERVERS_MAX;

	if (i < DISCOVERY_SERVERS_MAX) {
		*out = d->servers[i].address;
		return d->servers[i].is_up;
	}
	if (foreign >= d->foreign_count)
		return false;
	*out = d->foreign[foreign];
	return true;
}

/* Whom samples are asked of: the same one each time, so that nothing but the socket differs; one
 * that answered when all were asked, if any did. */
static bool find_server(const struct discovery *d, struct addr *out)
{
	for (unsigned wanted = d->answering ? 1 : 0;; wanted--) {
		for (unsigned i = 0; i < DISCOVERY_SERVERS_MAX + DISCOVERY_FOREIGN_MAX; i++) {
			if ((d->answering >> i & 1) >= wanted && server_at(d, i, out))
				return true;
		}
		if (wanted == 0)
			return false;
	}
}

static void note_who_answers(struct discovery *d)
{
	d->answering = 0;
	for (unsigned i = 0; i < DISCOVERY_SERVERS_MAX + DISCOVERY_FOREIGN_MAX; i++) {
		struct addr to;

		for (unsigned k = 0; k < DISCOVERY_QUESTIONS_MAX && server_at(d, i, &to); k++) {
			const struct discovery_question *q = &d->questions[k];

			if (q->purpose == MAPPING && q->is_answered && addr_equal(&q->to, &to))
				d->answering |= 1u << i;
		}
	}
}

/* ---- a round ---- */

static void begin_round(struct discovery *d, cv_time now, const struct rng *rng)
{
	struct addr to;

	d->begin_at = CV_TIME_NEVER;
	if (!find_server(d, &to))
		return; /* the next one that is told begins */
	(void)bucket_take(&d->rounds, now, ROUND_RATE, ROUND_BURST, ROUND_COST);
	d->state = ASKING;
	d->began_at = now;
	d->until = cv_time_after(now, ROUND_TIME);
	for (unsigned i = 0; i < DISCOVERY_SERVERS_MAX; i++) {
		struct addr next = d->servers[i].address;

		d->servers[i].was_asked = d->servers[i].is_up;
		if (!d->servers[i].is_up)
			continue;
		(void)ask(d, now, rng, MAPPING, SOCKET_MAIN, &next);
		if (next.port == UINT16_MAX)
			continue;
		next.port++;
		(void)ask(d, now, rng, MAPPING, SOCKET_MAIN, &next);
	}
	for (unsigned i = 0; i < d->foreign_count; i++)
		(void)ask(d, now, rng, MAPPING, SOCKET_MAIN, &d->foreign[i]);
	d->filter = extras_take(d->extras, 1);
	if (!d->filter)
		return;
	(void)ask(d, now, rng, FILTER_PLAIN, d->filter, &to);
	(void)ask(d, now, rng, FILTER_CHANGED, d->filter, &to);
}

static void begin_samples(struct discovery *d, cv_time now, const struct rng *rng)
{
	struct addr to;

	d->state = SAMPLING;
	d->until = CV_MAX(d->until, cv_time_after(now, SAMPLING_TIME));
	note_who_answers(d);
	d->samples = find_server(d, &to) ? extras_take(d->extras, DISCOVERY_SAMPLES) : 0;
	if (!d->samples)
		d->turn_at = now; /* nothing is to be waited for */
	/* Their order is what is wanted: apart, so that nothing between us and the router mixes
	 * them up. */
	for (uint16_t i = 0; d->samples && i < DISCOVERY_SAMPLES; i++)
		(void)ask(d, cv_time_after(now, i * SAMPLE_SPACING), rng, SAMPLE,
		          (uint16_t)(d->samples + i), &to);
}

/* Ours answer what is as large as their answer; foreign ones may not know PADDING. */
static bool is_own(const struct discovery *d, const struct addr *to)
{
	for (unsigned i = 0; i < DISCOVERY_SERVERS_MAX; i++) {
		if (addr_equal_ip(&d->servers[i].address, to))
			return true;
	}
	return false;
}

/* Somebody who answered saw this address, or nobody answered at all. */
static bool is_current(const struct discovery *d, const struct addr *seen)
{
	bool is_anybody = false;

	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		const struct discovery_question *q = &d->questions[i];

		if (q->purpose != MAPPING || !q->is_answered)
			continue;
		if (addr_equal_ip(&q->seen, seen))
			return true;
		is_anybody = true;
	}
	return !is_anybody;
}

static void read_mapping(const struct discovery *d, struct nat_profile *out)
{
	struct addr none = { 0 };
	enum nat_rule mapping;
	struct nat_view v;

	nat_view_init(&v, &none);
	for (unsigned i = 0; i < DISCOVERY_SERVERS_MAX; i++) {
		const struct discovery_server *s = &d->servers[i];

		if (s->is_up && s->seen.family != ADDR_NONE && is_current(d, &s->seen))
			nat_view_add(&v, &s->address, &s->seen);
	}
	/* Newer than what the same servers saw before. */
	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		const struct discovery_question *q = &d->questions[i];

		if (q->purpose != MAPPING || !q->is_answered)
			continue;
		nat_view_add(&v, &q->to, &q->seen);
		if (out->address.family == ADDR_NONE)
			out->address = q->seen;
	}
	if (out->address.family == ADDR_NONE && v.count > 0)
		out->address = v.list[0].as;
	for (unsigned i = 0; i < d->local_count; i++) {
		if (nat_view_is_open(&v, &d->local[i]))
			v.local = d->local[i];
	}
	mapping = nat_mapping(&v);
	out->mapping = (uint8_t)mapping;
	out->is_suspect = d->is_suspect && mapping == NAT_UNKNOWN;
}

/* The other port of @server answers when it is asked itself. */
static bool has_other_port(const struct discovery *d, const struct addr *server)
{
	struct addr other = *server;

	other.port++;
	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		const struct discovery_question *q = &d->questions[i];

		if (q->purpose == MAPPING && q->is_answered && addr_equal(&q->to, &other))
			return true;
	}
	return false;
}

static bool is_filter_known(const struct discovery *d, cv_time now, uint8_t *filtering)
{
	const struct discovery_question *plain = find(d, FILTER_PLAIN);
	const struct discovery_question *changed = find(d, FILTER_CHANGED);

	*filtering = NAT_UNKNOWN;
	if (!changed || !plain)
		return true;
	if (changed->is_answered) {
		*filtering = NAT_ENDPOINT_INDEPENDENT;
		return true;
	}
	if (!plain->is_answered || changed->tries < 3 ||
	    now < cv_time_after(d->began_at, FILTER_PATIENCE))
		return false;
	/* Silence says something only of a server that would answer: one whose other port does. Of
	 * a foreign one we do not even know that it has another. */
	if (is_own(d, &plain->to) && has_other_port(d, &plain->to))
		*filtering = NAT_ADDRESS_AND_PORT_DEPENDENT;
	return true;
}

/* By the round before: a socket with that port may have the mapping of that time, which is not in
 * the order of the others. */
static bool was_sampled(const struct discovery *d, uint16_t local)
{
	for (unsigned i = 0; i < DISCOVERY_SAMPLES; i++) {
		if (d->sampled[i] == local)
			return true;
	}
	return false;
}

static void read_samples(const struct discovery *d, struct nat_profile *out)
{
	struct nat_samples samples = { 0 };

	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		const struct discovery_question *q = &d->questions[i];
		uint16_t local;

		if (q->purpose != SAMPLE || !q->is_answered)
			continue;
		local = extras_port(d->extras, q->socket);
		if (was_sampled(d, local))
			continue;
		samples.list[samples.count].local = local;
		samples.list[samples.count++].seen = q->seen.port;
	}
	nat_read_samples(&samples, out);
}

static void publish(struct discovery *d, const struct nat_profile *next)
{
	if (d->has_profile && nat_profile_is_equal(next, &d->profile))
		return;
	d->profile = *next;
	d->has_profile = true;
	d->is_new = true;
}

/* What is known by now, and whether there is more to be waited for. */
static void turn(struct discovery *d, cv_time now, const struct rng *rng)
{
	struct nat_profile next = { 0 };
	bool is_over = now >= d->until, has_filter, has_mapping;

	has_mapping = are_answered(d, 1u << MAPPING) || is_over;
	if (!has_mapping)
		return;
	read_mapping(d, &next);
	has_filter = is_filter_known(d, now, &next.filtering) || is_over;
	/* Until it is known again what it was is a better guess than none. */
	if (!has_filter && d->has_profile && d->profile.mapping == next.mapping)
		next.filtering = d->profile.filtering;
	if (d->state == ASKING && nat_is_hard(&next)) {
		begin_samples(d, now, rng);
		return;
	}
	if (d->state == SAMPLING) {
		if (!are_answered(d, 1u << SAMPLE) && !is_over)
			return;
		read_samples(d, &next);
	}
	publish(d, &next);
	if (!has_filter)
		return;
	note_who_answers(d);
	end_round(d);
}

/* ---- samples for a punch ---- */

uint8_t discovery_sample(struct discovery *d, cv_time now, const struct rng *rng, uint16_t socket)
{
	struct addr to;

	return find_server(d, &to) ? ask(d, now, rng, PUNCH, socket, &to) : DISCOVERY_NOBODY;
}

bool discovery_is_sampled(const struct discovery *d, uint8_t question, struct addr *seen)
{
	const struct discovery_question *q = &d->questions[question];

	CV_ASSERT(question < DISCOVERY_QUESTIONS_MAX);
	if (q->purpose != PUNCH || !q->is_answered)
		return false;
	*seen = q->seen;
	return true;
}

void discovery_forget(struct discovery *d, uint8_t question)
{
	if (question < DISCOVERY_QUESTIONS_MAX)
		d->questions[question].purpose = NOTHING;
}

/* ---- in and out ---- */

bool discovery_on_datagram(struct discovery *d, cv_time now, uint16_t socket,
                           const struct addr *from, const uint8_t *bytes, size_t size)
{
	struct stun_message m;

	if (!stun_read(bytes, size, &m) || m.type != STUN_SUCCESS || m.unknown_count > 0 ||
	    m.mapped.family != ADDR_V4)
		return false;
	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		struct discovery_question *q = &d->questions[i];
		struct addr expected = q->to;

		if (q->purpose == NOTHING || q->is_answered || q->tries == 0 ||
		    q->socket != socket || !stun_is_answer(&m, q->id))
			continue;
		if (q->purpose == FILTER_CHANGED)
			expected.port = from->port;
		if (!addr_equal(&expected, from) ||
		    (q->purpose == FILTER_CHANGED && from->port == q->to.port))
			return false;
		q->is_answered = true;
		q->seen = m.mapped;
		q->due_at = CV_TIME_NEVER;
		d->turn_at = now;
		return true;
	}
	return false;
}

/* The first of what is due; in the order asked, which is the order in which ports are given. */
static struct discovery_question *next_due(struct discovery *d, cv_time now)
{
	struct discovery_question *first = NULL;

	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		struct discovery_question *q = &d->questions[i];

		if (q->purpose == NOTHING || q->is_answered || q->due_at > now)
			continue;
		if (q->socket != SOCKET_MAIN && !extras_is_open(d->extras, q->socket))
			continue;
		if (!first || q->due_at < first->due_at)
			first = q;
	}
	return first;
}

bool discovery_write(struct discovery *d, cv_time now, struct train *out)
{
	struct discovery_question *q = next_due(d, now);

	if (!q)
		return false;
	q->due_at = q->tries < TRIES_MAX - 1 ? cv_time_after(now, REPEAT_FIRST << q->tries)
	                                     : CV_TIME_NEVER;
	q->tries++;
	d->asked++;
	out->size = stun_write_request(out->bytes, TRAIN_BYTES_MAX, q->id,
	                               q->purpose == FILTER_CHANGED ? STUN_CHANGE_PORT : 0,
	                               is_own(d, &q->to) ? STUN_PADDED_SIZE : 0);
	out->segment_size = out->size;
	out->count = 1;
	out->socket = q->socket;
	out->to = q->to;
	return true;
}

cv_time discovery_deadline(const struct discovery *d)
{
	/* A round that is wanted begins when the present one has ended. */
	cv_time at = cv_time_min(d->state == IDLE ? d->begin_at : d->until, d->turn_at);

	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		const struct discovery_question *q = &d->questions[i];

		if (q->purpose == NOTHING || q->is_answered)
			continue;
		/* Of a socket that is not open yet the shell's answer is waited for. */
		if (q->socket == SOCKET_MAIN || extras_is_open(d->extras, q->socket))
			at = cv_time_min(at, q->due_at);
	}
	return at;
}

void discovery_on_deadline(struct discovery *d, cv_time now, const struct rng *rng)
{
	d->turn_at = CV_TIME_NEVER;
	if (d->state != IDLE)
		turn(d, now, rng);
	if (d->state != IDLE || now < d->begin_at)
		return;
	d->begin_at = bucket_ready_at(&d->rounds, now, ROUND_RATE, ROUND_BURST, ROUND_COST);
	if (now >= d->begin_at)
		begin_round(d, now, rng);
}

static bool is_socket_valid(const struct discovery *d, const struct discovery_question *q)
{
	switch ((enum purpose)q->purpose) {
	case NOTHING:
		return true;
	case MAPPING:
		return q->socket == SOCKET_MAIN;
	case FILTER_PLAIN:
	case FILTER_CHANGED:
		return d->filter != 0 && q->socket == d->filter;
	case SAMPLE:
		return d->samples != 0 && q->socket >= d->samples &&
		       q->socket < d->samples + DISCOVERY_SAMPLES;
	case PUNCH:
		return q->socket >= SOCKET_EXTRA && q->socket < SOCKET_EXTRA + SOCKETS_EXTRA_MAX;
	}
	return false;
}

bool discovery_check(const struct discovery *d)
{
	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		const struct discovery_question *q = &d->questions[i];
		bool is_of_round = q->purpose != NOTHING && q->purpose != PUNCH;

		if (!is_socket_valid(d, q) || q->tries > TRIES_MAX ||
		    (is_of_round && d->state == IDLE))
			return false;
	}
	return (d->state == IDLE) == (d->until == CV_TIME_NEVER) &&
	       (d->state != IDLE || (d->filter == 0 && d->samples == 0));
}
