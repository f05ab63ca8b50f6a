/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * contacts - the peers that an agent may meet at one server: their tags, what was
 * asked of the server about them, and the channels it gave (protocol rules 2.1-2.3).
 *
 * Speaks in messages of a link; knows neither keys, datagrams nor addresses. What is to be asked is
 * kept here until the link has room, and is asked again when the session was lost.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/idmap.h"
#include "base/list.h"
#include "base/time.h"
#include "tunnel/link.h"
#include "tunnel/wire.h"

struct contact; /* one peer */

struct contacts {
	struct contact **slots; /* owned */
	uint32_t count, cap;
	uint32_t unregistered; /* whose tag the server does not have */
	uint32_t cursor;       /* no unregistered one before it */
	bool is_first_due;     /* the next REGISTER replaces what was registered before */
	struct idmap by_peer, by_tag, by_channel; /* to slots */
	struct list opens;                        /* to be asked for a channel */
	struct list asked;                        /* asked, by age */
	struct list gone;                         /* whose channel ended with the session */
};

/* What a message, or the loss of a session, means for one peer. */
enum contacts_news {
	CONTACTS_NOTHING,
	CONTACTS_PRESENT,
	CONTACTS_ABSENT,
	CONTACTS_OFFER,
	CONTACTS_CHANNEL,
	CONTACTS_CHANNEL_GONE,
};

struct contacts_event {
	uint32_t peer;
	bool is_gone;
	uint64_t channel;
	uint32_t rate_kbit;
	uint8_t leg;
	const uint8_t *init; /* borrowed until the next call about this peer */
};

void contacts_init(struct contacts *c, uint64_t seed);
void contacts_deinit(struct contacts *c);
/* @peer is not there yet. 0 or -ENOMEM. */
CV_NODISCARD int contacts_add(struct contacts *c, uint32_t peer, const uint8_t tag[TAG_SIZE]);
void contacts_remove(struct contacts *c, uint32_t peer);
bool contacts_has(const struct contacts *c, uint32_t peer);
/* Wants a channel to @peer; @init (may be NULL) is copied. Where there is one, only an INIT is a
 * reason to ask for it again, every 5 s at most. */
void contacts_open(struct contacts *c, cv_time now, uint32_t peer, const uint8_t *init);
/* 0: none. */
uint64_t contacts_channel(const struct contacts *c, uint32_t peer);
bool contacts_find_channel(const struct contacts *c, uint64_t channel, uint32_t *peer);

/* A new server session: nothing is registered there, every channel is gone (contacts_next_gone()),
 * what was asked and not answered is asked again. */
void contacts_reset(struct contacts *c);
bool contacts_next_gone(struct contacts *c, struct contacts_event *out);
/* The server refused a part of what was registered: all of it is registered again, on top of what
 * is. */
void contacts_register_again(struct contacts *c);
/* Queues what the server is to be told, while @l takes it: tags of those to be opened first. */
void contacts_flush(struct contacts *c, cv_time now, struct link *l);
enum contacts_news contacts_on_message(struct contacts *c, const struct wire_message *m,
                                       struct contacts_event *out);
/* An OPEN was not answered for 5 s: ask again. */
cv_time contacts_deadline(const struct contacts *c);
void contacts_on_deadline(struct contacts *c, cv_time now);
bool contacts_check(const struct contacts *c);
