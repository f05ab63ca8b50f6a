/* SPDX-License-Identifier: MIT */

/*
 * Goal: every train is one that the shell can send in one call and the path can carry:
 * one destination, one size, the last packet shorter at most (rule 8.1); and nothing leaves that
 * windows or policy hold back. Method: the trains of a pair of endpoints are opened with the
 * other side's keys; single calls of builder_write() on a session put into a state.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"
#include "tunnel/builder.h"

enum { A = 0, B = 1 };

static struct pair p;

/* One packet, opened: which frames it has, in order. */
struct opened {
	uint64_t number;
	uint8_t flags;
	size_t plain;
	uint8_t types[64];
	unsigned count;
	uint64_t stream_bytes;
};

static void open_packet(unsigned sender, const uint8_t *packet, size_t size, struct opened *out)
{
	struct assoc *a = &pair_session(&p, !sender)->assoc;
	uint8_t copy[PAIR_DATAGRAM_MAX];
	struct wire_data head;
	struct wire_frame f;
	struct epoch *e;
	struct rd in;

	memset(out, 0, sizeof(*out));
	memcpy(copy, packet, size);
	assert_true(wire_read_data(copy, size, &head));
	e = assoc_find(a, head.receiver);
	assert_non_null(e);
	assert_true(epoch_open_data(e, head.number, copy, size, &out->plain));
	out->number = head.number;
	out->flags = head.flags;
	in = rd_init(copy + WIRE_DATA_HEADER, out->plain);
	while (wire_read_frame(&in, &f) == WIRE_FRAME) {
		assert_true(out->count < CV_ARRAY_SIZE(out->types));
		out->types[out->count++] = f.type;
		if (f.type == FRAME_STREAM)
			out->stream_bytes += f.stream.size;
	}
	assert_int_equal(rd_left(&in), 0);
}

static bool has(const struct opened *o, uint8_t type)
{
	return memchr(o->types, type, o->count) != NULL;
}

static void meet_with(uint64_t seed, enum cc_kind congestion)
{
	pair_init(&p, seed);
	p.congestion = congestion;
	p.sinks = true;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(2));
}

static void meet(uint64_t seed)
{
	meet_with(seed, CC_CUBIC);
}

static struct path *active(unsigned side)
{
	return paths_active(&pair_session(&p, side)->paths);
}

/* Stream bytes that wait to be sent, in streams of the first window's size; nothing is drained. */
static void write_bytes(unsigned side, size_t size)
{
	static const uint8_t zeros[STREAM_FIRST_WINDOW_UNACCEPTED];
	struct streams *streams = pair_session(&p, side)->streams;
	struct pair_flow *f;
	struct stream *st;

	while (size > 0) {
		size_t part = CV_MIN(size, sizeof(zeros));

		assert_int_equal(streams_open(streams, &st), 0);
		assert_int_equal(stream_write(streams, st, zeros, part), part);
		f = pair_add_flow(&p.side[side], streams, st);
		assert_non_null(f);
		if (f)
			f->stays_open = true;
		size -= part;
	}
}

static bool build(unsigned side, struct session_out *out)
{
	p.train = (struct train){ .bytes = p.train_bytes };
	return builder_write(pair_session(&p, side), p.now, &p.train, out);
}

/* ---- trains ---- */

static unsigned trains_seen, with_acks;
static size_t longest;

static void check_train(struct pair *pair, unsigned side, const struct train *t)
{
	size_t at = 0;
	unsigned count = 0;

	if ((t->bytes[0] & WIRE_KIND_MASK) != WIRE_DATA)
		return;
	assert_in_range(t->count, 1, TRAIN_SEGMENTS_MAX);
	assert_true(t->segment_size <= active(side)->pmtud.size);
	assert_true(addr_equal(&t->to, &pair->side[!side].addr[PAIR_PUBLIC]));
	while (at < t->size) {
		size_t size = CV_MIN(t->segment_size, t->size - at);
		struct opened o;

		open_packet(side, t->bytes + at, size, &o);
		/* Only the last may be shorter; those behind the first carry stream data alone. */
		assert_true(size == t->segment_size || at + size == t->size);
		for (unsigned i = 0; i < o.count && count > 0; i++)
			assert_true(o.types[i] == FRAME_STREAM || o.types[i] == FRAME_DATAGRAM);
		with_acks += has(&o, FRAME_ACK);
		at += size;
		count++;
	}
	assert_int_equal(count, t->count);
	longest = CV_MAX(longest, (size_t)t->count);
	trains_seen++;
}

