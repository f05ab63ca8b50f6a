/* SPDX-License-Identifier: MIT */

/*
 * Goal: listeners at the wish of a peer, from both sides and against a peer that does not keep to
 * the protocol: what was not granted is not opened, a number that was not asked for leads nowhere,
 * and nothing outlives the stream that it hangs on.
 * Method: the real bridge with real sockets on loopback at one end, bare streams at the other, two
 * endpoints joined in memory.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "test_net_loop.h"

#include "base/limits.h"
#include "base/log.h"
#include "flows/bridge.h"
#include "flows/far_listen.h"
#include "flows/remote.h"
#include "net/fds.h"

#define KEY "v74/b32kgCuBvMM5pK6ukSGy7jeI/wSCQL58HsnRvJU="

enum { US, THEM };
enum { STREAMS_MAX = 128 };

/* A stream of theirs, or one that they were sent. */
struct theirs {
	struct streams *streams;
	struct stream *stream; /* NULL: it was reset */
	uint64_t id;
	uint8_t in[512];
	size_t size;
	uint16_t code;
	bool is_reset, is_at_end;
};

struct side {
	struct endpoint *e;
	struct identity me;
	struct rng_seeded seeded;
	struct rng rng;
	struct pool pool;
	uint32_t peer;
};

static struct side sides[2];
static struct theirs streams[STREAMS_MAX];
static unsigned stream_count;
static struct test_loop loop;
static struct tcp_set *conns;
static struct resolver *resolver;
static struct config *config;
static struct bridge b;

/* ---- two endpoints ---- */

static struct addr address_of(unsigned i)
{
	return addr_v4(198, 51, 100, (uint8_t)(1 + i), 28583);
}

static struct theirs *add_theirs(struct streams *s, struct stream *st)
{
	struct theirs *t = &streams[stream_count++];

	assert_true(stream_count <= STREAMS_MAX);
	*t = (struct theirs){ .streams = s, .stream = st, .id = stream_id(st) };
	stream_set_tag(st, stream_count);
	return t;
}

static void on_their_stream(cv_time now, const struct endpoint_event *ev)
{
	struct stream *st = ev->stream.stream;
	struct stream_vec vec[4];
	struct theirs *t;

	if (!st)
		return;
	t = stream_tag(st) ? &streams[stream_tag(st) - 1] : add_theirs(ev->streams, st);
	if (ev->stream.kind == STREAM_EVENT_OPENED)
		stream_accept(ev->streams, st);
	if (ev->stream.kind == STREAM_EVENT_RESET || ev->stream.kind == STREAM_EVENT_STOPPED) {
		t->is_reset = true;
		t->code = ev->stream.code;
		stream_release(ev->streams, st, 0);
		t->stream = NULL;
		return;
	}
	while (stream_peek(st, vec, 1) > 0) {
		assert_true(t->size + vec[0].size <= sizeof(t->in));
		memcpy(t->in + t->size, vec[0].bytes, vec[0].size);
		t->size += vec[0].size;
		stream_consume(ev->streams, st, now, vec[0].size);
	}
	t->is_at_end = stream_is_at_end(st);
}

static bool drain(unsigned i, cv_time now)
{
	struct addr other = address_of(!i);
	struct endpoint_event ev;
	bool any = false;

	while (endpoint_next_event(sides[i].e, now, &ev)) {
		any = true;
		if (ev.kind == ENDPOINT_EVENT_RESOLVE_PEER)
			endpoint_set_peer_addresses(sides[i].e, now, ev.peer, &other, 1);
		else if (ev.kind == ENDPOINT_EVENT_OPEN_SOCKETS)
			endpoint_on_sockets_opened(sides[i].e, now, ev.socket, ev.count, 0, NULL);
		else if (ev.kind == ENDPOINT_EVENT_STREAM && i == US)
			bridge_on_stream(&b, now, &ev);
		else if (ev.kind == ENDPOINT_EVENT_STREAM)
			on_their_stream(now, &ev);
		else if (ev.kind == ENDPOINT_EVENT_PEER_UP && i == US)
			bridge_on_peer(&b, now, ev.peer);
	}
	return any;
}

