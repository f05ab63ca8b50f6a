/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/limits.h"
#include "base/log.h"

_Static_assert((int)REQUEST_SIZE_MAX == (int)CONTROL_REQUEST_MAX, "one limit");

enum { QUOTE_MAX = 100 }; /* of the client's text in a sentence, escaped */

/* The members each command has besides "command". */
static const struct shape {
	const char *name;
	enum request_verb verb;
	bool has_peer, has_target, has_listen;
} shapes[] = {
	{ "status", REQUEST_STATUS, false, false, false },
	{ "ping", REQUEST_PING, true, false, false },
	{ "nc", REQUEST_NC, true, true, false },
	{ "reload", REQUEST_RELOAD, false, false, false },
	{ "stop", REQUEST_STOP, false, false, false },
	{ "forward", REQUEST_FORWARD, true, true, true },
	{ "forward-remove", REQUEST_FORWARD_REMOVE, false, false, true },
	{ "forwards", REQUEST_FORWARDS, false, false, false },
};

/* What a client sent, fit for a sentence. */
static const char *quote(char out[QUOTE_MAX], const char *text)
{
	(void)log_escape(out, QUOTE_MAX, text, strlen(text));
	return out;
}

static const struct shape *find_shape(const char *name)
{
	for (size_t i = 0; i < CV_ARRAY_SIZE(shapes); i++) {
		if (strcmp(shapes[i].name, name) == 0)
			return &shapes[i];
	}
	return NULL;
}

static int bad(char why[REQUEST_WHY_MAX], const char *sentence)
{
	(void)snprintf(why, REQUEST_WHY_MAX, "%s", sentence);
	return -EINVAL;
}

/* The text of a member that must be there; NULL with @why. */
static const char *member(const json_t *object, const char *key, char why[REQUEST_WHY_MAX])
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text)
		(void)snprintf(why, REQUEST_WHY_MAX, "a request needs '%s', a string", key);
	return text;
}

static int check_members(json_t *object, const struct shape *shape, char why[REQUEST_WHY_MAX])
{
	char quoted[QUOTE_MAX];
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		if (strcmp(key, "command") != 0 && !(shape->has_peer && strcmp(key, "peer") == 0) &&
		    !(shape->has_target && strcmp(key, "target") == 0) &&
		    !(shape->has_listen &&
		      (strcmp(key, "listen") == 0 || strcmp(key, "protocol") == 0))) {
			(void)snprintf(why, REQUEST_WHY_MAX, "the command '%s' has no '%s'",
			               shape->name, quote(quoted, key));
			return -EINVAL;
		}
	}
	return 0;
}

static int read_peer(const json_t *object, struct request *out, char why[REQUEST_WHY_MAX])
{
	const char *text = member(object, "peer", why);
	char quoted[QUOTE_MAX];
	size_t size;

	if (!text)
		return -EINVAL;
	size = strlen(text);
	if (!host_label_is_valid(text, size)) {
		(void)snprintf(why, REQUEST_WHY_MAX, "'%s' is not the name of a peer",
		               quote(quoted, text));
		return -EINVAL;
	}
	CV_ASSERT(size < sizeof(out->peer));
	memcpy(out->peer, text, size + 1);
	return 0;
}

static int read_target(const json_t *object, struct request *out, char why[REQUEST_WHY_MAX])
{
	const char *text = member(object, "target", why);
	const char *reason = NULL;
	char quoted[QUOTE_MAX];
	struct hostport target;
	size_t size;

	if (!text)
		return -EINVAL;
	size = strlen(text);
	if (size >= sizeof(out->target))
		return bad(why, "the target is too long");
	if (hostport_parse(text, 0, &target, &reason) < 0) {
		(void)snprintf(why, REQUEST_WHY_MAX, "'%s' is not a target: %s",
		               quote(quoted, text), reason);
		return -EINVAL;
	}
	memcpy(out->target, text, size + 1);
	return 0;
}

/* "protocol" may be left out: TCP. */
static int read_listen(const json_t *object, struct request *out, char why[REQUEST_WHY_MAX])
{
	const char *text = member(object, "listen", why);
	const json_t *protocol = json_object_get(object, "protocol");
	const char *word = protocol ? json_string_value(protocol) : "tcp";
	char quoted[QUOTE_MAX];
	size_t size;

	if (!text)
		return -EINVAL;
	size = strlen(text);
	if (size >= sizeof(out->listen)) {
		(void)snprintf(why, REQUEST_WHY_MAX, "'%s' is no place to listen",
		               quote(quoted, text));
		return -EINVAL;
	}
	if (!word || (strcmp(word, "tcp") != 0 && strcmp(word, "udp") != 0))
		return bad(why, "'protocol' is tcp or udp");
	memcpy(out->listen, text, size + 1);
	out->is_udp = strcmp(word, "udp") == 0;
	return 0;
}

static int read_object(json_t *object, struct request *out, char why[REQUEST_WHY_MAX])
{
	struct request request = { .verb = REQUEST_STATUS };
	const struct shape *shape;
	char quoted[QUOTE_MAX];
	const char *name;

	if (!json_is_object(object))
		return bad(why, "a request is one JSON object on one line");
	name = member(object, "command", why);
	if (!name)
		return -EINVAL;
	shape = find_shape(name);
	if (!shape) {
		(void)snprintf(why, REQUEST_WHY_MAX, "unknown command '%s'", quote(quoted, name));
		return -EINVAL;
	}
	request.verb = shape->verb;
	if (check_members(object, shape, why) < 0 ||
	    (shape->has_peer && read_peer(object, &request, why) < 0) ||
	    (shape->has_target && read_target(object, &request, why) < 0) ||
	    (shape->has_listen && read_listen(object, &request, why) < 0))
		return -EINVAL;
	*out = request;
	return 0;
}

int request_parse(const char *line, size_t size, struct request *out, char why[REQUEST_WHY_MAX])
{
	char quoted[QUOTE_MAX];
	json_error_t error;
	json_t *object;
	int r;

	if (size > REQUEST_SIZE_MAX)
		return bad(why, "the request is longer than 64 KiB");
	object = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (!object) {
		if (json_error_code(&error) == json_error_out_of_memory) {
			(void)bad(why, "out of memory");
			return -ENOMEM;
		}
		(void)snprintf(why, REQUEST_WHY_MAX, "the request is not JSON: %s",
		               quote(quoted, error.text));
		return -EINVAL;
	}
	r = read_object(object, out, why);
	json_decref(object);
	return r;
}

size_t request_write_error(char out[REQUEST_LINE_MAX], int exit_code, const char *error)
{
	static const char head[] = "{\"ok\":false,\"error\":\"";
	enum { TAIL_MAX = 32 }; /* `","exit":-2147483648}`, newline, NUL */
	size_t size = sizeof(head) - 1;
	int r;

	memcpy(out, head, size);
	for (; *error && size + 2 <= REQUEST_LINE_MAX - TAIL_MAX; error++) {
		if (*error == '"' || *error == '\\')
			out[size++] = '\\';
		out[size++] = *error >= ' ' && *error <= '~' ? *error : '?';
	}
	r = snprintf(out + size, REQUEST_LINE_MAX - size, "\",\"exit\":%d}\n", exit_code);
	CV_ASSERT(r > 0 && (size_t)r < REQUEST_LINE_MAX - size);
	return size + (size_t)r;
}