static void packets_of_a_train_are_equal(void **state)
{
	(void)state;
	meet(1);
	p.on_train = check_train;
	trains_seen = with_acks = 0;
	longest = 0;
	assert_non_null(pair_open(&p, A, 3000000));
	assert_non_null(pair_open(&p, B, 777777));
	for (unsigned i = 0; i < 20; i++) {
		(void)pair_open(&p, i % 2, 10 + 700 * i);
		pair_run(&p, CV_MS(40));
	}
	pair_run(&p, CV_SEC(3));
	assert_int_equal(p.side[B].flows[1].read, 3000000);
	assert_true(trains_seen > 100);
	assert_true(with_acks > 100);
	assert_true(longest > 8);
	pair_deinit(&p);
}

static void the_first_packet_makes_room_for_the_ack(void **state)
{
	struct session_out out;
	struct opened o;
	size_t full;

	(void)state;
	meet(2);
	full = active(A)->pmtud.size;
	write_bytes(B, 3000);
	assert_true(build(B, &out));
	for (size_t at = 0; at < p.train.size; at += p.train.segment_size)
		pair_send(&p, B, &p.train.to, p.train_bytes + at,
		          CV_MIN(p.train.segment_size, p.train.size - at));
	pair_session(&p, A)->acks.eager_left = 0;
	write_bytes(A, 10000);
	p.now += p.delay;
	while (p.first) { /* without a drain: the ACK is still owed */
		struct pair_datagram *d = p.first;
		struct arrival in = {
			.bytes = d->bytes, .size = d->size, .segment_size = d->size, .from = d->from
		};

		endpoint_on_arrival(p.side[A].e, p.now, &in);
		pair_remove(&p, d);
		pair_give(&p, d);
	}
	assert_true(acks_are_due(&pair_session(&p, A)->acks, p.now));
	assert_true(build(A, &out));
	assert_int_equal(p.train.segment_size, full);
	open_packet(A, p.train_bytes, full, &o);
	assert_int_equal(o.types[0], FRAME_ACK);
	assert_true(has(&o, FRAME_STREAM));
	assert_false(acks_are_due(&pair_session(&p, A)->acks, p.now));
	pair_deinit(&p);
}

static void marks_are_those_of_the_path(void **state)
{
	struct session *s;
	struct session_out out;
	uint64_t first;

	(void)state;
	meet(20);
	s = pair_session(&p, A);
	for (unsigned i = 0; i < 2; i++) {
		active(A)->ecn.state = i ? ECN_CAPABLE : ECN_FAILED;
		write_bytes(A, 3000);
		first = s->sent.next;
		assert_true(build(A, &out));
		assert_int_equal(p.train.ecn, i ? ECN_ECT0 : ECN_NOT_ECT);
		assert_true(p.train.count > 1);
		for (uint64_t n = first; n < s->sent.next; n++) {
			const struct sent_record *r = sent_find(&s->sent, n);

			assert_true(!r || r->is_ect == i);
		}
	}
	/* Where nothing could be written whoever writes next finds nothing set. */
	write_bytes(A, 3000);
	while (sent_reserve(&s->sent, 2, 0) == 0)
		sent_skip(&s->sent);
	assert_false(build(A, &out));
	assert_int_equal(p.train.ecn, ECN_NOT_ECT);
	s->sent.begin = s->sent.next;
	/* Probes and goodbyes are never marked. */
	session_close(s, p.now, CLOSE_SHUTDOWN);
	path_check_now(active(A), p.now);
	for (unsigned i = 0; i < 3; i++) {
		p.train = (struct train){ .bytes = p.train_bytes };
		assert_true(session_write(s, p.now, &p.train, &out));
		assert_int_equal(p.train.ecn, ECN_NOT_ECT);
	}
	assert_int_equal(p.train_bytes[0], WIRE_PROBE);
	pair_deinit(&p);
}

