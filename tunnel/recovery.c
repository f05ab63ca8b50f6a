/* SPDX-License-Identifier: MIT */
#include "tunnel/recovery.h"

#include <errno.h>
#include <string.h>

#include "tunnel/attempt.h"

/* The largest delay that an ACK can name stands for any longer one. */
#define DELAY_UNKNOWN ((cv_duration)UINT16_MAX * FRAME_ACK_DELAY_UNIT_NS)

/* What a path is asked at most to hold unsent, so that a request beside bulk waits for little of
 * it. */
enum {
	DRY_SLACK = 32, /* a pause of this part of a round trip leaves no gap in the flight */
	UNSENT_STREAM_MIN = 128 * 1024,
	UNSENT_ALL_MIN = 1024 * 1024,
	UNSENT_UNPACED = 512 * 1024,
};

static void note_acked(struct session *s, cv_time now, const struct note *n)
{
	switch ((enum note_tag)n->tag) {
	case NOTE_ACK:
		acks_on_acked(&s->acks, n->offset);
		return;
	case NOTE_STREAM:
	case NOTE_RESET:
	case NOTE_STOP:
	case NOTE_MAX_DATA:
	case NOTE_MAX_STREAM_DATA:
	case NOTE_MAX_STREAMS:
		streams_on_acked(s->streams, now, n);
		return;
	case NOTE_NONE:
	case NOTE_CANDIDATES:
	case NOTE_NAT:
	case NOTE_PUNCH:
	case NOTE_ACK_FREQUENCY:
	case NOTE_DATAGRAM:
	case NOTE_PING:
		return;
	}
	CV_UNREACHABLE();
}

static void note_lost(struct session *s, const struct note *n)
{
	switch ((enum note_tag)n->tag) {
	case NOTE_STREAM:
	case NOTE_RESET:
	case NOTE_STOP:
	case NOTE_MAX_DATA:
	case NOTE_MAX_STREAM_DATA:
	case NOTE_MAX_STREAMS:
		streams_on_lost(s->streams, n);
		return;
	case NOTE_CANDIDATES:
		if (n->offset == s->candidate_told)
			s->candidate_told = 0; /* never a version: told again */
		return;
	case NOTE_NAT:
	case NOTE_PUNCH:
		punch_talk_on_lost(&s->punch, n);
		return;
	case NOTE_ACK_FREQUENCY:
		s->frequency_due = true;
		return;
	case NOTE_NONE:
	case NOTE_ACK: /* the next ACK says the same and more */
	case NOTE_DATAGRAM:
	case NOTE_PING:
		return;
	}
	CV_UNREACHABLE();
}

static void notes_lost(struct session *s, const struct sent_record *r)
{
	for (unsigned i = 0; i < r->note_count; i++)
		note_lost(s, sent_record_note(&s->sent, r, i));
}

/* The record is no longer in flight on its path, for whatever reason. */
static void leave_flight(struct path *p, const struct sent_record *r)
{
	CV_ASSERT(p->inflight >= r->size);
	p->inflight -= r->size;
	loss_on_gone(&p->loss, r);
}

static void touch_batch(struct session *s, uint8_t slot, const struct path *p)
{
	if (s->batch[slot].is_touched)
		return;
	s->batch[slot].is_touched = true;
	s->batch[slot].inflight_before = p->inflight;
}

static void measure_delivery(struct session *s, cv_time now, struct path *p,
                             const struct sent_record *r, uint64_t number)
{
	struct delivery_acked packet = {
		.mark = sent_record_mark(&s->sent, r),
		.sent_at = r->sent_at,
		.number = number,
		.size = r->size,
	};

	delivery_on_acked(&p->delivery, now, &packet, &s->batch[r->path].rate);
}

