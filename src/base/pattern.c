/* SPDX-License-Identifier: MIT */
#include "base/pattern.h"

#include <errno.h>
#include <string.h>

#include "base/decimal.h"

/*
 * Two rules make a pattern safe to reason about:
 *
 * 1. Both sides are reduced before they are compared. A dialled address that
 *    embeds IPv4 is that IPv4 address, so an IPv6 pattern can only ever mean
 *    true IPv6; and a network of IPv4-mapped or NAT64 addresses is the IPv4
 *    network. A network of another embedding form could match nothing, and is
 *    refused with a sentence instead of being quietly dead.
 *
 * 2. Special addresses are included only by naming them. Prefixes nest: if both
 *    a network and a special range contain an address, one of the two contains
 *    the other, and the longer prefix is the inner one. So "the network lies
 *    entirely inside the range" is one comparison of lengths.
 */

static int refuse(const char **why, const char *sentence)
{
	*why = sentence;
	return -EINVAL;
}

/* Clears what lies beyond the length, so that equal networks have equal bytes. */
static void clear_host_bits(struct addr *net, unsigned bits)
{
	for (unsigned i = 0; i < sizeof(net->ip); i++) {
		if (bits < 8 * (i + 1))
			net->ip[i] &= (uint8_t)(bits > 8 * i ? 0xff00 >> (bits - 8 * i) : 0);
	}
}

/* Rule 1 for networks. */
static int reduce_net(struct addr *net, unsigned *bits, const char **why)
{
	static const struct {
		struct addr net;
		unsigned bits;
		bool is_last32; /* the IPv4 address is the last 32 bits */
	} forms[] = {
		{ { .family = ADDR_V6, .ip = { [10] = 0xff, [11] = 0xff } }, 96, true },
		{ { .family = ADDR_V6, .ip = { 0, 0x64, 0xff, 0x9b } }, 96, true },
		{ { .family = ADDR_V6, .ip = { 0, 0x64, 0xff, 0x9b, 0, 1 } }, 48, false },
		{ { .family = ADDR_V6, .ip = { 0x20, 0x02 } }, 16, false },
		{ { .family = ADDR_V6 }, 96, false },
	};

	if (*bits == 128) {
		*net = addr_canonical(net);
		*bits = net->family == ADDR_V4 ? 32 : 128;
		return 0;
	}
	for (size_t i = 0; i < CV_ARRAY_SIZE(forms); i++) {
		if (*bits < forms[i].bits || !addr_in_net(net, &forms[i].net, forms[i].bits))
			continue;
		if (!forms[i].is_last32)
			return refuse(why,
			              "this IPv6 network stands for IPv4: name the IPv4 network");
		*net = addr_v4(net->ip[12], net->ip[13], net->ip[14], net->ip[15], 0);
		*bits -= 96;
		return 0;
	}
	return 0;
}

/* ADDRESS or ADDRESS/LENGTH, without brackets. */
static int parse_net(const char *text, size_t size, struct pattern *out, const char **why)
{
	const char *slash = memchr(text, '/', size);
	size_t ip_size = slash ? (size_t)(slash - text) : size;
	unsigned bits, bits_max;
	struct addr net;

	if (addr_parse_ip(text, ip_size, &net) < 0)
		return refuse(why, "the host is neither an address, a network nor a valid name");
	bits_max = net.family == ADDR_V4 ? 32 : 128;
	bits = bits_max;
	if (slash && !decimal_read(slash + 1, size - ip_size - 1, bits_max, &bits))
		return refuse(why, "a network's length is 0 to 32 for IPv4, 0 to 128 for IPv6");
	clear_host_bits(&net, bits);
	if (net.family == ADDR_V6 && reduce_net(&net, &bits, why) < 0)
		return -EINVAL;
	out->kind = PATTERN_NET;
	out->net = net;
	out->bits = (uint8_t)bits;
	return 0;
}

static int parse_name(const char *text, size_t size, struct pattern *out, const char **why)
{
	bool is_suffix = size > 2 && text[0] == '*' && text[1] == '.';
	struct hostport h;

	if (is_suffix) {
		text += 2;
		size -= 2;
	}
	if (hostport_from_name(text, size, 0, &h) < 0 || h.kind != HOST_NAME)
		return refuse(why, "the host is neither an address, a network nor a valid name");
	if (!is_suffix && strcmp(h.text, "localhost") == 0) {
		out->kind = PATTERN_LOCALHOST;
		return 0;
	}
	out->kind = is_suffix ? PATTERN_SUFFIX : PATTERN_NAME;
	memcpy(out->text, h.text, sizeof(out->text));
	return 0;
}

