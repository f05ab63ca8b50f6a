/* SPDX-License-Identifier: MIT */

/*
 * Goal: every lookup ends once, in time, with the right verdict; what nobody waits for any
 * more disturbs nobody; the limits hold.
 * Method: a name server of our own on the loopback, whose first label says what to answer.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/rd.h"
#include "base/wr.h"
#include "net/convert.h"
#include "net/fds.h"
#include "net/resolver.h"
#include "test_net_loop.h"

enum { TYPE_A = 1, TYPE_AAAA = 28, ANSWERS_MAX = 8, DNS_MAX = 512 };

struct answer {
	uint64_t id;
	enum resolver_verdict verdict;
	unsigned count;
	struct addr list[RESOLVER_ADDRESSES_MAX];
};

struct room {
	struct test_loop t;
	struct resolver *r;
	uv_poll_t poll;
	int fd;
	unsigned queries;
	bool is_mute; /* answers nobody; what came is answered by say_it_now() */
	uint8_t held[DNS_MAX];
	size_t held_size;
	struct sockaddr_storage held_from;
	socklen_t held_from_size;
	struct answer answers[ANSWERS_MAX];
	unsigned answer_count, closed;
	uint64_t chain; /* lookups that the callback is still to begin */
};

/* ---- The name server ---- */

