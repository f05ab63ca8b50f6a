/* SPDX-License-Identifier: MIT */

/*
 * Goal: the object of `netcheck --json` keeps its names, null for what is not known, and each kind
 * of NAT is told what it is in for. Method: golden texts of one that knows much and one that knows
 * nothing; the sentences by kind; what people see.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "netcheck_report.h"
#include "status.h"

static const struct netcheck_place answered = {
	.address = { .family = ADDR_V4, .ip = { 203, 0, 113, 10 }, .port = 28583 },
	.is_own = true,
	.is_answered = true,
	.rtt = CV_US(21400),
	.mtu = 1472,
	.seen = { .family = ADDR_V4, .ip = { 198, 51, 100, 7 }, .port = 40001 },
};
static const struct netcheck_place silent = {
	.address = { .family = ADDR_V4, .ip = { 203, 0, 113, 11 }, .port = 3478 },
};

static struct netcheck_report known(struct netcheck_row rows[2], struct portprobe_result *gateway)
{
	struct netcheck_report r = {
		.rows = rows, .row_count = 2, .gateway = gateway, .has_network = true
	};

	rows[0] = (struct netcheck_row){ "rv.example", &answered, NULL, true, NETCHECK_YES };
	rows[1] = (struct netcheck_row){ "stun.example", &silent, NULL, false, NETCHECK_UNKNOWN };
	*gateway = (struct portprobe_result){ .gateway = addr_v4(192, 168, 1, 1, 0),
		                              .has_pcp = true,
		                              .has_upnp = true,
		                              .is_upnp_built_in = true,
		                              .external = addr_v4(8, 8, 4, 4, 0) };
	r.result = (struct netcheck_result){
		.is_answered = true,
		.mapping = NAT_ADDRESS_DEPENDENT,
		.filtering = NAT_ADDRESS_AND_PORT_DEPENDENT,
		.filters_ports = NETCHECK_YES,
		.hairpin = NETCHECK_NO,
		.ports = { .ports = NAT_PORTS_RANDOM, .port_low = 2048, .port_high = 4095 },
		.public4 = answered.seen,
	};
	return r;
}

static void expect(json_t *report, const char *golden)
{
	char *text;

	assert_non_null(report);
	assert_int_equal(json_object_del(report, "version"), 0);
	assert_int_equal(json_object_del(report, "summary"), 0);
	text = json_dumps(report, STATUS_JSON_FLAGS | JSON_COMPACT);
	assert_string_equal(text, golden);
	free(text);
	json_decref(report);
}

static void test_much(void **state)
{
	struct portprobe_result gateway;
	struct netcheck_row rows[2];
	struct netcheck_report r = known(rows, &gateway);

	(void)state;
	expect(netcheck_report_json(&r),
	       "{\"udp\":true,\"public_addresses\":{\"ipv4\":\"198.51.100.7:40001\",\"ipv6\":null},"
	       "\"nat\":{\"mapping\":\"address-dependent\",\"maps_by_port\":null,"
	       "\"filtering\":\"address-and-port-dependent\",\"filters_ports\":true,"
	       "\"hairpin\":false,\"ports\":\"random\",\"port_step\":null,"
	       "\"port_range\":[2048,4095],\"mapping_ipv6\":\"unknown\"},"
	       "\"portmap\":{\"gateway\":\"192.168.1.1\",\"pcp\":true,\"nat_pmp\":false,"
	       "\"upnp\":true,\"address\":\"8.8.4.4\",\"why\":null},"
	       "\"servers\":[{\"name\":\"rv.example\",\"kind\":\"server\","
	       "\"address\":\"203.0.113.10:28583\",\"answered\":true,\"rtt_ms\":21.4,"
	       "\"mtu\":1472,\"public_address\":\"198.51.100.7:40001\",\"tcp\":true,"
	       "\"why\":null},"
	       "{\"name\":\"stun.example\",\"kind\":\"stun\",\"address\":\"203.0.113.11:3478\","
	       "\"answered\":false,\"rtt_ms\":null,\"mtu\":null,\"public_address\":null,"
	       "\"tcp\":null,\"why\":\"no answer\"}]}");
}

static void test_nothing(void **state)
{
	struct netcheck_report r = { .row_count = 0 };

	(void)state;
	expect(netcheck_report_json(&r),
	       "{\"udp\":false,\"public_addresses\":{\"ipv4\":null,\"ipv6\":null},"
	       "\"nat\":{\"mapping\":\"unknown\",\"maps_by_port\":null,"
	       "\"filtering\":\"unknown\","
	       "\"filters_ports\":null,\"hairpin\":null,\"ports\":\"unknown\","
	       "\"port_step\":null,\"port_range\":null,\"mapping_ipv6\":\"unknown\"},"
	       "\"portmap\":null,\"servers\":[]}");
}

/* Takes what netcheck_report_json() made; true when a sentence of the summary holds @words. */
static bool says(const struct netcheck_report *r, const char *words)
{
	json_t *report = netcheck_report_json(r), *line;
	bool is_said = false;
	size_t i;

	assert_non_null(report);
	json_array_foreach(json_object_get(report, "summary"), i, line) is_said |=
		strstr(json_string_value(line), words) != NULL;
	json_decref(report);
	return is_said;
}