static void on_acked_record(struct session *s, cv_time now, struct sent_record *r, uint64_t number)
{
	struct path *p = paths_of(&s->paths, r->path, r->path_age);
	bool was_lost = r->state == SENT_LOST;
	bool is_newest = p && (!p->loss.has_acked || number > p->loss.largest_acked);

	for (unsigned i = 0; i < r->note_count; i++)
		note_acked(s, now, sent_record_note(&s->sent, r, i));
	if (p)
		ecn_on_acked(&p->ecn, number, r->is_ect);
	if (p && was_lost) {
		loss_on_spurious(&p->loss, number, cv_time_since(now, r->sent_at),
		                 p->cc.cwnd / CV_MAX(p->cc.mss, 1));
		delivery_on_late(&p->delivery, now, r->size);
		touch_batch(s, r->path, p);
		s->batch[r->path].is_spurious = true;
	} else if (p) {
		touch_batch(s, r->path, p);
		leave_flight(p, r);
		loss_on_acked(&p->loss, &p->rtt, number, r);
		pmtud_on_acked(&p->pmtud, r->size);
		s->batch[r->path].acked += r->size;
		if (r->is_eliciting)
			measure_delivery(s, now, p, r, number);
		if (number >= s->batch[r->path].newest_number) {
			s->batch[r->path].newest_number = number;
			s->batch[r->path].newest_sent_at = r->sent_at;
			s->batch[r->path].is_app_limited = r->is_app_limited;
			/* An older one has waited in the network or for a lost ACK: no round trip
			 * (RFC 9002, 5.1). Nor is what we slept over (rule 8.4). */
			if (r->is_eliciting && is_newest && r->sent_at >= p->loss.restarted_at)
				s->batch[r->path].sample =
					CV_MAX(cv_time_since(now, r->sent_at), 1);
		}
	}
	sent_settle(&s->sent, r, number, SENT_ACKED);
}

/* What the peer counted: each path that this ACK touches is judged, and learns of congestion. */
static void read_counts(struct session *s, const struct wire_frame *f)
{
	uint64_t claims = 0;
	struct ecn_news news;

	ecn_ledger_read(&s->ecn_ledger, f->ack.ranges[0].end - 1, &f->ack.ecn, &news);
	for (uint8_t i = 0; i < PATHS_MAX; i++)
		claims += s->batch[i].is_touched ? ecn_claims(&s->paths.list[i].ecn) : 0;
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (s->batch[i].is_touched)
			s->batch[i].ce +=
				(uint32_t)ecn_on_news(&s->paths.list[i].ecn, &news, claims);
	}
}

int recovery_on_ack(struct session *s, cv_time now, const struct wire_frame *f)
{
	unsigned range = 0;
	uint64_t number = 0;
	struct sent_record *r;
	uint64_t largest = f->ack.ranges[0].end - 1;
	uint8_t largest_path = PATHS_NONE;

	if (sent_ack_is_lie(&s->sent, f->ack.ranges, f->ack.count))
		return -EPROTO;
	while ((r = sent_ack_next(&s->sent, f->ack.ranges, f->ack.count, &range, &number)) !=
	       NULL) {
		if (number == largest)
			largest_path = r->path;
		on_acked_record(s, now, r, number);
	}
	/* The peer's delay is about the newest packet it names; for all others the sample is void.
	 */
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (!s->batch[i].is_touched)
			continue;
		if (i == largest_path)
			s->batch[i].ack_delay = f->ack.delay_ns;
		else if (s->batch[i].newest_number > largest || s->batch[i].newest_number < largest)
			s->batch[i].ack_delay = CV_MAX(s->batch[i].ack_delay, f->ack.delay_ns);
	}
	read_counts(s, f);
	s->must_settle = true;
	return 0;
}

/* What congestion control learns from one packet. */
static void tell_lost(struct session *s, cv_time now, struct path *p, const struct sent_record *r,
                      uint64_t number)
{
	struct cc_lost lost = { .size = r->size, .number = number };

	if (!r->is_eliciting)
		return;
	delivery_on_lost(&p->delivery, r->size);
	lost.lost = p->delivery.lost;
	lost.delivered = p->delivery.delivered;
	lost.sent = *sent_record_mark(&s->sent, r);
	p->cc.ops->on_lost(&p->cc, now, &lost);
}

