/* SPDX-License-Identifier: MIT */
#include <sodium.h>
#include <string.h>

#include "tunnel/aead.h"
#include "tunnel/path.h"
#include "tunnel/rendezvous_state.h"

/*
 * What arrives is believed only if it opens; what goes out goes to an address of the list that the
 * shell gave, by the connection that it made, and nowhere else.
 */

#define REGISTER_AGAIN_AFTER CV_SEC(60)
#define CONFIRM_INTERVAL CV_MS(250)
#define CONFIRM_INTERVAL_MAX CV_SEC(2)
/* ---- what arrives ---- */

static uint64_t path_of(uint16_t socket, const struct addr *a)
{
	return addr_hash(a, socket) | 1; /* 0 is no path */
}

static void refuse(struct rendezvous *r, const uint8_t *text, size_t size)
{
	CV_ASSERT(size < sizeof(r->refusal));
	if (size > 0)
		memcpy(r->refusal, text, size);
	r->refusal[size] = 0;
	r->is_refused = true;
	r->is_refusal_new = true;
}

static void on_close(struct rendezvous *r, cv_time now, const struct wire_frame *f)
{
	static const char duplicate[] = "another agent uses this identity";

	assoc_reset(&r->session.assoc, now, r->opt.rng);
	rendezvous_begin_session(r);
	if (f->close.code == CLOSE_SHUTDOWN || f->close.code == CLOSE_NONE) {
		rendezvous_wait_for_restart(r, now);
		return;
	}
	if (f->close.code == CLOSE_DUPLICATE || f->close.code == CLOSE_REPLACED)
		refuse(r, (const uint8_t *)duplicate, sizeof(duplicate) - 1);
	else
		refuse(r, f->close.text, f->close.text_size);
	rendezvous_hold(r, now);
}

static void on_message(struct rendezvous *r, cv_time now, const struct wire_message *m)
{
	struct peer_event e;

	if (m->type == MESSAGE_REFUSED) {
		refuse(r, (const uint8_t *)m->text, strlen(m->text));
		r->register_at = cv_time_after(now, REGISTER_AGAIN_AFTER);
		return;
	}
	e.news = contacts_on_message(&r->contacts, m, &e.about);
	if (e.news == CONTACTS_NOTHING)
		return;
	CV_ASSERT(r->event_count < EVENTS_MAX);
	r->events[(r->event_first + r->event_count) & (EVENTS_MAX - 1)] = e;
	r->event_count++;
}

/* The newest epoch has been heard. An older one may never be: its confirmation was lost. */
static bool is_confirmed(const struct rendezvous *r)
{
	const struct epoch *newest = NULL;

	for (unsigned i = 0; i < ASSOC_EPOCHS_LIGHT; i++) {
		const struct epoch *e = &r->session.epochs[i];

		if (e->local_index != 0 && (!newest || e->made_at > newest->made_at))
			newest = e;
	}
	return !newest || newest->has_heard;
}

static void enter_up(struct rendezvous *r, cv_time now)
{
	if ((r->state == STATE_CONNECTING || r->state == STATE_PAUSED) && rendezvous_has_path(r))
		rendezvous_enter(r, now, STATE_UP);
}

static void on_frames(struct rendezvous *r, cv_time now, const uint8_t *plain, size_t size)
{
	struct rd in = rd_init(plain, size);
	struct wire_frame f;
	struct wire_message m;

	while (wire_read_frame(&in, &f) == WIRE_FRAME) {
		if (f.type == FRAME_CLOSE) { /* before UP: a refusal is no visit */
			on_close(r, now, &f);
			return;
		}
		enter_up(r, now);
		if (f.type == FRAME_MESSAGE_ACK ||
		    (f.type == FRAME_MESSAGE && r->event_count < EVENTS_MAX)) {
			/* Untaken for want of room, a message is repeated: nothing is lost. */
			if (link_on_frame(&r->session.link, now, &f, &m))
				on_message(r, now, &m);
		}
	}
}

