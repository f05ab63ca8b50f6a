/* SPDX-License-Identifier: MIT */
#include "lab_ctl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	WORDS_MAX = 48,
	HOPS_MAX = 60, /* less than the TTL with which hosts begin */
};

/* A uint64_t in a configuration or a counter, by name. */
struct field {
	const char *name;
	size_t offset;
	const char *const *names; /* of its values from 0 on, NULL at the end; NULL: a number */
};

static const char *const rules[] = { "endpoint-independent", "address-dependent",
	                             "address-and-port-dependent", NULL };
static const char *const allocations[] = { "preserving", "sequential", "random", "block", NULL };
static const char *const udp_modes[] = { "pass", "drop", "reject", NULL };
static const char *const directions[] = { "both", "out", "in", NULL };
static const char *const rules6[] = { "none", "endpoint-independent", "address-dependent",
	                              "address-and-port-dependent", NULL };

#define LINK(name)                                                                                 \
	{                                                                                          \
#name, offsetof(struct lab_link_config, name), NULL                                \
	}
static const struct field link_fields[] = {
	LINK(delay_ns),
	LINK(jitter_ns),
	LINK(jitter_reorders),
	LINK(rate_bps),
	LINK(queue_size),
	LINK(loss_ppm),
	LINK(burst_enter_ppm),
	LINK(burst_leave_ppm),
	LINK(burst_loss_ppm),
	LINK(reorder_ppm),
	LINK(reorder_ns),
	LINK(duplicate_ppm),
	LINK(corrupt_ppm),
	LINK(corrupt_checksum_wrong),
	LINK(mtu_size),
	LINK(mtu_icmp),
	LINK(is_down),
	LINK(mark_size),
	LINK(ecn),
};

#define NAT(name, names)                                                                           \
	{                                                                                          \
#name, offsetof(struct lab_nat_config, name), names                                \
	}
static const struct field nat_fields[] = {
	NAT(mapping, rules),
	NAT(filtering, rules),
	NAT(allocation, allocations),
	NAT(port_step, NULL),
	NAT(port_block, NULL),
	NAT(hairpin, NULL),
	NAT(inbound_refresh, NULL),
	NAT(pooling_arbitrary, NULL),
	NAT(mappings_max, NULL),
	NAT(table_full_evicts, NULL),
	NAT(udp_timeout_ns, NULL),
	NAT(tcp_timeout_ns, NULL),
	NAT(icmp_timeout_ns, NULL),
	NAT(wall.udp, udp_modes),
	NAT(wall.udp_direction, directions),
	NAT(wall.udp_ports, NULL),
	NAT(wall.udp_packets_max, NULL),
	NAT(wall.blacklist_ns, NULL),
	NAT(wall.blacklist_by_address, NULL),
	NAT(wall.filtering6, rules6),
};

#define COUNTER(name)                                                                              \
	{                                                                                          \
#name, offsetof(struct lab_link_counters, name), NULL                              \
	}
static const struct field link_counters[] = {
	COUNTER(packets),    COUNTER(bytes),      COUNTER(udp_packets), COUNTER(drop_down),
	COUNTER(drop_mtu),   COUNTER(drop_queue), COUNTER(drop_loss),   COUNTER(drop_no_buffer),
	COUNTER(duplicated), COUNTER(corrupted),  COUNTER(reordered),   COUNTER(marked),
	COUNTER(drop_ecn),
};

static const char *const nat_verdicts[LAB_NAT_VERDICTS] = {
	[LAB_NAT_FORWARD] = "forwarded",
	[LAB_NAT_NO_MAPPING] = "drop_no_mapping",
	[LAB_NAT_FILTERED] = "drop_filtered",
	[LAB_NAT_UDP_BLOCKED] = "drop_udp_blocked",
	[LAB_NAT_UDP_SPENT] = "drop_udp_spent",
	[LAB_NAT_BLACKLISTED] = "drop_blacklisted",
	[LAB_NAT_NO_HAIRPIN] = "drop_no_hairpin",
	[LAB_NAT_TABLE_FULL] = "drop_table_full",
	[LAB_NAT_NO_PORT] = "drop_no_port",
	[LAB_NAT_TTL_OVER] = "drop_ttl",
	[LAB_NAT_UNSUPPORTED] = "drop_unsupported",
};

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static uint16_t fail(char *answer, const char *what, int r)
{
	(void)snprintf(answer, LAB_LINE_SIZE, "error %s: %s", what, strerror(-r));
	return 0;
}

