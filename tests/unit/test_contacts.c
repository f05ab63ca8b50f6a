/* SPDX-License-Identifier: MIT */

/*
 * Goal: the server is told every tag once, those that matter first, and again when it has
 * forgotten; nothing that it says can mix up two peers. Method: a link whose messages are read
 * back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/contacts.h"

static struct contacts c;
static struct link out, in;
static cv_time now;
static struct wire_message got[LINK_QUEUE_MAX];
static uint8_t init_of[LINK_QUEUE_MAX][WIRE_INIT_SIZE];
static unsigned got_count;

static int setup(void **state)
{
	(void)state;
	contacts_init(&c, 1);
	link_init(&out);
	link_init(&in);
	now = CV_SEC(10);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_true(contacts_check(&c));
	contacts_deinit(&c);
	link_deinit(&out);
	link_deinit(&in);
	return 0;
}

static void tag(uint32_t peer, uint8_t t[TAG_SIZE])
{
	memset(t, 0, TAG_SIZE);
	cv_store32(t, peer + 1);
}

static void add(uint32_t peer)
{
	uint8_t t[TAG_SIZE];

	tag(peer, t);
	assert_int_equal(contacts_add(&c, peer, t), 0);
}

/* What contacts_flush() queues, as the server reads it. */
static void flush(void)
{
	uint8_t bytes[1200];

	got_count = 0;
	contacts_flush(&c, now, &out);
	assert_true(contacts_check(&c));
	while (link_has_output(&out, now)) {
		struct wr w = wr_init(bytes, sizeof(bytes));
		struct wire_frame f;
		struct rd r;

		(void)link_write(&out, now, &w);
		r = rd_init(bytes, wr_size(&w));
		while (wire_read_frame(&r, &f) == WIRE_FRAME) {
			if (!link_on_frame(&in, now, &f, &got[got_count]))
				continue;
			if (got[got_count].init) {
				memcpy(init_of[got_count], got[got_count].init, WIRE_INIT_SIZE);
				got[got_count].init = init_of[got_count];
			}
			got_count++;
		}
		f = (struct wire_frame){ .type = FRAME_MESSAGE_ACK };
		f.message_ack.next = in.expected_seq;
		(void)link_on_frame(&out, now, &f, &got[LINK_QUEUE_MAX - 1]);
	}
}

static enum contacts_news say(uint8_t type, uint32_t peer, uint64_t channel,
                              struct contacts_event *e)
{
	struct wire_message m = { .type = type, .channel = channel };
	enum contacts_news news;

	tag(peer, m.tag);
	news = contacts_on_message(&c, &m, e);
	assert_true(contacts_check(&c));
	return news;
}

static void tags_go_out_in_batches(void **state)
{
	unsigned tags = 0;

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		add(i);
	flush();
	assert_int_equal(got_count, 3);
	assert_true(got[0].is_first);
	assert_false(got[1].is_first);
	for (unsigned i = 0; i < got_count; i++)
		tags += got[i].tag_count;
	assert_int_equal(tags, 100);
	flush();
	assert_int_equal(got_count, 0);
	add(100);
	flush();
	assert_int_equal(got_count, 1);
	assert_false(got[0].is_first);
	assert_int_equal(got[0].tag_count, 1);
}

/* Rule 2.5: REGISTER and OPEN in one packet, however many other tags there are. */
static void those_to_be_opened_come_first(void **state)
{
	uint8_t init[WIRE_INIT_SIZE] = { 0x40, 7 }, wanted[TAG_SIZE];

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		add(i);
	contacts_open(&c, now, 90, init);
	flush();
	tag(90, wanted);
	assert_memory_equal(got[0].tags[0], wanted, TAG_SIZE);
	assert_int_equal(got[1].type, MESSAGE_OPEN);
	assert_memory_equal(got[1].tag, wanted, TAG_SIZE);
	assert_memory_equal(got[1].init, init, WIRE_INIT_SIZE);
	assert_int_equal(got[2].type, MESSAGE_REGISTER);
	assert_int_equal(got_count, 4);
}

static void one_question_until_it_is_answered(void **state)
{
	uint8_t init[WIRE_INIT_SIZE] = { 0x40, 7 };
	struct contacts_event e;

	(void)state;
	add(1);
	contacts_open(&c, now, 1, init);
	flush();
	assert_int_equal(got_count, 2);
	init[WIRE_INIT_SIZE - 1] = 1; /* a repeat with another mac2 */
	contacts_open(&c, now, 1, init);
	contacts_open(&c, now, 1, NULL);
	flush();
	assert_int_equal(got_count, 0);
	init[1] = 8; /* made anew */
	contacts_open(&c, now, 1, init);
	flush();
	assert_int_equal(got_count, 1);
	assert_int_equal(contacts_deadline(&c), now + CV_SEC(5));
	now += CV_SEC(5);
	contacts_on_deadline(&c, now);
	flush();
	assert_int_equal(got_count, 1);
	assert_int_equal(say(MESSAGE_ABSENT, 1, 0, &e), CONTACTS_ABSENT);
	assert_int_equal(contacts_deadline(&c), CV_TIME_NEVER);
	contacts_open(&c, now, 1, init);
	flush();
	assert_int_equal(got_count, 1);
	assert_int_equal(say(MESSAGE_OPENED, 1, 55, &e), CONTACTS_CHANNEL);
	assert_int_equal(e.channel, 55);
	contacts_open(&c, now, 1, NULL); /* there is one */
	flush();
	assert_int_equal(got_count, 0);
}