/* The challenge that @token answers; what was sent before it is of no interest any longer: an
 * answer that was overtaken tells where we were. */
static struct question *take_question(struct rendezvous *r, uint64_t token)
{
	struct question *found = NULL;

	for (unsigned i = 0; i < PROBES_MAX; i++) {
		if (r->questions[i].sent_at != 0 && r->questions[i].token == token)
			found = &r->questions[i];
	}
	for (unsigned i = 0; i < PROBES_MAX && found; i++) {
		if (&r->questions[i] != found && r->questions[i].sent_at <= found->sent_at)
			r->questions[i].sent_at = 0;
	}
	return found;
}

static void on_answer(struct rendezvous *r, cv_time now, uint16_t socket, const struct addr *from,
                      const struct wire_probe *probe)
{
	struct question *q = take_question(r, probe->token);

	if (q) {
		r->rtt = cv_time_since(now, q->sent_at);
		q->sent_at = 0;
		rendezvous_on_answered(r, now);
	} else if (socket == SOCKET_TCP ||
	           !rendezvous_trial_on_answer(r, now, from, probe->token)) {
		return;
	}
	/* Nobody can reach us at the address that our TCP has. */
	if (socket == SOCKET_TCP)
		return;
	if (probe->seen.family != ADDR_NONE && !addr_equal(&probe->seen, &r->public_address)) {
		r->public_address = probe->seen;
		r->is_address_new = true;
	}
}

/* @plain: of a PROBE of @size bytes; @heard: where from. */
static void on_probe(struct rendezvous *r, cv_time now, const struct origin *heard,
                     const uint8_t *plain, size_t plain_size, size_t size)
{
	struct wire_probe probe;

	if (!wire_read_probe(plain, plain_size, &probe))
		return;
	enter_up(r, now);
	if (probe.type == PROBE_CHALLENGE) {
		/* Where our path is not, an answer would move it. */
		if (heard->socket != r->socket)
			return;
		if (r->answer_count < ANSWERS_MAX)
			r->answers[r->answer_count++] = (struct answer){
				.to = heard->addr,
				.socket = heard->socket,
				.token = probe.token,
				.size = probe.flags & PROBE_FLAG_PAD_ANSWER ? size : 0,
			};
		/* It asks because it sees us elsewhere, or not at all: where? */
		rendezvous_on_challenged(r, now);
		return;
	}
	on_answer(r, now, heard->socket, &heard->addr, &probe);
}

static void on_sealed(struct rendezvous *r, cv_time now, const struct origin *heard, uint8_t *bytes,
                      size_t size)
{
	bool is_data = (bytes[0] & WIRE_KIND_MASK) == WIRE_DATA;
	struct epoch *e;
	size_t plain_size;

	if (light_open(&r->session, now, bytes, size, &plain_size, &e) != LIGHT_OPENED)
		return;
	if (is_confirmed(r))
		r->confirm_at = CV_TIME_NEVER;
	if (heard->socket == r->socket)
		rendezvous_on_heard(r, now);
	if (is_data)
		on_frames(r, now, bytes + WIRE_DATA_HEADER, plain_size);
	else
		on_probe(r, now, heard, bytes + WIRE_DATA_HEADER, plain_size, size);
}

static void begin_confirming(struct rendezvous *r, cv_time now, const struct origin *heard)
{
	rendezvous_set_path(r, now, heard->socket, &heard->addr);
	r->init_due = 0;
	r->confirm_at = now;
	r->confirm_interval = CONFIRM_INTERVAL;
	if (r->state == STATE_CONNECTING)
		r->attempt_until = cv_time_after(now, RENDEZVOUS_ATTEMPT_TIME);
}

