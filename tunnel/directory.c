/* SPDX-License-Identifier: MIT */
#include "tunnel/directory.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/alloc.h"

/*
 * Entries live in pages that never move and are named by number; a page is never given back, so
 * that steady registering and lapsing does not reach the heap. Lists are made of numbers too.
 *
 *	by_tag --> entry --same_tag--> entry --same_tag--> none
 *	member.first --> entry --next--> entry --next--> none        (all that it registered)
 *	member.news_first --> entry --news_next--> none              (of which it is to be told)
 *
 * Whoever knows the public keys of two others can register their tag. That matches nothing, but
 * each honest registration would compute one hash for each such entry: hence the limit on equal
 * tags, at which the oldest entry that matched nobody makes room.
 */

enum { PAGE_ENTRIES = 256 };

static struct directory_entry *at(const struct directory *d, uint32_t i)
{
	CV_ASSERT(i / PAGE_ENTRIES < d->pages_count);
	return &d->pages[i / PAGE_ENTRIES][i % PAGE_ENTRIES];
}

/* Tags are output of a hash; the map's own seed keeps their author from choosing collisions. */
static uint64_t key_of(const uint8_t tag[TAG_SIZE])
{
	return cv_load64(tag) ^ cv_load64(tag + 8);
}

void directory_tag(const uint8_t server_pk[32], const uint8_t a_pk[32], const uint8_t b_pk[32],
                   uint8_t out[TAG_SIZE])
{
	static const uint8_t label[] = "culvert meet";
	bool is_ordered = memcmp(a_pk, b_pk, 32) <= 0;
	uint8_t hash[crypto_generichash_BYTES_MAX];
	crypto_generichash_state state;

	/* The full 64 bytes, then cut: the length of the output is a parameter of BLAKE2b. */
	(void)crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	(void)crypto_generichash_update(&state, label, sizeof(label) - 1);
	(void)crypto_generichash_update(&state, server_pk, 32);
	(void)crypto_generichash_update(&state, is_ordered ? a_pk : b_pk, 32);
	(void)crypto_generichash_update(&state, is_ordered ? b_pk : a_pk, 32);
	(void)crypto_generichash_final(&state, hash, sizeof(hash));
	memcpy(out, hash, TAG_SIZE);
}

int directory_init(struct directory *d, const uint8_t server_pk[32], uint32_t max, uint64_t seed)
{
	*d = (struct directory){ .free = DIRECTORY_NONE, .max = max };
	memcpy(d->server_pk, server_pk, sizeof(d->server_pk));
	list_init(&d->news);
	idmap_init(&d->by_tag, seed);
	d->pages_max = (max + PAGE_ENTRIES - 1) / PAGE_ENTRIES;
	d->pages = cv_zalloc_array(d->pages_max, sizeof(struct directory_entry *));
	return d->pages ? 0 : -ENOMEM;
}

void directory_deinit(struct directory *d)
{
	for (uint32_t i = 0; i < d->pages_count; i++)
		cv_free(d->pages[i]);
	cv_free(d->pages);
	idmap_deinit(&d->by_tag);
	*d = (struct directory){ 0 };
}

void directory_member_init(struct directory_member *m, const uint8_t *pk)
{
	*m = (struct directory_member){ .pk = pk,
		                        .first = DIRECTORY_NONE,
		                        .news_first = DIRECTORY_NONE,
		                        .news_last = DIRECTORY_NONE };
	list_init(&m->news);
}

/* ---- entries ---- */

static int add_page(struct directory *d)
{
	struct directory_entry *page;
	uint32_t base = d->pages_count * PAGE_ENTRIES;

	if (d->pages_count == d->pages_max)
		return -ENOBUFS;
	page = cv_zalloc_array(PAGE_ENTRIES, sizeof(*page));
	if (!page)
		return -ENOMEM;
	for (uint32_t i = PAGE_ENTRIES; i-- > 0;) {
		page[i].next = d->free;
		d->free = base + i;
	}
	d->pages[d->pages_count++] = page;
	return 0;
}

