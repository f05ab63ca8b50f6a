/* SPDX-License-Identifier: MIT */
#include "tunnel/carriage.h"

#include <string.h>

void carriage_init(struct carriage *c)
{
	c->have = 0;
	c->is_broken = false;
}

/* Up to @want bytes of the frame in hand. */
static void take(struct carriage *c, uint8_t **bytes, size_t *size, size_t want)
{
	size_t n = CV_MIN(want - c->have, *size);

	memcpy(c->bytes + c->have, *bytes, n);
	c->have = (uint16_t)(c->have + n);
	*bytes += n;
	*size -= n;
}

static size_t length_at(const uint8_t *head)
{
	return (size_t)head[0] << 8 | head[1];
}

static bool is_length(size_t length)
{
	return length > 0 && length <= CARRIAGE_DATAGRAM_MAX;
}

/* Of a frame that began in an earlier read, or does not end in this one. */
static enum carriage_verdict assemble(struct carriage *c, uint8_t **bytes, size_t *size,
                                      struct carriage_datagram *out)
{
	size_t length;

	if (c->have < CARRIAGE_HEADER)
		take(c, bytes, size, CARRIAGE_HEADER);
	if (c->have < CARRIAGE_HEADER)
		return CARRIAGE_NEED_MORE;
	length = length_at(c->bytes);
	if (!is_length(length)) {
		c->is_broken = true;
		return CARRIAGE_BROKEN;
	}
	take(c, bytes, size, CARRIAGE_HEADER + length);
	if (c->have < CARRIAGE_HEADER + length)
		return CARRIAGE_NEED_MORE;
	c->have = 0;
	*out = (struct carriage_datagram){ c->bytes + CARRIAGE_HEADER, length, true };
	return CARRIAGE_DATAGRAM;
}

enum carriage_verdict carriage_next(struct carriage *c, uint8_t **bytes, size_t *size,
                                    struct carriage_datagram *out)
{
	size_t length;

	if (c->is_broken)
		return CARRIAGE_BROKEN;
	if (c->have > 0 || *size < CARRIAGE_HEADER)
		return assemble(c, bytes, size, out);
	length = length_at(*bytes);
	if (!is_length(length) || *size < CARRIAGE_HEADER + length)
		return assemble(c, bytes, size, out);
	*out = (struct carriage_datagram){ *bytes + CARRIAGE_HEADER, length, false };
	*bytes += CARRIAGE_HEADER + length;
	*size -= CARRIAGE_HEADER + length;
	return CARRIAGE_DATAGRAM;
}

void carriage_write_header(uint8_t out[CARRIAGE_HEADER], size_t size)
{
	CV_ASSERT(is_length(size));
	out[0] = (uint8_t)(size >> 8);
	out[1] = (uint8_t)size;
}
