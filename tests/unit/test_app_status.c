/* SPDX-License-Identifier: MIT */

/*
 * Goal: the status objects are the user's contract to the letter: names, order, and null for
 * every number that is not known.
 * Method: golden texts of an agent that knows much, of one that knows nothing, and of a server;
 * and the tables that people see.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "status.h"
#include "status_text.h"

#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

/* The golden text has "V" for the version of this build. Takes @status. */
static void expect(json_t *status, const char *golden)
{
	char *text;

	assert_non_null(status);
	assert_true(json_is_string(json_object_get(status, "version")));
	assert_int_equal(json_object_set_new(status, "version", json_string("V")), 0);
	text = json_dumps(status, STATUS_JSON_FLAGS | JSON_COMPACT);
	assert_string_equal(text, golden);
	free(text);
	json_decref(status);
}

static json_t *agent(void)
{
	const struct status_agent_server servers[] = {
		{ "rv.example.net:28583",
		  { .is_up = true,
		    .rtt = CV_US(21400),
		    .public_address = addr_v4(203, 0, 113, 7, 40001),
		    .address = addr_v4(192, 0, 2, 1, 28583) } },
		{ "other.example.net", { .rtt = CV_MS(1), .why = "not on its list" } },
		{ "new.example.net", { .is_up = true, .is_tcp = true } },
	};
	const struct status_agent_peer peers[] = {
		{ "home",
		  KEY,
		  { .state = PEER_CONNECTED,
		    .path_kind = "direct",
		    .path_address = addr_v4(198, 51, 100, 9, 28583),
		    .rtt = CV_US(20100),
		    .mtu = 1452,
		    .sent_10s = 1000,
		    .lost_10s = 5,
		    .streams = 3,
		    .tx_bytes = 1,
		    .rx_bytes = UINT64_MAX,
		    .tx_bps = 1234567.0,
		    .rx_bps = 0.0 } },
		{ "office",
		  KEY,
		  { .state = PEER_DOWN,
		    .path_kind = "none",
		    .rtt = CV_MS(3),
		    .mtu = 1200,
		    .sent_10s = 9,
		    .why = "no server knows it; next try in 5 s" } },
		{ "lab", KEY, { .state = PEER_CONNECTED, .path_kind = "relay", .why = "w\xff" } },
	};
	const struct status_listener listeners[] = {
		{ "proxy", "127.0.0.1:1080", "home" },
		{ "metrics", "127.0.0.1:9464", NULL },
	};
	const struct status_remote remotes[] = {
		{ "home", "127.0.0.1:0", "127.0.0.1:3000", "127.0.0.1:8000", NULL },
		{ "lab", "unix:/run/x", "localhost:1", NULL, "it is withheld" },
	};
	const struct status_agent s = {
		.public_key = KEY,
		.uptime_s = 12.34567,
		.servers = servers,
		.server_count = 3,
		.nat = { .nat = { .mapping = NAT_ENDPOINT_INDEPENDENT,
		                  .filtering = NAT_ENDPOINT_INDEPENDENT },
		         .attempts = 2,
		         .succeeded = 1,
		         .packets = 300,
		         .sockets = 256,
		         .limits = { 256, 768, 100, 6144 },
		         .left = { .packets = 2772, .sockets = 255 } },
		.portmap = { .protocol = "nat-pmp",
		             .address = addr_v4(203, 0, 113, 7, 40001),
		             .expires = CV_SEC(7199) + CV_MS(900) },
		.peers = peers,
		.peer_count = 3,
		.listeners = listeners,
		.listener_count = 2,
		.remotes = remotes,
		.remote_count = 2,
	};

	return status_agent_json(&s);
}

