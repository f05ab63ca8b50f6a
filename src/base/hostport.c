/* SPDX-License-Identifier: MIT */
#include "base/hostport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/decimal.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

/* What inet_aton() and URL parsers read as a number: "123", "0x7f", "0x". */
static bool is_numeric_label(const char *label, size_t size)
{
	bool is_hex = size >= 2 && label[0] == '0' && label[1] == 'x';

	for (size_t i = is_hex ? 2 : 0; i < size; i++) {
		if (!is_digit(label[i]) && !(is_hex && label[i] >= 'a' && label[i] <= 'f'))
			return false;
	}
	return true;
}

bool host_name_is_valid(const char *text, size_t size)
{
	size_t label = 0; /* where the present one begins */

	if (size == 0 || size > HOST_DNS_MAX)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '.') {
			if (i == label)
				return false;
			label = i + 1;
			continue;
		}
		if (!is_lower(text[i]) && !is_digit(text[i]) && text[i] != '-' && text[i] != '_')
			return false;
		if (i - label == HOST_LABEL_MAX)
			return false;
	}
	return label < size && !is_numeric_label(text + label, size - label);
}

bool host_label_is_valid(const char *text, size_t size)
{
	if (size == 0 || size > HOST_LABEL_MAX || text[0] == '-' || text[size - 1] == '-')
		return false;
	for (size_t i = 0; i < size; i++) {
		if (!is_lower(text[i]) && !is_digit(text[i]) && text[i] != '-')
			return false;
	}
	return true;
}

static int from_addr(const char *text, size_t size, uint16_t port, struct hostport *out)
{
	struct hostport h = { .kind = HOST_ADDR, .port = port };

	if (addr_parse_ip(text, size, &h.addr) < 0)
		return -EINVAL;
	h.addr.port = port;
	*out = h;
	return 0;
}

int hostport_from_name(const char *text, size_t size, uint16_t port, struct hostport *out)
{
	struct hostport h = { .kind = HOST_NAME, .port = port };

	if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
		if (!memchr(text, ':', size))
			return -EINVAL; /* brackets are for IPv6 */
		return from_addr(text + 1, size - 2, port, out);
	}
	if (from_addr(text, size, port, out) == 0)
		return 0;

	if (size > 0 && text[size - 1] == '.')
		size--; /* the root: it changes how a resolver searches, not what is meant */
	if (size > HOST_DNS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < size; i++)
		h.text[i] =
			(char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
	if (!host_name_is_valid(h.text, size))
		return -EINVAL;
	*out = h;
	return 0;
}

static int refuse(const char **why, const char *sentence)
{
	*why = sentence;
	return -EINVAL;
}

static int parse_unix(const char *path, struct hostport *out, const char **why)
{
	struct hostport h = { .kind = HOST_UNIX };
	size_t size = strlen(path);

	if (size < 2 || path[0] != '/')
		return refuse(why, "the path of a unix socket must be absolute");
	/* The kernel's limit; libuv would cut a longer one short without a word. */
	if (size > HOST_UNIX_MAX)
		return refuse(why, "the path of a unix socket has at most 107 bytes");
	memcpy(h.text, path, size);
	*out = h;
	return 0;
}

static int parse_service(const char *name, struct hostport *out, const char **why)
{
	struct hostport h = { .kind = HOST_SERVICE };
	size_t size = strlen(name);

	if (!host_label_is_valid(name, size))
		return refuse(why, "a service's name has 1 to 63 of a-z, 0-9 and '-'");
	memcpy(h.text, name, size);
	*out = h;
	return 0;
}

/* Where the colon before the port stands, or NULL when @text has no port. */
static const char *port_colon(const char *text, uint16_t default_port)
{
	const char *close = text[0] == '[' ? strchr(text, ']') : NULL;
	const char *last = strrchr(text, ':');
	struct addr plain;

	if (close)
		return last && last > close ? last : NULL;
	/* "2001:db8::1" where a port may be left out is the address, not a port 1. */
	if (default_port != 0 && addr_parse_ip(text, strlen(text), &plain) == 0)
		return NULL;
	return last;
}

int hostport_parse(const char *text, uint16_t default_port, struct hostport *out, const char **why)
{
	unsigned port = default_port;
	const char *colon;
	size_t size = strlen(text);

	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, out, why);
	if (strncmp(text, "service:", 8) == 0)
		return parse_service(text + 8, out, why);
	if (size > 0 && strspn(text, "0123456789") == size) {
		if (!decimal_read(text, size, UINT16_MAX, &port))
			return refuse(why, "a port is a number from 0 to 65535");
		return hostport_from_name("localhost", 9, (uint16_t)port, out);
	}

	colon = port_colon(text, default_port);
	if (colon) {
		if (!decimal_read(colon + 1, strlen(colon + 1), UINT16_MAX, &port))
			return refuse(why, "a port is a number from 0 to 65535");
		size = (size_t)(colon - text);
		if (text[0] != '[' && memchr(text, ':', size))
			return refuse(
				why,
				"an IPv6 address before a port needs brackets: [ADDRESS]:PORT");
	} else if (default_port == 0) {
		return refuse(why, "a port is missing: HOST:PORT");
	}
	if (hostport_from_name(text, size, (uint16_t)port, out) < 0)
		return refuse(why, "the host is neither an address nor a valid name");
	return 0;
}

/* A host may really be called so; the root's dot then keeps its text apart from the keyword. */
static bool is_keyword(const char *name)
{
	return strcmp(name, "unix") == 0 || strcmp(name, "service") == 0;
}

const char *hostport_format(const struct hostport *h, char out[HOSTPORT_TEXT_MAX])
{
	char ip[ADDR_TEXT_MAX];
	struct addr addr = h->addr;
	int size = 0;

	switch (h->kind) {
	case HOST_NONE:
		size = snprintf(out, HOSTPORT_TEXT_MAX, "none");
		break;
	case HOST_ADDR:
		addr.port = h->port;
		size = snprintf(out, HOSTPORT_TEXT_MAX, "%s", addr_format(&addr, ip));
		break;
	case HOST_NAME:
		size = snprintf(out, HOSTPORT_TEXT_MAX, "%s%s:%u", h->text,
		                is_keyword(h->text) ? "." : "", h->port);
		break;
	case HOST_UNIX:
		size = snprintf(out, HOSTPORT_TEXT_MAX, "unix:%s", h->text);
		break;
	case HOST_SERVICE:
		size = snprintf(out, HOSTPORT_TEXT_MAX, "service:%s", h->text);
		break;
	}
	CV_ASSERT(size > 0);
	CV_ASSERT(size < HOSTPORT_TEXT_MAX);
	return out;
}

bool hostport_equal(const struct hostport *a, const struct hostport *b)
{
	if (a->kind != b->kind || a->port != b->port)
		return false;
	switch (a->kind) {
	case HOST_NONE:
		return true;
	case HOST_ADDR:
		return addr_equal_ip(&a->addr, &b->addr);
	case HOST_NAME:
	case HOST_UNIX:
	case HOST_SERVICE:
		return strcmp(a->text, b->text) == 0;
	}
	CV_UNREACHABLE();
}