static bool send_all(unsigned i, cv_time now)
{
	static uint8_t bytes[TRAIN_BYTES_MAX];
	struct addr from = address_of(i), to = address_of(!i);
	struct train t = { .bytes = bytes };
	bool any = false;

	while (endpoint_write(sides[i].e, now, &t)) {
		struct arrival in = {
			.bytes = bytes,
			.size = t.size,
			.segment_size = t.segment_size,
			.from = from,
		};

		any = true;
		if (addr_equal(&t.to, &to)) {
			endpoint_on_turn(sides[!i].e, now);
			endpoint_on_arrival(sides[!i].e, now, &in);
			(void)drain(!i, now);
			endpoint_keep(sides[!i].e);
		}
		t = (struct train){ .bytes = bytes };
	}
	return any;
}

static void turn(void)
{
	cv_time now = clock_now();

	test_loop_turn(&loop);
	for (unsigned i = 0; i < 2; i++) {
		endpoint_on_turn(sides[i].e, now);
		endpoint_on_deadline(sides[i].e, now);
		endpoint_touch(sides[i].e, sides[i].peer);
	}
	while (drain(US, now) || drain(THEM, now) || send_all(US, now) || send_all(THEM, now))
		;
	bridge_on_peer(&b, now, sides[US].peer);
}

#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		cv_time until_at = clock_now() + CV_SEC(10);                                       \
		while (!(condition)) {                                                             \
			if (clock_now() > until_at)                                                \
				fail_msg("not within 10 s: %s", #condition);                       \
			turn();                                                                    \
		}                                                                                  \
	} while (0)

/* ---- the world ---- */

static void open_side(unsigned i, cv_time now)
{
	struct side *s = &sides[i];
	struct addr other = address_of(!i);
	struct endpoint_options opt = {
		.me = &s->me,
		.rng = &s->rng,
		.pool = &s->pool,
		.aead_bits = AEAD_BIT_CHACHA,
		.streams_max = 256,
		.congestion = CC_CUBIC,
	};
	struct endpoint_peer peer = { .pk = sides[!i].me.pk, .has_address = true };

	pool_init(&s->pool, UINT64_C(64) << 20);
	assert_int_equal(endpoint_new(&s->e, now, &opt), 0);
	assert_int_equal(endpoint_add_peer(s->e, now, &peer, &s->peer), 0);
	endpoint_set_peer_addresses(s->e, now, s->peer, &other, 1);
}

/* The bridge's configuration is @text with one peer, `them`. */
static void adopt(const char *text)
{
	struct config *before = config;
	struct tables tables;
	const uint32_t slots[] = { sides[US].peer, sides[US].peer + 1 };
	struct report report;
	int r;

	report_init(&report, "culvert.yaml");
	r = config_parse("culvert.yaml", text, strlen(text), CONFIG_ROLE_AGENT, &report, &config);
	report_print(&report, REPORT_ERROR, stdout);
	assert_int_equal(r, 0);
	report_deinit(&report);
	assert_int_equal(tables_init(&tables, config, slots), 0);
	if (!before)
		assert_int_equal(bridge_init(&b, &loop.loop, config, sides[US].e, conns, resolver),
		                 0);
	assert_int_equal(bridge_reserve_peers(&b, sides[US].peer + 2), 0);
	bridge_adopt(&b, &tables, NULL);
	config_free(before);
}

#define PEER(more)                                                                                 \
	"identity: id.key\npeers: { them: { key: '" KEY "', address: 198.51.100.2" more " } }\n"