static int parse_host(const char *text, size_t size, struct pattern *out, const char **why)
{
	struct addr ip;

	if (size == 0)
		return refuse(why, "the host is missing");
	if (size == 1 && text[0] == '*') {
		out->kind = PATTERN_ANY;
		return 0;
	}
	if (text[0] == '[') {
		if (text[size - 1] != ']' || !memchr(text, ':', size))
			return refuse(why, "brackets hold an IPv6 address or network: [fd00::/8]");
		return parse_net(text + 1, size - 2, out, why);
	}
	if (memchr(text, '/', size) || addr_parse_ip(text, size, &ip) == 0)
		return parse_net(text, size, out, why);
	return parse_name(text, size, out, why);
}

/* PORT or FIRST-LAST */
static int parse_range(const char *text, size_t size, struct pattern *out, const char **why)
{
	static const char *const sentence = "ports are *, or numbers and ranges from 1 to 65535";
	const char *dash = memchr(text, '-', size);
	size_t first_size = dash ? (size_t)(dash - text) : size;
	unsigned first, last;

	if (!decimal_read(text, first_size, UINT16_MAX, &first) || first == 0)
		return refuse(why, sentence);
	last = first;
	if (dash && !decimal_read(dash + 1, size - first_size - 1, UINT16_MAX, &last))
		return refuse(why, sentence);
	if (last < first)
		return refuse(why, "a range of ports begins with the smaller one");
	if (out->range_count == PATTERN_PORTS_MAX)
		return refuse(why, "a pattern has at most 16 ports and ranges");
	out->ports[out->range_count].first = (uint16_t)first;
	out->ports[out->range_count].last = (uint16_t)last;
	out->range_count++;
	return 0;
}

static int parse_ports(const char *text, size_t size, struct pattern *out, const char **why)
{
	const char *end = text + size;
	const char *comma;

	if (size == 1 && text[0] == '*')
		return 0;
	for (;;) {
		comma = memchr(text, ',', (size_t)(end - text));
		if (parse_range(text, (size_t)((comma ? comma : end) - text), out, why) < 0)
			return -EINVAL;
		if (!comma)
			return 0;
		text = comma + 1;
	}
}

static int parse_unix(const char *path, struct pattern *out, const char **why)
{
	size_t size = strlen(path);

	if (path[0] != '/')
		return refuse(why, "the path of a unix socket must be absolute");
	if (path[size - 1] == '*') {
		out->is_prefix = true;
		size--;
	}
	if (memchr(path, '*', size))
		return refuse(why, "a path has a * only at its end");
	if (size > HOST_UNIX_MAX)
		return refuse(why, "the path of a unix socket has at most 107 bytes");
	out->kind = PATTERN_UNIX;
	memcpy(out->text, path, size);
	return 0;
}

static const char *last_colon(const char *text, size_t size)
{
	while (size > 0 && text[size - 1] != ':')
		size--;
	return size > 0 ? text + size - 1 : NULL;
}

int pattern_parse(const char *text, struct pattern *out, const char **why)
{
	struct pattern p = { 0 };
	const char *colon;
	size_t size = strlen(text), host_size;

	if (strncmp(text, "unix:", 5) == 0) {
		if (parse_unix(text + 5, &p, why) < 0)
			return -EINVAL;
		*out = p;
		return 0;
	}
	if (size > 4 && strcmp(text + size - 4, "/udp") == 0) {
		p.is_udp = true;
		size -= 4;
	}
	colon = last_colon(text, size);
	if (!colon || (text[0] == '[' && !memchr(text, ']', (size_t)(colon - text))))
		return refuse(why, "ports are missing: HOST:PORTS, or HOST:* for every port");
	host_size = (size_t)(colon - text);
	if (text[0] != '[' && memchr(text, ':', host_size))
		return refuse(why, "an IPv6 address needs brackets: [fd00::/8]:22");
	if (parse_host(text, host_size, &p, why) < 0 ||
	    parse_ports(colon + 1, size - host_size - 1, &p, why) < 0)
		return -EINVAL;
	*out = p;
	return 0;
}

