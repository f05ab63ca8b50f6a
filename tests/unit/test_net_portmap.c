/* SPDX-License-Identifier: MIT */

/*
 * Goal: the shell of port mappings asks the right gateway from the right address, believes nobody
 * else, fetches nothing from elsewhere, and is gone within a second of being told to.
 * Method: a network namespace with a TUN device, of which this process is the other end: it reads
 * every packet that leaves, and is gateway and stranger as it likes. The mapping itself is
 * test_mapper's, a real gateway tests/e2e/test_portmap's. Skipped where there is no TUN device.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#ifdef __linux__
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

#include "base/rd.h"
#include "base/wr.h"
#include "net/convert.h"
#include "net/fds.h"
#include "net/gateway.h"
#include "net/portmap.h"
#include "net/portprobe.h"
#include "net/upnp.h"
#include "test_net_loop.h"
#include "tunnel/pcp.h"

#ifdef __linux__

enum { PORT = 4660, UDP = 17, TCP = 6, IP_HEADER = 20, PACKET_MAX = 2048 };

static struct addr gateway_ip, own_ip, stranger_ip;
static int tun = -1;

/* ---- the other end of the device ---- */

static struct seen {
	unsigned map, unmap, address, announce; /* requests, by what they ask */
	unsigned search, search_direct;
	unsigned tcp_gateway, tcp_elsewhere;
	struct addr from; /* of the newest request */
	uint8_t nonce[PCP_NONCE_SIZE];
} seen;

static struct manner {
	bool has_pcp, has_natpmp;
	bool is_stranger;     /* answers come from another address */
	const char *location; /* of an answer to a search; NULL: none */
	uint32_t epoch_s;
} manner;

