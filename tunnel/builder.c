/* SPDX-License-Identifier: MIT */
#include "tunnel/builder.h"

#include "tunnel/recovery.h"

enum {
	NOTES_FIRST = 128, /* notes that the first packet of a train may carry */
	NOTES_OTHER = 16,
	NARROW_MIN = 512,           /* bytes of a packet that a train of them is worth */
	PAD_MAX = 64,               /* bytes of padding that keep packets of datagrams alike */
	SKIP_MIN = 64,              /* packets between two skipped numbers (T20) */
	DATAGRAMS_LEAD = 16 * 1024, /* bytes that datagrams may be ahead of streams that wait */
	STREAMS_LEAD = 4 * 1024,    /* bytes that new streams may be ahead of datagrams */
	ALONE_MAX =
		19, /* packets of nothing but an ACK in a row; the next one asks for an answer */
};

/* What one call of builder_write() works with. */
struct work {
	struct session *s;
	struct path *p;
	uint8_t slot;
	struct epoch *e;
	struct train *train;
	size_t packet_size; /* of each packet of the train behind the relay header */
	size_t packet_max;  /* that the path carries */
	uint64_t budget;    /* bytes of ack-eliciting packets still allowed */
	bool may_carry;     /* streams and datagrams */
	bool has_mark;      /* the train's first eliciting packet was noted */
	bool has_control;   /* the packet being built has more than datagrams */
};

static bool has_frames_waiting(const struct session *s)
{
	return streams_has_control(s->streams) || s->is_pinging || s->frequency_due ||
	       (s->candidate_told != s->core->candidate_version && !s->paths.is_relay_only &&
	        s->core->candidate_count > 0) ||
	       (!s->paths.is_relay_only && punch_talk_is_due(&s->punch, s->core->nat_version));
}

static bool has_work(const struct session *s, const struct path *p)
{
	return has_frames_waiting(s) ||
	       (session_lets_flow(s, p) &&
	        (streams_has_data(s->streams) || datagrams_has_data(s->datagrams)));
}

static void write_candidates(struct session *s, struct wr *w)
{
	struct wire_frame f = { .type = FRAME_CANDIDATES };
	struct wr undo = *w;

	if (s->candidate_told == s->core->candidate_version || s->paths.is_relay_only ||
	    s->core->candidate_count == 0 || sent_notes_left(&s->sent) == 0)
		return;
	f.candidates.count = s->core->candidate_count;
	for (unsigned i = 0; i < f.candidates.count; i++)
		f.candidates.list[i] = s->core->candidates[i];
	wire_write_frame(w, &f);
	if (w->bad) {
		*w = undo;
		return;
	}
	s->candidate_told = s->core->candidate_version;
	sent_note(&s->sent, &(struct note){ .tag = NOTE_CANDIDATES, .offset = s->candidate_told });
}

static void write_frequency(struct session *s, struct wr *w)
{
	struct wire_frame f = { .type = FRAME_ACK_FREQUENCY };
	struct wr undo = *w;

	if (!s->frequency_due || sent_notes_left(&s->sent) == 0)
		return;
	f.ack_frequency.threshold = s->frequency_threshold;
	f.ack_frequency.delay_us = (uint32_t)(s->frequency_delay / 1000);
	f.ack_frequency.reorder = s->frequency_reorder;
	wire_write_frame(w, &f);
	if (w->bad) {
		*w = undo;
		return;
	}
	s->frequency_due = false;
	sent_note(&s->sent, &(struct note){ .tag = NOTE_ACK_FREQUENCY });
}

static void write_ping(struct session *s, struct wr *w)
{
	if (!s->is_pinging || wr_left(w) == 0 || sent_notes_left(&s->sent) == 0)
		return;
	wr_u8(w, FRAME_PING);
	sent_note(&s->sent, &(struct note){ .tag = NOTE_PING });
	s->is_pinging = false;
}

static size_t write_datagrams(struct work *k, cv_time now, struct wr *w)
{
	struct session *s = k->s;

	if (!datagrams_has_data(s->datagrams))
		return 0;
	return datagrams_write(s->datagrams, now, w, k->packet_max - WIRE_DATA_OVERHEAD,
	                       k->packet_size == k->packet_max);
}

/*
 * Datagrams before streams: they are small, and too old after 100 ms. But where both wait, only
 * until they have had DATAGRAMS_LEAD bytes more than the streams since these began to wait: then
 * the streams fill packets until they have caught up. So each gets half of what the path carries,
 * or what it wants if that is less, and a call or a game beside a download never waits for it.
 *
 * A little of streams that are new goes first: the open of a flow stands before its first datagram.
 */