static void unlink_same_tag(struct directory *d, uint32_t i)
{
	struct directory_entry *e = at(d, i);
	uint64_t key = key_of(e->tag);
	uint32_t k = (uint32_t)idmap_find(&d->by_tag, key);
	int r = 0;

	if (k == i) {
		(void)idmap_remove(&d->by_tag, key);
		if (e->same_tag != DIRECTORY_NONE)
			r = idmap_add(&d->by_tag, key, e->same_tag);
		CV_ASSERT(r == 0); /* in the room just left */
		return;
	}
	while (at(d, k)->same_tag != i)
		k = at(d, k)->same_tag;
	at(d, k)->same_tag = e->same_tag;
}

static void unlink_member(struct directory *d, uint32_t i)
{
	struct directory_entry *e = at(d, i);

	if (e->previous != DIRECTORY_NONE)
		at(d, e->previous)->next = e->next;
	else
		e->member->first = e->next;
	if (e->next != DIRECTORY_NONE)
		at(d, e->next)->previous = e->previous;
	CV_ASSERT(e->member->count > 0);
	e->member->count--;
}

static void unlink_news(struct directory *d, uint32_t i)
{
	struct directory_entry *e = at(d, i);
	struct directory_member *m = e->member;

	if (!e->has_news)
		return;
	if (e->news_previous == DIRECTORY_NONE)
		m->news_first = e->news_next;
	else
		at(d, e->news_previous)->news_next = e->news_next;
	if (e->news_next == DIRECTORY_NONE)
		m->news_last = e->news_previous;
	else
		at(d, e->news_next)->news_previous = e->news_previous;
	e->has_news = false;
	if (m->news_first == DIRECTORY_NONE)
		list_remove(&m->news);
}

static void add_news(struct directory *d, uint32_t i)
{
	struct directory_entry *e = at(d, i);
	struct directory_member *m = e->member;

	if (e->has_news)
		return;
	e->has_news = true;
	e->news_next = DIRECTORY_NONE;
	e->news_previous = m->news_last;
	if (m->news_last == DIRECTORY_NONE) {
		m->news_first = i;
		list_add_tail(&d->news, &m->news);
	} else {
		at(d, m->news_last)->news_next = i;
	}
	m->news_last = i;
}

void directory_tell(struct directory *d, uint32_t entry, enum directory_news news)
{
	struct directory_entry *e = at(d, entry);
	unsigned present = DIRECTORY_PRESENT | DIRECTORY_ABSENT | DIRECTORY_GONE;

	CV_ASSERT(e->member);
	if (news != DIRECTORY_OPENED) /* the newest word on presence holds */
		e->news &= (uint8_t)~present;
	e->news |= (uint8_t)news;
	add_news(d, entry);
}

void directory_set_channel(struct directory *d, uint32_t entry, uint64_t number)
{
	struct directory_entry *e = at(d, entry);

	CV_ASSERT(e->member);
	if (number == 0 && e->channel != 0) {
		/* A number that was never told need not be told as gone; the one before must. */
		if (e->gone == 0 || !(e->news & DIRECTORY_OPENED))
			e->gone = e->channel;
		e->news &= (uint8_t)~DIRECTORY_OPENED;
		add_news(d, entry);
	}
	e->channel = number;
}

/* Ends a match from one side; the other hears of it. Channels are the caller's: see hub. */
static void unmatch(struct directory *d, uint32_t i, bool is_gone)
{
	struct directory_entry *e = at(d, i);

	if (e->match == DIRECTORY_NONE)
		return;
	CV_ASSERT(at(d, e->match)->match == i);
	at(d, e->match)->match = DIRECTORY_NONE;
	directory_tell(d, e->match, is_gone ? DIRECTORY_GONE : DIRECTORY_ABSENT);
	e->match = DIRECTORY_NONE;
}

static void remove_entry(struct directory *d, uint32_t i, bool is_gone)
{
	struct directory_entry *e = at(d, i);

	unmatch(d, i, is_gone);
	unlink_news(d, i);
	unlink_same_tag(d, i);
	unlink_member(d, i);
	*e = (struct directory_entry){ .next = d->free };
	d->free = i;
	d->count--;
}

/* ---- matching ---- */

static bool is_tag_of(const struct directory *d, const uint8_t *tag, const uint8_t *a_pk,
                      const uint8_t *b_pk)
{
	uint8_t expected[TAG_SIZE];

	directory_tag(d->server_pk, a_pk, b_pk, expected);
	return memcmp(expected, tag, TAG_SIZE) == 0;
}