static void on_resp(struct rendezvous *r, cv_time now, const struct origin *heard,
                    const uint8_t *bytes, size_t size)
{
	struct wire_handshake head;
	enum assoc_verdict verdict;
	bool is_forged;

	if (!wire_read_handshake(bytes, size, &head) ||
	    !initiator_matches(&r->initiator, head.receiver))
		return;
	verdict = initiator_on_resp(&r->initiator, now, &r->session.assoc, r->opt.me, &r->server,
	                            r->opt.rng, bytes, size, &is_forged);
	if (is_forged)
		return;
	trace_emit(r->opt.trace, now, TRACE_HANDSHAKE_DONE, r->opt.number, head.sender, verdict);
	switch (verdict) {
	case ASSOC_BOUND:
		rendezvous_begin_session(r);
		begin_confirming(r, now, heard);
		return;
	case ASSOC_ADDED:
		begin_confirming(r, now, heard);
		return;
	case ASSOC_RESTART: /* another process, or it had forgotten us */
		rendezvous_begin_session(r);
		if (r->state == STATE_UP)
			rendezvous_enter(r, now, STATE_CONNECTING);
		else
			initiator_start(&r->initiator, now);
		return;
	case ASSOC_VOID:
		initiator_start(&r->initiator, now);
		return;
	case ASSOC_REPLACED: /* only for who answers handshakes */
		break;
	}
	CV_UNREACHABLE();
}

/* At a socket of somebody who asked: says nothing of the session. */
static void on_aside(struct rendezvous *r, cv_time now, uint8_t *bytes, size_t size)
{
	struct wire_probe probe;
	struct epoch *e;
	size_t plain_size;

	if ((bytes[0] & WIRE_KIND_MASK) != WIRE_PROBE ||
	    light_open(&r->session, now, bytes, size, &plain_size, &e) != LIGHT_OPENED ||
	    !wire_read_probe(bytes + WIRE_DATA_HEADER, plain_size, &probe))
		return;
	if (probe.type == PROBE_ANSWER)
		r->aside = probe.token;
}

static bool is_heeded(const struct rendezvous *r, uint16_t socket, const struct addr *from)
{
	if (socket == SOCKET_TCP)
		return r->tcp.state == TCP_OPEN && addr_equal(&r->tcp.addr, from);
	return rendezvous_is_server(r, from);
}

void rendezvous_on_datagram(struct rendezvous *r, cv_time now, uint16_t socket,
                            const struct addr *from, uint8_t *bytes, size_t size)
{
	const struct origin heard = { .socket = socket, .addr = *from };

	if (size == 0 || r->state == STATE_CLOSED || !is_heeded(r, socket, from))
		return;
	if (socket != SOCKET_MAIN && socket != SOCKET_TCP) {
		on_aside(r, now, bytes, size);
		return;
	}
	switch (bytes[0] & WIRE_KIND_MASK) {
	case WIRE_RESP:
		on_resp(r, now, &heard, bytes, size);
		return;
	case WIRE_COOKIE:
		/* By TCP nobody asks for one; and then it does no harm. */
		if (initiator_on_cookie(&r->initiator, now, &r->server, path_of(socket, from),
		                        bytes, size))
			rendezvous_tcp_on_udp(r, now);
		return;
	case WIRE_VERSION:
		initiator_on_version(&r->initiator, &r->server, bytes, size);
		return;
	case WIRE_DATA:
	case WIRE_PROBE:
		on_sealed(r, now, &heard, bytes, size);
		return;
	default: /* INIT: servers do not begin; RELAY: the endpoint's */
		return;
	}
}

/* ---- what goes out ---- */

static bool emit(struct train *out, uint16_t socket, const struct addr *to, size_t size)
{
	out->size = size;
	out->segment_size = size;
	out->count = 1;
	out->socket = socket;
	out->to = *to;
	return true;
}

/* Of addresses one more with each round, from the best. */
static unsigned destinations(const struct rendezvous *r)
{
	unsigned tcp = r->tcp.state == TCP_OPEN ? INIT_TCP : 0;
	unsigned bits = 0;

	switch (r->aim) {
	case AIM_ANY:
		bits = (1u << CV_MIN(r->rounds, r->address_count)) - 1;
		return r->state == STATE_CONNECTING ? bits | tcp : bits;
	case AIM_TCP:
		return tcp;
	case AIM_TRIAL:
		for (unsigned i = 0; i < r->address_count; i++) {
			if (addr_equal(&r->addresses[i], &r->tcp.trial_addr))
				bits |= 1u << i;
		}
		return bits;
	}
	CV_UNREACHABLE();
}

