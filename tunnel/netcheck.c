/* SPDX-License-Identifier: MIT */
#include "tunnel/netcheck.h"

#include <string.h>

#include "tunnel/stun.h"

#define REPEAT_FIRST CV_MS(200) /* doubles, and is never below two round trips */
#define REPEAT_MAX CV_SEC(1)

enum {
	TRIES = NETCHECK_TRIES_MAX,
	TRIES_TEST = 3, /* where silence is an answer too */
	TRIES_SIZE = 3, /* without doubling: many in a row */
};

enum step { IDLE, ASKING, TESTING, LAST, DONE };

enum purpose {
	PLAIN,       /* main socket, a place */
	NEXT,        /* main socket, its next port up */
	OTHER,       /* main socket, its other address, on either port */
	HEARD,       /* a fresh socket hears a server */
	FROM_PORT,   /* and its other port? */
	FROM_IP,     /* and its other address? */
	SAMPLE,      /* a fresh socket, for its port */
	ROUND_THERE, /* from the main socket to the address of the hairpin socket */
	ROUND_BACK,  /* the other way, which opens the filter for the first */
	SIZE,        /* how large a datagram arrives */
};

enum state { OPEN, ANSWERED, FAILED };

/* Payloads of paths with 1,500, 1,492, 1,420 and 1,280 bytes, and what every path carries. */
static const uint16_t sizes4[] = { 1472, 1464, 1392, 1252, 1200 };
static const uint16_t sizes6[] = { 1452, 1444, 1372, 1232, 1200 };

void netcheck_init(struct netcheck *n, const struct rng *rng)
{
	struct addr none = { 0 };

	*n = (struct netcheck){ .rng = rng, .step = IDLE };
	nat_view_init(&n->view, &none);
	nat_view_init(&n->view6, &none);
}

bool netcheck_add(struct netcheck *n, const struct addr *address, bool is_own)
{
	CV_ASSERT(n->step == IDLE && address->family != ADDR_NONE);
	for (unsigned i = 0; i < n->place_count; i++) {
		if (addr_equal(&n->places[i].address, address))
			return false;
	}
	if (n->place_count == NETCHECK_PLACES_MAX)
		return false;
	n->places[n->place_count++] =
		(struct netcheck_place){ .address = *address, .is_own = is_own };
	return true;
}

void netcheck_set_socket(struct netcheck *n, unsigned socket, uint16_t port)
{
	CV_ASSERT(socket < NETCHECK_SOCKETS && port != 0);
	n->ports[socket] = port;
}

void netcheck_set_local(struct netcheck *n, const struct addr *list, unsigned count)
{
	n->local_count = CV_MIN(count, (unsigned)CV_ARRAY_SIZE(n->local));
	if (n->local_count > 0)
		memcpy(n->local, list, n->local_count * sizeof(list[0]));
	n->scope = (struct candidate_scope){ 0 };
	for (unsigned i = 0; i < count; i++)
		candidate_scope_add(&n->scope, &list[i]);
}

/* ---- questions ---- */

static struct netcheck_question *ask(struct netcheck *n, cv_time now, enum purpose purpose,
                                     uint16_t socket, unsigned place, const struct addr *to)
{
	struct netcheck_question *q = &n->questions[n->question_count];

	if (n->ports[socket] == 0 || n->question_count == NETCHECK_QUESTIONS_MAX)
		return NULL;
	n->question_count++;
	*q = (struct netcheck_question){
		.purpose = (uint8_t)purpose,
		.tries_max = TRIES,
		.place = (uint8_t)place,
		.socket = socket,
		.size = n->places[place].is_own ? STUN_PADDED_SIZE : 0,
		.to = *to,
		.due_at = now,
	};
	rng_fill(n->rng, q->id, sizeof(q->id));
	return q;
}