int pattern_parse_host(const char *text, struct pattern *out, const char **why)
{
	struct pattern p = { 0 };

	if (parse_host(text, strlen(text), &p, why) < 0)
		return -EINVAL;
	*out = p;
	return 0;
}

/* As strcasecmp() would in the C locale: what is asked may not have been folded. */
static bool name_equal(const char *folded, const char *name, size_t size)
{
	char c;

	for (size_t i = 0; i < size; i++) {
		c = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
		if (folded[i] != c)
			return false; /* also where @folded ends first */
	}
	return folded[size] == 0;
}

bool pattern_match_name(const struct pattern *p, const char *name)
{
	size_t size = strlen(name), suffix_size;

	if (size > 0 && name[size - 1] == '.')
		size--;
	switch (p->kind) {
	case PATTERN_ANY:
		return true;
	case PATTERN_NAME:
		return name_equal(p->text, name, size);
	case PATTERN_SUFFIX:
		suffix_size = strlen(p->text);
		/* At least one character and the dot before it: `*.lan` is not `lan`. */
		return size > suffix_size + 1 && name[size - suffix_size - 1] == '.' &&
		       name_equal(p->text, name + size - suffix_size, suffix_size);
	case PATTERN_LOCALHOST:
		return name_equal("localhost", name, size);
	case PATTERN_NET:
	case PATTERN_UNIX:
		return false;
	}
	CV_UNREACHABLE();
}

bool pattern_match_port(const struct pattern *p, uint16_t port, bool is_udp)
{
	if (p->kind == PATTERN_UNIX || p->is_udp != is_udp)
		return false;
	if (p->range_count == 0)
		return true;
	for (unsigned i = 0; i < p->range_count; i++) {
		if (port >= p->ports[i].first && port <= p->ports[i].last)
			return true;
	}
	return false;
}

/* What only a pattern that names it may reach. */
static bool is_special(const struct addr *a)
{
	switch (addr_class(a)) {
	case ADDR_CLASS_INVALID:
	case ADDR_CLASS_LOOPBACK:
	case ADDR_CLASS_LINK_LOCAL:
	case ADDR_CLASS_MULTICAST:
		return true;
	case ADDR_CLASS_PRIVATE:
	case ADDR_CLASS_SHARED:
	case ADDR_CLASS_GLOBAL:
		return false;
	}
	CV_UNREACHABLE();
}

static bool is_localhost(const struct addr *a)
{
	struct addr v4 = addr_v4(127, 0, 0, 1, a->port);
	struct addr v6 = { .family = ADDR_V6, .ip = { [15] = 1 } };

	return addr_equal_ip(a, &v4) || addr_equal_ip(a, &v6);
}

bool pattern_match_dial(const struct pattern *p, const char *name, const struct addr *addr,
                        bool is_udp)
{
	/* The caller has done it; an address that slipped through must not be judged as IPv6. */
	struct addr a = addr_canonical(addr);

	if (!pattern_match_port(p, a.port, is_udp))
		return false;
	switch (p->kind) {
	case PATTERN_ANY:
		return !is_special(&a);
	case PATTERN_NAME:
	case PATTERN_SUFFIX:
		return name && pattern_match_name(p, name) && !is_special(&a);
	case PATTERN_NET:
		if (!addr_in_net(&a, &p->net, p->bits))
			return false;
		return !is_special(&a) || p->bits >= addr_class_bits(&a);
	case PATTERN_LOCALHOST:
		return is_localhost(&a);
	case PATTERN_UNIX:
		return false;
	}
	CV_UNREACHABLE();
}

/* False for an empty, `.` or `..` component anywhere after the first slash. */
static bool is_plain_path(const char *path)
{
	size_t size;

	while (*path == '/') {
		path++;
		size = strcspn(path, "/");
		if (size == 0 || (size == 1 && path[0] == '.') ||
		    (size == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		path += size;
	}
	return true;
}

bool pattern_match_unix(const struct pattern *p, const char *path)
{
	size_t size = strlen(p->text);

	if (p->kind != PATTERN_UNIX)
		return false;
	if (!p->is_prefix)
		return strcmp(p->text, path) == 0;
	return strncmp(path, p->text, size) == 0 && path[size] != 0 && is_plain_path(path);
}
