/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * client - the blocking end of the control socket, for commands.
 *
 * One request out, one line in, with a deadline. Errors are printed by the caller.
 */

#include <stddef.h>

#include <jansson.h>

#include "base/compiler.h"

enum {
	CLIENT_WHY_MAX = 512,
	CLIENT_ANSWER_MAX = 16 * 1024 * 1024, /* bytes of one answer: 4,096 peers are about 2 MiB */
	CLIENT_TIMEOUT = 10000,               /* ms; a loop that is alive answers at once */
};

struct client {
	int fd; /* -1: closed */
	char *bytes;
	size_t size, capacity; /* bytes[0..size): received and not yet taken */
};

/**
 * client_open() - connect to the process behind @path
 * @role: "agent" or "server", for the sentence
 * @why:  "no running agent at PATH", or what else is wrong
 * Return: 0, or a negative errno: exit 1.
 */
CV_NODISCARD int client_open(struct client *c, const char *path, const char *role,
                             char why[CLIENT_WHY_MAX]);
/* Safe on a closed one. */
void client_close(struct client *c);

/* Writes @request as one line; the reference is taken, NULL is -ENOMEM. 0 or a negative errno
 * with @why. */
CV_NODISCARD int client_send(struct client *c, json_t *request, char why[CLIENT_WHY_MAX]);
/**
 * client_receive() - read one line
 * @timeout: ms for all of it
 * @answer:  receives a JSON object; the caller drops the reference
 *
 * Bytes after the line stay in c->bytes. -EINTR when a signal came: what was read is kept, call
 * again or give up.
 *
 * Return: 0; -ETIMEDOUT, -ECONNRESET (closed before an answer), -EBADMSG (not JSON), -EINTR, ...
 */
CV_NODISCARD int client_receive(struct client *c, int timeout, json_t **answer,
                                char why[CLIENT_WHY_MAX]);
/* client_send() and client_receive() within CLIENT_TIMEOUT. */
CV_NODISCARD int client_call(struct client *c, json_t *request, json_t **answer,
                             char why[CLIENT_WHY_MAX]);

/* The exit code of an answer: 0 for {"ok":true}, else its "exit" (1 without a valid one), with
 * *@error its sentence, borrowed from @answer. */
int client_exit_code(const json_t *answer, const char **error);
/* Adds " (known: home, office)" to the sentence about an unknown peer; asks the agent. */
void client_print_unknown_peer(const char *path, const char *error);