/* To where a server says: it must not be able to point us at a victim (T40). */
static struct netcheck_question *ask_told(struct netcheck *n, cv_time now, enum purpose purpose,
                                          uint16_t socket, unsigned place, const struct addr *to)
{
	return candidate_is_allowed(&n->scope, to) ? ask(n, now, purpose, socket, place, to) : NULL;
}

static const struct netcheck_question *find(const struct netcheck *n, enum purpose purpose,
                                            uint16_t socket)
{
	for (unsigned i = 0; i < n->question_count; i++) {
		if (n->questions[i].purpose == purpose && n->questions[i].socket == socket)
			return &n->questions[i];
	}
	return NULL;
}

static bool is_answered(const struct netcheck_question *q)
{
	return q && q->state == ANSWERED;
}

static uint16_t main_of(const struct addr *to)
{
	return to->family == ADDR_V4 ? NETCHECK_MAIN : NETCHECK_MAIN6;
}

/* Each try has an id of its own, so that its answer is known from the next one's: who is far away
 * answers when he has been asked again. */
static const uint8_t *id_of(const struct netcheck_question *q, unsigned try,
                            uint8_t out[STUN_ID_SIZE])
{
	memcpy(out, q->id, STUN_ID_SIZE);
	out[STUN_ID_SIZE - 1] ^= (uint8_t)try;
	return out;
}

/* The try of @q that @m answers; .tries: none. */
static unsigned answered_try(const struct netcheck_question *q, const struct stun_message *m)
{
	uint8_t id[STUN_ID_SIZE];
	unsigned i = 0;

	while (i < q->tries && !stun_is_answer(m, id_of(q, i, id)))
		i++;
	return i;
}

static bool has_other_ip(const struct netcheck_place *p)
{
	return p->other.family == p->address.family && !addr_equal_ip(&p->other, &p->address) &&
	       p->other.port != p->address.port;
}

/* The place of IPv4 that does most; NULL when none is any good. */
static struct netcheck_place *choose(struct netcheck *n, bool is_ip)
{
	struct netcheck_place *best = NULL;

	for (unsigned i = 0; i < n->place_count; i++) {
		struct netcheck_place *p = &n->places[i];

		if (!p->is_answered || p->address.family != ADDR_V4)
			continue;
		if (is_ip ? has_other_ip(p) : p->has_next || has_other_ip(p))
			return p;
		if (!best && !is_ip)
			best = p; /* to hear at all */
	}
	return best;
}

static unsigned index_of(const struct netcheck *n, const struct netcheck_place *p)
{
	return (unsigned)(p - n->places);
}

/* ---- the steps ---- */

void netcheck_start(struct netcheck *n, cv_time now)
{
	CV_ASSERT(n->step == IDLE);
	n->step = ASKING;
	for (unsigned i = 0; i < n->place_count; i++) {
		struct addr to = n->places[i].address;

		(void)ask(n, now, PLAIN, main_of(&to), i, &to);
		if (!n->places[i].is_own || to.port == UINT16_MAX)
			continue;
		to.port++;
		(void)ask(n, now, NEXT, main_of(&to), i, &to);
	}
	netcheck_on_deadline(n, now); /* nobody to ask */
}

static void ask_size(struct netcheck *n, cv_time now, unsigned place, uint16_t size)
{
	const struct addr *to = &n->places[place].address;
	struct netcheck_question *q = ask(n, now, SIZE, main_of(to), place, to);

	if (!q)
		return;
	q->size = size;
	q->tries_max = TRIES_SIZE;
}

static void begin_testing(struct netcheck *n, cv_time now)
{
	struct netcheck_place *p = choose(n, false), *ip = choose(n, true);

	n->step = TESTING;
	if (ip)
		(void)ask(n, now, HEARD, NETCHECK_IP, index_of(n, ip), &ip->address);
	if (!p)
		return;
	(void)ask(n, now, HEARD, NETCHECK_PORT, index_of(n, p), &p->address);
	(void)ask(n, now, HEARD, NETCHECK_HAIRPIN, index_of(n, p), &p->address);
	/* In a row: others' mappings between them would look like a larger step. */
	for (uint16_t i = 0; i < NETCHECK_SAMPLES; i++)
		(void)ask(n, now, SAMPLE, (uint16_t)(NETCHECK_SAMPLE + i), index_of(n, p),
		          &p->address);
}

