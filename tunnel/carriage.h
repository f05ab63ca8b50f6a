/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * carriage - datagrams of a server session in a byte stream, for networks that block
 * UDP: a length of 16 bits, then exactly the datagram (protocol rule 6.1).
 *
 *	length:16  datagram:8*length  length:16  ...
 *
 * A length of 0, or of more than a server session ever sends, ends the stream: what follows it has
 * no meaning any more. Knows nothing of the datagrams, nor where bytes come from.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "tunnel/wire.h"

enum {
	CARRIAGE_HEADER = 2,
	CARRIAGE_DATAGRAM_MAX = WIRE_RELAY_HEADER + WIRE_RELAYED_MAX, /* the largest there is */
	CARRIAGE_FRAME_MAX = CARRIAGE_HEADER + CARRIAGE_DATAGRAM_MAX,
};

/* One direction of one connection: the frame that is not whole yet. */
struct carriage {
	uint16_t have; /* bytes of it */
	bool is_broken;
	uint8_t bytes[CARRIAGE_FRAME_MAX];
};

enum carriage_verdict {
	CARRIAGE_DATAGRAM,
	CARRIAGE_NEED_MORE, /* all bytes were taken */
	CARRIAGE_BROKEN,    /* a bad length: close the connection; nothing comes after it */
};

/* What carriage_next() found. */
struct carriage_datagram {
	uint8_t *bytes; /* may be changed in place */
	size_t size;
	bool is_copied; /* lies in the carriage, until the next call; else among the bytes read */
};

void carriage_init(struct carriage *c);
/**
 * carriage_next() - the next datagram among bytes that were read
 * @bytes, @size: what is left of them; moved on
 *
 * Call again until it says CARRIAGE_NEED_MORE or CARRIAGE_BROKEN. A datagram that is whole among
 * the bytes is not copied.
 */
enum carriage_verdict carriage_next(struct carriage *c, uint8_t **bytes, size_t *size,
                                    struct carriage_datagram *out);
/* The header of a datagram of @size bytes. */
void carriage_write_header(uint8_t out[CARRIAGE_HEADER], size_t size);
