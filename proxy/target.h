/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * target - what a tunnel stream says about itself: the header with which it
 * opens, the status with which the far side answers, and the one list of reasons
 * for which it is refused or reset.
 *
 * Knows the bytes (tunnel/PROTOCOL.md, streams) and what each reason is called in
 * SOCKS5, HTTP, logs and exit codes. Does not know who may reach what (acl) nor
 * how to get there (dial).
 *
 *   request, offset 0 of the opener's direction; port and address big-endian
 *   +--------+---------+------+------+------------------------------------------+
 *   | size 2 | version | kind | host | host 0: nothing                          |
 *   |        |    1    |  1   |  1   | host 1: struct addr (family, port, ip)   |
 *   |        |         |      |      | host 2: name size 1, name, port 2        |
 *   |        |         |      |      | host 3: unix path size 1, path           |
 *   |        |         |      |      | host 4: service size 1, service          |
 *   |        |         |      |      | host 5: listener's number 6              |
 *   +--------+---------+------+------+------------------------------------------+
 *     size counts what follows it. Version and kind keep their place for ever.
 *
 *   which hosts a kind admits, and where port 0 has a meaning
 *   TCP         1 2 3 4 5   somebody to connect to; 5: who a listener accepted
 *   UDP         0 1 2   4 5 0: every datagram carries its address
 *   LISTEN      1 3         port 0: any free one
 *   LISTEN_UDP  1           likewise
 *   BIND        0 1 2       who may connect, 0: anybody; the port is ignored
 *
 *   status, offset 0 of the other direction, after connect() (bind(), listen()) has ended well;
 *   BIND sends two, the second when somebody has connected, with his address
 *   +---+-----------------------------+
 *   | 0 | struct addr: the bound end  |   a refusal is RESET + STOP with a code
 *   +---+-----------------------------+
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"
#include "base/rd.h"
#include "base/wr.h"

enum {
	TARGET_VERSION = 1,
	TARGET_REQUEST_MAX = 320, /* bytes of a whole request; more is malformed */
	TARGET_STATUS_MAX = 1 + ADDR_WIRE_MAX,
};

enum target_kind {
	TARGET_KIND_TCP = 1, /* bytes; also unix sockets */
	TARGET_KIND_UDP = 2, /* a flow: its datagrams travel beside the stream */
	TARGET_KIND_LISTEN = 3,
	TARGET_KIND_LISTEN_UDP = 4,
	TARGET_KIND_BIND = 5,
};

struct target_request {
	enum target_kind kind;
	struct hostport to; /* addresses are in their canonical form. HOST_NONE: host 0 or 5 */
	uint64_t listener;  /* host 5: the id of the LISTEN stream, as its opener assigned it */
	bool has_listener;
};

enum target_read {
	TARGET_READ_NEED_MORE,   /* nothing consumed */
	TARGET_READ_DONE,        /* consumed whole, outputs set */
	TARGET_READ_UNSUPPORTED, /* another version or kind: refuse with TARGET_UNSUPPORTED */
	TARGET_READ_MALFORMED,   /* also a host that the kind does not admit: TARGET_MALFORMED */
};

/*
 * Every reason, once: name, number on the wire (RESET and STOP codes; never
 * reused), SOCKS5 reply, HTTP status, exit code of `culvert nc`, sentence.
 */
#define TARGET_CODES(X)                                                                            \
	X(OK, 0, 0, 200, 0, "connected")                                                           \
	X(POLICY, 1, 2, 403, 4, "the far side does not allow this target")                         \
	X(NET_UNREACHABLE, 2, 3, 502, 4, "the target's network is unreachable")                    \
	X(HOST_UNREACHABLE, 3, 4, 502, 4, "the target is unreachable")                             \
	X(NAME_NOT_RESOLVED, 4, 4, 502, 4, "the target's name does not resolve")                   \
	X(SERVICE_UNKNOWN, 5, 4, 502, 4, "the peer offers no such service")                        \
	X(RESOLVER_TIMEOUT, 6, 4, 504, 4, "the far side's resolver does not answer")               \
	X(REFUSED, 7, 5, 502, 4, "the target refused the connection")                              \
	X(TIMEOUT, 8, 6, 504, 4, "connecting to the target timed out")                             \
	X(PEER_DOWN, 9, 1, 503, 3, "the peer is not connected")                                    \
	X(LIMIT, 10, 1, 503, 4, "the far side is at a limit")                                      \
	X(UNSUPPORTED, 11, 7, 405, 4, "this kind of request is not supported")                     \
	X(ADDRESS_UNSUPPORTED, 12, 8, 405, 4, "this type of address is not supported")             \
	X(MALFORMED, 13, 1, 400, 4, "the request is malformed")                                    \
	X(INTERNAL, 14, 1, 500, 4, "the far side failed")                                          \
	X(ABORTED, 15, 1, 502, 4, "the connection was reset at the other end")                     \
	X(SESSION_LOST, 16, 1, 503, 3, "the session with the peer was lost")                       \
	X(NO_ROUTE, 17, 4, 502, 4, "no peer is configured for this target")                        \
	X(IN_USE, 18, 1, 503, 4, "the address is in use at the far side")

#define TARGET_ENUM(name, number, socks5, http, nc, text) TARGET_##name = (number),
enum target_code { TARGET_CODES(TARGET_ENUM) };
#undef TARGET_ENUM

/**
 * target_write_request() - append the header of a stream
 * @req: a host that its kind admits; names, paths and services are valid (hostport.h)
 *
 * Marks @w bad when it does not fit; TARGET_REQUEST_MAX bytes always do.
 */
void target_write_request(struct wr *w, const struct target_request *req);

/**
 * target_read_request() - read the header of a stream, incrementally
 * @in: the stream's bytes from offset 0; consumed only with TARGET_READ_DONE
 *
 * Names come out valid and canonical: a numeric disguise, upper case, or an
 * address where a name belongs is malformed; IPv4-in-IPv6 forms are reduced.
 * Return: a verdict; it is the same however the bytes were cut.
 */
CV_NODISCARD enum target_read target_read_request(struct rd *in, struct target_request *out);

/* A host of type 1 or 2 alone, with a port: what stands in front of a datagram (udp_header). Marks
 * @w bad when it does not fit. False: malformed, and @to is then undefined. */
void target_write_host(struct wr *w, const struct hostport *to);
CV_NODISCARD bool target_read_host(struct rd *r, struct hostport *to);

/* The far side's answer; @bound is ADDR_NONE for a unix socket. Fits in TARGET_STATUS_MAX bytes. */
void target_write_status(struct wr *w, const struct addr *bound);
/* Never TARGET_READ_UNSUPPORTED. */
CV_NODISCARD enum target_read target_read_status(struct rd *in, struct addr *bound);

/* The reason for a code from the wire; TARGET_INTERNAL for one we do not know, and for 0. */
enum target_code target_code_from_wire(uint64_t code);
/* The reason for a failed connect(), send or receive: an errno, its sign ignored; never TARGET_OK.
 */
enum target_code target_code_from_errno(int error);
/* The REP byte of RFC 1928, 6. */
uint8_t target_code_socks5(enum target_code code);
uint16_t target_code_http(enum target_code code);
/* What `nc` exits with when its stream was refused; a stream reset after it was accepted is 1. */
int target_code_exit(enum target_code code);
/* A static sentence without capital and full stop, for logs and HTTP bodies. */
const char *target_code_text(enum target_code code);