/* Else a receiver would never know which of its ACKs arrived. */
static void every_twentieth_lone_ack_asks(void **state)
{
	struct session *s;
	struct session_out out;
	struct opened o;
	uint64_t number;
	unsigned alone, pings = 0;

	(void)state;
	meet(21);
	s = pair_session(&p, B);
	number = s->acks.largest;
	for (unsigned i = 1; i <= 200; i++) {
		acks_on_packet(&s->acks, p.now, ++number, true, true, s->acks.path, CV_MS(20));
		alone = s->acks_alone;
		assert_true(build(B, &out));
		assert_int_equal(p.train.count, 1);
		open_packet(B, p.train_bytes, p.train.size, &o);
		assert_true(has(&o, FRAME_ACK));
		assert_int_equal(has(&o, FRAME_PING), alone == 19);
		assert_int_equal(s->acks_alone, alone == 19 ? 0 : alone + 1);
		pings += has(&o, FRAME_PING);
		assert_false(acks_are_due(&s->acks, p.now));
		/* What is sent with it counts anew. */
		if (i == 110) {
			write_bytes(B, 100);
			assert_true(build(B, &out));
			assert_int_equal(s->acks_alone, 0);
		}
	}
	assert_in_range(pings, 9, 10);
	pair_deinit(&p);
}

static void an_odd_packet_ends_the_train(void **state)
{
	struct session_out out;
	struct opened o;
	uint64_t bytes = 0;

	(void)state;
	meet(3);
	write_bytes(A, 5000);
	assert_true(build(A, &out));
	assert_int_equal(p.train.count, 4);
	assert_int_equal(p.train.segment_size, 1472);
	assert_in_range(p.train.size, 3 * 1472 + 1, 4 * 1472 - 1);
	for (unsigned i = 0; i < 4; i++) {
		open_packet(A, p.train_bytes + (size_t)i * 1472,
		            CV_MIN((size_t)1472, p.train.size - (size_t)i * 1472), &o);
		bytes += o.stream_bytes;
		/* The tail of what there is to say asks for its ACK at once. */
		assert_int_equal(o.flags & WIRE_FLAG_ACK_NOW, i == 3);
	}
	assert_int_equal(bytes, 5000);
	assert_false(build(A, &out));
	pair_deinit(&p);
}

/* Datagrams leave packets of any size behind, though more is waiting. */
static void datagrams_do_not_mix_sizes(void **state)
{
	static const uint8_t zeros[1400];
	struct session_out out;
	unsigned packets = 0;

	(void)state;
	meet(11);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(datagrams_send(pair_session(&p, A)->datagrams, p.now, 1, zeros,
		                                i % 3 ? 900 : 1400),
		                 0);
	}
	while (build(A, &out)) {
		check_train(&p, A, &p.train);
		packets += p.train.count;
		p.now += CV_MS(1);
	}
	assert_in_range(packets, 10, 20);
	pair_deinit(&p);
}

static void a_relayed_packet_has_room_for_its_header(void **state)
{
	struct session_out out;
	struct session *s;
	struct opened o;
	uint64_t channel;

	(void)state;
	meet(4);
	s = pair_session(&p, A);
	active(A)->to = (struct origin){ .is_relay = true, .server = 3, .channel = 0x1122334455 };
	write_bytes(A, 20000);
	assert_true(build(A, &out));
	assert_true(out.to.is_relay);
	assert_int_equal(out.to.server, 3);
	/* What the pacer's bucket holds of a link that is hardly known, in one train. */
	assert_in_range(p.train.count, 3, active(A)->pacer.depth / p.train.segment_size);
	assert_int_equal(p.train.segment_size, s->paths.list[s->paths.active].pmtud.size);
	for (unsigned i = 0; i < p.train.count; i++) {
		const uint8_t *at = p.train_bytes + i * p.train.segment_size;
		size_t size = CV_MIN(p.train.segment_size, p.train.size - i * p.train.segment_size);

		assert_true(wire_read_relay(at, size, &channel));
		assert_int_equal(channel, 0x1122334455);
		open_packet(A, at + WIRE_RELAY_HEADER, size - WIRE_RELAY_HEADER, &o);
		assert_true(has(&o, FRAME_STREAM));
	}
	pair_deinit(&p);
}

/* ---- what congestion control learns ---- */

