/* SPDX-License-Identifier: MIT */
#include "netcheck_report.h"

#include <string.h>

#include "base/log.h"
#include "command.h"
#include "status.h"

enum { CELL_MAX = 128, COLUMNS = 6, MTU_USUAL = 1200 };

/* ---- JSON ---- */

static json_t *text_json(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *addr_json(const struct addr *a)
{
	char text[ADDR_TEXT_MAX];

	return a->family == ADDR_NONE ? json_null() : json_string(addr_format(a, text));
}

static json_t *bool_json(enum netcheck_bool b)
{
	return b == NETCHECK_UNKNOWN ? json_null() : json_boolean(b == NETCHECK_YES);
}

/* 0 is null. */
static json_t *number_json(uint64_t n)
{
	return n == 0 ? json_null() : json_integer((json_int_t)n);
}

static json_t *row_json(const struct netcheck_row *row)
{
	static const struct netcheck_place nobody;
	const struct netcheck_place *p = row->place ? row->place : &nobody;
	const char *why = row->place ? p->is_answered ? NULL : "no answer" : row->why;

	return json_pack("{s:s, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o}", "name", row->name, "kind",
	                 row->is_own ? "server" : "stun", "address", addr_json(&p->address),
	                 "answered", p->is_answered, "rtt_ms",
	                 p->rtt ? json_real(status_ms(p->rtt)) : json_null(), "mtu",
	                 number_json(p->mtu), "public_address", addr_json(&p->seen), "tcp",
	                 bool_json(row->tcp), "why", text_json(why));
}

static bool any_tcp(const struct netcheck_report *r)
{
	for (size_t i = 0; i < r->row_count; i++) {
		if (r->rows[i].tcp == NETCHECK_YES)
			return true;
	}
	return false;
}

/* ---- what it means ---- */

/* Does it map ports, by any protocol? */
static bool is_mapping(const struct portprobe_result *g)
{
	return g && (g->has_pcp || g->has_natpmp || (g->is_upnp_built_in && g->has_upnp));
}

static bool is_behind_another(const struct portprobe_result *g)
{
	return g->external.family != ADDR_NONE && addr_class(&g->external) != ADDR_CLASS_GLOBAL;
}

static json_t *gateway_json(const struct portprobe_result *g)
{
	struct addr none = { 0 };
	char text[ADDR_TEXT_MAX];
	bool is_asked = g && !g->why;
	const struct addr *ip = is_asked ? &g->gateway : &none;
	const struct addr *external = is_asked ? &g->external : &none;

	if (!g)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "gateway",
	                 ip->family ? json_string(addr_format_ip(ip, text)) : json_null(), "pcp",
	                 is_asked ? json_boolean(g->has_pcp) : json_null(), "nat_pmp",
	                 is_asked ? json_boolean(g->has_natpmp) : json_null(), "upnp",
	                 is_asked && g->is_upnp_built_in ? json_boolean(g->has_upnp) : json_null(),
	                 "address",
	                 external->family ? json_string(addr_format_ip(external, text))
	                                  : json_null(),
	                 "why", text_json(g->why));
}

static void say(json_t *list, const char *text)
{
	(void)json_array_append_new(list, json_string(text)); /* a sentence less, at worst */
}