/* Calls lost what the clock or later packets of the same path prove lost. Return: bytes. */
static uint64_t declare_lost(struct session *s, cv_time now, uint8_t slot, struct cc_loss *loss)
{
	struct path *p = &s->paths.list[slot];
	uint64_t number = p->loss.scan_from;
	cv_time oldest_at = CV_TIME_NEVER;
	struct sent_record *r;

	*loss = (struct cc_loss){ 0 };
	while ((r = loss_next(&p->loss, &s->sent, &p->rtt, now, &number)) != NULL) {
		trace_emit(s->core->trace, now, TRACE_PACKET_LOST, s->number, number, slot);
		notes_lost(s, r);
		leave_flight(p, r);
		if (!ecn_on_lost(&p->ecn, number, r->is_ect)) {
			tell_lost(s, now, p, r, number);
			loss->lost += r->size;
			loss->newest_number = number;
			loss->newest_sent_at = r->sent_at;
		}
		oldest_at = cv_time_min(oldest_at, r->sent_at);
		s->lost_packets++;
		if (pmtud_on_lost(&p->pmtud, now, r->size)) {
			cc_set_mss(&p->cc, p->pmtud.size);
			trace_emit(s->core->trace, now, TRACE_MTU, s->number, slot, p->pmtud.size);
		}
		sent_settle(&s->sent, r, number, SENT_LOST);
	}
	loss->inflight = p->inflight;
	/* Nothing came through for three timeouts: what was known of this path is out of date
	 * (RFC 9002, 7.6). */
	loss->is_persistent = p->loss.pto_count >= 3 && loss->lost > 0 &&
	                      loss->newest_sent_at - oldest_at > 3 * rtt_pto(&p->rtt);
	return loss->lost;
}

static void settle_path(struct session *s, cv_time now, uint8_t slot)
{
	struct path *p = &s->paths.list[slot];
	struct session_batch *b = &s->batch[slot];
	struct cc_loss loss;
	struct cc_ack ack = {
		.acked = b->acked,
		.inflight_before = b->inflight_before,
		.newest_number = b->newest_number,
		.newest_sent_at = b->newest_sent_at,
		.rtt_sample = b->sample,
		.is_app_limited = b->is_app_limited,
		.next_number = s->sent.next,
		.ce = b->ce,
	};

	/* The peer slept over this ACK: how long is not known, and it is no round trip. */
	if (b->ack_delay >= DELAY_UNKNOWN)
		ack.rtt_sample = 0;
	if (ack.rtt_sample)
		rtt_on_sample(&p->rtt, ack.rtt_sample, b->ack_delay);
	/* One late packet does not excuse the hundred that are really gone. */
	if (b->is_spurious && loss_is_undone(&p->loss))
		p->cc.ops->on_spurious(&p->cc, now);
	if (declare_lost(s, now, slot, &loss))
		p->cc.ops->on_loss(&p->cc, now, &loss, &p->rtt);
	loss_on_answer(&p->loss);
	if (ack.acked) {
		p->is_doubtful = false;
		delivery_finish(&p->delivery, p->rtt.min, &b->rate);
		ack.inflight = p->inflight;
		ack.delivered = p->delivery.delivered;
		ack.rate = b->rate;
		p->cc.ops->on_ack(&p->cc, now, &ack, &p->rtt);
	}
	pacer_set_rate(&p->pacer, now, p->cc.pacing_rate, p->cc.mss);
}

/* The sender's wish for fewer ACKs, once a window has changed by half: sixteen a flight, twice as
 * many while it looks for more (draft-ietf-ccwg-bbr, 4.1.3.3, asks for four). */