static void find_match(struct directory *d, uint32_t i)
{
	struct directory_entry *e = at(d, i);

	for (uint32_t k = (uint32_t)idmap_find(&d->by_tag, key_of(e->tag)); k != DIRECTORY_NONE;
	     k = at(d, k)->same_tag) {
		struct directory_entry *other = at(d, k);

		if (other->member == e->member || other->match != DIRECTORY_NONE)
			continue;
		if (memcmp(other->tag, e->tag, TAG_SIZE) != 0 ||
		    !is_tag_of(d, e->tag, e->member->pk, other->member->pk))
			continue;
		e->match = k;
		other->match = i;
		directory_tell(d, i, DIRECTORY_PRESENT);
		directory_tell(d, k, DIRECTORY_PRESENT);
		return;
	}
}

/* Room among equal tags: 0, or -ENOBUFS when all of them match (which takes as many pairs of keys
 * with one hash, so never). */
static int make_room(struct directory *d, uint64_t key)
{
	uint32_t oldest = DIRECTORY_NONE; /* new ones come first in the list */
	unsigned count = 0;
	uint64_t first = idmap_find(&d->by_tag, key);

	if (first == IDMAP_NONE)
		return 0;
	for (uint32_t k = (uint32_t)first; k != DIRECTORY_NONE; k = at(d, k)->same_tag) {
		count++;
		if (at(d, k)->match == DIRECTORY_NONE)
			oldest = k;
	}
	if (count < DIRECTORY_SAME_TAG_MAX)
		return 0;
	if (oldest == DIRECTORY_NONE)
		return -ENOBUFS;
	remove_entry(d, oldest, false);
	return 0;
}

static void link_entry(struct directory *d, uint32_t i, uint32_t same_tag)
{
	struct directory_entry *e = at(d, i);
	struct directory_member *m = e->member;

	e->same_tag = same_tag;
	e->match = DIRECTORY_NONE;
	e->previous = DIRECTORY_NONE;
	e->next = m->first;
	if (m->first != DIRECTORY_NONE)
		at(d, m->first)->previous = i;
	m->first = i;
	m->count++;
	d->count++;
}

int directory_add(struct directory *d, struct directory_member *m, const uint8_t tag[TAG_SIZE])
{
	uint64_t key = key_of(tag);
	uint64_t first;
	uint32_t i;
	int r;

	if (directory_find(d, m, tag) != DIRECTORY_NONE)
		return 0;
	if (m->count >= DIRECTORY_TAGS_PER_MEMBER || d->count >= d->max)
		return -ENOBUFS;
	r = d->free == DIRECTORY_NONE ? add_page(d) : 0;
	if (r == 0)
		r = make_room(d, key);
	if (r < 0)
		return r;
	i = d->free;
	first = idmap_find(&d->by_tag, key);
	r = idmap_add(&d->by_tag, key, i);
	if (r < 0)
		return r;
	d->free = at(d, i)->next;
	*at(d, i) = (struct directory_entry){ .member = m };
	memcpy(at(d, i)->tag, tag, TAG_SIZE);
	link_entry(d, i, first == IDMAP_NONE ? DIRECTORY_NONE : (uint32_t)first);
	find_match(d, i);
	return 0;
}

void directory_keep(struct directory *d, struct directory_member *m,
                    const uint8_t (*tags)[TAG_SIZE], unsigned count)
{
	uint32_t i, next;

	for (unsigned k = 0; k < count; k++) {
		i = directory_find(d, m, tags[k]);
		if (i != DIRECTORY_NONE)
			at(d, i)->is_kept = true;
	}
	for (i = m->first; i != DIRECTORY_NONE; i = next) {
		next = at(d, i)->next;
		if (!at(d, i)->is_kept)
			remove_entry(d, i, false);
		else
			at(d, i)->is_kept = false;
	}
}

void directory_remove_member(struct directory *d, struct directory_member *m, bool is_gone)
{
	while (m->first != DIRECTORY_NONE)
		remove_entry(d, m->first, is_gone);
	CV_ASSERT(m->count == 0);
}

