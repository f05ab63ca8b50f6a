/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * control_socket - a listening unix socket that only its user can reach.
 *
 * Knows the file system's side of the control socket: whose the directory is, when a socket
 * that exists may be replaced, and who is at the other end of a connection. No loop.
 *
 * This is stricter than the listeners of forwards (net/tcp_listener): the directory counts, two
 * processes that start together cannot both win, and a refusal says why.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/compiler.h"

/* What was bound, to remove exactly that. */
struct control_socket {
	int fd; /* -1: closed */
	dev_t device;
	ino_t inode;
	char path[108]; /* sun_path */
};

/**
 * control_socket_open() - bind @path, mode 0600, and listen
 * @why: on failure, a sentence that names @path
 *
 * Return: 0; -EADDRINUSE (answered; no socket; not ours), -EPERM (others may write in the
 * directory), -ENAMETOOLONG, -EACCES, ...
 */
CV_NODISCARD int control_socket_open(struct control_socket *s, const char *path, char *why,
                                     size_t why_size);
/* Removes the path if it is still what was bound. Safe on a closed one. */
void control_socket_close(struct control_socket *s);
/* A connection, non-blocking, or a negative errno. Only of our own user or root: others are
 * -EPERM, already closed. */
CV_NODISCARD int control_socket_accept(const struct control_socket *s);
