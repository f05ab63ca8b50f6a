/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * resolver - names to addresses, through c-ares.
 *
 * Knows the system's configuration (resolv.conf, hosts) and that it changes; both families
 * are asked for. Literals never reach DNS. At most so many lookups per owner and in all;
 * none takes longer than 5 s. An answer that nobody waits for any more is dropped by id.
 */

#include <stdint.h>
#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/time.h"

struct resolver;

enum { RESOLVER_ADDRESSES_MAX = 32 }; /* of one answer, half of each family; the rest is dropped */

#define RESOLVER_TIMEOUT CV_SEC(5)

enum resolver_verdict {
	RESOLVER_OK,        /* at least one address */
	RESOLVER_NOT_FOUND, /* no such name, or it has no address */
	RESOLVER_NO_ANSWER, /* timeout, or the servers failed or refused */
	RESOLVER_LIMIT,     /* too many lookups in flight, or no memory */
};

/* Once per resolver_start(), from the loop, never from within a call of ours. @list is in the name
 * server's order and borrowed for the call; its ports are those asked for. */
typedef void (*resolver_done)(void *ctx, uint64_t id, enum resolver_verdict verdict,
                              const struct addr *list, unsigned count);

struct resolver_options {
	const char
		*servers; /* "ADDR:PORT,..." instead of resolv.conf; copied; NULL: the system's */
	cv_duration timeout; /* of one lookup in all; 0: RESOLVER_TIMEOUT */
	uint32_t owner_max;  /* in flight per owner; 0: RESOLVE_PER_PEER_MAX */
	uint32_t total_max;  /* in flight in all; 0: RESOLVE_MAX */
};

/* @opt may be NULL. 0, -ENOMEM, -EINVAL (servers). */
CV_NODISCARD int resolver_open(uv_loop_t *loop, const struct resolver_options *opt,
                               struct resolver **out);
/**
 * resolver_start() - look up a name
 * @owner: whom the lookup is counted against: a peer's number, or any other of the caller's
 * @name:  a valid DNS name (host_name_is_valid()) or an IP literal; copied
 * @port:  put into the addresses of the answer
 * Return: the id of the lookup. @done comes once unless cancelled, also for a refusal. 0: no memory
 * for even that; then it does not come.
 */
uint64_t resolver_start(struct resolver *r, uint64_t owner, const char *name, uint16_t port,
                        resolver_done done, void *ctx);
/* Its done does not come. An id that is unknown (answered already) is ignored. */
void resolver_cancel(struct resolver *r, uint64_t id);
/* The system's configuration is read again; what is in flight is asked once more, at once, within
 * the time that it has. Reading it again also happens by itself, at the next lookup, when
 * /etc/resolv.conf has changed. */
void resolver_network_changed(struct resolver *r);
/* Lookups in flight. */
uint32_t resolver_count(const struct resolver *r);
/* Takes @r; no done comes any more. @on_closed (may be NULL) comes from the loop. */
void resolver_close(struct resolver *r, void (*on_closed)(void *ctx), void *ctx);
