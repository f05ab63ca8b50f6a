/* SPDX-License-Identifier: MIT */

/*
 * Goal: what one side says of its routers, and wants of the other, arrives, whatever the network
 * does to packets, and an older word never takes the place of a newer one. Method: one side writes
 * real packets with their notes; a network of the test's own loses, doubles and reorders them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tunnel/punch_talk.h"

enum { PACKET_MAX = 128, FLIGHT_MAX = 32, NOTES_MAX = 4, ROUNDS = 20000 };

struct packet {
	uint64_t number;
	uint8_t bytes[PACKET_MAX];
	size_t size;
	struct note notes[NOTES_MAX];
	unsigned note_count;
};

struct world {
	struct punch_talk speaker, listener;
	struct sent sent;
	uint64_t version;
	struct nat_profile nat;
	struct packet flight[FLIGHT_MAX];
	unsigned count;
};

static void start(struct world *w)
{
	memset(w, 0, sizeof(*w));
	sent_init(&w->sent, 1024);
}

/* The packet that the speaker has to send now; false: it has nothing to say. */
static bool write_packet(struct world *w, struct packet *p, size_t room)
{
	struct wr out = wr_init(p->bytes, room);
	const struct sent_record *r;

	if (!punch_talk_is_due(&w->speaker, w->version))
		return false;
	assert_int_equal(sent_reserve(&w->sent, 1, NOTES_MAX), 0);
	p->number = sent_open(&w->sent);
	punch_talk_write(&w->speaker, w->version, &w->nat, &out, &w->sent);
	assert_false(out.bad);
	p->size = wr_size(&out);
	sent_commit(&w->sent, CV_SEC(1), 0, 1, (uint16_t)p->size, true, false);
	r = sent_find(&w->sent, p->number);
	p->note_count = r->note_count;
	for (unsigned i = 0; i < p->note_count; i++)
		p->notes[i] = *sent_record_note(&w->sent, r, i);
	sent_settle(&w->sent, sent_find(&w->sent, p->number), p->number, SENT_ACKED);
	sent_reclaim(&w->sent, CV_SEC(1));
	return true;
}

static void deliver(struct world *w, const struct packet *p)
{
	struct rd in = rd_init(p->bytes, p->size);
	struct wire_frame f;

	while (wire_read_frame(&in, &f) == WIRE_FRAME)
		punch_talk_on_frame(&w->listener, p->number, &f);
	assert_int_equal(rd_left(&in), 0);
}

static void lose(struct world *w, const struct packet *p)
{
	for (unsigned i = 0; i < p->note_count; i++)
		punch_talk_on_lost(&w->speaker, &p->notes[i]);
}

static struct wire_punch ask(uint16_t round)
{
	return (struct wire_punch){ .kind = PUNCH_ASK,
		                    .round = round,
		                    .count = 8,
		                    .step = -2,
		                    .address = addr_v4(198, 51, 100, 1, 4000) };
}

static void tell(struct world *w, uint16_t port)
{
	w->version++;
	w->nat = (struct nat_profile){ .mapping = NAT_ENDPOINT_INDEPENDENT,
		                       .address = addr_v4(198, 51, 100, 1, port) };
}

static void says_both_in_one_packet(void **state)
{
	struct wire_punch what = ask(1), in;
	struct world w;
	struct packet p;

	(void)state;
	start(&w);
	assert_false(punch_talk_is_due(&w.speaker, 0));
	assert_false(punch_talk_next(&w.listener, &in));
	tell(&w, 1);
	punch_talk_say(&w.speaker, &what);
	assert_true(write_packet(&w, &p, PACKET_MAX));
	assert_int_equal(p.note_count, 2);
	assert_int_equal(p.bytes[0], FRAME_NAT); /* first: the PUNCH is judged by it */
	assert_false(punch_talk_is_due(&w.speaker, w.version));
	deliver(&w, &p);
	assert_true(w.listener.has_peer && w.listener.is_peer_new);
	assert_true(nat_profile_is_equal(&w.listener.peer, &w.nat));
	assert_true(punch_talk_next(&w.listener, &in));
	/* Field by field: the padding of a struct is anybody's. */
	assert_int_equal(in.kind, what.kind);
	assert_int_equal(in.shift, what.shift);
	assert_int_equal(in.round, what.round);
	assert_int_equal(in.step, what.step);
	assert_int_equal(in.count, what.count);
	assert_int_equal(in.port_high, what.port_high);
	assert_true(addr_equal(&in.address, &what.address));
	assert_false(punch_talk_next(&w.listener, &in));
	sent_deinit(&w.sent);
}

/* A frame is written whole or not at all, and NAT before PUNCH. */
static void waits_for_room(void **state)
{
	struct wire_punch what = ask(1);
	struct packet p;
	struct world w;
	size_t both;

	(void)state;
	start(&w);
	tell(&w, 1);
	punch_talk_say(&w.speaker, &what);
	assert_true(write_packet(&w, &p, PACKET_MAX));
	both = p.size;
	for (size_t room = 0; room <= both; room++) {
		struct world v;

		start(&v);
		tell(&v, 1);
		punch_talk_say(&v.speaker, &what);
		assert_true(write_packet(&v, &p, room));
		assert_true(p.size <= room);
		assert_int_equal(punch_talk_is_due(&v.speaker, 1), room < both);
		assert_int_equal(p.note_count, p.size == 0 ? 0 : p.size < both ? 1 : 2);
		if (p.size > 0)
			assert_int_equal(p.bytes[0], FRAME_NAT);
		sent_deinit(&v.sent);
	}
	sent_deinit(&w.sent);
}