/* Of every packet when it leaves, with what is in flight behind it; of every byte that arrives. */
static void the_controller_is_told_of_every_packet(void **state)
{
	struct session_out out;
	struct session *s;
	struct path *path;
	uint64_t first, delivered, inflight;
	struct sent_record *r;

	(void)state;
	meet_with(21, CC_BBR);
	s = pair_session(&p, A);
	path = active(A);
	assert_ptr_equal(path->cc.ops, &bbr_ops);
	/* Nothing was sent but a handshake and probes: it is paced as the round trip allows. */
	assert_in_range(path->rtt.min, CV_MS(20), CV_MS(21));
	assert_true(path->cc.pacing_rate > UINT64_C(2) * CC_INITIAL_PACKETS * 1200 * 40);
	assert_true(path->cc.pacing_rate < UINT64_C(3) * CC_INITIAL_PACKETS * 1472 * 50);
	write_bytes(A, 5000);
	first = s->sent.next;
	delivered = path->delivery.delivered;
	inflight = path->inflight;
	assert_true(build(A, &out));
	assert_int_equal(path->cc.bbr.next_number, s->sent.next);
	for (uint64_t n = first; n < s->sent.next; n++) {
		r = sent_find(&s->sent, n);
		assert_non_null(r);
		assert_true(r->is_eliciting);
		/* One note for the train: behind its newest packet. */
		assert_int_equal(sent_record_mark(&s->sent, r)->tx_in_flight, path->inflight);
		assert_int_equal(sent_record_mark(&s->sent, r)->phase, path->cc.phase);
	}
	assert_true(path->inflight >= inflight + 5000);
	pair_deinit(&p);
	/* The whole way: what arrived is what was delivered. */
	meet_with(22, CC_BBR);
	s = pair_session(&p, A);
	delivered = active(A)->delivery.delivered;
	(void)pair_open(&p, A, 100000);
	pair_run(&p, CV_SEC(2));
	assert_int_equal(active(A)->inflight, 0);
	assert_true(active(A)->delivery.delivered - delivered > 100000);
	assert_true(active(A)->delivery.delivered - delivered < 120000);
	assert_true(bbr_model_max_bw(&active(A)->cc.bbr.model) > 0);
	pair_deinit(&p);
}

/* Dry is who has nothing to send although window and pacer would let it go. */
static void only_the_application_can_run_dry(void **state)
{
	struct session_out out;
	struct path *path;

	(void)state;
	meet_with(23, CC_BBR);
	path = active(A);
	/* It had nothing to say until now. */
	write_bytes(A, 60000);
	assert_true(build(A, &out));
	assert_int_not_equal(path->delivery.app_limited, 0);
	path->delivery.app_limited = 0;
	/* The pacer holds it back. */
	while (build(A, &out))
		;
	assert_true(streams_sendable(pair_session(&p, A)->streams) > 0);
	assert_true(path->inflight < path->cc.cwnd);
	assert_int_equal(path->delivery.dry_at, CV_TIME_NEVER);
	assert_int_equal(path->delivery.app_limited, 0);
	assert_false(path->cc.is_limited);
	/* The window does. */
	p.now += CV_MS(20);
	path->inflight = path->cc.cwnd;
	assert_false(build(A, &out));
	assert_true(path->cc.is_limited);
	assert_int_equal(path->delivery.dry_at, CV_TIME_NEVER);
	/* Nobody does, for long enough. */
	for (unsigned i = 0; i < 20; i++) {
		p.now += CV_MS(5);
		path->inflight = 0;
		while (build(A, &out))
			;
	}
	assert_int_equal(streams_sendable(pair_session(&p, A)->streams), 0);
	path->inflight = 0;
	assert_false(build(A, &out));
	assert_int_not_equal(path->delivery.dry_at, CV_TIME_NEVER);
	p.now += CV_MS(20);
	write_bytes(A, 1000);
	assert_true(build(A, &out));
	assert_int_not_equal(path->delivery.app_limited, 0);
	pair_deinit(&p);
}

/* ---- what holds back ---- */

