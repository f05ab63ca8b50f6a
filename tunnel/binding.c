/* SPDX-License-Identifier: MIT */
#include "tunnel/binding.h"

#include <string.h>

/*
 * A server has two ports, P and P+1, on each of its addresses. With one address A:
 *
 *                        from (A, P+1)   from (A2, P)   from (A2, P+1)
 *   CHANGE-REQUEST       port            IP             both
 *   one address          answered        cannot be      cannot be
 *   two or more          answered        answered       answered
 *
 * What cannot be is refused with 420 and CHANGE-REQUEST in the list (RFC 5780, 6.1). Clients of RFC
 * 3489 get silence instead: Debian's `stun` takes whatever carries its transaction id for the
 * answer from the other address, and would call every router a full cone.
 *
 * OTHER-ADDRESS "MUST NOT be inserted into a Binding Response unless the server has a second IP
 * address" (RFC 5780, 7.4): coturn's clients begin their tests of filtering by it. CHANGED-ADDRESS
 * has to be in every answer of RFC 3489, so it names the second port when there is nothing better.
 *
 * RESPONSE-PORT is obeyed by BINDING_ANY: coturn's turnutils_stunclient wants it. The answer goes
 * to the address that asked.
 */

int binding_init(struct binding *b, enum binding_mode mode, uint64_t seed)
{
	*b = (struct binding){ .mode = mode };
	if (mode == BINDING_OFF)
		return 0;
	return source_limit_init(&b->sources, BINDING_SOURCES_MAX, BINDING_RATE, BINDING_BURST,
	                         seed);
}

void binding_deinit(struct binding *b)
{
	if (b->mode != BINDING_OFF)
		source_limit_deinit(&b->sources);
	*b = (struct binding){ .mode = BINDING_OFF };
}

void binding_set_places(struct binding *b, const struct binding_place *list, unsigned count)
{
	b->count = CV_MIN(count, BINDING_PLACES_MAX);
	if (b->count > 0)
		memcpy(b->places, list, b->count * sizeof(list[0]));
}

/* ---- which socket ---- */

static const struct binding_place *find_here(const struct binding *b, uint16_t socket,
                                             uint8_t family)
{
	for (unsigned i = 0; i < b->count; i++) {
		if (b->places[i].socket == socket && b->places[i].local.family == family)
			return &b->places[i];
	}
	return NULL;
}

/* Where an answer comes from whose request came to @here and says @change. */
static const struct binding_place *find_there(const struct binding *b,
                                              const struct binding_place *here, unsigned change)
{
	for (unsigned i = 0; i < b->count; i++) {
		const struct binding_place *p = &b->places[i];
		bool is_other_ip = !addr_equal_ip(&p->local, &here->local);
		bool is_other_port = p->local.port != here->local.port;

		if (p->local.family != here->local.family ||
		    is_other_ip != ((change & STUN_CHANGE_IP) != 0) ||
		    is_other_port != ((change & STUN_CHANGE_PORT) != 0))
			continue;
		/* Who listens everywhere and at one address too does not know whence it sends. */
		if (!is_other_ip ||
		    (!addr_is_unspecified(&p->local) && !addr_is_unspecified(&here->local)))
			return p;
	}
	return NULL;
}

/* ---- what is told ---- */

static struct addr tellable(const struct binding_place *p, const struct addr *to)
{
	/* A private address means nothing to who is not in that network. */
	if (!p || p->real.family == ADDR_NONE ||
	    (addr_class(to) == ADDR_CLASS_GLOBAL && addr_class(&p->real) != ADDR_CLASS_GLOBAL))
		return (struct addr){ 0 };
	return p->real;
}

static struct addr other_of(const struct binding *b, const struct binding_place *here,
                            const struct addr *to, bool is_classic)
{
	const struct binding_place *other = find_there(b, here, STUN_CHANGE_IP | STUN_CHANGE_PORT);

	if (!find_there(b, here, STUN_CHANGE_IP))
		other = NULL; /* half of the tests would fail */
	if (!other && is_classic)
		other = find_there(b, here, STUN_CHANGE_PORT);
	return tellable(other, to);
}

static size_t write_success(struct binding *b, const struct stun_message *m,
                            const struct binding_place *here, size_t room,
                            struct binding_answer *out)
{
	const struct binding_place *there = m->change ? find_there(b, here, m->change) : here;
	struct stun_told told = {
		.mapped = out->to,
		.origin = tellable(there, &out->to),
		.other = other_of(b, here, &out->to, m->is_classic),
	};
	size_t size = stun_write_answer(out->bytes, room, m, &told);

	if (size == 0)
		return 0;
	out->socket = there->socket;
	if (m->port != 0)
		out->to.port = m->port;
	return size;
}

enum binding_verdict binding_on_datagram(struct binding *b, cv_time now, const uint8_t *bytes,
                                         size_t size, struct binding_answer *out)
{
	struct binding_place unknown = { .socket = out->socket, .local = { .family = ADDR_NONE } };
	const struct binding_place *here = find_here(b, out->socket, out->to.family);
	size_t room = b->mode == BINDING_ANY ? STUN_ANSWER_MAX : CV_MIN(size, STUN_ANSWER_MAX);
	struct stun_message m;

	if (b->mode == BINDING_OFF)
		return BINDING_SILENT;
	if (!stun_read(bytes, size, &m) || m.type != STUN_REQUEST)
		return BINDING_MALFORMED;
	if (!source_limit_take(&b->sources, now, &out->to, false))
		return BINDING_LIMITED;
	if (!here)
		here = &unknown;
	if (m.port != 0 && b->mode != BINDING_ANY)
		stun_refuse_port(&m);
	if (m.change != 0 && !find_there(b, here, m.change)) {
		if (m.is_classic)
			return BINDING_SILENT;
		stun_refuse_change(&m);
	}
	out->size = m.unknown_count > 0 ? stun_write_unknown(out->bytes, room, &m)
	                                : write_success(b, &m, here, room, out);
	return out->size > 0 ? BINDING_ANSWERED : BINDING_SILENT;
}
