/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * once - what is special about the flow of an HTTP request in absolute form: the rewritten head
 * goes first, then the body and not a byte more; when the response has ended the connection ends.
 *
 * Knows the way of the bytes from the client to the stream; flow.c has the rest, near_proxy.c the
 * time before. A client that sends on behind its request (it hoped for a persistent connection) is
 * read and ignored, so that its end or reset is still noticed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct flow;
struct http;

/**
 * once_new() - make @f a flow of one request
 * @h:     has given HTTP_FORWARD; copied from
 * @early: what the client sent behind the head; changed
 *
 * Return: 0, -ENOMEM, or -EBADMSG: what came of the body is malformed.
 */
CV_NODISCARD int once_new(struct flow *f, const struct http *h, uint8_t *early, size_t early_size);
void once_free(struct flow *f);

/* Writes as much of the head as the stream has room for; true when all of it is written. */
bool once_push(struct flow *f);
/* As tcp_conn_events.alloc: memory for more of the body; NULL while there is no room. */
uint8_t *once_alloc(struct flow *f, size_t *size);
/* @size bytes were read into it. False: the body is malformed. */
CV_NODISCARD bool once_read(struct flow *f, size_t size);
/* The whole request has been written to the stream. */
bool once_is_sent(const struct flow *f);