static void say_mapping(const struct netcheck_report *r, json_t *list)
{
	const struct nat_profile *ports = &r->result.ports;

	switch (r->result.mapping) {
	case NAT_NONE:
		say(list, "There is no NAT: this host has a public address.");
		if (r->result.filtering == NAT_ENDPOINT_INDEPENDENT)
			say(list, "Every peer can reach it directly.");
		else
			say(list,
			    "A firewall may keep strangers out; a direct path to every peer is "
			    "still expected, since both sides send first.");
		return;
	case NAT_ENDPOINT_INDEPENDENT:
		say(list, "The NAT is an easy one: a direct path to every peer is expected.");
		return;
	case NAT_ADDRESS_DEPENDENT:
	case NAT_ADDRESS_AND_PORT_DEPENDENT:
		if (ports->ports == NAT_PORTS_RANDOM || ports->ports == NAT_PORTS_UNKNOWN)
			say(list,
			    "The NAT is a hard one, each destination sees another port, at "
			    "random: a direct path to peers behind easy NATs or none is found "
			    "by many tries; peers behind such a NAT too are reached through a "
			    "server.");
		else
			say(list,
			    "The NAT is a hard one, each destination sees another port, but in "
			    "an order: a direct path is expected by guessing the port.");
		return;
	case NAT_UNKNOWN:
		say(list, "What the NAT does cannot be told from one address: one more server, or "
		          "one more under `stun`, would tell.");
		return;
	case NAT_RULES:
		break;
	}
	CV_UNREACHABLE();
}

/* What answers, and what that means. */
static void say_reach(const struct netcheck_report *r, json_t *list)
{
	const struct netcheck_result *x = &r->result;

	if (r->row_count == 0)
		say(list, "Nobody to ask: the configuration has neither `servers` nor `stun`.");
	else if (!r->has_network)
		say(list, "There is no network: this host has no address.");
	else if (!x->is_answered && any_tcp(r))
		say(list, "UDP gets no answer: peers are reached through a server over TCP.");
	else if (!x->is_answered)
		say(list, "Nothing answers.");
	else if (x->public4.family != ADDR_NONE)
		say_mapping(r, list);
	else
		say(list, "There is an answer over IPv6 only.");
	if (x->mapping6 == NAT_NONE)
		say(list, "Over IPv6 there is no NAT: a direct path to every peer that has it too "
		          "is expected.");
}

static json_t *summary_json(const struct netcheck_report *r)
{
	const struct netcheck_result *x = &r->result;
	json_t *list = json_array();

	if (!list)
		return NULL;
	say_reach(r, list);
	if (is_mapping(r->gateway) && is_behind_another(r->gateway))
		say(list, "The router maps ports, but another NAT follows.");
	else if (is_mapping(r->gateway))
		say(list,
		    "The router maps ports on request: peers reach this host as if there were "
		    "no NAT.");
	if (x->hairpin == NETCHECK_NO)
		say(list, "Two hosts behind this NAT reach each other by their inside addresses "
		          "only.");
	for (size_t i = 0; i < r->row_count; i++) {
		const struct netcheck_place *p = r->rows[i].place;

		if (p && p->mtu > 0 && p->mtu < MTU_USUAL) {
			say(list,
			    "The path to a server carries less than 1,200 bytes: culvert does "
			    "not work through it.");
			break;
		}
	}
	return list;
}

/* Does the port of a destination count? */
static enum netcheck_bool maps_by_port(const struct netcheck_result *x)
{
	if (x->mapping == NAT_ADDRESS_AND_PORT_DEPENDENT)
		return NETCHECK_YES;
	if (x->mapping == NAT_NONE || x->mapping == NAT_ENDPOINT_INDEPENDENT)
		return NETCHECK_NO;
	return x->has_compared_ports ? NETCHECK_NO : NETCHECK_UNKNOWN;
}

json_t *netcheck_report_json(const struct netcheck_report *r)
{
	const struct netcheck_result *x = &r->result;
	bool is_random = x->ports.ports == NAT_PORTS_RANDOM;
	json_t *rows = json_array();
	bool is_bad = !rows;

	for (size_t i = 0; i < r->row_count; i++)
		is_bad |= json_array_append_new(rows, row_json(&r->rows[i])) < 0;
	if (is_bad) {
		json_decref(rows);
		return NULL;
	}
	return json_pack(
		"{s:s, s:b, s:{s:o, s:o}, s:{s:s, s:o, s:s, s:o, s:o, s:s, s:o, s:o, s:s}, s:o, "
		"s:o, s:o}",
		"version", CULVERT_VERSION, "udp", x->is_answered, "public_addresses", "ipv4",
		addr_json(&x->public4), "ipv6", addr_json(&x->public6), "nat", "mapping",
		nat_rule_name(x->mapping), "maps_by_port", bool_json(maps_by_port(x)), "filtering",
		nat_rule_name(x->filtering), "filters_ports", bool_json(x->filters_ports),
		"hairpin", bool_json(x->hairpin), "ports",
		nat_ports_name((enum nat_ports)x->ports.ports), "port_step",
		x->ports.step ? json_integer(x->ports.step) : json_null(), "port_range",
		is_random ? json_pack("[i, i]", x->ports.port_low, x->ports.port_high)
			  : json_null(),
		"mapping_ipv6", nat_rule_name(x->mapping6), "portmap", gateway_json(r->gateway),
		"servers", rows, "summary", summary_json(r));
}