static bool is_turn_of_streams(const struct session *s)
{
	if (!streams_has_data(s->streams) || !datagrams_has_data(s->datagrams))
		return false;
	return s->datagrams_lead >= DATAGRAMS_LEAD ||
	       (streams_has_sparse(s->streams) && s->datagrams_lead > -STREAMS_LEAD);
}

static void write_flows(struct work *k, cv_time now, struct wr *w, bool is_first)
{
	struct session *s = k->s;
	bool are_both = streams_has_data(s->streams) && datagrams_has_data(s->datagrams);
	bool is_late = is_turn_of_streams(s);
	size_t datagrams = is_late ? 0 : write_datagrams(k, now, w);
	size_t streams = streams_write_data(s->streams, now, w, &s->sent, is_first,
	                                    CV_MIN(k->budget, (uint64_t)TRAIN_BYTES_MAX));

	if (is_late)
		datagrams = write_datagrams(k, now, w);
	k->has_control |= streams > 0;
	if (!are_both)
		s->datagrams_lead = 0;
	else
		s->datagrams_lead = CV_MAX(
			s->datagrams_lead + (int32_t)datagrams - (int32_t)streams, -STREAMS_LEAD);
}

/* The frames of one packet. Return: true when it must be acknowledged. */
static bool fill(struct work *k, cv_time now, struct wr *w, bool is_first, bool may_elicit)
{
	struct session *s = k->s;
	const uint8_t *after_ack;

	if (is_first)
		acks_write(&s->acks, now, w, &s->sent);
	after_ack = w->pos;
	if (!may_elicit)
		return false;
	if (is_first) {
		write_ping(s, w);
		streams_write_control(s->streams, now, w, &s->sent);
		write_candidates(s, w);
		if (!s->paths.is_relay_only)
			punch_talk_write(&s->punch, s->core->nat_version, &s->core->nat, w,
			                 &s->sent);
		write_frequency(s, w);
	}
	k->has_control = w->pos > after_ack;
	if (k->may_carry)
		write_flows(k, now, w, is_first);
	return w->pos > after_ack;
}

/* One number in some hundreds is never sent; an ACK that names it is a lie (T20). */
static void maybe_skip(struct session *s)
{
	uint64_t window =
		s->paths.list[s->paths.active == PATHS_NONE ? 0 : s->paths.active].cc.cwnd;

	if (s->sent.next < s->skip_at)
		return;
	if (s->skip_at != 0)
		sent_skip(&s->sent);
	s->skip_at = s->sent.next + SKIP_MIN + window / 1024 +
	             rng_below(s->core->rng, SKIP_MIN + window / 1024);
}

/* Builds and seals one packet at train->size. Return: its bytes on the wire, 0 when there was
 * nothing to say. */
static size_t build_packet(struct work *k, cv_time now, bool is_first, bool may_elicit)
{
	struct session *s = k->s;
	uint32_t head = path_overhead(k->p);
	uint8_t *at = k->train->bytes + k->train->size;
	struct wr w = wr_init(at + head + WIRE_DATA_HEADER, k->packet_size - WIRE_DATA_OVERHEAD);
	uint64_t number = sent_open(&s->sent);
	bool is_eliciting = fill(k, now, &w, is_first, may_elicit);
	bool is_last = is_eliciting && !has_work(s, k->p);
	size_t size;
	bool ask_now;

	CV_ASSERT(!w.bad);
	if (is_eliciting && k->packet_size < k->packet_max && wr_left(&w) <= PAD_MAX)
		wr_zero(&w, wr_left(&w)); /* PADDING */
	if (wr_size(&w) == 0) {
		sent_abort(&s->sent);
		return 0;
	}
	/* The tail of what there is to send asks for its ACK at once: no delay at the end of a
	 * request. Nobody waits for the ACK of a datagram, but when many are in flight. */
	ask_now = (is_last && (k->has_control || k->p->inflight > k->p->cc.cwnd / 4)) ||
	          (is_eliciting && s->probes_due > 0);
	size = head + epoch_seal_data(k->e, ask_now ? WIRE_FLAG_ACK_NOW : 0, number, at + head,
	                              wr_size(&w));
	if (head)
		wire_write_relay(at, k->p->to.channel);
	if (is_eliciting && !k->has_mark) {
		recovery_on_train(s, now, k->slot);
		k->has_mark = true;
	}
	if (k->train->ecn == ECN_ECT0) {
		sent_set_ect(&s->sent);
		ecn_on_sent(&k->p->ecn, number);
	}
	sent_commit(&s->sent, now, k->slot, k->p->age, (uint16_t)(is_eliciting ? size : 0),
	            is_eliciting, is_last);
	recovery_on_sent(s, now, k->slot, number, (uint16_t)size, is_eliciting, ask_now);
	trace_emit(s->core->trace, now, TRACE_PACKET_SENT, s->number, number, size);
	path_on_packet(k->p, size);
	if (is_eliciting) {
		k->budget -= CV_MIN(k->budget, size);
		pacer_on_sent(&k->p->pacer, now, size);
	}
	return size;
}