static void ask_changed(struct netcheck *n, cv_time now, enum purpose purpose, uint16_t socket,
                        unsigned change)
{
	const struct netcheck_question *heard = find(n, HEARD, socket);
	struct netcheck_question *q;

	if (!is_answered(heard))
		return;
	q = ask(n, now, purpose, socket, heard->place, &heard->to);
	if (!q)
		return;
	q->change = (uint8_t)change;
	q->tries_max = TRIES_TEST;
}

static void ask_round(struct netcheck *n, cv_time now)
{
	const struct netcheck_question *heard = find(n, HEARD, NETCHECK_HAIRPIN);
	const struct netcheck_place *p;
	struct netcheck_question *q;

	/* Who has no address to be called by, or needs no router to be called. */
	if (!is_answered(heard) || nat_mapping(&n->view) == NAT_NONE ||
	    nat_mapping(&n->view) == NAT_ADDRESS_DEPENDENT ||
	    nat_mapping(&n->view) == NAT_ADDRESS_AND_PORT_DEPENDENT)
		return;
	p = &n->places[heard->place];
	q = ask_told(n, now, ROUND_THERE, NETCHECK_MAIN, heard->place, &heard->seen);
	if (q)
		q->tries_max = TRIES_TEST;
	q = ask_told(n, now, ROUND_BACK, NETCHECK_HAIRPIN, heard->place, &p->seen);
	if (q)
		q->tries_max = TRIES_TEST;
}

static void begin_last(struct netcheck *n, cv_time now)
{
	n->step = LAST;
	ask_changed(n, now, FROM_PORT, NETCHECK_PORT, STUN_CHANGE_PORT);
	ask_changed(n, now, FROM_IP, NETCHECK_IP, STUN_CHANGE_IP | STUN_CHANGE_PORT);
	ask_round(n, now);
	for (unsigned i = 0; i < n->place_count; i++) {
		struct netcheck_place *p = &n->places[i];
		bool is_v4 = p->address.family == ADDR_V4;

		if (!p->is_own || !p->is_answered)
			continue;
		p->size_good = STUN_PADDED_SIZE;
		for (unsigned k = 0; k < CV_ARRAY_SIZE(sizes4); k++)
			ask_size(n, now, i, is_v4 ? sizes4[k] : sizes6[k]);
	}
}

/* Halves what is left between the largest that arrived and the smallest that did not. False: all
 * that is wanted is known. */
static bool go_on_with_sizes(struct netcheck *n, cv_time now)
{
	bool any = false;

	for (unsigned i = 0; i < n->place_count; i++) {
		struct netcheck_place *p = &n->places[i];
		uint32_t middle = (p->size_good + p->size_bad) / 2 & ~3u;

		if (p->size_good == 0)
			continue;
		if (p->size_bad == 0 || middle <= p->size_good) {
			p->mtu = p->size_good;
			continue;
		}
		ask_size(n, now, i, (uint16_t)middle);
		any = true;
	}
	return any;
}

static void settle_sizes(struct netcheck *n)
{
	for (unsigned i = 0; i < n->question_count; i++) {
		const struct netcheck_question *q = &n->questions[i];
		struct netcheck_place *p = &n->places[q->place];

		if (q->purpose == SIZE && q->state == ANSWERED)
			p->size_good = CV_MAX(p->size_good, q->size);
	}
	for (unsigned i = 0; i < n->question_count; i++) {
		const struct netcheck_question *q = &n->questions[i];
		struct netcheck_place *p = &n->places[q->place];

		/* What was lost below a size that arrived was lost to something else. */
		if (q->purpose == SIZE && q->state == FAILED && q->size > p->size_good &&
		    (p->size_bad == 0 || q->size < p->size_bad))
			p->size_bad = q->size;
	}
}