/* An INIT is due: where does this round go to? */
static void turn_initiator(struct rendezvous *r, cv_time now)
{
	if (now < initiator_deadline(&r->initiator))
		return;
	r->rounds++;
	r->init_at = now;
	r->init_due = 0;
	if (initiator_turn(&r->initiator, now, &r->session.assoc, r->opt.me, &r->server,
	                   HANDSHAKE_SERVER, r->opt.rng, AEAD_BIT_CHACHA, POLICY_AUTO))
		r->init_due = destinations(r);
	if (r->rounds == 1)
		trace_emit(r->opt.trace, now, TRACE_HANDSHAKE_START, r->opt.number,
		           r->session.assoc.number_next, r->session.assoc.is_bound);
}

static bool write_init(struct rendezvous *r, cv_time now, struct train *out)
{
	const struct addr *to = &r->tcp.addr;
	uint16_t socket = SOCKET_TCP;
	unsigned i = 0;

	if (r->init_due == 0 || !r->initiator.is_running)
		return false;
	while (!(r->init_due & 1u << i))
		i++;
	r->init_due &= ~(1u << i);
	if (1u << i != INIT_TCP) {
		to = &r->addresses[i];
		socket = SOCKET_MAIN;
	}
	initiator_write(&r->initiator, &r->session.assoc, now, path_of(socket, to), out->bytes);
	return emit(out, socket, to, WIRE_INIT_SIZE);
}

static bool write_answer(struct rendezvous *r, cv_time now, struct train *out)
{
	struct epoch *e = assoc_send_epoch(&r->session.assoc, now);
	struct wire_probe probe = { .type = PROBE_ANSWER };
	struct answer a;

	if (r->answer_count == 0 || !e)
		return false;
	a = r->answers[--r->answer_count];
	probe.token = a.token;
	probe.seen = a.to;
	return emit(out, a.socket, &a.to, light_write_probe(e, out->bytes, a.size, &probe));
}

static bool write_challenge(struct rendezvous *r, cv_time now, struct train *out)
{
	struct epoch *e = assoc_send_epoch(&r->session.assoc, now);
	struct wire_probe probe = {
		.type = PROBE_CHALLENGE,
		.flags = PROBE_FLAG_INTERVAL,
		.seconds = (uint16_t)((r->keepalive + CV_SEC(1) - 1) / CV_SEC(1)),
	};

	if (!r->is_probe_due || !e)
		return false;
	r->is_probe_due = false;
	r->asked_at = now;
	probe.token = rng_u64(r->opt.rng);
	r->questions[r->question_next] = (struct question){ probe.token, now };
	r->question_next = (r->question_next + 1) % PROBES_MAX;
	return emit(out, r->socket, &r->current,
	            light_write_probe(e, out->bytes, CHALLENGE_SIZE, &probe));
}

/* By UDP, while TCP is the path. */
static bool write_trial(struct rendezvous *r, cv_time now, struct train *out)
{
	struct epoch *e = assoc_send_epoch(&r->session.assoc, now);
	struct wire_probe probe = { .type = PROBE_CHALLENGE,
		                    .flags = PROBE_FLAG_ASIDE, /* the server is not to follow */
		                    .token = r->tcp.trial_token };
	unsigned i;

	if (!e || !rendezvous_trial_next(r, &i))
		return false;
	return emit(out, SOCKET_MAIN, &r->addresses[i],
	            light_write_probe(e, out->bytes, CHALLENGE_SIZE, &probe));
}