static void configure(struct ifreq *request, unsigned long what)
{
	int fd = fds_socket(AF_INET, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	if (ioctl(fd, what, request) < 0)
		fail_msg("ioctl %#lx: %s", what, strerror(errno));
	fds_close(&fd);
}

static void set_address(const struct addr *a, unsigned long what)
{
	struct ifreq request = { .ifr_name = "tun0" };
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(a, &sa);

	memcpy(&request.ifr_addr, &sa, size);
	configure(&request, what);
}

/* Our address in a /24; a new one takes the routes of the old with it. */
static void set_own(const struct addr *a)
{
	const struct addr mask = addr_v4(255, 255, 255, 0, 0);

	set_address(a, SIOCSIFADDR);
	set_address(&mask, SIOCSIFNETMASK);
}

static void set_route(bool is_there)
{
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
	struct addr any = { .family = ADDR_V4 };
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(&any, &sa);
	int fd = fds_socket(AF_INET, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	memcpy(&route.rt_dst, &sa, size);
	memcpy(&route.rt_genmask, &sa, size);
	size = convert_to_sockaddr(&gateway_ip, &sa);
	memcpy(&route.rt_gateway, &sa, size);
	assert_int_equal(ioctl(fd, is_there ? SIOCADDRT : SIOCDELRT, &route), 0);
	fds_close(&fd);
}

static int make_network(void **state)
{
	struct ifreq request = { .ifr_name = "tun0", .ifr_flags = IFF_TUN | IFF_NO_PI };

	(void)state;
	gateway_ip = addr_v4(10, 9, 9, 1, 0);
	own_ip = addr_v4(10, 9, 9, 5, 0);
	stranger_ip = addr_v4(10, 9, 9, 7, 0);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return 0;
	tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tun < 0)
		return 0;
	if (ioctl(tun, TUNSETIFF, &request) < 0) {
		fds_close(&tun);
		return 0;
	}
	set_own(&own_ip);
	request.ifr_flags = IFF_UP | IFF_MULTICAST;
	configure(&request, SIOCSIFFLAGS);
	set_route(true);
	return 0;
}

static int drop_network(void **state)
{
	(void)state;
	fds_close(&tun);
	return 0;
}

static uint16_t checksum(const uint8_t *bytes, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < size; i += 2)
		sum += cv_load16(bytes + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* A UDP packet as it comes in. */
static void inject(const struct addr *from, const struct addr *to, const void *bytes, size_t size)
{
	uint8_t packet[PACKET_MAX];
	struct wr w = wr_init(packet, sizeof(packet));

	wr_u16(&w, 0x4500);
	wr_u16(&w, (uint16_t)(IP_HEADER + 8 + size));
	wr_u32(&w, 0);
	wr_u8(&w, 1);
	wr_u8(&w, UDP);
	wr_u16(&w, 0);
	wr_copy(&w, from->ip, 4);
	wr_copy(&w, to->ip, 4);
	cv_store16(packet + 10, checksum(packet, IP_HEADER));
	wr_u16(&w, from->port);
	wr_u16(&w, to->port);
	wr_u16(&w, (uint16_t)(8 + size));
	wr_u16(&w, 0); /* no checksum */
	wr_copy(&w, bytes, size);
	assert_false(w.bad);
	assert_int_equal(write(tun, packet, wr_size(&w)), wr_size(&w));
}

static void answer(const struct addr *to, uint16_t port, const struct wr *w)
{
	struct addr from = manner.is_stranger ? stranger_ip : gateway_ip;

	from.port = port;
	assert_false(w->bad);
	inject(&from, to, w->start, wr_size(w));
}

static void wr_pcp_head(struct wr *w, uint8_t opcode, uint32_t lifetime_s)
{
	wr_u8(w, 2);
	wr_u8(w, 0x80 | opcode);
	wr_u16(w, 0);
	wr_u32(w, lifetime_s);
	wr_u32(w, manner.epoch_s);
	wr_zero(w, 12);
}

static void on_pcp(const struct addr *from, const uint8_t *bytes, size_t size)
{
	uint8_t out[64];
	struct wr w = wr_init(out, sizeof(out));
	uint32_t lifetime_s = cv_load32(bytes + 4);

	/* It must come from the address that it names. */
	assert_memory_equal(bytes + 20, from->ip, 4);
	if (bytes[1] == 0) {
		seen.announce++;
		wr_pcp_head(&w, 0, 0);
	} else {
		assert_int_equal(size, 60);
		seen.map += lifetime_s > 0;
		seen.unmap += lifetime_s == 0;
		memcpy(seen.nonce, bytes + 24, sizeof(seen.nonce));
		assert_int_equal(cv_load16(bytes + 40), PORT);
		wr_pcp_head(&w, 1, lifetime_s);
		wr_copy(&w, bytes + 24, 18);
		wr_u16(&w, 40001);
		wr_zero(&w, 10);
		wr_u16(&w, 0xffff);
		wr_u32(&w, 0xc6336407); /* 198.51.100.7 */
	}
	if (manner.has_pcp)
		answer(from, PCP_PORT, &w);
}

static void on_natpmp(const struct addr *from, const uint8_t *bytes)
{
	uint8_t out[16];
	struct wr w = wr_init(out, sizeof(out));

	seen.address += bytes[1] == 0;
	wr_u8(&w, 0);
	wr_u8(&w, 0x80 | bytes[1]);
	wr_u16(&w, 0);
	wr_u32(&w, manner.epoch_s);
	if (bytes[1] == 0) {
		wr_u32(&w, 0xc6336407);
	} else {
		wr_u16(&w, PORT);
		wr_u16(&w, 40001);
		wr_copy(&w, bytes + 8, 4);
	}
	if (manner.has_natpmp)
		answer(from, PCP_PORT, &w);
}

static void on_search(const struct addr *from)
{
	char text[256];
	int size;

	if (!manner.location)
		return;
	size = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nLOCATION: %s\r\n\r\n",
	                manner.location);
	struct wr w = wr_init((uint8_t *)text, sizeof(text));
	w.pos += size;
	answer(from, 1900, &w);
}

static void on_packet(const uint8_t *packet, size_t size)
{
	struct addr from = addr_v4(packet[12], packet[13], packet[14], packet[15], 0);
	struct addr to = addr_v4(packet[16], packet[17], packet[18], packet[19], 0);
	const size_t head = (size_t)(packet[0] & 15) * 4;
	const uint8_t *bytes = packet + head + 8;

	if (packet[0] >> 4 != 4 || size < head + 8)
		return;
	from.port = cv_load16(packet + head);
	to.port = cv_load16(packet + head + 2);
	if (packet[9] == TCP) {
		seen.tcp_gateway += addr_equal_ip(&to, &gateway_ip);
		seen.tcp_elsewhere += !addr_equal_ip(&to, &gateway_ip);
		return;
	}
	if (packet[9] != UDP)
		return;
	if (to.port == 1900) {
		seen.search_direct += addr_equal_ip(&to, &gateway_ip);
		seen.search++;
		on_search(&from);
		return;
	}
	assert_int_equal(to.port, PCP_PORT); /* nothing else leaves this host */
	assert_true(addr_equal_ip(&to, &gateway_ip));
	seen.from = from;
	if (bytes[0] == 2)
		on_pcp(&from, bytes, size - head - 8);
	else
		on_natpmp(&from, bytes);
}

/* Everything that left is looked at and answered; part of every condition waited for. */
static bool served(void)
{
	uint8_t packet[PACKET_MAX];
	ssize_t size;

	while ((size = read(tun, packet, sizeof(packet))) > 0)
		on_packet(packet, (size_t)size);
	return true;
}

/* ---- the tested ---- */

static struct test_loop t;
static struct portmap *p;
static struct rng_seeded seeded;
static struct rng rng;
static unsigned changes, closed;

static void on_change(void *ctx)
{
	(void)ctx;
	changes++;
}

static void on_closed(void *ctx)
{
	(void)ctx;
	closed++;
}

static void begin(const struct manner *how)
{
	struct portmap_options opt = { .rng = &rng, .port = PORT, .on_change = on_change };

	if (tun < 0)
		skip();
	manner = *how;
	rng_seeded_init(&seeded, 3);
	rng = rng_from_seeded(&seeded);
	(void)served();
	seen = (struct seen){ 0 };
	changes = closed = 0;
	test_loop_open(&t);
	assert_int_equal(portmap_open(&t.loop, &opt, &p), 0);
}

/* Returns how long it took. */
static cv_duration end(void)
{
	cv_time at = clock_now();

	portmap_close(p, on_closed, NULL);
	RUN_UNTIL(&t, served() && closed == 1);
	at = clock_now() - at;
	test_loop_close(&t);
	return at;
}

static struct portmap_status status(void)
{
	struct portmap_status s;

	portmap_status(p, &s);
	return s;
}

static void the_gateway_is_found(void **state)
{
	struct addr outside = addr_v4(198, 51, 100, 7, 9), source;
	struct gateway gw, before;

	(void)state;
	if (tun < 0)
		skip();
	assert_int_equal(gateway_source(&outside, &source), 0);
	assert_true(addr_equal(&source, &own_ip));
	assert_int_equal(gateway_find(ADDR_V4, &gw), 0);
	assert_true(addr_equal(&gw.address, &gateway_ip));
	assert_true(addr_equal(&gw.own, &own_ip));
	set_route(false);
	before = gw;
	assert_int_equal(gateway_find(ADDR_V4, &gw), -ENETUNREACH);
	assert_memory_equal(&gw, &before, sizeof(gw));
	assert_int_equal(gateway_source(&outside, &source), -ENETUNREACH);
	set_route(true);
	assert_int_equal(gateway_find(ADDR_V6, &gw), -ENETUNREACH);
}

static void made_told_and_taken_back(void **state)
{
	struct addr outside = addr_v4(198, 51, 100, 7, 40001), list[PORTMAP_ADDRESSES_MAX];

	(void)state;
	begin(&(struct manner){ .has_pcp = true });
	assert_string_equal(status().why, "the gateway has not answered yet");
	RUN_UNTIL(&t, served() && changes == 1);
	assert_int_equal(portmap_addresses(p, list), 1);
	assert_true(addr_equal(&list[0], &outside));
	assert_string_equal(status().protocol, "pcp");
	list[1] = status().address;
	assert_true(addr_equal(&list[1], &outside));
	assert_in_range(status().expires, CV_SEC(7190), CV_SEC(7200));
	assert_string_equal(status().why, "");
	assert_true(addr_equal_ip(&seen.from, &own_ip));
	assert_true(end() < CV_MS(900));
	assert_int_equal(seen.unmap, 1);
	assert_int_equal(seen.search, 0);
	assert_int_equal(changes, 1);
}

static void strangers_are_not_believed(void **state)
{
	(void)state;
	begin(&(struct manner){ .has_pcp = true,
	                        .has_natpmp = true,
	                        .is_stranger = true,
	                        .location = "http://10.9.9.7:80/x" });
	/* All three ways have been tried, and answered. */
	RUN_UNTIL(&t, served() && seen.address >= 2 && (seen.search >= 2 || !upnp_is_built_in()));
	assert_int_equal(changes, 0);
	assert_null(status().protocol);
	assert_int_equal(seen.tcp_gateway + seen.tcp_elsewhere, 0);
	(void)end();
}

static struct upnp_result found;

static void on_found(void *ctx, const struct upnp_result *r)
{
	(*(unsigned *)ctx)++;
	found = *r;
}

/* SSRF: the gateway's own answer must not lead elsewhere either. */
static void nothing_is_fetched_from_elsewhere(void **state)
{
	const struct upnp_request req = { .task = UPNP_FIND,
		                          .gateway = gateway_ip,
		                          .client = own_ip };
	struct upnp *u;
	unsigned done = 0;

	(void)state;
	if (tun < 0 || !upnp_is_built_in())
		skip();
	manner = (struct manner){ .location = "http://10.9.9.7:80/rootDesc.xml" };
	seen = (struct seen){ 0 };
	test_loop_open(&t);
	assert_int_equal(upnp_start(&t.loop, &req, on_found, &done, &u), 0);
	RUN_UNTIL(&t, served() && done == 1);
	test_loop_close(&t);
	assert_int_equal(found.verdict, UPNP_ABSENT);
	assert_int_equal(seen.tcp_gateway + seen.tcp_elsewhere, 0);
	/* Everybody is asked, and the gateway by itself. */
	assert_true(seen.search_direct > 0);
	assert_true(seen.search > seen.search_direct);
}

/* It answers the search, then says no more: the connection is not even refused. */
static void a_gateway_that_dies_does_not_hold_up_the_end(void **state)
{
	cv_duration took;

	(void)state;
	if (!upnp_is_built_in())
		skip();
	begin(&(struct manner){ .location = "http://10.9.9.1:80/rootDesc.xml" });
	RUN_UNTIL(&t, served() && seen.tcp_gateway > 0);
	took = end();
	assert_true(took < CV_MS(1500)); /* a second, and a busy machine */
	assert_int_equal(seen.tcp_elsewhere, 0);
}

static void a_restart_is_heard_of(void **state)
{
	struct addr from = gateway_ip, to = addr_v4(224, 0, 0, 1, PCP_ANNOUNCE_PORT);
	uint8_t bytes[24];
	struct wr w = wr_init(bytes, sizeof(bytes));

	(void)state;
	begin(&(struct manner){ .has_pcp = true, .epoch_s = 1000 });
	RUN_UNTIL(&t, served() && changes == 1);
	manner.epoch_s = 0;
	wr_pcp_head(&w, 0, 0);
	from.port = PCP_PORT;
	inject(&from, &to, bytes, wr_size(&w));
	RUN_UNTIL(&t, served() && seen.map == 2);
	assert_int_equal(changes, 1); /* it is the same again */
	(void)end();
}

static void without_a_gateway_nobody_is_asked(void **state)
{
	const struct addr public_ip = addr_v4(93, 184, 216, 34, 0);
	struct addr gateway = gateway_ip;

	(void)state;
	if (tun < 0)
		skip();
	set_route(false);
	begin(&(struct manner){ .has_pcp = true });
	assert_string_equal(status().why, "there is no route to the internet");
	/* There is one now. */
	set_route(true);
	portmap_on_network_change(p);
	RUN_UNTIL(&t, served() && changes == 1);
	/* Another network, where none is needed: told, and nobody is asked. */
	set_own(&public_ip);
	gateway_ip = addr_v4(93, 184, 216, 1, 0);
	set_route(true);
	portmap_on_network_change(p);
	RUN_UNTIL(&t, changes == 2);
	assert_null(status().protocol);
	assert_string_equal(status().why, "none is needed: this host has a public address");
	assert_true(end() < CV_MS(900));
	assert_int_equal(seen.unmap, 0);
	gateway_ip = gateway;
	set_own(&own_ip);
	set_route(true);
}

/* ---- the probe ---- */

static struct portprobe_result result;

static void on_probed(void *ctx, const struct portprobe_result *r)
{
	(*(unsigned *)ctx)++;
	result = *r;
}

static void the_probe_tells_them_apart(void **state)
{
	struct addr outside = addr_v4(198, 51, 100, 7, 0);

	(void)state;
	if (tun < 0)
		skip();
	for (unsigned i = 1; i < 4; i += 2) {
		struct portprobe *probe;
		unsigned done = 0;
		cv_time at = clock_now();

		manner = (struct manner){ .has_pcp = i & 1, .has_natpmp = i & 2 };
		seen = (struct seen){ 0 };
		test_loop_open(&t);
		assert_int_equal(portprobe_start(&t.loop, on_probed, &done, &probe), 0);
		RUN_UNTIL(&t, served() && done == 1);
		assert_null(result.why);
		assert_int_equal(result.has_pcp, i & 1);
		assert_int_equal(result.has_natpmp, i >> 1);
		assert_false(result.has_upnp);
		assert_true(addr_equal(&result.gateway, &gateway_ip));
		assert_true(addr_equal(&result.own, &own_ip));
		if (manner.has_natpmp)
			assert_true(addr_equal(&result.external, &outside));
		assert_int_equal(seen.map + seen.unmap, 0);
		assert_true(clock_now() - at < CV_MS(3500));
		test_loop_close(&t);
	}
	assert_int_equal(result.is_upnp_built_in, upnp_is_built_in());
}

static void a_probe_may_be_cancelled(void **state)
{
	struct portprobe *probe;
	unsigned done = 0;

	(void)state;
	if (tun < 0)
		skip();
	test_loop_open(&t);
	assert_int_equal(portprobe_start(&t.loop, on_probed, &done, &probe), 0);
	test_loop_turn(&t);
	portprobe_cancel(probe);
	test_loop_close(&t);
	assert_int_equal(done, 0);
	/* And without a gateway it says so at once. */
	set_route(false);
	test_loop_open(&t);
	assert_int_equal(portprobe_start(&t.loop, on_probed, &done, &probe), 0);
	RUN_UNTIL(&t, done == 1);
	assert_string_equal(result.why, "there is no route to the internet");
	test_loop_close(&t);
	set_route(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_gateway_is_found),
		cmocka_unit_test(made_told_and_taken_back),
		cmocka_unit_test(strangers_are_not_believed),
		cmocka_unit_test(nothing_is_fetched_from_elsewhere),
		cmocka_unit_test(a_gateway_that_dies_does_not_hold_up_the_end),
		cmocka_unit_test(a_restart_is_heard_of),
		cmocka_unit_test(without_a_gateway_nobody_is_asked),
		cmocka_unit_test(the_probe_tells_them_apart),
		cmocka_unit_test(a_probe_may_be_cancelled),
	};

	return cmocka_run_group_tests_name("portmap", tests, make_network, drop_network);
}

#else

int main(void)
{
	return 77;
}

#endif