__attribute__((format(printf, 2, 3))) static void say(char *answer, const char *format, ...)
{
	size_t used = strlen(answer);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(answer + used, LAB_LINE_SIZE - used, format, args);
	va_end(args);
}

static int read_value(const struct field *field, const char *text, uint64_t *value)
{
	char *end = NULL;

	for (size_t i = 0; field->names && field->names[i]; i++) {
		if (strcmp(field->names[i], text) == 0) {
			*value = i;
			return 0;
		}
	}
	if (field->names) {
		return -EINVAL;
	}
	errno = 0;
	*value = strtoull(text, &end, 10);
	return errno || !*text || *end ? -EINVAL : 0;
}

/* Sets the key=value words in @object. Returns 0, or the number of the word that is wrong. */
static size_t set_fields(void *object, const struct field *fields, size_t count, char **words,
                         size_t word_count)
{
	for (size_t w = 0; w < word_count; w++) {
		char *value = strchr(words[w], '=');
		size_t i = 0;
		uint64_t number;

		if (!value) {
			return w + 1;
		}
		*value++ = '\0';
		while (i < count && strcmp(fields[i].name, words[w]) != 0) {
			i++;
		}
		if (i == count || read_value(&fields[i], value, &number)) {
			return w + 1;
		}
		memcpy((uint8_t *)object + fields[i].offset, &number, sizeof(number));
	}
	return 0;
}

static int read_address(char *text, struct lab_address *out)
{
	char *slash = strchr(text, '/');
	unsigned long prefix;

	*out = (struct lab_address){ .is_v6 = strchr(text, ':') };
	if (!slash) {
		return -EINVAL;
	}
	*slash = '\0';
	prefix = strtoul(slash + 1, NULL, 10);
	if (prefix > (out->is_v6 ? 128 : 32)) {
		return -EINVAL;
	}
	out->prefix = (uint8_t)prefix;
	return inet_pton(out->is_v6 ? AF_INET6 : AF_INET, text, out->bytes) == 1 ? 0 : -EINVAL;
}

/* "host NAME ..." and "uplink NAME HOST ..." */
static uint16_t run_host(struct lab_net *net, char **words, size_t count, char *answer)
{
	struct lab_host_config config = {
		.name = words[1],
		.mtu_size = 1500,
		.has_offload = net->has_offload,
	};
	bool is_uplink = strcmp(words[0], "uplink") == 0;
	int r = is_uplink ? lab_net_find(net, count > 2 ? words[2] : "") : 0;

	if (r < 0 || (is_uplink && !net->nodes[r].host.holder)) {
		return fail(answer, "no such host", -ENOENT);
	}
	config.joined = is_uplink ? net->nodes[r].host.holder : 0;
	for (size_t i = is_uplink ? 3 : 2; i < count; i++) {
		if (strncmp(words[i], "mtu=", 4) == 0) {
			config.mtu_size = (uint32_t)strtoul(words[i] + 4, NULL, 10);
		} else if (strncmp(words[i], "interface=", 10) == 0) {
			config.interface = (uint32_t)strtoul(words[i] + 10, NULL, 10);
		} else if (strncmp(words[i], "metric=", 7) == 0) {
			config.metric = (uint32_t)strtoul(words[i] + 7, NULL, 10);
		} else if (strncmp(words[i], "hosts=", 6) == 0) {
			config.hosts_path = words[i] + 6;
		} else if (strncmp(words[i], "resolv=", 7) == 0) {
			config.resolv_path = words[i] + 7;
		} else {
			return fail(answer, words[i], -EINVAL);
		}
	}
	if (config.mtu_size < LAB_HOST_MTU_MIN || config.mtu_size > LAB_PACKET_SIZE_MAX) {
		return fail(answer, "mtu", -EINVAL);
	}
	if (config.interface >= LAB_INTERFACES_MAX || config.metric > 1000) {
		return fail(answer, "interface or metric", -EINVAL);
	}
	r = lab_net_add_host(net, &config);
	if (r < 0) {
		return fail(answer, words[1], r);
	}
	say(answer, " pid=%d", (int)net->nodes[r].host.holder);
	return (uint16_t)r;
}