static void record(struct wr *w, uint16_t type)
{
	wr_u16(w, 0xc00c); /* the name of the question */
	wr_u16(w, type);
	wr_u16(w, 1);
	wr_u32(w, 60);
	wr_u16(w, type == TYPE_A ? 4 : 16);
	if (type == TYPE_A)
		wr_u32(w, 0xc0000201);
	else
		wr_copy(w, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
}

/* Turns the query into its answer; its size. */
static size_t answer(uint8_t *d, size_t size)
{
	struct rd r = rd_init(d, size);
	struct wr w;
	const uint8_t *label;
	uint8_t length;
	uint16_t type, flags = 0x8180, records = 0;

	(void)rd_take(&r, 12);
	length = rd_u8(&r);
	label = rd_take(&r, length);
	for (uint8_t n = rd_u8(&r); n; n = rd_u8(&r))
		(void)rd_take(&r, n);
	type = rd_u16(&r);
	(void)rd_u16(&r);
	assert_false(r.bad);
	if (memcmp(label, "nx", 2) == 0)
		flags |= 3;
	else if (memcmp(label, "fail", 4) == 0)
		flags |= 2;
	else if (memcmp(label, "both", 4) == 0 || (memcmp(label, "four", 4) == 0 && type == TYPE_A))
		records = 1;
	w = wr_init(d, DNS_MAX);
	w.pos += 2;
	wr_u16(&w, flags);
	wr_u16(&w, 1);
	wr_u16(&w, records);
	wr_u32(&w, 0);
	w.pos = d + (size - rd_left(&r));
	if (records)
		record(&w, type);
	return wr_size(&w);
}

static void on_query(uv_poll_t *poll, int status, int events)
{
	struct room *room = poll->data;
	struct sockaddr_storage from;
	socklen_t from_size = sizeof(from);
	uint8_t d[DNS_MAX];
	ssize_t n;

	(void)events;
	assert_int_equal(status, 0);
	n = recvfrom(room->fd, d, sizeof(d), 0, (struct sockaddr *)&from, &from_size);
	if (n < 0)
		return;
	room->queries++;
	if (room->is_mute) {
		memcpy(room->held, d, (size_t)n);
		room->held_size = (size_t)n;
		room->held_from = from;
		room->held_from_size = from_size;
		return;
	}
	n = (ssize_t)answer(d, (size_t)n);
	assert_int_equal(sendto(room->fd, d, (size_t)n, 0, (struct sockaddr *)&from, from_size), n);
}

static void say_it_now(struct room *room)
{
	size_t n = answer(room->held, room->held_size);

	assert_true(sendto(room->fd, room->held, n, 0, (struct sockaddr *)&room->held_from,
	                   room->held_from_size) > 0);
}

/* ---- The room ---- */

static void on_done(void *ctx, uint64_t id, enum resolver_verdict verdict, const struct addr *list,
                    unsigned count)
{
	struct room *room = ctx;
	struct answer *a = &room->answers[room->answer_count % ANSWERS_MAX];

	room->answer_count++;
	a->id = id;
	a->verdict = verdict;
	a->count = count;
	memcpy(a->list, list, count * sizeof(*list));
	if (room->chain && room->chain--)
		(void)resolver_start(room->r, 1, "127.0.0.1", 1, on_done, room);
}

static void room_open(struct room *room, const struct resolver_options *limits)
{
	struct resolver_options opt = { .timeout = CV_MS(300) };
	struct addr at = addr_v4(127, 0, 0, 1, 0);
	struct sockaddr_storage sa;
	char servers[64];
	socklen_t size = convert_to_sockaddr(&at, &sa);

	if (limits)
		opt = *limits;
	*room = (struct room){ .fd = fds_socket(AF_INET, SOCK_DGRAM, 0) };
	test_loop_open(&room->t);
	assert_int_equal(bind(room->fd, (struct sockaddr *)&sa, size), 0);
	(void)snprintf(servers, sizeof(servers), "127.0.0.1:%u", fds_local(room->fd).port);
	opt.servers = servers;
	assert_int_equal(uv_poll_init(&room->t.loop, &room->poll, room->fd), 0);
	room->poll.data = room;
	assert_int_equal(uv_poll_start(&room->poll, UV_READABLE, on_query), 0);
	assert_int_equal(resolver_open(&room->t.loop, &opt, &room->r), 0);
}

static void on_closed(void *ctx)
{
	struct room *room = ctx;

	room->closed++;
}

static void room_close(struct room *room)
{
	resolver_close(room->r, on_closed, room);
	RUN_UNTIL(&room->t, room->closed == 1);
	uv_close((uv_handle_t *)&room->poll, NULL);
	fds_close(&room->fd);
	test_loop_close(&room->t);
}

static uint64_t ask(struct room *room, uint64_t owner, const char *name)
{
	unsigned before = room->answer_count;
	uint64_t id = resolver_start(room->r, owner, name, 443, on_done, room);

	assert_true(id != 0);
	assert_int_equal(room->answer_count, before); /* never from within */
	return id;
}

static const struct answer *last(struct room *room, uint64_t id)
{
	const struct answer *a = &room->answers[(room->answer_count - 1) % ANSWERS_MAX];

	assert_true(a->id == id);
	return a;
}

static void verdicts(void **state)
{
	static const struct {
		const char *name;
		enum resolver_verdict verdict;
		unsigned count;
	} rows[] = {
		{ "both.test", RESOLVER_OK, 2 },        { "four.test", RESOLVER_OK, 1 },
		{ "nx.test", RESOLVER_NOT_FOUND, 0 },   { "empty.test", RESOLVER_NOT_FOUND, 0 },
		{ "fail.test", RESOLVER_NO_ANSWER, 0 },
	};
	const struct answer *a;
	struct room room;
	uint64_t id;

	(void)state;
	room_open(&room, NULL);
	for (unsigned i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		id = ask(&room, 1, rows[i].name);
		RUN_UNTIL(&room.t, room.answer_count == i + 1);
		a = last(&room, id);
		assert_int_equal(a->verdict, rows[i].verdict);
		assert_int_equal(a->count, rows[i].count);
		for (unsigned j = 0; j < a->count; j++)
			assert_int_equal(a->list[j].port, 443);
	}
	room_close(&room);
}

static void literals_never_reach_dns(void **state)
{
	static const char *const rows[] = { "192.0.2.7", "2001:db8::7", "localhost",
		                            "a.localhost" };
	const struct answer *a;
	struct room room;
	uint64_t id;

	(void)state;
	room_open(&room, NULL);
	for (unsigned i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		id = ask(&room, 1, rows[i]);
		RUN_UNTIL(&room.t, room.answer_count == i + 1);
		a = last(&room, id);
		assert_int_equal(a->verdict, RESOLVER_OK);
		assert_int_equal(a->count, i < 2 ? 1 : 2);
		assert_int_equal(a->list[0].port, 443);
	}
	assert_int_equal(room.queries, 0);
	room_close(&room);
}

/* A name of the system's hosts file, if it has one that is not the loopback's. */
static bool hosts_name(char out[64])
{
	char line[256], address[64];
	FILE *file = fopen("/etc/hosts", "re");
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		found = line[0] != '#' && strchr(line, ':') == NULL &&
		        sscanf(line, "%63s %63s", address, out) == 2 &&
		        host_name_is_valid(out, strlen(out)) && !strstr(out, "localhost");
	}
	if (file)
		(void)fclose(file);
	return found;
}