bool rendezvous_write_aside(struct rendezvous *r, cv_time now, uint16_t socket, uint16_t seconds,
                            uint64_t token, struct train *out)
{
	struct epoch *e = assoc_send_epoch(&r->session.assoc, now);
	struct wire_probe probe = {
		.type = PROBE_CHALLENGE,
		.flags = PROBE_FLAG_ASIDE,
		.token = token,
		.seconds = seconds,
	};

	CV_ASSERT(socket != SOCKET_MAIN);
	/* Where TCP is the path there is no mapping to look after. */
	if (r->state != STATE_UP || r->socket == SOCKET_TCP || !e)
		return false;
	return emit(out, socket, &r->current,
	            light_write_probe(e, out->bytes, CHALLENGE_SIZE, &probe));
}

static bool seal_data(struct rendezvous *r, struct epoch *e, struct train *out, size_t plain)
{
	return emit(out, r->socket, &r->current, light_seal(&r->session, e, out->bytes, plain));
}

/* Room for frames in @out; the header comes before, the tag behind. */
static struct wr frames_in(struct train *out)
{
	return wr_init(out->bytes + WIRE_DATA_HEADER, LIGHT_PLAIN_MAX);
}

/* Without an answer yet the server may see us elsewhere: where the INIT went more than one way its
 * confirmation moves nothing, so it has to have room for the challenge that does. */
static void write_ping(struct wr *w)
{
	wire_write_frame(w, &(struct wire_frame){ .type = FRAME_PING });
	wr_zero(w, LIGHT_PROBE_MIN - WIRE_DATA_OVERHEAD - wr_size(w)); /* PADDING */
}

/* A new epoch while an older one carries the messages: one PING under it, until it is answered. */
static bool write_confirmation(struct rendezvous *r, cv_time now, struct train *out)
{
	struct epoch *e = assoc_confirm_epoch(&r->session.assoc, now);
	struct wr w = frames_in(out);

	if (!e || now < r->confirm_at)
		return false;
	write_ping(&w);
	r->confirm_at = cv_time_after(now, r->confirm_interval);
	r->confirm_interval = CV_MIN(r->confirm_interval * 2, CONFIRM_INTERVAL_MAX);
	return seal_data(r, e, out, wr_size(&w));
}

static bool write_data(struct rendezvous *r, cv_time now, struct train *out)
{
	struct epoch *e = assoc_send_epoch(&r->session.assoc, now);
	struct wr w = frames_in(out);

	if (!rendezvous_may_talk(r) || !e)
		return false;
	contacts_flush(&r->contacts, now, &r->session.link);
	if (!link_has_output(&r->session.link, now) && (e->has_heard || now < r->confirm_at))
		return false;
	if (!e->has_heard && now >= r->confirm_at) {
		write_ping(&w);
		r->confirm_at = cv_time_after(now, r->confirm_interval);
		r->confirm_interval = CV_MIN(r->confirm_interval * 2, CONFIRM_INTERVAL_MAX);
	}
	(void)link_write(&r->session.link, now, &w);
	return wr_size(&w) > 0 && seal_data(r, e, out, wr_size(&w));
}

static bool write_goodbye(struct rendezvous *r, cv_time now, struct train *out)
{
	struct epoch *e = assoc_send_epoch(&r->session.assoc, now);
	struct wire_frame f = { .type = FRAME_CLOSE };
	struct wr w = frames_in(out);

	if (!r->is_goodbye_due || !e)
		return false;
	r->is_goodbye_due = false;
	f.close.code = CLOSE_SHUTDOWN;
	f.close.text = out->bytes; /* none */
	wire_write_frame(&w, &f);
	return seal_data(r, e, out, wr_size(&w));
}

bool rendezvous_write(struct rendezvous *r, cv_time now, struct train *out)
{
	if (r->state == STATE_CLOSED)
		return write_goodbye(r, now, out);
	turn_initiator(r, now);
	return write_init(r, now, out) || write_answer(r, now, out) ||
	       write_confirmation(r, now, out) || write_data(r, now, out) ||
	       write_challenge(r, now, out) || write_trial(r, now, out);
}