/* About how many bytes would leave, if all might. */
static uint64_t sendable(const struct session *s)
{
	return streams_sendable(s->streams) + datagrams_queued(s->datagrams) + WIRE_DATAGRAM_BASE;
}

/* Bytes that congestion control and pacing allow on @p now. */
static uint64_t allowance(struct session *s, struct path *p, cv_time now)
{
	uint64_t window = p->cc.cwnd > p->inflight ? p->cc.cwnd - p->inflight : 0;
	uint64_t want = sendable(s);
	uint64_t paced;

	if (window < p->pmtud.size && p->inflight > 0) {
		p->cc.is_limited = true;
		return 0;
	}
	paced = pacer_budget(&p->pacer, now, want);
	if (p->is_claimed)
		window = CV_MIN(window, (uint64_t)CV_MAX(p->credit, 0));
	return CV_MIN(window, paced);
}

static void start_train(struct train *train, const struct path *p, struct session_out *out)
{
	train->size = 0;
	train->segment_size = 0;
	train->count = 0;
	train->ecn = ECN_NOT_ECT;
	train->socket = p->to.socket;
	train->to = p->to.addr;
	*out = (struct session_out){ .to = p->to };
}

static bool has_bulk(const struct work *k)
{
	return k->may_carry &&
	       (datagrams_has_data(k->s->datagrams) || streams_has_data(k->s->streams));
}

/* The first packet of a train is not full, and more waits: datagrams, the next of which did not fit
 * whole. Those of one flow are often alike, so the others of the train will be as this one. */
static bool narrow(struct work *k, size_t size)
{
	if (!k->may_carry || streams_has_data(k->s->streams) ||
	    !datagrams_has_data(k->s->datagrams) || size < NARROW_MIN)
		return false;
	k->packet_size = size - path_overhead(k->p);
	return true;
}

static void fill_train(struct work *k, cv_time now, bool may_elicit)
{
	struct session *s = k->s;
	size_t full = k->packet_size + path_overhead(k->p);
	unsigned max = CV_MIN(TRAIN_SEGMENTS_MAX, (unsigned)(TRAIN_BYTES_MAX / full));

	while (k->train->count < max) {
		bool is_first = k->train->count == 0;
		size_t size;

		if (!is_first &&
		    (!may_elicit || k->budget < full || s->probes_due > 0 || !has_bulk(k)))
			return;
		if (!recovery_make_room(s, now, 2, is_first ? NOTES_FIRST : NOTES_OTHER))
			return;
		maybe_skip(s);
		size = build_packet(k, now, is_first, may_elicit);
		if (size == 0)
			return;
		k->train->size += size;
		k->train->count++;
		if (is_first)
			k->train->segment_size = size;
		if (is_first && size != full && narrow(k, size)) {
			full = size;
			max = CV_MIN(TRAIN_SEGMENTS_MAX, (unsigned)(TRAIN_BYTES_MAX / full));
		}
		/* A packet of another size ends the train. */
		if (size != full)
			return;
	}
}

/* A lone ACK goes back where the newest packet came from (rule 5.2). */
static uint8_t ack_slot(const struct session *s, cv_time now)
{
	uint8_t slot = s->acks.path;

	if (slot < PATHS_MAX && path_can_carry(&s->paths.list[slot], now) &&
	    !s->paths.list[slot].is_blocked && !path_is_spent(&s->paths.list[slot]))
		return slot;
	return s->paths.active;
}

/* An epoch that we began needs one packet under it before the peer may use it (rule 4.2). */
static struct epoch *choose_epoch(struct session *s, cv_time now)
{
	struct epoch *confirm = assoc_confirm_epoch(&s->assoc, now);
	const struct path *p = paths_active(&s->paths);

	if (!confirm) {
		s->confirm_at = CV_TIME_NEVER;
		return assoc_send_epoch(&s->assoc, now);
	}
	if (now < s->confirm_at || !p)
		return assoc_send_epoch(&s->assoc, now);
	/* Doubles, beyond the probe timeout's own bound: each of these starts that anew. */
	s->confirm_interval = CV_MIN(CV_MAX(2 * s->confirm_interval, rtt_pto(&p->rtt)), CV_SEC(5));
	s->confirm_at = cv_time_after(now, s->confirm_interval);
	s->is_pinging = true;
	s->probes_due = CV_MAX(s->probes_due, 1);
	return confirm;
}