static void run_place(struct lab_net *net, int node, char **words, size_t count, char *answer)
{
	struct lab_address addresses[LAB_ADDRESSES_MAX];
	size_t address_count = 0;
	char *save = NULL;
	int parent = count > 3 ? lab_net_find(net, words[2]) : -EINVAL;
	int r = parent < 0 ? parent : 0;

	for (char *text = r ? NULL : strtok_r(words[3], ",", &save); text && !r;
	     text = strtok_r(NULL, ",", &save)) {
		r = address_count < LAB_ADDRESSES_MAX
		            ? read_address(text, &addresses[address_count++])
		            : -ENOSPC;
	}
	r = r ? r : lab_net_place(net, (uint16_t)node, (uint16_t)parent, addresses, address_count);
	if (r) {
		(void)fail(answer, words[1], r);
	}
}

static void run_link(struct lab_net *net, int node, char **words, size_t count, char *answer)
{
	bool has_in = count > 2 && strcmp(words[2], "out") != 0;
	bool has_out = count > 2 && strcmp(words[2], "in") != 0;

	if (count < 3 || (has_in && has_out && strcmp(words[2], "both") != 0)) {
		(void)fail(answer, "direction", -EINVAL);
		return;
	}
	for (size_t d = 0; d < LAB_DIRECTIONS; d++) {
		struct lab_link *link = &net->nodes[node].links[d];
		struct lab_link_config config = link->config;
		char copy[LAB_LINE_SIZE];
		char *pairs[WORDS_MAX];
		size_t used = 0;
		size_t bad;

		/* set_fields() cuts the words, and the other direction wants them whole. */
		for (size_t i = 3; i < count; i++) {
			pairs[i - 3] = copy + used;
			used += strlen(words[i]) + 1;
			memcpy(pairs[i - 3], words[i], strlen(words[i]) + 1);
		}
		if (d == LAB_IN ? !has_in : !has_out) {
			continue;
		}
		bad = set_fields(&config, link_fields, COUNT_OF(link_fields), pairs, count - 3);
		if (bad) {
			(void)fail(answer, words[2 + bad], -EINVAL);
			return;
		}
		if (lab_link_configure(link, &config)) {
			(void)fail(answer, "value out of range", -EINVAL);
			return;
		}
	}
}

static void run_set_internet(struct lab_net *net, char **words, size_t count, char *answer)
{
	static const struct field fields[] = { { "hops", 0, NULL } };
	uint64_t hops = net->hops;

	if (strcmp(words[0], "set") != 0 || set_fields(&hops, fields, 1, words + 2, count - 2) ||
	    !hops || hops > HOPS_MAX) {
		(void)fail(answer, "the internet has only hops", -EINVAL);
	} else {
		net->hops = hops;
	}
}

static void run_set(struct lab_net *net, int node, char **words, size_t count, char *answer)
{
	struct lab_nat *nat = net->nodes[node].nat;
	struct lab_nat_config config = nat->config;
	size_t bad = set_fields(&config, nat_fields, COUNT_OF(nat_fields), words + 2, count - 2);

	if (bad) {
		(void)fail(answer, words[1 + bad], -EINVAL);
	} else if (lab_nat_configure(nat, &config)) {
		(void)fail(answer, "value out of range", -EINVAL);
	}
}

static void say_link(char *answer, const char *prefix, const struct lab_link *link)
{
	for (size_t i = 0; i < COUNT_OF(link_counters); i++) {
		const uint8_t *at = (const uint8_t *)&link->counters + link_counters[i].offset;
		uint64_t value;

		memcpy(&value, at, sizeof(value));
		say(answer, " %s.%s=%" PRIu64, prefix, link_counters[i].name, value);
	}
}

