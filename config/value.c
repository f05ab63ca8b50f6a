/* SPDX-License-Identifier: MIT */
#include "config/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/hostport.h"

CV_PRINTF(2, 3)
static int fail(char why[VALUE_WHY_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, VALUE_WHY_MAX, fmt, ap); /* cut when too long */
	va_end(ap);
	return -EINVAL;
}

int value_read_bool(const char *text, bool *out, char why[VALUE_WHY_MAX])
{
	bool is_true = strcmp(text, "true") == 0;

	if (!is_true && strcmp(text, "false") != 0)
		return fail(why, "expected true or false, found '%.60s'", text);
	*out = is_true;
	return 0;
}

/* Reads leading digits; *@rest is what follows them. False: none, a leading zero, or too many. */
static bool read_digits(const char *text, uint64_t *out, const char **rest)
{
	size_t size = strspn(text, "0123456789");
	uint64_t v = 0;

	if (size == 0 || size > 18 || (size > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < size; i++)
		v = v * 10 + (uint64_t)(text[i] - '0');
	*out = v;
	*rest = text + size;
	return true;
}

int value_read_integer(const char *text, uint64_t min, uint64_t max, uint64_t *out,
                       char why[VALUE_WHY_MAX])
{
	const char *rest = "";
	uint64_t v = 0;

	if (!read_digits(text, &v, &rest) || *rest != '\0' || v < min || v > max)
		return fail(why,
		            "expected a whole number from %" PRIu64 " to %" PRIu64
		            ", found '%.60s'",
		            min, max, text);
	*out = v;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {
	{ "B", 1 },
	{ "kB", 1000 },
	{ "MB", 1000000 },
	{ "GB", 1000000000 },
	{ "TB", UINT64_C(1000000000000) },
	{ "KiB", 1024 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "GiB", UINT64_C(1) << 30 },
	{ "TiB", UINT64_C(1) << 40 },
	{ 0 },
};

static const struct unit rate_units[] = {
	{ "bit", 1 }, { "kbit", 1000 }, { "Mbit", 1000000 }, { "Gbit", 1000000000 }, { 0 },
};

/* A number and its unit; a space between them is allowed. */
static bool read_quantity(const char *text, const struct unit *units, uint64_t *out)
{
	const char *rest = "";
	uint64_t v = 0;

	if (!read_digits(text, &v, &rest))
		return false;
	while (*rest == ' ')
		rest++;
	for (; units->name; units++) {
		if (strcmp(units->name, rest) != 0)
			continue;
		*out = v > UINT64_MAX / units->factor ? UINT64_MAX : v * units->factor;
		return true;
	}
	return false;
}

/* The inverse, for messages: in the largest unit that leaves no rest. */
static const char *format_quantity(uint64_t v, const struct unit *units, char out[32])
{
	const struct unit *best = units;

	for (; units->name; units++) {
		if (v % units->factor == 0 && units->factor > best->factor)
			best = units;
	}
	(void)snprintf(out, 32, "%" PRIu64 "%s", v / best->factor, best->name);
	return out;
}

int value_read_size(const char *text, uint64_t min, uint64_t max, uint64_t *out,
                    char why[VALUE_WHY_MAX])
{
	char low[32];
	char high[32];
	uint64_t v = 0;

	if (!read_quantity(text, size_units, &v))
		return fail(why, "expected a size with its unit, such as 64KiB, found '%.60s'",
		            text);
	if (v < min || v > max)
		return fail(why, "expected a size from %s to %s, found '%.60s'",
		            format_quantity(min, size_units, low),
		            format_quantity(max, size_units, high), text);
	*out = v;
	return 0;
}

int value_read_rate(const char *text, uint64_t min, uint64_t max, uint64_t *out,
                    char why[VALUE_WHY_MAX])
{
	char low[32];
	char high[32];
	uint64_t v = 0;

	if (!read_quantity(text, rate_units, &v))
		return fail(why, "expected a rate with its unit, such as 50Mbit, found '%.60s'",
		            text);
	if (v < min || v > max)
		return fail(why, "expected a rate from %s to %s, found '%.60s'",
		            format_quantity(min, rate_units, low),
		            format_quantity(max, rate_units, high), text);
	*out = v;
	return 0;
}

/* Both families at one port: every address, or loopback. */
static void listen_on_both(struct config_listen *l, uint16_t port, bool is_loopback)
{
	l->addrs[0] = is_loopback ? addr_v4(127, 0, 0, 1, port) : addr_v4(0, 0, 0, 0, port);
	l->addrs[1] = (struct addr){ .family = ADDR_V6, .port = port };
	l->addrs[1].ip[15] = is_loopback ? 1 : 0;
	l->addr_count = 2;
}

int value_read_listen(const char *text, bool is_tunnel, struct config_listen *out,
                      char why[VALUE_WHY_MAX])
{
	struct config_listen l = { .mark = out->mark, .text = text };
	bool is_port = text[strspn(text, "0123456789")] == '\0';
	struct hostport h;
	const char *cause = NULL;

	if (hostport_parse(text, 0, &h, &cause) < 0) {
		if (strchr(text, '*'))
			cause = "every address is 0.0.0.0 and [::]";
		return fail(why, "expected %s, found '%.120s': %s",
		            is_tunnel ? "a port or HOST:PORT" : "HOST:PORT, a port, or unix:/path",
		            text, cause);
	}
	switch (h.kind) {
	case HOST_UNIX:
		if (is_tunnel)
			return fail(why, "the tunnel cannot listen on a unix path");
		l.unix_path = text + strlen("unix:");
		break;
	case HOST_ADDR:
		l.addrs[0] = h.addr;
		l.addr_count = 1;
		break;
	case HOST_NAME:
		if (strcmp(h.text, "localhost") != 0)
			return fail(why,
			            "a listener needs an address or localhost, not the name "
			            "'%.120s'",
			            h.text);
		listen_on_both(&l, h.port, !(is_port && is_tunnel));
		break;
	case HOST_SERVICE:
		return fail(why, "a listener cannot be a service");
	case HOST_NONE:
		CV_UNREACHABLE();
	}
	*out = l;
	return 0;
}

int value_read_address(const char *text, uint16_t port, struct hostport *out,
                       char why[VALUE_WHY_MAX])
{
	struct hostport h;
	const char *cause = NULL;

	/* A lone number is a port to everybody else here; as a host it is a slip. */
	if (text[strspn(text, "0123456789")] == '\0')
		return fail(why, "expected HOST or HOST:PORT, found '%.60s'", text);
	if (hostport_parse(text, port, &h, &cause) < 0)
		return fail(why, "expected HOST or HOST:PORT, found '%.120s': %s", text, cause);
	if (h.kind != HOST_ADDR && h.kind != HOST_NAME)
		return fail(why, "expected HOST or HOST:PORT, found '%.120s'", text);
	if (h.port == 0)
		return fail(why, "expected a port from 1 to 65535, found 0");
	*out = h;
	return 0;
}

int value_read_target(const char *text, struct hostport *out, char why[VALUE_WHY_MAX])
{
	struct hostport h;
	const char *cause = NULL;

	if (hostport_parse(text, 0, &h, &cause) < 0)
		return fail(why,
		            "expected HOST:PORT, a port, unix:/path or service:NAME, found "
		            "'%.100s': %s",
		            text, cause);
	if ((h.kind == HOST_ADDR || h.kind == HOST_NAME) && h.port == 0)
		return fail(why, "expected a port from 1 to 65535, found 0");
	*out = h;
	return 0;
}

int value_read_path(const char *text, const char *file, char out[CONFIG_PATH_MAX],
                    char why[VALUE_WHY_MAX])
{
	const char *slash = strrchr(file, '/');
	const char *prefix = "";
	size_t prefix_size = 0;
	size_t size;

	if (text[0] == '\0')
		return fail(why, "expected a path, found nothing");
	if (text[0] == '~') {
		if (text[1] != '/' && text[1] != '\0')
			return fail(why, "only ~/ is known, not '%.60s'", text);
		prefix = getenv("HOME");
		if (!prefix || prefix[0] != '/')
			return fail(why, "'~' needs $HOME, which is not set");
		prefix_size = strlen(prefix);
		text++;
	} else if (text[0] != '/' && slash) {
		prefix = file;
		prefix_size = (size_t)(slash - file) + 1;
	}
	size = strlen(text);
	if (prefix_size >= CONFIG_PATH_MAX || size >= CONFIG_PATH_MAX - prefix_size)
		return fail(why, "a path has at most %d bytes", CONFIG_PATH_MAX - 1);
	memcpy(out, prefix, prefix_size);
	memcpy(out + prefix_size, text, size + 1);
	return 0;
}