uint32_t directory_find(const struct directory *d, const struct directory_member *m,
                        const uint8_t tag[TAG_SIZE])
{
	uint64_t first = idmap_find(&d->by_tag, key_of(tag));

	if (first == IDMAP_NONE)
		return DIRECTORY_NONE;
	for (uint32_t k = (uint32_t)first; k != DIRECTORY_NONE; k = at(d, k)->same_tag) {
		if (at(d, k)->member == m && memcmp(at(d, k)->tag, tag, TAG_SIZE) == 0)
			return k;
	}
	return DIRECTORY_NONE;
}

uint32_t directory_match(const struct directory *d, uint32_t entry)
{
	return at(d, entry)->match;
}

struct directory_member *directory_member_of(const struct directory *d, uint32_t entry)
{
	return at(d, entry)->member;
}

bool directory_is_listed(const struct directory *d, uint32_t entry, const uint8_t (*tags)[TAG_SIZE],
                         unsigned count)
{
	const struct directory_entry *e = at(d, entry);

	for (unsigned i = 0; i < count; i++) {
		if (memcmp(e->tag, tags[i], TAG_SIZE) == 0)
			return true;
	}
	return false;
}

uint64_t directory_channel(const struct directory *d, uint32_t entry)
{
	return at(d, entry)->channel;
}

/* ---- news ---- */

struct directory_member *directory_next_member(struct directory *d)
{
	return list_is_empty(&d->news) ? NULL
	                               : list_entry(d->news.next, struct directory_member, news);
}

void directory_defer(struct directory_member *m)
{
	list_remove(&m->news);
}

void directory_resume(struct directory *d, struct directory_member *m)
{
	if (m->news_first != DIRECTORY_NONE && !list_is_linked(&m->news))
		list_add_tail(&d->news, &m->news);
}

bool directory_next_news(const struct directory *d, const struct directory_member *m,
                         struct wire_message *out)
{
	const struct directory_entry *e;

	if (m->news_first == DIRECTORY_NONE)
		return false;
	e = at(d, m->news_first);
	*out = (struct wire_message){ 0 };
	memcpy(out->tag, e->tag, TAG_SIZE);
	if (e->gone != 0) {
		out->type = MESSAGE_CHANNEL_GONE;
		out->channel = e->gone;
	} else if (e->news & (DIRECTORY_ABSENT | DIRECTORY_GONE)) {
		out->type = MESSAGE_ABSENT;
		out->is_gone = e->news & DIRECTORY_GONE;
	} else if (e->news & DIRECTORY_PRESENT) {
		out->type = MESSAGE_PRESENT;
	} else {
		CV_ASSERT(e->news & DIRECTORY_OPENED);
		out->type = MESSAGE_OPENED;
		out->channel = e->channel;
	}
	return true;
}

void directory_told(struct directory *d, struct directory_member *m)
{
	uint32_t i = m->news_first;
	struct directory_entry *e = at(d, i);
	unsigned absent = DIRECTORY_ABSENT | DIRECTORY_GONE;

	if (e->gone != 0)
		e->gone = 0;
	else if (e->news & absent)
		e->news &= (uint8_t)~absent;
	else if (e->news & DIRECTORY_PRESENT)
		e->news &= (uint8_t)~DIRECTORY_PRESENT;
	else
		e->news = 0;
	if (e->news == 0)
		unlink_news(d, i);
}

static bool check_member(const struct directory *d, const struct directory_member *m)
{
	uint32_t count = 0;

	for (uint32_t i = m->first; i != DIRECTORY_NONE; i = at(d, i)->next) {
		if (at(d, i)->member != m || ++count > m->count)
			return false;
	}
	return count == m->count;
}

bool directory_check(const struct directory *d)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < d->pages_count * PAGE_ENTRIES; i++) {
		const struct directory_entry *e = at(d, i);

		if (!e->member)
			continue;
		count++;
		if (directory_find(d, e->member, e->tag) != i)
			return false;
		if (e->previous == DIRECTORY_NONE && !check_member(d, e->member))
			return false;
		if (e->has_news != (e->news != 0 || e->gone != 0))
			return false;
		if (e->match == DIRECTORY_NONE)
			continue;
		if (at(d, e->match)->match != i ||
		    !is_tag_of(d, e->tag, e->member->pk, at(d, e->match)->member->pk))
			return false;
	}
	return count == d->count;
}
