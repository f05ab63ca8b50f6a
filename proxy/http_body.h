/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * http_body - where the body of one HTTP request ends (RFC 9112, 6 and 7).
 *
 * Knows Content-Length and chunks, and takes away what must not go further: extensions of chunks,
 * trailer fields, and everything behind the body. What it lets through is well-formed, with no
 * second reading possible: no bare LF, no sign, no space about a size. Moves bytes within the
 * caller's memory, holds none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum {
	HTTP_BODY_DIGITS_MAX = 15,    /* of a chunk's size, leading zeros too: below 2^60 */
	HTTP_BODY_EXTRAS_MAX = 16384, /* bytes of all extensions and trailers of a body */
};

enum http_body_state {
	HTTP_BODY_LENGTH, /* `left` bytes to come */
	HTTP_BODY_SIZE,   /* digits of a chunk's size */
	HTTP_BODY_EXTENSION,
	HTTP_BODY_SIZE_LF,
	HTTP_BODY_CHUNK, /* `left` bytes to come */
	HTTP_BODY_CHUNK_CR,
	HTTP_BODY_CHUNK_LF,
	HTTP_BODY_TRAILER, /* at the beginning of a line */
	HTTP_BODY_TRAILER_NAME,
	HTTP_BODY_TRAILER_VALUE,
	HTTP_BODY_TRAILER_LF,
	HTTP_BODY_END_LF,
	HTTP_BODY_DONE, /* final */
	HTTP_BODY_BAD,  /* final */
};

/* Open so that it can be embedded. */
struct http_body {
	enum http_body_state state;
	uint64_t left;
	uint32_t extras; /* bytes of extensions and trailers so far */
	uint8_t digits;
};

/* A body of @size bytes; 0: none. */
void http_body_init_length(struct http_body *b, uint64_t size);
void http_body_init_chunked(struct http_body *b);

/**
 * http_body_filter() - let through what belongs to the body
 * @bytes: what the client sent next; what goes on to the target is moved to its front
 *
 * All of @bytes is used up: what is not kept is dropped. The bytes kept are the same however the
 * body was cut up.
 * Return: bytes kept. http_body_is_bad() afterwards: the body is malformed, nothing more is kept.
 */
CV_NODISCARD size_t http_body_filter(struct http_body *b, uint8_t *bytes, size_t size);

/* All of the body has passed. */
bool http_body_is_done(const struct http_body *b);
bool http_body_is_bad(const struct http_body *b);