static void the_hosts_file_is_honoured(void **state)
{
	char name[64];
	struct room room;
	uint64_t id;

	(void)state;
	if (!hosts_name(name))
		skip();
	room_open(&room, NULL);
	id = ask(&room, 1, name);
	RUN_UNTIL(&room.t, room.answer_count == 1);
	assert_int_equal(last(&room, id)->verdict, RESOLVER_OK);
	assert_int_equal(room.queries, 0);
	room_close(&room);
}

static void silence_ends_in_time(void **state)
{
	struct room room;
	cv_time begin;
	uint64_t id;

	(void)state;
	room_open(&room, NULL);
	room.is_mute = true;
	begin = clock_now();
	id = ask(&room, 1, "both.test");
	RUN_UNTIL(&room.t, room.answer_count == 1);
	assert_int_equal(last(&room, id)->verdict, RESOLVER_NO_ANSWER);
	assert_in_range((clock_now() - begin) / CV_MS(1), 100, 2000);
	/* The answer comes after all, to nobody. */
	say_it_now(&room);
	RUN_UNTIL(&room.t, resolver_count(room.r) == 0);
	assert_int_equal(room.answer_count, 1);
	room_close(&room);
}

/* The kernel tells c-ares that nobody listens; libuv stops its poll over it. */
static void nobody_listens(void **state)
{
	struct resolver_options opt = { .timeout = CV_SEC(5) };
	struct room room;
	cv_time begin = clock_now();
	uint64_t id;

	(void)state;
	room_open(&room, &opt);
	assert_int_equal(uv_poll_stop(&room.poll), 0);
	fds_close(&room.fd);
	id = ask(&room, 1, "both.test");
	RUN_UNTIL(&room.t, room.answer_count == 1);
	assert_int_equal(last(&room, id)->verdict, RESOLVER_NO_ANSWER);
	assert_true(clock_now() - begin < CV_SEC(4)); /* long before a timeout */
	room_close(&room);
}

static void cancelled_is_silent_and_counts(void **state)
{
	struct resolver_options opt = { .timeout = CV_SEC(5), .owner_max = 2, .total_max = 3 };
	struct room room;
	uint64_t id, refused;

	(void)state;
	room_open(&room, &opt);
	room.is_mute = true;
	id = ask(&room, 1, "both.test");
	resolver_cancel(room.r, id);
	resolver_cancel(room.r, id);
	resolver_cancel(room.r, 12345);
	assert_int_equal(resolver_count(room.r), 1); /* c-ares still works on it */
	(void)ask(&room, 1, "four.test");
	refused = ask(&room, 1, "nx.test");
	RUN_UNTIL(&room.t, room.answer_count == 1);
	assert_int_equal(last(&room, refused)->verdict, RESOLVER_LIMIT);
	/* One more for another owner, then all are in use. */
	(void)ask(&room, 2, "four.test");
	refused = ask(&room, 3, "four.test");
	RUN_UNTIL(&room.t, room.answer_count == 2);
	assert_int_equal(last(&room, refused)->verdict, RESOLVER_LIMIT);
	/* A refusal may be cancelled, too. */
	resolver_cancel(room.r, ask(&room, 3, "four.test"));
	/* Literals cost nothing. */
	id = ask(&room, 3, "192.0.2.1");
	RUN_UNTIL(&room.t, room.answer_count == 3);
	assert_int_equal(last(&room, id)->verdict, RESOLVER_OK);
	room_close(&room); /* with lookups in flight */
}