static void begin(const char *text)
{
	static uint8_t sk[2][KEY_SIZE] = { { 0, 1 }, { 0, 2 } };
	cv_time now = clock_now();

	log_set_level(LOG_ERROR);
	for (unsigned i = 0; i < 2; i++) {
		identity_init(&sides[i].me, sk[i]);
		rng_seeded_init(&sides[i].seeded, i + 1);
		sides[i].rng = rng_from_seeded(&sides[i].seeded);
	}
	stream_count = 0;
	config = NULL;
	test_loop_open(&loop);
	assert_int_equal(tcp_set_open(&loop.loop, 1024, &conns), 0);
	assert_int_equal(resolver_open(&loop.loop, NULL, &resolver), 0);
	open_side(US, now);
	open_side(THEM, now);
	adopt(text);
	UNTIL(endpoint_peer_state(sides[US].e, sides[US].peer) == PEER_CONNECTED &&
	      endpoint_peer_state(sides[THEM].e, sides[THEM].peer) == PEER_CONNECTED);
}

static void end(void)
{
	bridge_close(&b);
	resolver_close(resolver, NULL, NULL);
	tcp_set_close(conns);
	test_loop_close(&loop);
	bridge_deinit(&b);
	config_free(config);
	for (unsigned i = 0; i < 2; i++) {
		endpoint_free(sides[i].e, clock_now());
		pool_deinit(&sides[i].pool);
	}
}

/* ---- what they do ---- */

static struct theirs *ask(enum target_kind kind, const char *to, const char *more)
{
	struct target_request request = { .kind = kind };
	struct streams *s = endpoint_streams(sides[THEM].e, sides[THEM].peer);
	uint8_t head[TARGET_REQUEST_MAX];
	struct wr w = wr_init(head, sizeof(head));
	struct stream *st;
	const char *why;

	if (to)
		assert_int_equal(hostport_parse(to, 0, &request.to, &why), 0);
	target_write_request(&w, &request);
	assert_int_equal(streams_open(s, &st), 0);
	assert_int_equal(stream_write(s, st, head, wr_size(&w)), wr_size(&w));
	assert_int_equal(stream_write(s, st, more, strlen(more)), strlen(more));
	return add_theirs(s, st);
}

/* A stream back for the listener @number. */
static struct theirs *back(uint64_t number)
{
	struct target_request request = { .kind = TARGET_KIND_TCP,
		                          .listener = number,
		                          .has_listener = true };
	struct streams *s = endpoint_streams(sides[THEM].e, sides[THEM].peer);
	uint8_t head[TARGET_REQUEST_MAX];
	struct wr w = wr_init(head, sizeof(head));
	struct stream *st;

	target_write_request(&w, &request);
	assert_int_equal(streams_open(s, &st), 0);
	assert_int_equal(stream_write(s, st, head, wr_size(&w)), wr_size(&w));
	return add_theirs(s, st);
}

static void say(struct theirs *t, const void *bytes, size_t size)
{
	assert_int_equal(stream_write(t->streams, t->stream, bytes, size), size);
}

/* They are done with it. */
static void let_go(struct theirs *t)
{
	stream_release(t->streams, t->stream, TARGET_ABORTED);
	t->stream = NULL;
}

/* The address in the status that they were sent, which is taken off. */
static struct addr bound_of(struct theirs *t)
{
	struct rd in = rd_init(t->in, t->size);
	struct addr bound = { .family = ADDR_NONE };

	assert_int_equal(target_read_status(&in, &bound), TARGET_READ_DONE);
	t->size = rd_left(&in);
	memmove(t->in, in.pos, t->size);
	return bound;
}

static struct target_request request_of(struct theirs *t)
{
	struct rd in = rd_init(t->in, t->size);
	struct target_request request;

	assert_int_equal(target_read_request(&in, &request), TARGET_READ_DONE);
	t->size = rd_left(&in);
	memmove(t->in, in.pos, t->size);
	return request;
}

/* ---- sockets of clients and targets ---- */

static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sa;
}

