/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * directory - who may meet whom at a server: the meeting tags of all members, and
 * the news that each is to be told (protocol rules 2.1, 2.2).
 *
 * A tag is the first 16 bytes of BLAKE2b("culvert meet" || server's key || smaller key || larger
 * key). Two members that registered the same tag match only if it is the tag of *their* keys,
 * which the server has authenticated; so nobody learns anything about a third.
 *
 * Knows neither datagrams nor sessions. News are state, not messages: a member that flaps a
 * thousand times while another is slow leaves one line of news there, and memory is bounded by
 * what is registered.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/idmap.h"
#include "base/list.h"
#include "tunnel/wire.h"

enum {
	DIRECTORY_TAGS_PER_MEMBER = 4096, /* as many peers as one configuration may have */
	DIRECTORY_SAME_TAG_MAX = 16,      /* members with one tag: two are honest */
};
#define DIRECTORY_NONE UINT32_MAX

/* The meeting tag of the agents @a_pk and @b_pk (in any order) at the server @server_pk. */
void directory_tag(const uint8_t server_pk[32], const uint8_t a_pk[32], const uint8_t b_pk[32],
                   uint8_t out[TAG_SIZE]);

/* One registered agent; embedded in its session. */
struct directory_member {
	const uint8_t *pk; /* borrowed: 32 authenticated bytes */
	struct list news;  /* in directory.news while it has any */
	uint32_t first;    /* of its entries */
	uint32_t count;
	uint32_t news_first; /* of its entries with news */
	uint32_t news_last;
};

/* What is in a pair: one entry of each side. Touch the members only in directory.c. */
struct directory_entry {
	uint8_t tag[TAG_SIZE];
	struct directory_member *member; /* NULL: free */
	uint64_t channel;                /* this side's number, 0: none */
	uint64_t gone;                   /* a number to be told as gone */
	uint32_t match;                  /* the other side's entry */
	uint32_t same_tag;               /* next with this tag */
	uint32_t previous, next;         /* of this member */
	uint32_t news_previous, news_next;
	uint8_t news;  /* bits */
	bool has_news; /* is in the list */
	bool is_kept;  /* survives the registration being read */
};

struct directory {
	uint8_t server_pk[32];
	struct idmap by_tag;            /* 64 bits of the tag -> first entry */
	struct directory_entry **pages; /* owned; entries never move */
	uint32_t pages_count, pages_max;
	uint32_t free;
	uint32_t count, max;
	struct list news; /* members that have some */
};

CV_NODISCARD int directory_init(struct directory *d, const uint8_t server_pk[32], uint32_t max,
                                uint64_t seed);
void directory_deinit(struct directory *d);
void directory_member_init(struct directory_member *m, const uint8_t *pk);

/* Registers @tag for @m and tells both sides if it matches. 0 (also when it was registered),
 * -ENOBUFS at a limit, -ENOMEM. */
CV_NODISCARD int directory_add(struct directory *d, struct directory_member *m,
                               const uint8_t tag[TAG_SIZE]);
/* The tags of @m that are not among @tags are forgotten (a registration that begins anew). */
void directory_keep(struct directory *d, struct directory_member *m,
                    const uint8_t (*tags)[TAG_SIZE], unsigned count);
/* @m is gone: what it matched hears ABSENT, with @is_gone as given. */
void directory_remove_member(struct directory *d, struct directory_member *m, bool is_gone);

/* The entry of @m with @tag, or DIRECTORY_NONE. */
uint32_t directory_find(const struct directory *d, const struct directory_member *m,
                        const uint8_t tag[TAG_SIZE]);
/* The entry of the other side, or DIRECTORY_NONE when nobody matches. */
uint32_t directory_match(const struct directory *d, uint32_t entry);
struct directory_member *directory_member_of(const struct directory *d, uint32_t entry);
/* True when the tag of @entry is one of @tags. */
bool directory_is_listed(const struct directory *d, uint32_t entry, const uint8_t (*tags)[TAG_SIZE],
                         unsigned count);
uint64_t directory_channel(const struct directory *d, uint32_t entry);
/* Notes the number of a side's channel; 0 tells it that the one it had is gone. */
void directory_set_channel(struct directory *d, uint32_t entry, uint64_t number);

enum directory_news {
	DIRECTORY_PRESENT = 1,
	DIRECTORY_ABSENT = 2, /* excludes the other two */
	DIRECTORY_GONE = 4,   /* as ABSENT, with is_gone */
	DIRECTORY_OPENED = 8, /* its OPEN has been answered with the channel it has */
};
/* Queues news by hand: the answer to an OPEN. */
void directory_tell(struct directory *d, uint32_t entry, enum directory_news news);
/* A member with news, or NULL. It stays first until it has none or directory_defer() is called. */
struct directory_member *directory_next_member(struct directory *d);
/* Takes @m off the list until directory_resume(): it cannot be told anything now. */
void directory_defer(struct directory_member *m);
void directory_resume(struct directory *d, struct directory_member *m);
/* The next thing that @m is to be told, in words for the wire; false: nothing. Without
 * directory_told() the same is returned again. OPENED carries only tag and channel. */
bool directory_next_news(const struct directory *d, const struct directory_member *m,
                         struct wire_message *out);
void directory_told(struct directory *d, struct directory_member *m);
bool directory_check(const struct directory *d);