static void wish_frequency(struct session *s, const struct path *p)
{
	uint64_t packets = p->cc.cwnd / CV_MAX(p->cc.mss, 1);
	unsigned parts = p->cc.is_probing ? 32 : 16;
	uint16_t threshold = (uint16_t)CV_MIN(CV_MAX(packets / parts, 2), 64);
	cv_duration delay = CV_MIN(CV_MAX(p->rtt.smoothed / 8, CV_MS(1)), CV_MS(10));
	uint16_t reorder = loss_reorder(&p->loss);
	uint16_t told = s->frequency_reorder;
	unsigned moved = CV_MAX(reorder, told) - (unsigned)CV_MIN(reorder, told);

	if (moved * 4 <= told && threshold * 2 <= s->frequency_threshold * 3 &&
	    threshold * 3 >= s->frequency_threshold * 2 && delay <= s->frequency_delay * 2 &&
	    delay * 2 >= s->frequency_delay)
		return;
	s->frequency_threshold = threshold;
	s->frequency_reorder = reorder;
	s->frequency_delay = delay;
	s->frequency_due = true;
}

static void bound_unsent(struct session *s, const struct path *p)
{
	uint64_t rate = p->pacer.rate;

	if (rate == 0) {
		streams_set_unsent_cap(s->streams, CV_MAX(UNSENT_UNPACED, p->cc.cwnd),
		                       CV_MAX(UNSENT_ALL_MIN, 2 * p->cc.cwnd));
		return;
	}
	streams_set_unsent_cap(s->streams, CV_MAX(UNSENT_STREAM_MIN, rate / 50),
	                       CV_MAX(UNSENT_ALL_MIN, rate / 20));
}

/* How long what was lost may still come: by the slowest path that may have carried it. */
static cv_duration patience(const struct session *s)
{
	cv_duration keep = 0;

	for (uint8_t i = 0; i < PATHS_MAX && s->sent.lost_count > 0; i++) {
		const struct path *p = &s->paths.list[i];

		if (p->state != PATH_FREE && p->loss.next_number > s->sent.begin)
			keep = CV_MAX(keep, 3 * rtt_pto(&p->rtt));
	}
	return keep ? keep : CV_SEC(1);
}

void recovery_settle(struct session *s, cv_time now)
{
	struct path *active = paths_active(&s->paths);
	cv_duration keep;

	if (!s->must_settle)
		return;
	s->must_settle = false;
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (!s->batch[i].is_touched)
			continue;
		if (s->paths.list[i].state != PATH_FREE)
			settle_path(s, now, i);
		memset(&s->batch[i], 0, sizeof(s->batch[i]));
	}
	keep = patience(s);
	sent_reclaim(&s->sent, now > keep ? now - keep : 0);
	if (active) {
		streams_set_rtt(s->streams, active->rtt.smoothed);
		bound_unsent(s, active);
		wish_frequency(s, active);
	}
}

bool recovery_make_room(struct session *s, cv_time now, uint32_t packets, uint32_t notes)
{
	if (CV_LIKELY(sent_reserve(&s->sent, packets, notes) == 0))
		return true;
	/* What is lost is kept to be known if it comes late after all: not at the price of standing
	 * still, with nothing in flight whose ACK would be the next to make room. */
	sent_reclaim(&s->sent, now);
	return sent_reserve(&s->sent, packets, notes) == 0;
}

static bool is_believed_alive(const struct session *s, const struct path *p)
{
	return session_is_busy(s) && p->state != PATH_FAILED;
}

cv_time recovery_deadline(const struct session *s)
{
	cv_time at = CV_TIME_NEVER;

	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		const struct path *p = &s->paths.list[i];

		if (p->state == PATH_FREE || p->inflight == 0)
			continue;
		at = cv_time_min(at, p->loss.loss_at);
		at = cv_time_min(at, loss_pto_at(&p->loss, &p->rtt, is_believed_alive(s, p)));
	}
	return at;
}