static void is_told_again_when_lost(void **state)
{
	struct wire_punch what = ask(1);
	struct packet old, p;
	struct world w;

	(void)state;
	start(&w);
	tell(&w, 1);
	punch_talk_say(&w.speaker, &what);
	assert_true(write_packet(&w, &old, PACKET_MAX));
	lose(&w, &old);
	assert_true(write_packet(&w, &p, PACKET_MAX));
	assert_int_equal(p.size, old.size);
	/* The loss of what a newer one replaced is none. */
	tell(&w, 2);
	what = ask(2);
	punch_talk_say(&w.speaker, &what);
	assert_true(write_packet(&w, &p, PACKET_MAX));
	lose(&w, &old);
	assert_false(punch_talk_is_due(&w.speaker, w.version));
	sent_deinit(&w.sent);
}

static void newest_word_counts(void **state)
{
	struct wire_punch what = ask(1), in;
	struct packet first, second;
	struct world w;

	(void)state;
	start(&w);
	tell(&w, 1);
	punch_talk_say(&w.speaker, &what);
	assert_true(write_packet(&w, &first, PACKET_MAX));
	tell(&w, 2);
	what = ask(2);
	punch_talk_say(&w.speaker, &what);
	assert_true(write_packet(&w, &second, PACKET_MAX));
	deliver(&w, &second);
	assert_true(punch_talk_next(&w.listener, &in));
	deliver(&w, &first);
	assert_int_equal(w.listener.peer.address.port, 2);
	assert_false(punch_talk_next(&w.listener, &in));
	sent_deinit(&w.sent);
}

/* News are news until somebody has looked, also when they are told twice. */
static void news_are_kept(void **state)
{
	struct packet p;
	struct world w;

	(void)state;
	start(&w);
	tell(&w, 1);
	assert_true(write_packet(&w, &p, PACKET_MAX));
	deliver(&w, &p);
	p.number++;
	deliver(&w, &p);
	assert_true(w.listener.is_peer_new);
	w.listener.is_peer_new = false;
	p.number++;
	deliver(&w, &p);
	assert_false(w.listener.is_peer_new);
	sent_deinit(&w.sent);
}

static void reset_begins_anew(void **state)
{
	struct wire_punch what = ask(1);
	struct packet p;
	struct world w;

	(void)state;
	start(&w);
	tell(&w, 7);
	punch_talk_say(&w.speaker, &what);
	assert_true(write_packet(&w, &p, PACKET_MAX));
	deliver(&w, &p);
	punch_talk_reset(&w.speaker);
	punch_talk_reset(&w.listener);
	assert_false(w.listener.has_peer);
	/* Our profile is told to the new object, what we wanted of the old one is not; numbers
	 * begin at 0 again. */
	sent_deinit(&w.sent);
	sent_init(&w.sent, 1024);
	assert_true(write_packet(&w, &p, PACKET_MAX));
	assert_int_equal(p.note_count, 1);
	deliver(&w, &p);
	assert_true(w.listener.has_peer);
	sent_deinit(&w.sent);
}

/* Anything may happen to packets; in the end the listener knows the last word. */
static void survives_any_network(void **state)
{
	struct rng_seeded seeded;
	struct wire_punch in = { 0 };
	uint16_t said = 0, heard = 0;
	struct world w;
	struct rng rng;

	(void)state;
	rng_seeded_init(&seeded, 4);
	rng = rng_from_seeded(&seeded);
	start(&w);
	for (unsigned i = 0; i < ROUNDS; i++) {
		bool is_calm = i + 4 * FLIGHT_MAX > ROUNDS;
		unsigned k;

		if (!is_calm && rng_below(&rng, 8) == 0)
			tell(&w, (uint16_t)rng_below(&rng, 4));
		if (!is_calm && said < UINT16_MAX && rng_below(&rng, 8) == 0) {
			struct wire_punch what = ask(++said);

			punch_talk_say(&w.speaker, &what);
		}
		if (w.count < FLIGHT_MAX && write_packet(&w, &w.flight[w.count], PACKET_MAX))
			w.count++;
		if (w.count == 0)
			continue;
		k = (unsigned)rng_below(&rng, w.count);
		switch (is_calm ? 2 : rng_below(&rng, 5)) {
		case 0:
			lose(&w, &w.flight[k]);
			break;
		case 1: /* believed lost, and arrives all the same; perhaps again later */
			lose(&w, &w.flight[k]);
			deliver(&w, &w.flight[k]);
			continue;
		case 2:
			deliver(&w, &w.flight[k]);
			break;
		default:
			continue;
		}
		w.flight[k] = w.flight[--w.count];
		if (punch_talk_next(&w.listener, &in)) {
			assert_true(in.round > heard || in.round == heard);
			heard = in.round;
		}
	}
	assert_int_equal(w.count, 0);
	assert_false(punch_talk_is_due(&w.speaker, w.version));
	assert_int_equal(heard, said);
	assert_true(nat_profile_is_equal(&w.listener.peer, &w.nat));
	sent_deinit(&w.sent);
}

static int all_freed(void **state)
{
	(void)state;
	return cv_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_both_in_one_packet), cmocka_unit_test(waits_for_room),
		cmocka_unit_test(is_told_again_when_lost), cmocka_unit_test(newest_word_counts),
		cmocka_unit_test(news_are_kept),           cmocka_unit_test(reset_begins_anew),
		cmocka_unit_test(survives_any_network),
	};

	return cmocka_run_group_tests(tests, NULL, all_freed);
}
