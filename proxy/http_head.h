/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * http_head - the lines of one HTTP/1 request, up to the empty one (RFC 9112, 2 to 5).
 *
 * Knows the grammar and its limits, byte by byte: the first byte that cannot belong to a request
 * ends it. Stricter than the RFC lets a server be: CRLF only, one space only, no folded lines, no
 * space before a colon. What a target or a field means is http's business.
 *
 *   for (;;) {
 *           verdict = http_head_on_bytes(h, &in);
 *           NEED_MORE  wait for more bytes
 *           NEED_ROOM  http_head_lend() more memory, go round again
 *           LINE       method, target and version are known; go round again
 *           DONE       the fields too; what is left of @in is behind the head
 *           BAD        h->status and h->why
 *   }
 *
 * The verdicts and the bytes consumed are the same however TCP cut the bytes up.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/limits.h"
#include "base/rd.h"

enum {
	HTTP_HEAD_METHOD_MAX = 32,
	HTTP_HEAD_FIELDS_MAX = 64,
};

enum http_head_state {
	HTTP_HEAD_METHOD,
	HTTP_HEAD_TARGET,
	HTTP_HEAD_VERSION,
	HTTP_HEAD_LINE_LF,
	HTTP_HEAD_FIELD, /* at the beginning of a line */
	HTTP_HEAD_NAME,
	HTTP_HEAD_BLANK, /* before a value */
	HTTP_HEAD_VALUE,
	HTTP_HEAD_FIELD_LF,
	HTTP_HEAD_END_LF,
	HTTP_HEAD_READ,   /* final */
	HTTP_HEAD_BROKEN, /* final */
};

enum http_head_verdict {
	HTTP_HEAD_NEED_MORE,
	HTTP_HEAD_NEED_ROOM,
	HTTP_HEAD_LINE,
	HTTP_HEAD_DONE,
	HTTP_HEAD_BAD,
};

/* Places in h->bytes. A value has no blanks at its ends. */
struct http_head_field {
	uint16_t name_at, name_size;
	uint16_t value_at, value_size;
};

/* Open so that it can be embedded. Readable: all but state and cap. */
struct http_head {
	enum http_head_state state;
	uint16_t status; /* of the refusal, once bad */
	const char *why; /* likewise: a static sentence */
	uint8_t *bytes;  /* borrowed; the head so far */
	size_t cap, size;
	uint16_t method_size; /* at 0 */
	uint16_t target_at, target_size;
	uint16_t version_at;
	uint8_t minor; /* of HTTP/1.x: 0 or 1 */
	bool is_connect;
	uint8_t field_count;
	struct http_head_field fields[HTTP_HEAD_FIELDS_MAX];
};

/* @bytes: borrowed, as long as the head is looked at; @cap of at least HTTP_HEAD_METHOD_MAX. */
void http_head_init(struct http_head *h, uint8_t *bytes, size_t cap);
/* More memory, HTTP_HEAD_MAX at most: what was read is copied, the memory before is not used any
 * more. */
void http_head_lend(struct http_head *h, uint8_t *bytes, size_t cap);

/* Consumed up to what gave the verdict. After DONE: NEED_MORE; after BAD: BAD; neither consumes. */
CV_NODISCARD enum http_head_verdict http_head_on_bytes(struct http_head *h, struct rd *in);

/* @name in lower case. */
bool http_head_field_is(const struct http_head *h, const struct http_head_field *f,
                        const char *name);
/* The bytes are @text (in lower case), in any case. */
bool http_head_equal(const uint8_t *bytes, size_t size, const char *text);
/* RFC 9110, 5.6.2: a character of a token. */
bool http_head_is_token(uint8_t c);
/* RFC 9110, 5.5: a character of a field's value, blanks included; other controls are not. */
bool http_head_is_value(uint8_t c);