static void on_probe_timeout(struct session *s, cv_time now, uint8_t slot)
{
	struct path *p = &s->paths.list[slot];

	loss_on_pto(&p->loss, now);
	ecn_on_timeout(&p->ecn, p->loss.pto_count);
	trace_emit(s->core->trace, now, TRACE_PTO, s->number, slot, p->loss.pto_count);
	if (slot != s->paths.active) {
		/* A path that was left: its flight had one more timeout to arrive (rule 5.3). */
		recovery_take_back(s, now, slot);
		return;
	}
	/* Where nothing large passes any more nothing is acknowledged, hence nothing declared lost:
	 * silence counts as a burst of losses, of what was sent into it: small packets say nothing.
	 */
	if (pmtud_on_lost(&p->pmtud, now, p->pmtud.sent_max)) {
		cc_set_mss(&p->cc, p->pmtud.size);
		trace_emit(s->core->trace, now, TRACE_MTU, s->number, slot, p->pmtud.size);
	}
	s->probes_due = 2;
	if (!streams_has_data(s->streams) && !streams_probe_data(s->streams))
		s->is_pinging = true;
	if (p->loss.pto_count >= 2)
		path_check_now(p, now);
	if (p->loss.pto_count >= 3) {
		p->is_doubtful = true;
		attempt_doubt(s, now);
	}
}

void recovery_on_deadline(struct session *s, cv_time now)
{
	bool any = false;

	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		struct path *p = &s->paths.list[i];
		struct cc_loss loss;

		if (p->state == PATH_FREE || p->inflight == 0)
			continue;
		if (p->loss.loss_at <= now) {
			if (declare_lost(s, now, i, &loss))
				p->cc.ops->on_loss(&p->cc, now, &loss, &p->rtt);
			pacer_set_rate(&p->pacer, now, p->cc.pacing_rate, p->cc.mss);
		}
		if (p->inflight && loss_pto_at(&p->loss, &p->rtt, is_believed_alive(s, p)) <= now) {
			on_probe_timeout(s, now, i);
			any = true;
		}
	}
	if (any)
		session_rechoose(s, now);
}

void recovery_take_back(struct session *s, cv_time now, uint8_t slot)
{
	struct path *p = &s->paths.list[slot];
	uint64_t number = sent_next_inflight(&s->sent, s->sent.begin);

	for (; number < s->sent.next; number = sent_next_inflight(&s->sent, number + 1)) {
		struct sent_record *r = sent_find(&s->sent, number);

		if (!r || r->path != slot || r->path_age != p->age)
			continue;
		notes_lost(s, r);
		leave_flight(p, r);
		sent_settle(&s->sent, r, number, SENT_LOST);
	}
	CV_ASSERT(p->inflight == 0);
	ecn_on_left(&p->ecn);
	path_restart_control(p, now);
}

void recovery_on_train(struct session *s, cv_time now, uint8_t slot)
{
	struct path *p = &s->paths.list[slot];
	struct delivery_mark *mark = sent_train(&s->sent);

	delivery_on_train(&p->delivery, now, p->inflight, p->rtt.smoothed / DRY_SLACK, mark);
	mark->phase = p->cc.phase;
}

void recovery_on_sent(struct session *s, cv_time now, uint8_t slot, uint64_t number, uint16_t size,
                      bool is_eliciting, bool asked_ack)
{
	struct path *p = &s->paths.list[slot];
	struct cc_sent sent = {
		.number = number,
		.bytes = size,
		.inflight_before = p->inflight,
		.is_app_limited = p->delivery.app_limited != 0,
	};

	s->sent_packets++;
	if (!is_eliciting)
		return;
	pmtud_on_packet(&p->pmtud, size);
	p->cc.ops->on_sent(&p->cc, now, &sent);
	p->inflight += size;
	sent_record_mark(&s->sent, sent_find(&s->sent, number))->tx_in_flight = p->inflight;
	loss_on_sent(&p->loss, now, number, is_eliciting, asked_ack);
}