/* ---- words ---- */

static const char *escaped(char out[CELL_MAX], const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text)
		return "-";
	(void)log_escape(out, CELL_MAX, text, strlen(text));
	return out;
}

static const char *yes_no(const json_t *object, const char *key, const char *unknown)
{
	const json_t *value = json_object_get(object, key);

	return json_is_true(value) ? "yes" : json_is_false(value) ? "no" : unknown;
}

static void print_mapping(const json_t *nat, FILE *out)
{
	const json_t *by_port = json_object_get(nat, "maps_by_port");
	char text[CELL_MAX];

	(void)fprintf(out, "mapping         %s", escaped(text, nat, "mapping"));
	if (json_is_false(by_port) && strcmp(text, "unknown") == 0)
		(void)fprintf(out, " (a destination's port does not matter, perhaps its address "
		                   "does)");
	if (json_is_null(by_port) && strcmp(text, "address-dependent") == 0)
		(void)fprintf(out, " (perhaps a destination's port matters too)");
	(void)fputc('\n', out);
	if (strcmp(escaped(text, nat, "mapping_ipv6"), "unknown") != 0)
		(void)fprintf(out, "IPv6 mapping    %s\n", text);
}

static void print_filtering(const json_t *nat, FILE *out)
{
	const json_t *by_port = json_object_get(nat, "filters_ports");
	char text[CELL_MAX];

	(void)fprintf(out, "filtering       %s", escaped(text, nat, "filtering"));
	if (json_is_false(by_port) && strcmp(text, "unknown") == 0)
		(void)fprintf(out,
		              " (a stranger's port does not matter, perhaps his address does)");
	(void)fputc('\n', out);
}

static void print_ports(const json_t *nat, FILE *out)
{
	const json_t *range = json_object_get(nat, "port_range");
	json_int_t step = json_integer_value(json_object_get(nat, "port_step"));
	char text[CELL_MAX];

	(void)fprintf(out, "ports           %s", escaped(text, nat, "ports"));
	if (step != 0)
		(void)fprintf(out, ", step %" JSON_INTEGER_FORMAT, step);
	if (json_is_array(range))
		(void)fprintf(out, ", %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT,
		              json_integer_value(json_array_get(range, 0)),
		              json_integer_value(json_array_get(range, 1)));
	(void)fputc('\n', out);
}

static void print_gateway(const json_t *portmap, FILE *out)
{
	static const struct {
		const char *key, *name;
	} protocols[] = { { "pcp", "PCP" }, { "nat_pmp", "NAT-PMP" }, { "upnp", "UPnP" } };
	const char *before = "";
	char text[CELL_MAX];

	if (!json_is_object(portmap))
		return;
	(void)fprintf(out, "port mapping    ");
	for (size_t i = 0; i < CV_ARRAY_SIZE(protocols); i++) {
		if (!json_is_true(json_object_get(portmap, protocols[i].key)))
			continue;
		(void)fprintf(out, "%s%s", before, protocols[i].name);
		before = ", ";
	}
	if (!before[0])
		(void)fputs("none", out);
	if (json_is_string(json_object_get(portmap, "address")))
		(void)fprintf(out, " at %s", escaped(text, portmap, "address"));
	if (json_is_string(json_object_get(portmap, "why")))
		(void)fprintf(out, " (%s)", escaped(text, portmap, "why"));
	(void)fputc('\n', out);
}

