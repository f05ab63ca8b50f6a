/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * request - one line of the control protocol: what a client may ask, and how a refusal reads.
 *
 * Knows texts only: no sockets, no loop. Any bytes give a verdict.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/hostport.h"

enum {
	REQUEST_SIZE_MAX = 64 * 1024, /* bytes of a line, without its newline */
	REQUEST_WHY_MAX = 256,        /* a sentence and its NUL */
	REQUEST_LINE_MAX = 512,       /* of request_write_error() */
};

enum request_verb {
	REQUEST_STATUS,
	REQUEST_PING,
	REQUEST_NC,
	REQUEST_RELOAD,
	REQUEST_STOP,
	REQUEST_FORWARD,        /* adds one */
	REQUEST_FORWARD_REMOVE, /* one that was added so */
	REQUEST_FORWARDS,       /* lists all */
};

struct request {
	enum request_verb verb;
	char peer[HOST_LABEL_MAX + 1];  /* PING, NC, FORWARD: a DNS label */
	char target[HOSTPORT_TEXT_MAX]; /* NC, FORWARD: as asked; hostport_parse() accepts it */
	char listen[HOSTPORT_TEXT_MAX]; /* FORWARD, FORWARD_REMOVE: "*:PORT", or hostport_parse()
	                                   accepts it */
	bool is_udp;                    /* FORWARD, FORWARD_REMOVE */
};

/**
 * request_parse() - read one line, without its newline
 * @why: on failure, a sentence for the user
 *
 * Strict: exactly one JSON object with the members of its command, no others; a member that this
 * version does not know must not be ignored silently.
 *
 * Return: 0; -EINVAL with @why; -ENOMEM with @why. @out is unchanged then.
 */
CV_NODISCARD int request_parse(const char *line, size_t size, struct request *out,
                               char why[REQUEST_WHY_MAX]);

/* {"ok":false,"error":"...","exit":N} and a newline; cut to fit, printable ASCII. Returns the
 * size, without the NUL that follows. */
size_t request_write_error(char out[REQUEST_LINE_MAX], int exit_code, const char *error);
