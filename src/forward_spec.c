/* SPDX-License-Identifier: MIT */
#include "forward_spec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

enum { FIELDS_MAX = 4, QUOTE_MAX = 120 };

/* One part between colons, unescaped. */
struct field {
	char text[HOSTPORT_TEXT_MAX];
	bool is_path;
	bool is_bracketed;
};

static int fail(char why[FORWARD_SPEC_WHY_MAX], const char *cause, const char *text)
{
	char quoted[QUOTE_MAX];

	(void)log_escape(quoted, sizeof(quoted), text, strlen(text));
	(void)snprintf(why, FORWARD_SPEC_WHY_MAX, "%s: '%s'", cause, quoted);
	return -EINVAL;
}

/* Takes one field off *@text; 0, or a cause. */
static const char *next_field(const char **text, struct field *out)
{
	const char *at = *text;
	size_t size = 0;

	*out = (struct field){ .is_bracketed = *at == '[' };
	at += out->is_bracketed;
	while (*at && *at != (out->is_bracketed ? ']' : ':')) {
		if (*at == '\\' && !out->is_bracketed && *++at == 0)
			return "a backslash needs a character behind it";
		out->is_path |= *at == '/' && !out->is_bracketed;
		if (size == sizeof(out->text) - sizeof("unix:"))
			return "too long";
		out->text[size++] = *at++;
	}
	if (out->is_bracketed && *at++ != ']')
		return "a bracket is not closed";
	if (*at && *at != ':')
		return "only a colon may follow a bracket";
	if (out->is_path && out->text[0] != '/')
		return "the path of a unix socket begins with /";
	*text = at;
	return NULL;
}

/* The number of fields; 0 with @why. */
static unsigned split(const char *text, struct field fields[FIELDS_MAX],
                      char why[FORWARD_SPEC_WHY_MAX])
{
	const char *at = text, *cause;
	unsigned count = 0;

	for (;;) {
		if (count == FIELDS_MAX) {
			(void)fail(why, "too many colons (an IPv6 address needs brackets)", text);
			return 0;
		}
		cause = next_field(&at, &fields[count++]);
		if (cause) {
			(void)fail(why, cause, text);
			return 0;
		}
		if (*at == 0)
			return count;
		at++;
	}
}

static bool is_port(const struct field *f)
{
	size_t size = strlen(f->text);

	return !f->is_path && !f->is_bracketed && size > 0 && size <= 5 &&
	       strspn(f->text, "0123456789") == size;
}

static bool is_unix(const struct field *f, char out[HOSTPORT_TEXT_MAX])
{
	struct hostport h;
	const char *cause;

	(void)snprintf(out, HOSTPORT_TEXT_MAX, "unix:%.*s",
	               (int)(HOSTPORT_TEXT_MAX - sizeof("unix:")), f->text);
	return f->is_path && hostport_parse(out, 0, &h, &cause) == 0;
}

/* "HOST:PORT" with brackets where they belong; false: neither a name nor an address. */
static bool join(const struct field *host, const struct field *port, char out[HOSTPORT_TEXT_MAX])
{
	bool is_v6 = host->is_bracketed || strchr(host->text, ':');
	struct hostport h;
	const char *cause;
	int size;

	size = snprintf(out, HOSTPORT_TEXT_MAX, is_v6 ? "[%s]:%s" : "%s:%s", host->text,
	                port->text);
	return size > 0 && size < HOSTPORT_TEXT_MAX && hostport_parse(out, 0, &h, &cause) == 0;
}

/* @bind: NULL: not given. */
static int read_listen(const struct field *bind, const struct field *port, const char *text,
                       char out[HOSTPORT_TEXT_MAX], char why[FORWARD_SPEC_WHY_MAX])
{
	struct hostport h;
	const char *cause;

	if (!is_port(port) || hostport_parse(port->text, 0, &h, &cause) < 0)
		return fail(why, "the port to listen on is a number up to 65535", text);
	if (!bind || strcmp(bind->text, "localhost") == 0) {
		memcpy(out, port->text, strlen(port->text) + 1);
		return 0;
	}
	if (!bind->is_bracketed && (bind->text[0] == 0 || strcmp(bind->text, "*") == 0)) {
		(void)snprintf(out, HOSTPORT_TEXT_MAX, "*:%.5s", port->text);
		return 0;
	}
	if (bind->is_path || !join(bind, port, out))
		return fail(why, "a forward listens on an address, localhost or *", text);
	if (hostport_parse(out, 0, &h, &cause) < 0 || h.kind != HOST_ADDR)
		return fail(why, "a forward listens on an address, localhost or *", text);
	return 0;
}

static int read_target(const struct field *host, const struct field *port, const char *text,
                       char out[HOSTPORT_TEXT_MAX], char why[FORWARD_SPEC_WHY_MAX])
{
	if (host->is_path || port->is_path)
		return fail(why, "a unix socket has no port", text);
	if (strcmp(host->text, "service") == 0 && !host->is_bracketed && !is_port(port)) {
		if (!host_label_is_valid(port->text, strlen(port->text)))
			return fail(why, "no name of a service", text);
		(void)snprintf(out, HOSTPORT_TEXT_MAX, "service:%.63s", port->text);
		return 0;
	}
	if (!is_port(port) || strspn(port->text, "0") == strlen(port->text))
		return fail(why, "the target's port is a number from 1 to 65535", text);
	if (host->text[0] == 0 || !join(host, port, out))
		return fail(why, "the target is neither a name nor an address with its port", text);
	return 0;
}

static int read_socket(const struct field *f, const char *text, char out[HOSTPORT_TEXT_MAX],
                       char why[FORWARD_SPEC_WHY_MAX])
{
	if (!is_unix(f, out))
		return fail(why, "the path of a unix socket has at most 107 bytes", text);
	return 0;
}

int forward_spec_parse(const char *text, struct forward_spec *out, char why[FORWARD_SPEC_WHY_MAX])
{
	struct field f[FIELDS_MAX];
	struct forward_spec spec = { .listen = "" };
	unsigned count = split(text, f, why), left;
	int r;

	if (count == 0)
		return -EINVAL;
	left = count > 1 && f[count - 1].is_path ? 1 : 2; /* fields of the target */
	if (count <= left || count - left > 2 || (f[0].is_path && count - left != 1))
		return fail(why, "expected [BIND:]PORT:HOST:HOSTPORT, with /SOCKET at either end",
		            text);
	if (f[0].is_path)
		r = read_socket(&f[0], text, spec.listen, why);
	else
		r = read_listen(count - left == 2 ? &f[0] : NULL, &f[count - left - 1], text,
		                spec.listen, why);
	if (r == 0)
		r = left == 1 ? read_socket(&f[count - 1], text, spec.target, why)
		              : read_target(&f[count - 2], &f[count - 1], text, spec.target, why);
	if (r == 0)
		*out = spec;
	return r;
}

int forward_spec_parse_listen(const char *text, char out[HOSTPORT_TEXT_MAX],
                              char why[FORWARD_SPEC_WHY_MAX])
{
	struct field f[FIELDS_MAX];
	char listen[HOSTPORT_TEXT_MAX];
	unsigned count = split(text, f, why);
	int r;

	if (count == 0)
		return -EINVAL;
	if (count == 1 && f[0].is_path)
		r = read_socket(&f[0], text, listen, why);
	else if (count <= 2)
		r = read_listen(count == 2 ? &f[0] : NULL, &f[count - 1], text, listen, why);
	else
		r = fail(why, "expected [BIND:]PORT or /SOCKET", text);
	if (r == 0)
		memcpy(out, listen, strlen(listen) + 1);
	return r;
}