static void fill_row(const json_t *row, char cells[COLUMNS][CELL_MAX])
{
	const json_t *rtt = json_object_get(row, "rtt_ms"), *mtu = json_object_get(row, "mtu");
	char number[352] = "-"; /* a double in full has 309 digits */
	char text[CELL_MAX];
	const char *seen = escaped(text, row, "public_address");

	(void)snprintf(cells[0], CELL_MAX, "%s", escaped(cells[1], row, "name"));
	(void)snprintf(cells[1], CELL_MAX, "-");
	if (json_is_string(json_object_get(row, "address")))
		(void)escaped(cells[1], row, "address");
	if (json_is_number(rtt))
		(void)snprintf(number, sizeof(number), "%.1f ms", json_number_value(rtt));
	(void)snprintf(cells[2], CELL_MAX, "%.40s", number);
	(void)snprintf(cells[3], CELL_MAX, "-");
	if (json_is_integer(mtu))
		(void)snprintf(cells[3], CELL_MAX, "%" JSON_INTEGER_FORMAT,
		               json_integer_value(mtu));
	(void)snprintf(cells[4], CELL_MAX, "%s", yes_no(row, "tcp", "-"));
	if (json_is_string(json_object_get(row, "why")))
		seen = escaped(text, row, "why");
	(void)snprintf(cells[5], CELL_MAX, "%s", seen);
}

static void print_rows(const json_t *rows, FILE *out)
{
	static const char *const heads[COLUMNS] = { "SERVER", "ADDRESS", "RTT",
		                                    "MTU",    "TCP",     "SEEN AS" };
	char cells[COLUMNS][CELL_MAX];
	int widths[COLUMNS];
	size_t i;
	json_t *row;

	if (json_array_size(rows) == 0)
		return;
	for (size_t k = 0; k < COLUMNS; k++)
		widths[k] = (int)strlen(heads[k]);
	json_array_foreach(rows, i, row)
	{
		fill_row(row, cells);
		for (size_t k = 0; k < COLUMNS; k++)
			widths[k] = CV_MAX(widths[k], (int)strlen(cells[k]));
	}
	(void)fputc('\n', out);
	for (size_t k = 0; k < COLUMNS; k++)
		(void)fprintf(out, "%-*s%s", k + 1 < COLUMNS ? widths[k] : 0, heads[k],
		              k + 1 < COLUMNS ? "  " : "\n");
	json_array_foreach(rows, i, row)
	{
		fill_row(row, cells);
		for (size_t k = 0; k < COLUMNS; k++)
			(void)fprintf(out, "%-*s%s", k + 1 < COLUMNS ? widths[k] : 0, cells[k],
			              k + 1 < COLUMNS ? "  " : "\n");
	}
}

void netcheck_report_print(const json_t *report, FILE *out)
{
	const json_t *nat = json_object_get(report, "nat");
	const json_t *addresses = json_object_get(report, "public_addresses");
	const json_t *summary = json_object_get(report, "summary");
	char text[CELL_MAX];
	size_t i;
	json_t *line;

	(void)fprintf(out, "UDP             %s\n",
	              json_is_true(json_object_get(report, "udp")) ? "answered" : "no answer");
	(void)fprintf(out, "public IPv4     %s\n", escaped(text, addresses, "ipv4"));
	(void)fprintf(out, "public IPv6     %s\n", escaped(text, addresses, "ipv6"));
	print_mapping(nat, out);
	print_filtering(nat, out);
	(void)fprintf(out, "hairpin         %s\n", yes_no(nat, "hairpin", "unknown"));
	print_ports(nat, out);
	print_gateway(json_object_get(report, "portmap"), out);
	print_rows(json_object_get(report, "servers"), out);
	(void)fputc('\n', out);
	json_array_foreach(summary, i, line)(void) fprintf(out, "%s\n", json_string_value(line));
}
