/* SPDX-License-Identifier: MIT */

/*
 * Goal: the pages of `metrics` are what their readers expect: labels that cannot break a line, a
 * PAC file that holds nothing but names, and only requests that call us by an address.
 * Method: known texts in, known texts out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics_text.h"
#include "pac.h"

static char *text;
static size_t text_size;

static FILE *begin(void)
{
	free(text);
	text = NULL;
	return open_memstream(&text, &text_size);
}

static const char *written(FILE *out)
{
	assert_int_equal(fclose(out), 0);
	return text;
}

static void prometheus(void **state)
{
	json_t *status = json_pack(
		"{s:s,s:s,s:s,s:f,s:[{s:s,s:b,s:{s:s,s:f,s:n,s:n},s:i,s:I,s:I}],s:[{s:s,s:s,s:n}]}",
		"version", "1", "role", "agent", "public_key", "k", "uptime_s", 1.5, "peers",
		"name", "a\"b\\c\nd", "connected", 1, "path", "kind", "relay", "rtt_ms", 20.5,
		"mtu", "loss", "streams", 3, "tx_bytes", (json_int_t)10, "rx_bytes",
		(json_int_t)1 << 40, "listeners", "kind", "metrics", "address", "127.0.0.1:1",
		"peer");
	FILE *out = begin();
	const char *got;

	(void)state;
	assert_non_null(status);
	metrics_text_write(status, out);
	got = written(out);
	assert_non_null(strstr(got, "\nculvert_uptime_seconds 1.5\n"));
	assert_non_null(
		strstr(got, "\nculvert_peer_rtt_seconds{peer=\"a\\\"b\\\\c\\nd\"} 0.0205\n"));
	assert_non_null(strstr(got, "\nculvert_peer_receive_bytes_total{peer=\"a\\\"b\\\\c\\nd\"} "
	                            "1099511627776\n"));
	assert_non_null(strstr(got, "kind=\"relay\"} 1\n"));
	assert_null(strstr(got, "culvert_peer_mtu_bytes{")); /* unknown has no sample */
	assert_null(strstr(got, "culvert_agents"));
	json_decref(status);
}

static void hosts(void **state)
{
	static const struct {
		const char *host;
		bool is_ours;
	} table[] = {
		{ "127.0.0.1", true },
		{ "127.0.0.1:9464", true },
		{ "[::1]:9464", true },
		{ "[::1]", true },
		{ "192.0.2.1", true },
		{ "localhost", true },
		{ "LOCALHOST:9464", true },
		{ "localhost.", true },
		{ NULL, false },
		{ "", false },
		{ "9464", false },
		{ "example.org", false },
		{ "localhost.example.org", false },
		{ "127.0.0.1.example.org:80", false },
		{ "127.0.0.1:x", false },
		{ "0x7f000001", false },
		{ "unix:/x", false },
		{ "service:x", false },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++)
		assert_int_equal(metrics_text_is_our_host(table[i].host), table[i].is_ours);
}

static void pac(void **state)
{
	static const char *const names[] = { "*.office.example", "exact.example", "10.0.0.0/8" };
	struct config_route routes[4] = { { .peer.name = NULL } };
	struct config_proxy proxy = { .routes = routes, .route_count = 3 };
	const char *why, *got;
	FILE *out;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(names); i++)
		assert_int_equal(pattern_parse_host(names[i], &routes[i].to.pattern, &why), 0);
	out = begin();
	pac_write(out, &proxy, "127.0.0.1:1080");
	got = written(out);
	assert_non_null(strstr(got, "\"PROXY 127.0.0.1:1080; SOCKS5 127.0.0.1:1080\""));
	assert_non_null(strstr(got, "names = [\"exact.example\"];"));
	assert_non_null(strstr(got, "suffixes = [\".culvert\", \".office.example\"];"));
	assert_null(strstr(got, "10.0.0.0"));
	assert_non_null(strstr(got, "everything = false"));
	assert_int_equal(pattern_parse_host("*", &routes[3].to.pattern, &why), 0);
	proxy.route_count = 4;
	out = begin();
	pac_write(out, &proxy, "127.0.0.1:1080");
	assert_non_null(strstr(written(out), "everything = true"));
	out = begin();
	pac_write(out, &proxy, NULL);
	assert_string_equal(written(out),
	                    "function FindProxyForURL(url, host) {\n\treturn \"DIRECT\";\n}\n");
	/* Whatever a text holds, it cannot leave its string. */
	routes[1].to.pattern.text[0] = '"';
	routes[1].to.pattern.text[1] = '\n';
	out = begin();
	pac_write(out, &proxy, "127.0.0.1:1080");
	assert_non_null(strstr(written(out), "names = [\"act.example\"];"));
}

static int end(void **state)
{
	(void)state;
	free(text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prometheus),
		cmocka_unit_test(hosts),
		cmocka_unit_test(pac),
	};

	return cmocka_run_group_tests(tests, NULL, end);
}