/* Asked again on the new channel, in time, and reported once. */
static void a_change_keeps_what_is_wanted(void **state)
{
	struct resolver_options opt = { .timeout = CV_SEC(5) };
	struct room room;
	uint64_t cancelled;

	(void)state;
	room_open(&room, &opt);
	room.is_mute = true;
	(void)ask(&room, 1, "both.one");
	cancelled = ask(&room, 1, "both.two");
	resolver_cancel(room.r, cancelled);
	RUN_UNTIL(&room.t, room.queries >= 2);
	room.is_mute = false;
	resolver_network_changed(room.r);
	(void)ask(&room, 1, "both.three");
	assert_int_equal(resolver_count(room.r), 2);
	RUN_UNTIL(&room.t, room.answer_count == 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(room.answers[i].verdict, RESOLVER_OK);
		assert_true(room.answers[i].id != cancelled);
	}
	assert_int_equal(resolver_count(room.r), 0);
	room_close(&room);
}

/* And nobody need ask for anything else: from another socket, which the new network's are. */
static void a_change_asks_at_once(void **state)
{
	struct resolver_options opt = { .timeout = CV_SEC(5) };
	struct sockaddr_storage before;
	struct room room;
	uint64_t id;

	(void)state;
	room_open(&room, &opt);
	room.is_mute = true;
	id = ask(&room, 1, "both.test");
	RUN_UNTIL(&room.t, room.queries == 2);
	before = room.held_from;
	resolver_network_changed(room.r);
	RUN_UNTIL(&room.t, room.queries == 4);
	assert_memory_not_equal(&room.held_from, &before, room.held_from_size);
	room.is_mute = false;
	resolver_network_changed(room.r);
	RUN_UNTIL(&room.t, room.answer_count == 1);
	assert_int_equal(last(&room, id)->verdict, RESOLVER_OK);
	assert_int_equal(resolver_count(room.r), 0);
	room_close(&room);
}

/* A callback that begins the next lookup at once leaves the loop its turns. */
static void chains_take_turns(void **state)
{
	struct room room;

	(void)state;
	room_open(&room, NULL);
	room.chain = 1000000;
	(void)ask(&room, 1, "127.0.0.1");
	for (int i = 0; i < 20; i++)
		test_loop_turn(&room.t);
	assert_in_range(room.answer_count, 1, 100);
	room.chain = 0;
	room_close(&room);
}

static void bad_servers_are_refused(void **state)
{
	struct resolver_options opt = { .servers = "nonsense" };
	struct test_loop t;
	struct resolver *r;

	(void)state;
	test_loop_open(&t);
	assert_int_equal(resolver_open(&t.loop, &opt, &r), -EINVAL);
	test_loop_close(&t);
}

static void the_system_is_the_default(void **state)
{
	struct test_loop t;
	struct resolver *r;

	(void)state;
	test_loop_open(&t);
	assert_int_equal(resolver_open(&t.loop, NULL, &r), 0);
	resolver_close(r, NULL, NULL);
	test_loop_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),
		cmocka_unit_test(literals_never_reach_dns),
		cmocka_unit_test(the_hosts_file_is_honoured),
		cmocka_unit_test(silence_ends_in_time),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(cancelled_is_silent_and_counts),
		cmocka_unit_test(a_change_keeps_what_is_wanted),
		cmocka_unit_test(a_change_asks_at_once),
		cmocka_unit_test(chains_take_turns),
		cmocka_unit_test(bad_servers_are_refused),
		cmocka_unit_test(the_system_is_the_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
