/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fds - descriptors as this program wants them: non-blocking, closed on exec.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/compiler.h"

/* A socket of @family (AF_*) and @type (SOCK_STREAM, ...), or a negative errno. */
CV_NODISCARD int fds_socket(int family, int type, int protocol);
/* Non-blocking, close-on-exec, and no SIGPIPE where that is a property of the socket. */
CV_NODISCARD int fds_prepare(int fd);
/* The next connection, or a negative errno. */
CV_NODISCARD int fds_accept(int fd);
/* An option whose failure only costs something; errno survives. */
void fds_option(int fd, int level, int name, int value);
/* The pending error of a socket, cleared by asking: 0 or a negative errno. */
int fds_take_error(int fd);
/* Releases @fd unless it is negative, and sets it to -1. */
void fds_close(int *fd);
/* ADDR_NONE when the socket is of another family, or has none. */
struct addr fds_local(int fd);
struct addr fds_peer(int fd);

/*
 * A sign on a unix socket, which has no RST: one byte, no data, that carries a descriptor. Between
 * agent and `culvert nc` it says what a close cannot: the agent's is an abort, nc's is the end of
 * its input.
 */
/* 0 or a negative errno; -EAGAIN: later. */
int fds_send_sign(int fd);
/* As recv() without waiting; @has_sign: the last of the bytes is a sign. */
ssize_t fds_receive_sign(int fd, uint8_t *bytes, size_t size, bool *has_sign);