/* 0: connected, else an errno. The kernel answers at once on loopback. */
static int connect_to(uint16_t port, int *fd)
{
	struct sockaddr_in sa = loopback(port);

	*fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(*fd >= 0);
	if (connect(*fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return 0;
	fds_close(fd);
	return -1;
}

static int serve(uint16_t *port)
{
	struct sockaddr_in sa = loopback(0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 8), 0);
	*port = fds_local(fd).port;
	return fd;
}

static bool received(int fd, char *byte)
{
	return recv(fd, byte, 1, MSG_DONTWAIT) == 1;
}

static bool is_bound(struct remote_status *out)
{
	remote_status(&b, 0, out);
	return out->bound[0] != 0;
}

/* ---- stories ---- */

static void a_listener_lives_as_long_as_its_stream(void **state)
{
	struct target_request request;
	struct theirs *l, *c;
	struct addr at;
	uint16_t port;
	char byte = 0;
	int fd;

	(void)state;
	begin(PEER(", allow_listen: '127.0.0.1:*'"));
	l = ask(TARGET_KIND_LISTEN, "127.0.0.1:0", "");
	UNTIL(l->size > 0);
	at = bound_of(l);
	port = at.port;
	assert_int_equal(l->size, 0);
	assert_int_equal(b.own_count, 1);
	assert_true(addr_equal(&b.own[0], &at));

	assert_int_equal(connect_to(port, &fd), 0);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	UNTIL(stream_count == 2 && streams[1].size > 0);
	c = &streams[1];
	request = request_of(c);
	assert_int_equal(request.kind, TARGET_KIND_TCP);
	assert_true(request.has_listener);
	assert_int_equal(request.listener, l->id);
	assert_int_equal(request.to.kind, HOST_NONE);
	say(c, "\0\0", 2); /* a status without an address */
	say(c, "y", 1);
	UNTIL(received(fd, &byte));
	assert_int_equal(byte, 'y');
	UNTIL(c->size == 1);

	/* The listener goes, what it accepted does not. */
	let_go(l);
	UNTIL(far_listen_list(&b, NULL, 0) == 0);
	assert_int_equal(b.own_count, 0);
	assert_int_equal(b.peers[sides[US].peer].listeners, 0);
	say(c, "z", 1);
	UNTIL(received(fd, &byte));
	assert_int_equal(byte, 'z');
	fds_close(&fd);
	assert_int_not_equal(connect_to(port, &fd), 0);
	end();
}

static void what_is_no_listener_is_refused(void **state)
{
	static const struct {
		enum target_kind kind;
		const char *to;
		const char *more;
		uint16_t code;
	} rows[] = {
		{ TARGET_KIND_LISTEN, "127.0.0.2:7", "", TARGET_POLICY },
		{ TARGET_KIND_LISTEN, "0.0.0.0:0", "", TARGET_POLICY },
		{ TARGET_KIND_LISTEN, "unix:/tmp/x", "", TARGET_POLICY },
		{ TARGET_KIND_LISTEN, "127.0.0.1:0", "no data follow", TARGET_MALFORMED },
		{ TARGET_KIND_LISTEN, "198.51.100.77:0", "", TARGET_HOST_UNREACHABLE },
		{ TARGET_KIND_LISTEN_UDP, "127.0.0.1:0", "", TARGET_POLICY },
		{ TARGET_KIND_TCP, "service:web", "", TARGET_SERVICE_UNKNOWN },
		{ TARGET_KIND_TCP, "service:theirs", "", TARGET_SERVICE_UNKNOWN },
	};
	struct theirs *t;

	(void)state;
	begin(PEER(", allow_listen: [ '127.0.0.1:*', '198.51.100.77:*' ] }, other: { key: "
	           "'ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=', address: 198.51.100.3") //
	      "services: { theirs: { to: 1, allow: other } }\n");
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].to);
		t = ask(rows[i].kind, rows[i].to, rows[i].more);
		UNTIL(t->is_reset);
		assert_int_equal(t->code, rows[i].code);
	}
	t = back(4242);
	UNTIL(t->is_reset);
	assert_int_equal(t->code, TARGET_POLICY);
	assert_int_equal(far_listen_list(&b, NULL, 0), 0);
	assert_int_equal(b.peers[sides[US].peer].listeners, 0);
	end();
}