static void test_sentences(void **state)
{
	static const struct {
		enum nat_rule mapping;
		enum nat_ports ports;
		const char *words;
	} kinds[] = {
		{ NAT_NONE, NAT_PORTS_PRESERVED, "There is no NAT" },
		{ NAT_ENDPOINT_INDEPENDENT, NAT_PORTS_RANDOM, "an easy one" },
		{ NAT_ADDRESS_DEPENDENT, NAT_PORTS_RANDOM, "by many tries" },
		{ NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_PORTS_UNKNOWN, "by many tries" },
		{ NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_PORTS_REGULAR, "guessing the port" },
		{ NAT_ADDRESS_DEPENDENT, NAT_PORTS_PRESERVED, "guessing the port" },
		{ NAT_UNKNOWN, NAT_PORTS_PRESERVED, "cannot be told" },
	};
	struct netcheck_place narrow = answered;
	struct portprobe_result gateway;
	struct netcheck_row rows[2];
	struct netcheck_report r = known(rows, &gateway);

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		r.result.mapping = kinds[i].mapping;
		r.result.ports.ports = (uint8_t)kinds[i].ports;
		assert_true(says(&r, kinds[i].words));
	}
	assert_true(says(&r, "maps ports on request"));
	gateway.external = addr_v4(100, 64, 0, 1, 0);
	assert_true(says(&r, "another NAT follows"));
	gateway.has_pcp = gateway.is_upnp_built_in = false;
	assert_false(says(&r, "maps ports"));
	assert_true(says(&r, "inside addresses only"));
	r.result.hairpin = NETCHECK_YES;
	assert_false(says(&r, "inside addresses only"));
	assert_false(says(&r, "1,200"));
	narrow.mtu = 1196;
	rows[0].place = &narrow;
	assert_true(says(&r, "1,200"));
	r.result.public4 = (struct addr){ 0 };
	assert_true(says(&r, "IPv6 only"));
	r.result.is_answered = false;
	assert_true(says(&r, "over TCP"));
	rows[0].tcp = NETCHECK_NO;
	assert_true(says(&r, "Nothing answers"));
	assert_false(says(&r, "Over IPv6 there is no NAT"));
	r.result.mapping6 = NAT_NONE;
	assert_true(says(&r, "Over IPv6 there is no NAT"));
	r.has_network = false;
	assert_true(says(&r, "There is no network"));
	assert_false(says(&r, "Nothing answers"));
	r.row_count = 0;
	assert_true(says(&r, "Nobody to ask"));
}

static void test_words(void **state)
{
	struct portprobe_result gateway;
	struct netcheck_row rows[2];
	struct netcheck_report r = known(rows, &gateway);
	static const char golden[] =
		"UDP             answered\n"
		"public IPv4     198.51.100.7:40001\n"
		"public IPv6     -\n"
		"mapping         address-dependent (perhaps a destination's port matters too)\n"
		"IPv6 mapping    none\n"
		"filtering       unknown (a stranger's port does not matter, perhaps his address "
		"does)\n"
		"hairpin         no\n"
		"ports           random, 2048 to 4095\n"
		"port mapping    none (no gateway)\n"
		"\n"
		"SERVER        ADDRESS             RTT      MTU   TCP  SEEN AS\n"
		"rv.example    203.0.113.10:28583  21.4 ms  1472  yes  198.51.100.7:40001\n"
		"stun.example  203.0.113.11:3478   -        -     -    no answer\n"
		"\n"
		"The NAT is a hard one,";
	json_t *report;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	r.result.filtering = NAT_UNKNOWN;
	r.result.filters_ports = NETCHECK_NO;
	r.result.mapping6 = NAT_NONE;
	gateway = (struct portprobe_result){ .why = "no gateway" };
	report = netcheck_report_json(&r);
	netcheck_report_print(report, out);
	assert_int_equal(fclose(out), 0);
	text[strlen(golden)] = '\0';
	assert_string_equal(text, golden);
	free(text);
	json_decref(report);
}

/* Where the ports of one address were compared, that is said. */
static void test_mapping_by_port(void **state)
{
	static const struct {
		enum nat_rule mapping;
		bool has_compared_ports;
		const char *by_port, *words;
	} rows[] = {
		{ NAT_UNKNOWN, false, "null", "unknown" },
		{ NAT_UNKNOWN, true, "false",
		  "unknown (a destination's port does not matter, perhaps its address does)" },
		{ NAT_NONE, false, "false", "none" },
		{ NAT_ENDPOINT_INDEPENDENT, false, "false", "endpoint-independent" },
		{ NAT_ADDRESS_DEPENDENT, true, "false", "address-dependent" },
		{ NAT_ADDRESS_DEPENDENT, false, "null",
		  "address-dependent (perhaps a destination's port matters too)" },
		{ NAT_ADDRESS_AND_PORT_DEPENDENT, true, "true", "address-and-port-dependent" },
	};
	struct netcheck_report r = { .row_count = 0 };
	char line[128], *text = NULL;
	json_t *report;
	size_t size;
	FILE *out;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		r.result.mapping = rows[i].mapping;
		r.result.has_compared_ports = rows[i].has_compared_ports;
		report = netcheck_report_json(&r);
		text = json_dumps(json_object_get(json_object_get(report, "nat"), "maps_by_port"),
		                  JSON_ENCODE_ANY);
		assert_string_equal(text, rows[i].by_port);
		free(text);
		out = open_memstream(&text, &size);
		assert_non_null(out);
		netcheck_report_print(report, out);
		assert_int_equal(fclose(out), 0);
		(void)snprintf(line, sizeof(line), "mapping         %s\n", rows[i].words);
		assert_non_null(strstr(text, line));
		free(text);
		json_decref(report);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_much),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_sentences),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_mapping_by_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