static void run_counters(struct lab_net *net, int index, char *answer)
{
	struct lab_node *node = &net->nodes[index];

	if (node->kind == LAB_KIND_INTERNET) {
		say(answer,
		    " drop_no_route=%" PRIu64 " drop_malformed=%" PRIu64 " drop_ttl=%" PRIu64,
		    net->drop_no_route, net->drop_malformed, net->drop_ttl);
		say(answer, " waiting=%zu", net->queue.count);
		say(answer, " carried=%" PRIu64 " late=%" PRIu64 " late_max_ns=%" PRIu64,
		    net->carried, net->late, net->late_max_ns);
		return;
	}
	say_link(answer, "in", &node->links[LAB_IN]);
	say_link(answer, "out", &node->links[LAB_OUT]);
	if (node->kind == LAB_KIND_HOST) {
		say(answer, " write_failed=%" PRIu64, node->host.write_failed);
		return;
	}
	lab_nat_expire(node->nat, net->now);
	say(answer, " mappings=%" PRIu32 " mappings_peak=%" PRIu32 " created=%" PRIu64,
	    node->nat->used, node->nat->used_peak, node->nat->created);
	say(answer, " created_udp=%" PRIu64 " evicted=%" PRIu64 " reboots=%" PRIu64,
	    node->nat->created_udp, node->nat->evicted, node->nat->reboots);
	for (size_t i = 0; i < LAB_NAT_VERDICTS; i++) {
		say(answer, " %s=%" PRIu64, nat_verdicts[i], node->nat->counters[i]);
	}
}

static void run_on_nat(struct lab_net *net, int node, char **words, size_t count, char *answer)
{
	if (net->nodes[node].kind != LAB_KIND_NAT) {
		(void)fail(answer, words[1], -EINVAL);
	} else if (strcmp(words[0], "set") == 0) {
		run_set(net, node, words, count, answer);
	} else {
		lab_nat_reboot(net->nodes[node].nat, count > 2);
	}
}

uint16_t lab_ctl_run(struct lab_net *net, char *line, char *answer)
{
	char *words[WORDS_MAX];
	size_t count = 0;
	char *save = NULL;
	int node;

	(void)snprintf(answer, LAB_LINE_SIZE, "ok");
	for (char *word = strtok_r(line, " ", &save); word && count < WORDS_MAX;
	     word = strtok_r(NULL, " ", &save)) {
		words[count++] = word;
	}
	if (count < 2) {
		return fail(answer, "command", -EINVAL);
	}
	if (strcmp(words[0], "host") == 0 || strcmp(words[0], "uplink") == 0) {
		return run_host(net, words, count, answer);
	}
	if (strcmp(words[0], "nat") == 0) {
		node = lab_net_add_nat(net, words[1]);
		return node < 0 ? fail(answer, words[1], node) : 0;
	}
	node = lab_net_find(net, words[1]);
	if (node < 0) {
		return fail(answer, words[1], node);
	}
	if (strcmp(words[0], "counters") == 0) {
		run_counters(net, node, answer);
	} else if (node == LAB_INTERNET) {
		run_set_internet(net, words, count, answer);
	} else if (strcmp(words[0], "place") == 0) {
		run_place(net, node, words, count, answer);
	} else if (strcmp(words[0], "unplug") == 0) {
		node = net->nodes[node].kind == LAB_KIND_HOST
		               ? lab_host_unplug(&net->nodes[node].host)
		               : -EINVAL;
		return node ? fail(answer, words[1], node) : 0;
	} else if (strcmp(words[0], "link") == 0) {
		run_link(net, node, words, count, answer);
	} else if (strcmp(words[0], "set") == 0 || strcmp(words[0], "reboot") == 0) {
		run_on_nat(net, node, words, count, answer);
	} else {
		return fail(answer, words[0], -EINVAL);
	}
	return 0;
}
