/* SPDX-License-Identifier: MIT */
#include "tunnel/light.h"

#include <string.h>

void light_init(struct light *l, struct indexes *indexes, uint64_t owner, bool has_smaller_key,
                const struct rng *rng)
{
	const struct assoc_options opt = {
		.indexes = indexes,
		.owner = owner,
		.limits = &EPOCH_LIMITS_SERVER,
		.epochs = l->epochs,
		.epochs_max = ASSOC_EPOCHS_LIGHT,
		.has_smaller_key = has_smaller_key,
	};

	memset(l->epochs, 0, sizeof(l->epochs));
	assoc_init(&l->assoc, &opt, rng);
	link_init(&l->link);
	light_begin(l);
}

void light_deinit(struct light *l, cv_time now)
{
	link_deinit(&l->link);
	assoc_deinit(&l->assoc, now);
}

void light_begin(struct light *l)
{
	link_deinit(&l->link);
	replay_init(&l->window, l->window_words, CV_ARRAY_SIZE(l->window_words), LIGHT_WINDOW);
	l->number_next = 0;
}

enum light_verdict light_open(struct light *l, cv_time now, uint8_t *bytes, size_t size,
                              size_t *plain_size, struct epoch **epoch)
{
	bool is_data = (bytes[0] & WIRE_KIND_MASK) == WIRE_DATA;
	struct wire_data head;
	struct epoch *e;

	if (!wire_read_data(bytes, size, &head))
		return LIGHT_MALFORMED;
	e = assoc_find(&l->assoc, head.receiver);
	if (!e || !epoch_can_open(e, now, l->assoc.opt.limits))
		return LIGHT_UNKNOWN;
	if (is_data) {
		/* The cheap answer first; recorded only when the tag has verified. */
		if (replay_check(&l->window, head.number) != REPLAY_FRESH)
			return LIGHT_REPLAY;
		if (!epoch_open_data(e, head.number, bytes, size, plain_size))
			return LIGHT_FORGED;
		if (replay_accept(&l->window, head.number) != REPLAY_FRESH)
			CV_UNREACHABLE();
	} else if (!epoch_open_probe(e, bytes, size, plain_size)) {
		return LIGHT_FORGED;
	}
	assoc_on_opened(&l->assoc, e);
	*epoch = e;
	return LIGHT_OPENED;
}

size_t light_seal(struct light *l, struct epoch *e, uint8_t *packet, size_t plain_size)
{
	CV_ASSERT(plain_size <= LIGHT_PLAIN_MAX);
	return epoch_seal_data(e, 0, l->number_next++, packet, plain_size);
}

size_t light_write_probe(struct epoch *e, uint8_t *packet, size_t size,
                         const struct wire_probe *probe)
{
	size_t plain_size = CV_MAX(size, (size_t)LIGHT_PROBE_MIN) - WIRE_DATA_OVERHEAD;

	wire_write_probe(packet + WIRE_DATA_HEADER, plain_size, probe);
	return epoch_seal_probe(e, packet, plain_size);
}

bool light_check(const struct light *l)
{
	if (l->assoc.opt.epochs != l->epochs || l->window.seen != l->window_words)
		return false; /* it was moved */
	return assoc_check(&l->assoc) && link_check(&l->link);
}