static void test_agent(void **state)
{
	(void)state;
	expect(agent(),
	       "{\"version\":\"V\",\"role\":\"agent\",\"public_key\":\"" KEY
	       "\",\"uptime_s\":12.346,"
	       "\"servers\":["
	       "{\"address\":\"rv.example.net:28583\",\"connected\":true,\"rtt_ms\":21.4,"
	       "\"transport\":\"udp\",\"public_address\":\"203.0.113.7:40001\",\"why\":null},"
	       "{\"address\":\"other.example.net\",\"connected\":false,\"rtt_ms\":null,"
	       "\"transport\":null,\"public_address\":null,\"why\":\"not on its list\"},"
	       "{\"address\":\"new.example.net\",\"connected\":true,\"rtt_ms\":null,"
	       "\"transport\":\"tcp\",\"public_address\":null,\"why\":null}],"
	       "\"nat\":{\"mapping\":\"endpoint-independent\",\"filtering\":\"unknown\",\"ports\":"
	       "\"unknown\"},\"punch\":{\"attempts\":2,\"succeeded\":1,\"packets\":300,\"sockets\":"
	       "256,\"packets_left\":2772,\"sockets_left\":255,\"limits\":{\"sockets\":256,"
	       "\"packets\":768,\"rate\":100,\"hourly\":6144}},"
	       "\"portmap\":{\"protocol\":\"nat-pmp\",\"address\":\"203.0.113.7:40001\","
	       "\"expires_s\":7199,\"why\":null},"
	       "\"peers\":["
	       "{\"name\":\"home\",\"public_key\":\"" KEY "\",\"connected\":true,"
	       "\"path\":{\"kind\":\"direct\",\"address\":\"198.51.100.9:28583\",\"rtt_ms\":20.1,"
	       "\"mtu\":1452,\"loss\":0.005,\"why\":null},"
	       "\"streams\":3,\"tx_bytes\":1,\"rx_bytes\":9223372036854775807,"
	       "\"tx_bps\":1234567.0,\"rx_bps\":0.0},"
	       "{\"name\":\"office\",\"public_key\":\"" KEY "\",\"connected\":false,"
	       "\"path\":{\"kind\":\"none\",\"address\":null,\"rtt_ms\":null,\"mtu\":null,"
	       "\"loss\":null,\"why\":\"no server knows it; next try in 5 s\"},"
	       "\"streams\":0,\"tx_bytes\":0,\"rx_bytes\":0,\"tx_bps\":0.0,\"rx_bps\":0.0},"
	       "{\"name\":\"lab\",\"public_key\":\"" KEY "\",\"connected\":true,"
	       "\"path\":{\"kind\":\"relay\",\"address\":null,\"rtt_ms\":null,\"mtu\":null,"
	       "\"loss\":null,\"why\":\"w\\\\xff\"},"
	       "\"streams\":0,\"tx_bytes\":0,\"rx_bytes\":0,\"tx_bps\":0.0,\"rx_bps\":0.0}],"
	       "\"listeners\":["
	       "{\"kind\":\"proxy\",\"address\":\"127.0.0.1:1080\",\"peer\":\"home\"},"
	       "{\"kind\":\"metrics\",\"address\":\"127.0.0.1:9464\",\"peer\":null}],"
	       "\"remote_forwards\":["
	       "{\"listen\":\"127.0.0.1:0\",\"peer\":\"home\",\"to\":\"127.0.0.1:3000\","
	       "\"address\":\"127.0.0.1:8000\",\"why\":null},"
	       "{\"listen\":\"unix:/run/x\",\"peer\":\"lab\",\"to\":\"localhost:1\","
	       "\"address\":null,\"why\":\"it is withheld\"}]}");
}

static void test_empty_agent(void **state)
{
	const struct status_agent s = { .public_key = KEY };

	(void)state;
	expect(status_agent_json(&s),
	       "{\"version\":\"V\",\"role\":\"agent\",\"public_key\":\"" KEY
	       "\",\"uptime_s\":0.0,\"servers\":[],"
	       "\"nat\":{\"mapping\":\"unknown\",\"filtering\":\"unknown\",\"ports\":\"unknown\"},"
	       "\"punch\":{\"attempts\":0,\"succeeded\":0,\"packets\":0,\"sockets\":0,"
	       "\"packets_left\":0,\"sockets_left\":0,\"limits\":{\"sockets\":0,\"packets\":0,"
	       "\"rate\":0,\"hourly\":0}},"
	       "\"portmap\":{\"protocol\":null,\"address\":null,"
	       "\"expires_s\":null,\"why\":null},"
	       "\"peers\":[],\"listeners\":[],\"remote_forwards\":[]}");
}

static json_t *server(void)
{
	const struct status_listener listeners[] = { { "udp", "0.0.0.0:28583", NULL } };
	const struct status_server s = {
		.public_key = KEY,
		.uptime_s = 7200,
		.listeners = listeners,
		.listener_count = 1,
		.tcp_connections = 3,
		.stats = { .agents = 2,
		           .channels = 1,
		           .relay_rx_bytes = 4096,
		           .relay_tx_bytes = 2048,
		           .stun_answers = 3,
		           .drop_forged = 7 },
	};

	return status_server_json(&s);
}