static bool is_settled(const struct netcheck *n)
{
	for (unsigned i = 0; i < n->question_count; i++) {
		if (n->questions[i].state == OPEN)
			return false;
	}
	return true;
}

static void advance(struct netcheck *n, cv_time now)
{
	while (n->step != IDLE && n->step != DONE && is_settled(n)) {
		switch ((enum step)n->step) {
		case ASKING:
			begin_testing(n, now);
			break;
		case TESTING:
			begin_last(n, now);
			break;
		case LAST:
			settle_sizes(n);
			if (!go_on_with_sizes(n, now) || is_settled(n))
				n->step = DONE;
			break;
		case IDLE:
		case DONE:
			CV_UNREACHABLE();
		}
	}
}

/* ---- in ---- */

static bool is_from(const struct netcheck_question *q, const struct addr *from)
{
	if (q->purpose == FROM_PORT)
		return addr_equal_ip(from, &q->to) && from->port != q->to.port;
	if (q->purpose == FROM_IP)
		return from->family == q->to.family && !addr_equal_ip(from, &q->to);
	return addr_equal(from, &q->to);
}

static void note_seen(struct netcheck *n, const struct netcheck_question *q)
{
	struct nat_view *v = q->socket == NETCHECK_MAIN6 ? &n->view6 : &n->view;

	if (q->purpose != PLAIN && q->purpose != NEXT && q->purpose != OTHER)
		return;
	nat_view_add(v, &q->to, &q->seen);
	for (unsigned i = 0; i < n->local_count; i++) {
		struct addr local = n->local[i];

		local.port = n->ports[q->socket];
		if (nat_view_is_open(v, &local))
			v->local = local;
	}
}

static void on_answer(struct netcheck *n, cv_time now, struct netcheck_question *q,
                      const struct stun_message *m)
{
	struct netcheck_place *p = &n->places[q->place];
	cv_duration rtt = now - q->sent_at[answered_try(q, m)];
	struct addr other;

	q->state = ANSWERED;
	q->seen = m->mapped;
	note_seen(n, q);
	if (q->purpose == PLAIN || q->purpose == SIZE)
		p->rtt = p->rtt == 0 ? rtt : CV_MIN(p->rtt, rtt);
	if (q->purpose == NEXT) {
		p->has_next = true;
		p->is_answered = true;
		if (p->seen.family == ADDR_NONE)
			p->seen = m->mapped;
	}
	if (q->purpose != PLAIN)
		return;
	p->is_answered = true;
	p->seen = m->mapped;
	/* One where we would not ask tells nothing by its silence either. */
	if (candidate_is_allowed(&n->scope, &m->other))
		p->other = m->other;
	if (!has_other_ip(p))
		return;
	/* A second address tells what the address does to the mapping, and two ports of it what the
	 * port does (RFC 5780, 4.3). Ours have a second port anyway. */
	other = p->other;
	(void)ask(n, now, OTHER, q->socket, q->place, &other);
	other.port = p->address.port;
	if (!p->is_own)
		(void)ask_told(n, now, OTHER, q->socket, q->place, &other);
}

/* Our own request, that a router has sent back to another of our sockets. */
static void on_request(struct netcheck *n, uint16_t socket, const struct stun_message *m)
{
	for (unsigned i = 0; i < n->question_count; i++) {
		struct netcheck_question *q = &n->questions[i];

		if ((q->purpose != ROUND_THERE && q->purpose != ROUND_BACK) ||
		    q->socket == socket || memcmp(m->id + 4, q->id, sizeof(q->id) - 1) != 0)
			continue;
		q->state = ANSWERED;
	}
}