static void a_peer_has_so_many_listeners(void **state)
{
	struct theirs *t = NULL;

	(void)state;
	begin(PEER(", allow_listen: '127.0.0.1:*'"));
	for (unsigned i = 0; i < LISTENERS_PER_PEER_MAX; i++) {
		t = ask(TARGET_KIND_LISTEN, "127.0.0.1:0", "");
		UNTIL(t->size > 0);
	}
	t = ask(TARGET_KIND_LISTEN, "127.0.0.1:0", "");
	UNTIL(t->is_reset);
	assert_int_equal(t->code, TARGET_LIMIT);
	t = ask(TARGET_KIND_BIND, "127.0.0.1:0", "");
	UNTIL(t->is_reset);
	assert_int_equal(t->code, TARGET_LIMIT);
	let_go(&streams[0]);
	UNTIL(far_listen_list(&b, NULL, 0) == LISTENERS_PER_PEER_MAX - 1);
	t = ask(TARGET_KIND_LISTEN, "127.0.0.1:0", "");
	UNTIL(t->size > 0);
	end();
}

/* However many peers ask: all their listeners have a place in the policy. */
static void all_peers_have_so_many_listeners(void **state)
{
	struct theirs *t;

	(void)state;
	begin(PEER(", allow_listen: '127.0.0.1:*'"));
	b.listeners = LISTENERS_OF_PEERS_MAX - 1; /* of others */
	t = ask(TARGET_KIND_LISTEN, "127.0.0.1:0", "");
	UNTIL(t->size > 0);
	t = ask(TARGET_KIND_LISTEN, "127.0.0.1:0", "");
	UNTIL(t->is_reset);
	assert_int_equal(t->code, TARGET_LIMIT);
	assert_int_equal(b.listeners, LISTENERS_OF_PEERS_MAX);
	assert_in_range(b.listeners, 1, CV_ARRAY_SIZE(b.own));
	end();
	assert_int_equal(b.listeners, LISTENERS_OF_PEERS_MAX - 1);
}

static void a_policy_ends_a_bind(void **state)
{
	struct theirs *t;
	struct addr at;
	int fd;

	(void)state;
	begin(PEER(", allow_listen: '127.0.0.1:*'"));
	t = ask(TARGET_KIND_BIND, "127.0.0.1:0", "");
	UNTIL(t->size > 0);
	at = bound_of(t);
	adopt(PEER(", allow_listen: '127.0.0.1:*'"));
	for (int i = 0; i < 10; i++)
		turn();
	assert_false(t->is_reset);
	adopt(PEER(""));
	UNTIL(t->is_reset);
	assert_int_equal(t->code, TARGET_POLICY);
	assert_int_equal(b.own_count, 0);
	assert_int_not_equal(connect_to(at.port, &fd), 0);
	end();
}

/* What was lent to read the end into goes back: one way open is no reason to hold a buffer. */
static void half_closed_holds_no_memory(void **state)
{
	uint64_t used;
	struct theirs *l, *c;
	struct addr at;
	int fd;

	(void)state;
	begin(PEER(", allow_listen: '127.0.0.1:*'"));
	l = ask(TARGET_KIND_LISTEN, "127.0.0.1:0", "");
	UNTIL(l->size > 0);
	at = bound_of(l);
	assert_int_equal(connect_to(at.port, &fd), 0);
	UNTIL(stream_count == 2 && streams[1].size > 0);
	c = &streams[1];
	(void)request_of(c);
	say(c, "\0\0", 2); /* a status without an address */
	assert_int_equal(send(fd, "x", 1, 0), 1);
	UNTIL(c->size == 1);
	for (int i = 0; i < 20; i++)
		turn(); /* acknowledged */
	used = sides[US].pool.used;
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	UNTIL(c->is_at_end);
	UNTIL(sides[US].pool.used <= used);
	fds_close(&fd);
	end();
}