static void numbers_are_not_mixed_up(void **state)
{
	struct contacts_event e;
	uint32_t peer;

	(void)state;
	add(1);
	add(2);
	assert_int_equal(say(MESSAGE_OFFER, 1, 55, &e), CONTACTS_OFFER);
	assert_int_equal(say(MESSAGE_OFFER, 2, 55, &e), CONTACTS_NOTHING);
	assert_int_equal(say(MESSAGE_OFFER, 2, 0, &e), CONTACTS_NOTHING);
	assert_int_equal(say(MESSAGE_OFFER, 9, 56, &e), CONTACTS_NOTHING);
	assert_int_equal(contacts_channel(&c, 2), 0);
	assert_int_equal(say(MESSAGE_OFFER, 1, 57, &e), CONTACTS_OFFER);
	assert_false(contacts_find_channel(&c, 55, &peer));
	assert_true(contacts_find_channel(&c, 57, &peer));
	assert_int_equal(peer, 1);
	assert_false(contacts_find_channel(&c, 0, &peer));
	assert_int_equal(say(MESSAGE_CHANNEL_GONE, 0, 55, &e), CONTACTS_NOTHING);
	assert_int_equal(say(MESSAGE_CHANNEL_GONE, 0, 57, &e), CONTACTS_CHANNEL_GONE);
	assert_int_equal(e.peer, 1);
	assert_int_equal(contacts_channel(&c, 1), 0);
	assert_int_equal(say(MESSAGE_REGISTER, 1, 0, &e), CONTACTS_NOTHING);
}

static void a_channel_may_be_doubted(void **state)
{
	uint8_t init[WIRE_INIT_SIZE] = { 0x40, 7 };
	struct contacts_event e;

	(void)state;
	add(1);
	contacts_open(&c, now, 1, init);
	flush();
	(void)say(MESSAGE_OPENED, 1, 55, &e);
	now += CV_SEC(5) - 1;
	contacts_open(&c, now, 1, init);
	flush();
	assert_int_equal(got_count, 0);
	now += 1;
	contacts_open(&c, now, 1, NULL);
	flush();
	assert_int_equal(got_count, 0);
	contacts_open(&c, now, 1, init);
	flush();
	assert_int_equal(got_count, 1);
	assert_int_equal(got[0].type, MESSAGE_OPEN);
	assert_int_equal(contacts_channel(&c, 1), 55);
	assert_int_equal(say(MESSAGE_OPENED, 1, 57, &e), CONTACTS_CHANNEL);
	assert_int_equal(contacts_channel(&c, 1), 57);
}

static void a_new_session_asks_for_everything_again(void **state)
{
	struct contacts_event e;

	(void)state;
	add(1);
	add(2);
	contacts_open(&c, now, 2, NULL);
	flush();
	(void)say(MESSAGE_OPENED, 1, 55, &e);
	contacts_reset(&c);
	assert_true(contacts_next_gone(&c, &e));
	assert_int_equal(e.peer, 1);
	assert_int_equal(e.channel, 55);
	assert_false(contacts_next_gone(&c, &e));
	flush();
	assert_int_equal(got_count, 2);
	assert_true(got[0].is_first);
	assert_int_equal(got[0].tag_count, 2);
	assert_int_equal(got[1].type, MESSAGE_OPEN);
}

static void who_is_removed_is_forgotten_by_the_server(void **state)
{
	struct contacts_event e;

	(void)state;
	add(1);
	add(2);
	flush();
	(void)say(MESSAGE_OPENED, 1, 55, &e);
	contacts_remove(&c, 1);
	contacts_remove(&c, 1);
	flush();
	assert_int_equal(got_count, 1);
	assert_true(got[0].is_first);
	assert_int_equal(got[0].tag_count, 1);
	contacts_remove(&c, 2);
	flush();
	assert_true(got[0].is_first);
	assert_int_equal(got[0].tag_count, 0);
	assert_int_equal(say(MESSAGE_PRESENT, 1, 0, &e), CONTACTS_NOTHING);
}

/* With more than one REGISTER a new registration would end the channels of the others. */
static void of_many_a_removed_one_stays_until_the_next_session(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 60; i++)
		add(i);
	flush();
	contacts_remove(&c, 7);
	flush();
	assert_int_equal(got_count, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tags_go_out_in_batches),
		TEST(those_to_be_opened_come_first),
		TEST(one_question_until_it_is_answered),
		TEST(numbers_are_not_mixed_up),
		TEST(a_channel_may_be_doubted),
		TEST(a_new_session_asks_for_everything_again),
		TEST(who_is_removed_is_forgotten_by_the_server),
		TEST(of_many_a_removed_one_stays_until_the_next_session),
	};

	return cmocka_run_group_tests_name("contacts", tests, NULL, NULL);
}
