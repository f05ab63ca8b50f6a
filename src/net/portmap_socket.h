/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * portmap_socket - a UDP socket that portmap and portprobe ask gateways on: few datagrams, from a
 * chosen address of ours.
 */

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"

struct portmap_socket;

/* What came, from the loop. May close the socket. */
typedef void portmap_socket_fn(void *ctx, const struct addr *from, const uint8_t *bytes,
                               size_t size);

/**
 * portmap_socket_open() - bind and read
 * @family: AF_INET or AF_INET6
 * @port:   0: any, for requests; else shared with others who listen there, and what is said to all
 *          hosts of a link is heard
 * Return: 0 or a negative errno.
 */
CV_NODISCARD int portmap_socket_open(uv_loop_t *loop, int family, uint16_t port,
                                     portmap_socket_fn *on_datagram, void *ctx,
                                     struct portmap_socket **out);
/* From our address @own, whatever its port. What does not leave is lost. */
void portmap_socket_send(struct portmap_socket *s, const struct addr *own, const struct addr *to,
                         const uint8_t *bytes, size_t size);
/* Takes @s. @on_closed comes from the loop. */
void portmap_socket_close(struct portmap_socket *s, void (*on_closed)(void *ctx), void *ctx);