/* ---- flows of datagrams ---- */

static void flow_is_over(struct udp_flow *f, cv_time now, enum target_code code)
{
	(void)now;
	(void)code;
	udp_flow_remove(f, TARGET_ABORTED);
}

/* The next object of a peer begins with the same numbers while the last one's flows still end. */
static void a_number_is_the_next_ones(void **state)
{
	static const struct udp_flow_ops ops = { .on_end = flow_is_over };
	static const uint8_t psk[KEY_SIZE] = { 1 };
	struct endpoint_peer peer = { .pk = NULL, .psk = psk, .has_address = true };
	struct udp_flow f[2];
	cv_time now;

	(void)state;
	begin(PEER(""));
	peer.pk = sides[THEM].me.pk;
	now = clock_now();
	for (unsigned i = 0; i < 2; i++) {
		f[i] = (struct udp_flow){ .b = &b, .ops = &ops, .peer = sides[US].peer };
		f[i].streams = endpoint_streams(sides[US].e, f[i].peer);
		assert_int_equal(streams_open(f[i].streams, &f[i].stream), 0);
		assert_int_equal(udp_flow_add(&f[i], now), 0);
		if (i == 0)
			assert_int_equal(endpoint_change_peer(sides[US].e, now, f[0].peer, &peer),
			                 0);
	}
	assert_int_equal(f[0].id, f[1].id);
	while (drain(US, now))
		;
	assert_null(f[0].stream); /* its object is lost, and it heard so */
	assert_non_null(f[1].stream);
	assert_int_equal(b.udp.count, 1);
	assert_int_equal(b.udp.by_id.count, 1);
	udp_flow_remove(&f[1], TARGET_ABORTED);
	assert_int_equal(b.udp.by_id.count, 0);
	end();
}

static void bind_takes_one(void **state)
{
	struct addr at, who;
	struct theirs *t;
	char byte = 0;
	int fd, second;

	(void)state;
	begin(PEER(", allow_listen: '127.0.0.1:*'"));
	t = ask(TARGET_KIND_BIND, "127.0.0.1:0", "early");
	UNTIL(t->size > 0);
	at = bound_of(t);
	assert_int_equal(connect_to(at.port, &fd), 0);
	who = fds_local(fd);
	UNTIL(t->size > 0);
	at = bound_of(t);
	assert_true(addr_equal(&at, &who));
	UNTIL(received(fd, &byte));
	assert_int_equal(byte, 'e'); /* what was sent ahead is data for whoever connects */
	assert_int_not_equal(connect_to(at.port, &second), 0);
	assert_int_equal(b.own_count, 0);
	fds_close(&fd);
	end();
}

/* What our remote forwards stand for is reached by their number, while they are there. */
static void numbers_lead_where_we_said(void **state)
{
	struct target_request request;
	struct remote_status status;
	struct theirs *l, *t;
	char text[512];
	uint16_t port;
	int server = serve(&port), fd;

	(void)state;
	(void)snprintf(text, sizeof(text),
	               PEER("") "remote_forwards: [ { listen: '127.0.0.1:81', peer: them, to: "
	                        "'127.0.0.1:%u' } ]\n",
	               port);
	begin(text);
	UNTIL(stream_count == 1 && streams[0].size > 0);
	l = &streams[0];
	request = request_of(l);
	assert_int_equal(request.kind, TARGET_KIND_LISTEN);
	assert_int_equal(request.to.port, 81);
	/* Before the status too: it may have been overtaken. */
	t = back(l->id);
	UNTIL(t->size > 0);
	fd = accept(server, NULL, NULL);
	assert_true(fd >= 0);
	fds_close(&fd);
	t = back(l->id + 2);
	UNTIL(t->is_reset);
	assert_int_equal(t->code, TARGET_POLICY);
	say(l, "\0\x04\0\x51\x7f\0\0\x01", 8);
	UNTIL(is_bound(&status));
	assert_string_equal(status.bound, "127.0.0.1:81");
	t = back(l->id);
	UNTIL(t->size > 0);

	/* It ends: its number is nobody's, and it is asked for again, after a while. */
	let_go(l);
	UNTIL(!is_bound(&status));
	t = back(l->id);
	UNTIL(t->is_reset);
	assert_int_equal(t->code, TARGET_POLICY);
	UNTIL(streams[stream_count - 1].size > 0 && streams[stream_count - 1].id != t->id);
	assert_string_equal(status.why, "the peer closed it");

	/* Not configured any more. */
	l = &streams[stream_count - 1];
	adopt(PEER(""));
	UNTIL(l->is_reset);
	t = back(l->id);
	UNTIL(t->is_reset);
	assert_int_equal(t->code, TARGET_POLICY);
	fds_close(&server);
	end();
}