void netcheck_on_datagram(struct netcheck *n, cv_time now, uint16_t socket, const struct addr *from,
                          const uint8_t *bytes, size_t size)
{
	struct stun_message m;

	if (!stun_read(bytes, size, &m))
		return;
	if (m.type == STUN_REQUEST)
		on_request(n, socket, &m);
	for (unsigned i = 0; i < n->question_count; i++) {
		struct netcheck_question *q = &n->questions[i];

		if (q->state != OPEN || q->socket != socket || answered_try(q, &m) == q->tries)
			continue;
		if (addr_equal(from, &q->to) && (m.type == STUN_ERROR || q->change != 0)) {
			/* Cannot do it, or has not understood. */
			q->state = FAILED;
			q->is_refused = true;
		} else if (m.type == STUN_SUCCESS && m.unknown_count == 0 &&
		           m.mapped.family == q->to.family && is_from(q, from)) {
			on_answer(n, now, q, &m);
		}
		break;
	}
	advance(n, now);
}

void netcheck_on_too_large(struct netcheck *n)
{
	struct netcheck_question *q = &n->questions[n->written];

	CV_ASSERT(n->written < n->question_count);
	if (q->purpose != SIZE || q->state != OPEN)
		return;
	q->due_at = q->sent_at[q->tries - 1];
	q->tries = q->tries_max; /* and fails at the next deadline, which is now */
}

/* ---- out ---- */

/* May it go now? If not, .due_at is when it may. */
static bool is_due(struct netcheck *n, struct netcheck_question *q, cv_time now)
{
	struct bucket *b = &n->places[q->place].asked;

	if (q->state != OPEN || q->tries == q->tries_max || q->due_at > now)
		return false;
	if (q->purpose == ROUND_THERE || q->purpose == ROUND_BACK)
		return true; /* to ourselves */
	if (bucket_take(b, now, NETCHECK_RATE, NETCHECK_BURST, 1))
		return true;
	q->due_at = bucket_ready_at(b, now, NETCHECK_RATE, NETCHECK_BURST, 1);
	return false;
}

static cv_duration patience(const struct netcheck *n, const struct netcheck_question *q)
{
	cv_duration wait = q->purpose == SIZE ? REPEAT_FIRST : REPEAT_FIRST << q->tries;

	return CV_MAX(CV_MIN(wait, REPEAT_MAX), 2 * n->places[q->place].rtt);
}

bool netcheck_write(struct netcheck *n, cv_time now, struct train *out)
{
	uint8_t id[STUN_ID_SIZE];

	for (unsigned i = 0; i < n->question_count; i++) {
		struct netcheck_question *q = &n->questions[i];

		if (!is_due(n, q, now))
			continue;
		n->written = i;
		n->asked++;
		q->sent_at[q->tries] = now;
		q->due_at = now + patience(n, q);
		(void)id_of(q, q->tries++, id);
		*out = (struct train){
			.bytes = out->bytes, .count = 1, .socket = q->socket, .to = q->to
		};
		out->size = stun_write_request(out->bytes, TRAIN_BYTES_MAX, id, q->change, q->size);
		out->segment_size = out->size;
		return true;
	}
	return false;
}

cv_time netcheck_deadline(const struct netcheck *n)
{
	cv_time at = CV_TIME_NEVER;

	for (unsigned i = 0; i < n->question_count; i++) {
		const struct netcheck_question *q = &n->questions[i];

		if (q->state == OPEN)
			at = cv_time_min(at, q->due_at);
	}
	return at;
}

void netcheck_on_deadline(struct netcheck *n, cv_time now)
{
	for (unsigned i = 0; i < n->question_count; i++) {
		struct netcheck_question *q = &n->questions[i];

		if (q->state == OPEN && q->tries == q->tries_max && q->due_at <= now)
			q->state = FAILED;
	}
	advance(n, now);
}

bool netcheck_is_done(const struct netcheck *n)
{
	return n->step == DONE;
}