static void with_a_closed_window_only_acks_leave(void **state)
{
	struct session_out out;
	struct session *s;
	struct opened o;
	uint64_t inflight;

	(void)state;
	meet(5);
	s = pair_session(&p, A);
	write_bytes(A, 50000);
	active(A)->inflight = active(A)->cc.cwnd;
	inflight = active(A)->inflight;
	assert_false(build(A, &out));
	acks_on_packet(&s->acks, p.now, s->acks.largest + 1, true, true, s->paths.active, 0);
	assert_true(build(A, &out));
	assert_int_equal(p.train.count, 1);
	open_packet(A, p.train_bytes, p.train.size, &o);
	assert_int_equal(o.count, 1);
	assert_int_equal(o.types[0], FRAME_ACK);
	assert_int_equal(active(A)->inflight, inflight); /* it counts nothing */
	assert_false(build(A, &out));

	/* A probe timeout's packets leave all the same, one a train. */
	s->probes_due = 2;
	for (unsigned i = 0; i < 2; i++) {
		assert_true(build(A, &out));
		assert_int_equal(p.train.count, 1);
		open_packet(A, p.train_bytes, p.train.size, &o);
		assert_true(has(&o, FRAME_STREAM));
		assert_true((o.flags & WIRE_FLAG_ACK_NOW) != 0);
	}
	assert_false(build(A, &out));
	pair_deinit(&p);
}

static void a_window_bounds_the_train(void **state)
{
	struct session_out out;

	(void)state;
	meet(6);
	write_bytes(A, 60000);
	active(A)->cc.cwnd = 5 * 1472;
	assert_true(build(A, &out));
	assert_int_equal(p.train.count, 5);
	assert_int_equal(active(A)->inflight, 5 * 1472);
	assert_false(build(A, &out));
	p.now += CV_MS(20);         /* the pacer's leave is there */
	active(A)->cc.cwnd += 1471; /* no room for a whole packet: it waits, small ones are waste */
	assert_false(build(A, &out));
	active(A)->cc.cwnd++;
	assert_true(build(A, &out));
	assert_int_equal(p.train.count, 1);
	pair_deinit(&p);
}

/* Rule 5.10: the relay carries all but streams where the policy says direct. */
static void streams_wait_for_a_direct_path(void **state)
{
	struct session_out out;
	struct session *s;
	struct opened o;

	(void)state;
	meet(7);
	s = pair_session(&p, A);
	s->policy = POLICY_DIRECT;
	write_bytes(A, 1000);
	active(A)->to = (struct origin){ .is_relay = true, .channel = 1 };
	assert_false(build(A, &out));
	s->is_pinging = true;
	assert_true(build(A, &out));
	open_packet(A, p.train_bytes + WIRE_RELAY_HEADER, p.train.size - WIRE_RELAY_HEADER, &o);
	assert_true(has(&o, FRAME_PING));
	assert_false(has(&o, FRAME_STREAM));
	active(A)->to = (struct origin){ .addr = p.side[B].addr[PAIR_PUBLIC] };
	assert_true(build(A, &out));
	open_packet(A, p.train_bytes, p.train.size, &o);
	assert_true(has(&o, FRAME_STREAM));
	pair_deinit(&p);
}

/* Where the relay is wanted, the peer hears no address and nothing of the routers. */
static void a_policy_of_relay_tells_no_address(void **state)
{
	struct session_out out;
	struct session *s;
	struct opened o;

	(void)state;
	meet(17);
	s = pair_session(&p, A);
	s->core->candidates[0].kind = CANDIDATE_HOST;
	s->core->candidates[0].addr = p.side[A].addr[PAIR_PUBLIC];
	s->core->candidate_count = 1;
	active(A)->to = (struct origin){ .is_relay = true, .channel = 1 };
	for (unsigned relay_only = 2; relay_only-- > 0;) {
		s->paths.is_relay_only = relay_only;
		s->candidate_told = 0;
		s->core->nat_version++;
		s->is_pinging = true;
		assert_true(build(A, &out));
		open_packet(A, p.train_bytes + WIRE_RELAY_HEADER, p.train.size - WIRE_RELAY_HEADER,
		            &o);
		assert_int_equal(has(&o, FRAME_CANDIDATES), !relay_only);
		assert_int_equal(has(&o, FRAME_NAT), !relay_only);
		assert_false(has(&o, FRAME_PUNCH));
	}
	pair_deinit(&p);
}