/* The active path is a connection that takes nothing now: packets would only grow old in a queue
 * (rule 6.2); or it has had what a mere claim gets. */
static bool is_blocked(const struct session *s)
{
	const struct path *p;

	if (s->paths.active == PATHS_NONE)
		return false;
	p = &s->paths.list[s->paths.active];
	return p->is_blocked || path_is_spent(p);
}

bool builder_write(struct session *s, cv_time now, struct train *train, struct session_out *out)
{
	struct epoch *e = is_blocked(s) ? NULL : choose_epoch(s, now);
	struct work k = { .s = s, .e = e, .train = train, .slot = s->paths.active };
	bool may_elicit;

	if (!e || !s->assoc.is_bound || k.slot == PATHS_NONE)
		return false;
	k.p = &s->paths.list[k.slot];
	/* A confirmation stays small: its path may have become too narrow for data. */
	k.may_carry = session_lets_flow(s, k.p) && e != assoc_confirm_epoch(&s->assoc, now);
	/* Nothing answers an ACK: without a question now and then what it tells, and the records
	 * of those sent, would pile up between the window updates of who only receives. */
	if (s->acks_alone >= ALONE_MAX && acks_are_due(&s->acks, now))
		s->is_pinging = true;
	if (has_work(s, k.p))
		k.budget = allowance(s, k.p, now);
	else if (k.p->cc.cwnd > k.p->inflight)
		delivery_on_dry(&k.p->delivery, pacer_ready_at(&k.p->pacer, now, k.p->pmtud.size));
	if (s->probes_due > 0 && has_work(s, k.p))
		k.budget = CV_MAX(k.budget, (uint64_t)k.p->pmtud.size);
	may_elicit = k.budget > 0;
	if (!may_elicit) {
		if (!acks_are_due(&s->acks, now))
			return false;
		k.slot = ack_slot(s, now);
		k.p = &s->paths.list[k.slot];
	}
	k.packet_size = k.packet_max = path_packet_max(k.p);
	start_train(train, k.p, out);
	train->ecn = ecn_mark(&k.p->ecn);
	fill_train(&k, now, may_elicit);
	if (s->probes_due > 0 && train->count > 0)
		s->probes_due--;
	else if (train->count == 0)
		s->probes_due = 0;
	s->acks_alone = may_elicit ? 0 : s->acks_alone + train->count;
	if (train->count == 0)
		train->ecn = ECN_NOT_ECT; /* whoever writes next */
	return train->count > 0;
}

cv_time builder_deadline(const struct session *s)
{
	const struct path *p;
	cv_time at = s->acks.due_at;
	uint64_t window;

	at = cv_time_min(at, s->confirm_at);

	if (!s->assoc.is_bound || s->paths.active == PATHS_NONE || is_blocked(s))
		return CV_TIME_NEVER;
	p = &s->paths.list[s->paths.active];
	window = p->cc.cwnd > p->inflight ? p->cc.cwnd - p->inflight : 0;
	if ((window >= p->pmtud.size || p->inflight == 0) && has_work(s, p))
		at = cv_time_min(at, pacer_ready_at(&p->pacer, s->turned_at, sendable(s)));
	return at;
}

bool builder_write_close(struct session *s, cv_time now, struct epoch *e, uint8_t slot,
                         uint16_t code, struct train *train, struct session_out *out)
{
	struct path *p = &s->paths.list[slot];
	struct wire_frame f = { .type = FRAME_CLOSE, .close = { .code = code } };
	uint32_t head = path_overhead(p);
	struct wr w = wr_init(train->bytes + head + WIRE_DATA_HEADER,
	                      WIRE_DATAGRAM_BASE - head - WIRE_DATA_OVERHEAD);

	if (!recovery_make_room(s, now, 1, 1))
		return false;
	start_train(train, p, out);
	f.close.text = (const uint8_t *)"";
	wire_write_frame(&w, &f);
	CV_ASSERT(!w.bad);
	train->size =
		head + epoch_seal_data(e, 0, sent_open(&s->sent), train->bytes + head, wr_size(&w));
	sent_commit(&s->sent, now, slot, p->age, 0, false, false);
	if (head)
		wire_write_relay(train->bytes, p->to.channel);
	train->segment_size = train->size;
	train->count = 1;
	return true;
}