/* ---- what it means ---- */

/* Silence says something only where an answer was possible. */
static enum netcheck_bool passes(const struct netcheck *n, enum purpose purpose, uint16_t socket)
{
	const struct netcheck_question *q = find(n, purpose, socket);
	const struct netcheck_place *p = q ? &n->places[q->place] : NULL;

	if (!q || q->is_refused)
		return NETCHECK_UNKNOWN;
	if (q->state == ANSWERED)
		return NETCHECK_YES;
	return purpose == FROM_IP || p->has_next || has_other_ip(p) ? NETCHECK_NO
	                                                            : NETCHECK_UNKNOWN;
}

static enum nat_rule read_filtering(enum netcheck_bool port, enum netcheck_bool ip)
{
	if (ip == NETCHECK_YES)
		return NAT_ENDPOINT_INDEPENDENT;
	if (port == NETCHECK_NO)
		return NAT_ADDRESS_AND_PORT_DEPENDENT;
	return port == NETCHECK_YES && ip == NETCHECK_NO ? NAT_ADDRESS_DEPENDENT : NAT_UNKNOWN;
}

static enum netcheck_bool read_hairpin(const struct netcheck *n)
{
	const struct netcheck_question *there = find(n, ROUND_THERE, NETCHECK_MAIN);
	const struct netcheck_question *back = find(n, ROUND_BACK, NETCHECK_HAIRPIN);

	if (is_answered(there) || is_answered(back))
		return NETCHECK_YES;
	/* An address that may change with who asks was perhaps nobody's. */
	return there && back && nat_mapping(&n->view) == NAT_ENDPOINT_INDEPENDENT
	               ? NETCHECK_NO
	               : NETCHECK_UNKNOWN;
}

static void read_ports(const struct netcheck *n, struct nat_profile *out)
{
	struct nat_samples samples = { 0 };

	for (uint16_t i = 0; i < NETCHECK_SAMPLES; i++) {
		uint16_t socket = (uint16_t)(NETCHECK_SAMPLE + i);
		const struct netcheck_question *q = find(n, SAMPLE, socket);

		if (!is_answered(q))
			continue;
		samples.list[samples.count].local = n->ports[socket];
		samples.list[samples.count++].seen = q->seen.port;
	}
	nat_read_samples(&samples, out);
}

void netcheck_read(const struct netcheck *n, struct netcheck_result *out)
{
	enum netcheck_bool port = passes(n, FROM_PORT, NETCHECK_PORT);
	enum netcheck_bool ip = passes(n, FROM_IP, NETCHECK_IP);

	*out = (struct netcheck_result){
		.mapping = nat_mapping(&n->view),
		.mapping6 = nat_mapping(&n->view6),
		.has_compared_ports = nat_has_compared_ports(&n->view),
		.filtering = read_filtering(port, ip),
		.hairpin = read_hairpin(n),
	};
	if (ip == NETCHECK_YES || port == NETCHECK_YES)
		out->filters_ports = NETCHECK_NO;
	else if (port == NETCHECK_NO)
		out->filters_ports = NETCHECK_YES;
	read_ports(n, &out->ports);
	for (unsigned i = n->place_count; i-- > 0;) {
		const struct netcheck_place *p = &n->places[i];

		out->is_answered |= p->is_answered;
		if (p->seen.family == ADDR_V4)
			out->public4 = p->seen;
		else if (p->seen.family == ADDR_V6)
			out->public6 = p->seen;
	}
}

bool netcheck_check(const struct netcheck *n)
{
	for (unsigned i = 0; i < n->question_count; i++) {
		const struct netcheck_question *q = &n->questions[i];

		if (q->place >= n->place_count || n->ports[q->socket] == 0 ||
		    q->tries > CV_MAX(q->tries_max, TRIES))
			return false;
	}
	return n->step != DONE || is_settled(n);
}