static void test_server(void **state)
{
	(void)state;
	expect(server(),
	       "{\"version\":\"V\",\"role\":\"server\",\"public_key\":\"" KEY
	       "\",\"uptime_s\":7200.0,"
	       "\"listeners\":[{\"kind\":\"udp\",\"address\":\"0.0.0.0:28583\",\"peer\":null}],"
	       "\"agents\":2,\"tcp_connections\":3,\"channels\":1,\"relay_rx_bytes\":4096,\"relay_"
	       "tx_bytes\":2048,"
	       "\"stun_answers\":3,"
	       "\"drops\":{\"malformed\":0,\"bad_mac\":0,\"limited\":0,\"unknown_index\":0,"
	       "\"forged\":7,\"replay\":0,\"access\":0,\"unknown_channel\":0,\"wrong_source\":0,"
	       "\"silent_peer\":0,\"quota\":0,\"queue_full\":0,\"too_large\":0,\"agents_full\":0,"
	       "\"address_full\":0,\"stun_limited\":0,\"stun_silent\":0}}");
}

static void test_ms(void **state)
{
	static const struct {
		cv_duration d;
		const char *text;
	} rows[] = {
		{ 1, "[0.0]" },
		{ 499, "[0.0]" },
		{ 500, "[0.001]" },
		{ CV_US(1), "[0.001]" },
		{ CV_US(21400), "[21.4]" },
		{ CV_SEC(3600), "[3600000.0]" },
	};
	json_t *list;
	char *text;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		list = json_pack("[f]", status_ms(rows[i].d));
		text = json_dumps(list, STATUS_JSON_FLAGS);
		assert_string_equal(text, rows[i].text);
		free(text);
		json_decref(list);
	}
}

/* What people see of @status; the caller frees it. Takes @status. */
static char *print(json_t *status)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	status_text_print(status, out);
	assert_int_equal(fclose(out), 0);
	json_decref(status);
	return text;
}

static void expect_parts(char *text, const char *const *parts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!strstr(text, parts[i]))
			fail_msg("'%s' is not in:\n%s", parts[i], text);
	}
	free(text);
}

static void test_text(void **state)
{
	static const char *const of_agent[] = {
		"PEER    PATH    RTT      LOSS   SENT        RECV     STREAMS\n",
		"home    direct  20.1 ms  0.5 %  1.2 Mbit/s  0 bit/s  3\n",
		"office  none    -        -      0 bit/s     0 bit/s  0\n",
		"    no server knows it; next try in 5 s\n",
		"rv.example.net:28583  connected      21.4 ms  udp  203.0.113.7:40001\n",
		"    not on its list\n",
		"nat: mapping endpoint-independent, filtering unknown, ports unknown\n",
		"punching: attempts 2, succeeded 1, packets 300 (2772 left now; 6144 an hour), ",
		"6144 an hour), sockets 256 (255 left now)\n",
		"port mapping: 203.0.113.7:40001 by nat-pmp\n",
		"proxy     127.0.0.1:1080  home\n",
		"127.0.0.1:0     home  127.0.0.1:3000  open      127.0.0.1:8000\n",
		"unix:/run/x     lab   localhost:1     not open  -\n",
		"    it is withheld\n",
		", up 12 s\n",
	};
	static const char *const of_server[] = {
		"agents 2, channels 1, relayed 4.0 KiB in, 2.0 KiB out\n",
		"dropped forged: 7\n",
		", up 2 h 0 min\n",
	};

	(void)state;
	expect_parts(print(agent()), of_agent, CV_ARRAY_SIZE(of_agent));
	expect_parts(print(server()), of_server, CV_ARRAY_SIZE(of_server));
}

/* An answer of another version, or of nobody we know. */
static void test_text_of_anything(void **state)
{
	static const char *const texts[] = {
		"{}",
		"{\"peers\":{}}",
		"{\"peers\":[1,null,{},[]]}",
		"{\"peers\":[{\"name\":\"\\u001b[2J\",\"path\":3,\"tx_bps\":1e308}]}",
		"{\"servers\":[{\"rtt_ms\":1e308,\"why\":\"\\u0007\"}],\"uptime_s\":-1}",
		"{\"portmap\":[]}",
		"{\"punch\":[],\"nat\":{\"ports\":1}}",
		"{\"punch\":{\"limits\":3,\"packets_left\":\"\\u001b\"}}",
		"{\"portmap\":{\"address\":\"\\u001b\",\"why\":\"\\u0007\"}}",
		"{\"agents\":\"x\",\"drops\":{\"a\\nb\":1},\"uptime_s\":1e300,\"nat\":[]}",
	};
	char *text;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(texts); i++) {
		text = print(json_loads(texts[i], 0, NULL));
		for (const char *p = text; *p; p++)
			assert_true(*p == '\n' || (*p >= ' ' && *p <= '~'));
		free(text);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_agent),  cmocka_unit_test(test_empty_agent),
		cmocka_unit_test(test_server), cmocka_unit_test(test_ms),
		cmocka_unit_test(test_text),   cmocka_unit_test(test_text_of_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