static void no_number_is_used_twice_and_some_never(void **state)
{
	struct session_out out;
	uint64_t expected = 0;
	unsigned skipped = 0;

	(void)state;
	meet(8);
	expected = pair_session(&p, A)->sent.next;
	for (unsigned i = 0; i < 1500; i++) {
		struct opened o;

		pair_session(&p, A)->is_pinging = true;
		p.now += CV_MS(1);
		active(A)->inflight = CV_MIN(active(A)->inflight, UINT64_C(1000));
		assert_true(build(A, &out));
		open_packet(A, p.train_bytes, p.train.size, &o);
		assert_true(o.number == expected || o.number == expected + 1);
		skipped += o.number != expected;
		expected = o.number + 1;
	}
	assert_in_range(skipped, 4, 20);
	p.is_unchecked = true;
	pair_deinit(&p);
}

static void a_close_needs_no_window(void **state)
{
	struct session_out out;
	struct session *s;
	struct opened o;

	(void)state;
	meet(9);
	s = pair_session(&p, A);
	active(A)->inflight = active(A)->cc.cwnd;
	p.train = (struct train){ .bytes = p.train_bytes };
	assert_true(builder_write_close(s, p.now, assoc_send_epoch(&s->assoc, p.now),
	                                s->paths.active, CLOSE_LIMIT, &p.train, &out));
	open_packet(A, p.train_bytes, p.train.size, &o);
	assert_int_equal(o.count, 1);
	assert_int_equal(o.types[0], FRAME_CLOSE);
	assert_true(p.train.size < 100);
	active(A)->inflight = 0;
	pair_deinit(&p);
}

static void nothing_leaves_without_keys_or_a_path(void **state)
{
	struct session_out out;
	struct session *s;

	(void)state;
	meet(10);
	s = pair_session(&p, A);
	write_bytes(A, 1000);
	assert_true(builder_deadline(s) <= p.now);
	s->paths.active = PATHS_NONE;
	assert_false(build(A, &out));
	assert_int_equal(builder_deadline(s), CV_TIME_NEVER);
	s->paths.active = 0;
	p.now += CV_SEC(200);
	assert_false(build(A, &out)); /* the keys are too old */
	pair_deinit(&p);
}

/* Rule 6.2: not even what is due, until the connection takes more; and nothing spins meanwhile. */
static void nothing_is_built_for_a_blocked_connection(void **state)
{
	struct session *s;
	struct session_out out;

	(void)state;
	meet(61);
	s = pair_session(&p, A);
	active(A)->to = (struct origin){ .is_relay = true, .server = 3, .channel = 1 };
	write_bytes(A, 100000);
	session_set_leg(s, p.now, 3, true, true);
	assert_int_equal(active(A)->kind, PATH_KIND_TCP);
	assert_true(active(A)->loss.is_tcp_leg);
	assert_false(build(A, &out));
	assert_int_equal(builder_deadline(s), CV_TIME_NEVER);
	session_set_leg(s, p.now, 2, true, false); /* of another server */
	assert_false(build(A, &out));
	session_set_leg(s, p.now, 3, true, false);
	assert_true(builder_deadline(s) <= p.now);
	assert_true(build(A, &out));
	session_set_leg(s, p.now, 3, false, false);
	assert_int_equal(active(A)->kind, PATH_KIND_RELAY);
	assert_false(active(A)->loss.is_tcp_leg);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_of_a_train_are_equal),
		cmocka_unit_test(the_first_packet_makes_room_for_the_ack),
		cmocka_unit_test(marks_are_those_of_the_path),
		cmocka_unit_test(every_twentieth_lone_ack_asks),
		cmocka_unit_test(an_odd_packet_ends_the_train),
		cmocka_unit_test(datagrams_do_not_mix_sizes),
		cmocka_unit_test(a_relayed_packet_has_room_for_its_header),
		cmocka_unit_test(the_controller_is_told_of_every_packet),
		cmocka_unit_test(only_the_application_can_run_dry),
		cmocka_unit_test(with_a_closed_window_only_acks_leave),
		cmocka_unit_test(a_window_bounds_the_train),
		cmocka_unit_test(streams_wait_for_a_direct_path),
		cmocka_unit_test(a_policy_of_relay_tells_no_address),
		cmocka_unit_test(nothing_is_built_for_a_blocked_connection),
		cmocka_unit_test(no_number_is_used_twice_and_some_never),
		cmocka_unit_test(a_close_needs_no_window),
		cmocka_unit_test(nothing_leaves_without_keys_or_a_path),
	};

	return cmocka_run_group_tests_name("builder", tests, NULL, NULL);
}