static void strange_answers_are_refusals(void **state)
{
	static const char *const answers[] = { "\x01", "\0\x05", "\0\0more" };
	static const size_t sizes[] = { 1, 2, 6 };
	struct remote_status status;
	struct theirs *l;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(answers); i++) {
		begin(PEER("") "remote_forwards: [ { listen: '127.0.0.1:81', peer: them, to: 1 } "
		               "]\n");
		UNTIL(stream_count == 1 && streams[0].size > 0);
		l = &streams[0];
		say(l, answers[i], sizes[i]);
		UNTIL(l->is_reset);
		remote_status(&b, 0, &status);
		assert_string_equal(status.bound, "");
		assert_true(strlen(status.why) > 0);
		end();
	}
}

/* A number that a peer gave a listener is another flow's in the session that comes after. */
static void a_udp_number_is_its_sessions(void **state)
{
	struct near_udp_role role = {
		.request = { .kind = TARGET_KIND_UDP, .listener = 2, .has_listener = true },
	};
	const struct addr any = addr_v4(127, 0, 0, 1, 0);
	struct sockaddr_in to = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct near_udp *l;
	int fd;

	(void)state;
	begin(PEER(""));
	role.peer = sides[US].peer;
	assert_int_equal(near_udp_open(&b, &any, &l), 0);
	to.sin_port = htons(near_udp_local(l).port);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_true(fd >= 0);
	role.of = endpoint_streams(sides[THEM].e, sides[THEM].peer); /* any that is not ours */
	near_udp_set_role(l, &role);
	assert_int_equal(sendto(fd, "a", 1, 0, (const struct sockaddr *)&to, sizeof(to)), 1);
	for (int i = 0; i < 20; i++)
		(void)uv_run(&loop.loop, UV_RUN_NOWAIT); /* on loopback it is there at once */
	assert_int_equal(near_udp_flows(l), 0);
	role.of = endpoint_streams(sides[US].e, sides[US].peer);
	near_udp_set_role(l, &role);
	assert_int_equal(sendto(fd, "b", 1, 0, (const struct sockaddr *)&to, sizeof(to)), 1);
	UNTIL(near_udp_flows(l) == 1);
	(void)close(fd);
	near_udp_close(l, NULL, NULL);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_lives_as_long_as_its_stream),
		cmocka_unit_test(what_is_no_listener_is_refused),
		cmocka_unit_test(a_peer_has_so_many_listeners),
		cmocka_unit_test(all_peers_have_so_many_listeners),
		cmocka_unit_test(bind_takes_one),
		cmocka_unit_test(a_policy_ends_a_bind),
		cmocka_unit_test(half_closed_holds_no_memory),
		cmocka_unit_test(a_number_is_the_next_ones),
		cmocka_unit_test(a_udp_number_is_its_sessions),
		cmocka_unit_test(numbers_lead_where_we_said),
		cmocka_unit_test(strange_answers_are_refusals),
	};

	return cmocka_run_group_tests_name("app_remote", tests, NULL, NULL);
}
