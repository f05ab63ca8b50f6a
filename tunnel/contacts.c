/* SPDX-License-Identifier: MIT */
#include "tunnel/contacts.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tunnel/cookie.h"

/* The link is reliable, so silence means that the server would not: it limits OPENs. */
#define ASK_AGAIN_AFTER CV_SEC(5)

struct contact {
	uint32_t peer, slot;
	uint8_t tag[TAG_SIZE];
	struct list asking;   /* in contacts.opens or .asked */
	struct list leaving;  /* in contacts.gone */
	uint64_t channel;     /* 0: none */
	uint64_t was_channel; /* the one that ended with the session */
	cv_time asked_at;     /* last */
	bool is_registered;
	bool is_asked; /* which of the two lists */
	bool has_init;
	uint8_t init[WIRE_INIT_SIZE];       /* ours, to go with OPEN */
	uint8_t offer_init[WIRE_INIT_SIZE]; /* theirs, from the last OFFER */
};

void contacts_init(struct contacts *c, uint64_t seed)
{
	*c = (struct contacts){ .is_first_due = true };
	idmap_init(&c->by_peer, seed);
	idmap_init(&c->by_tag, seed ^ 1);
	idmap_init(&c->by_channel, seed ^ 2);
	list_init(&c->opens);
	list_init(&c->asked);
	list_init(&c->gone);
}

void contacts_deinit(struct contacts *c)
{
	for (uint32_t i = 0; i < c->cap; i++)
		cv_free(c->slots[i]);
	cv_free(c->slots);
	idmap_deinit(&c->by_peer);
	idmap_deinit(&c->by_tag);
	idmap_deinit(&c->by_channel);
	*c = (struct contacts){ 0 };
}

/* 64 bits of a hash name a tag: whether it is the very tag is compared where it counts. */
static uint64_t key_of(const uint8_t tag[TAG_SIZE])
{
	return cv_load64(tag);
}

static struct contact *find(const struct contacts *c, const struct idmap *m, uint64_t key)
{
	uint64_t slot = idmap_find(m, key);

	return slot == IDMAP_NONE ? NULL : c->slots[slot];
}

static struct contact *find_tag(const struct contacts *c, const uint8_t tag[TAG_SIZE])
{
	struct contact *p = find(c, &c->by_tag, key_of(tag));

	return p && memcmp(p->tag, tag, TAG_SIZE) == 0 ? p : NULL;
}

static int grow(struct contacts *c)
{
	uint32_t cap = c->cap ? c->cap * 2 : 8;
	struct contact **slots = cv_zalloc_array(cap, sizeof(struct contact *));

	if (!slots)
		return -ENOMEM;
	if (c->slots)
		memcpy(slots, c->slots, c->cap * sizeof(struct contact *));
	cv_free(c->slots);
	c->slots = slots;
	c->cap = cap;
	return 0;
}

int contacts_add(struct contacts *c, uint32_t peer, const uint8_t tag[TAG_SIZE])
{
	struct contact *p;
	uint32_t slot = 0;

	CV_ASSERT(!contacts_has(c, peer));
	if (c->count == c->cap && grow(c) < 0)
		return -ENOMEM;
	/* Reserved, so that nothing below fails, nor any message later. */
	if (idmap_reserve(&c->by_peer, c->count + 1) < 0 ||
	    idmap_reserve(&c->by_tag, c->count + 1) < 0 ||
	    idmap_reserve(&c->by_channel, c->count + 1) < 0)
		return -ENOMEM;
	p = cv_zalloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	while (c->slots[slot])
		slot++;
	p->peer = peer;
	p->slot = slot;
	memcpy(p->tag, tag, TAG_SIZE);
	list_init(&p->asking);
	list_init(&p->leaving);
	c->slots[slot] = p;
	c->count++;
	c->unregistered++;
	c->cursor = CV_MIN(c->cursor, slot);
	if (idmap_add(&c->by_peer, peer, slot) < 0 || idmap_add(&c->by_tag, key_of(tag), slot) < 0)
		CV_UNREACHABLE();
	return 0;
}

static void clear_channel(struct contacts *c, struct contact *p)
{
	if (p->channel != 0)
		(void)idmap_remove(&c->by_channel, p->channel);
	p->channel = 0;
}

void contacts_remove(struct contacts *c, uint32_t peer)
{
	struct contact *p = find(c, &c->by_peer, peer);

	if (!p)
		return;
	clear_channel(c, p);
	(void)idmap_remove(&c->by_peer, peer);
	(void)idmap_remove(&c->by_tag, key_of(p->tag));
	list_remove(&p->asking);
	list_remove(&p->leaving);
	c->unregistered -= !p->is_registered;
	c->count--;
	c->slots[p->slot] = NULL;
	cv_free(p);
	/* The server forgets a tag only when it is told all the others. With more than one REGISTER
	 * that would end their channels, and a tag left behind matches nobody but a peer that still
	 * has us: then it stays until the next session. */
	if (c->count <= MESSAGE_TAGS_MAX) {
		c->is_first_due = true;
		contacts_register_again(c);
	}
}

void contacts_register_again(struct contacts *c)
{
	for (uint32_t i = 0; i < c->cap; i++) {
		if (c->slots[i])
			c->slots[i]->is_registered = false;
	}
	c->unregistered = c->count;
	c->cursor = 0;
}

bool contacts_has(const struct contacts *c, uint32_t peer)
{
	return find(c, &c->by_peer, peer) != NULL;
}

static void ask(struct contacts *c, struct contact *p)
{
	list_remove(&p->asking);
	p->is_asked = false;
	list_add_tail(&c->opens, &p->asking);
}

/* A repeat differs in mac2 at most. */
static bool is_same_init(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, WIRE_INIT_SIZE - MAC_SIZE) == 0;
}

void contacts_open(struct contacts *c, cv_time now, uint32_t peer, const uint8_t *init)
{
	struct contact *p = find(c, &c->by_peer, peer);

	if (!p)
		return;
	/* What was asked and not answered is not asked again: the link repeats it, and so do we. */
	if (p->is_asked && (!init || (p->has_init && is_same_init(p->init, init))))
		return;
	if (p->channel != 0 && (!init || cv_time_since(now, p->asked_at) < ASK_AGAIN_AFTER))
		return;
	if (init) {
		memcpy(p->init, init, WIRE_INIT_SIZE);
		p->has_init = true;
	}
	ask(c, p);
}

uint64_t contacts_channel(const struct contacts *c, uint32_t peer)
{
	const struct contact *p = find(c, &c->by_peer, peer);

	return p ? p->channel : 0;
}

bool contacts_find_channel(const struct contacts *c, uint64_t channel, uint32_t *peer)
{
	const struct contact *p = channel ? find(c, &c->by_channel, channel) : NULL;

	if (p)
		*peer = p->peer;
	return p != NULL;
}

void contacts_reset(struct contacts *c)
{
	c->is_first_due = true;
	contacts_register_again(c);
	for (uint32_t i = 0; i < c->cap; i++) {
		struct contact *p = c->slots[i];

		if (!p)
			continue;
		if (p->is_asked && list_is_linked(&p->asking))
			ask(c, p);
		if (p->channel == 0)
			continue;
		p->was_channel = p->channel;
		clear_channel(c, p);
		list_remove(&p->leaving);
		list_add_tail(&c->gone, &p->leaving);
	}
}

bool contacts_next_gone(struct contacts *c, struct contacts_event *out)
{
	struct contact *p;

	if (list_is_empty(&c->gone))
		return false;
	p = list_entry(c->gone.next, struct contact, leaving);
	list_remove(&p->leaving);
	*out = (struct contacts_event){ .peer = p->peer, .channel = p->was_channel };
	return true;
}

/* ---- asking ---- */

/* One REGISTER: those waiting for a channel first, so that their OPENs may follow at once. */
static bool send_tags(struct contacts *c, struct link *l)
{
	struct wire_message m = { .type = MESSAGE_REGISTER, .is_first = c->is_first_due };
	struct contact *chosen[MESSAGE_TAGS_MAX];
	struct list *pos, *tmp;
	uint32_t i;

	list_for_each(pos, tmp, &c->opens)
	{
		struct contact *p = list_entry(pos, struct contact, asking);

		if (m.tag_count == MESSAGE_TAGS_MAX)
			break;
		if (p->is_registered)
			continue;
		p->is_registered = true;
		chosen[m.tag_count++] = p;
	}
	for (i = c->cursor; i < c->cap && m.tag_count < MESSAGE_TAGS_MAX; i++) {
		if (!c->slots[i] || c->slots[i]->is_registered)
			continue;
		c->slots[i]->is_registered = true;
		chosen[m.tag_count++] = c->slots[i];
	}
	for (unsigned k = 0; k < m.tag_count; k++)
		memcpy(m.tags[k], chosen[k]->tag, TAG_SIZE);
	if (link_send(l, &m) < 0) { /* no room: the same at the next call */
		for (unsigned k = 0; k < m.tag_count; k++)
			chosen[k]->is_registered = false;
		return false;
	}
	c->cursor = i;
	c->unregistered -= m.tag_count;
	c->is_first_due = false;
	return true;
}

static bool send_opens(struct contacts *c, cv_time now, struct link *l)
{
	struct wire_message m = { .type = MESSAGE_OPEN };
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &c->opens)
	{
		struct contact *p = list_entry(pos, struct contact, asking);

		if (!p->is_registered)
			continue;
		memcpy(m.tag, p->tag, TAG_SIZE);
		m.init = p->has_init ? p->init : NULL;
		if (link_send(l, &m) < 0)
			return false;
		list_remove(&p->asking);
		list_add_tail(&c->asked, &p->asking);
		p->is_asked = true;
		p->asked_at = now;
	}
	return true;
}

void contacts_flush(struct contacts *c, cv_time now, struct link *l)
{
	while (c->is_first_due || c->unregistered > 0) {
		if (!send_tags(c, l) || !send_opens(c, now, l))
			return;
	}
	(void)send_opens(c, now, l); /* what does not go now stays in the list */
}

/* ---- answers ---- */

/* A number that already belongs to another peer, or 0, is not one that a sane server draws. */
static bool set_channel(struct contacts *c, struct contact *p, uint64_t channel)
{
	const struct contact *owner = find(c, &c->by_channel, channel);

	if (channel == 0 || (owner && owner != p))
		return false;
	if (owner == p)
		return true;
	clear_channel(c, p);
	if (idmap_add(&c->by_channel, channel, p->slot) < 0)
		CV_UNREACHABLE(); /* reserved: at most one a contact */
	p->channel = channel;
	return true;
}

static void answered(struct contact *p)
{
	list_remove(&p->asking);
	p->is_asked = false;
	p->has_init = false; /* handshakes have numbers: it is of no use a second time */
}

static enum contacts_news on_grant(struct contacts *c, const struct wire_message *m,
                                   struct contacts_event *out)
{
	struct contact *p = find_tag(c, m->tag);

	if (!p || !set_channel(c, p, m->channel))
		return CONTACTS_NOTHING;
	*out = (struct contacts_event){
		.peer = p->peer, .channel = p->channel, .rate_kbit = m->rate_kbit, .leg = m->leg
	};
	if (m->type == MESSAGE_OPENED) {
		if (p->is_asked)
			answered(p);
		return CONTACTS_CHANNEL;
	}
	if (m->init) {
		memcpy(p->offer_init, m->init, WIRE_INIT_SIZE);
		out->init = p->offer_init;
	}
	return CONTACTS_OFFER;
}

static enum contacts_news on_presence(struct contacts *c, const struct wire_message *m,
                                      struct contacts_event *out)
{
	struct contact *p = find_tag(c, m->tag);

	if (!p)
		return CONTACTS_NOTHING;
	*out = (struct contacts_event){ .peer = p->peer, .is_gone = m->is_gone };
	if (m->type == MESSAGE_PRESENT)
		return CONTACTS_PRESENT;
	if (p->is_asked)
		answered(p);
	return CONTACTS_ABSENT;
}

enum contacts_news contacts_on_message(struct contacts *c, const struct wire_message *m,
                                       struct contacts_event *out)
{
	struct contact *p;

	switch (m->type) {
	case MESSAGE_OPENED:
	case MESSAGE_OFFER:
		return on_grant(c, m, out);
	case MESSAGE_PRESENT:
	case MESSAGE_ABSENT:
		return on_presence(c, m, out);
	case MESSAGE_CHANNEL_GONE:
		p = find(c, &c->by_channel, m->channel);
		if (!p)
			return CONTACTS_NOTHING;
		clear_channel(c, p);
		*out = (struct contacts_event){ .peer = p->peer, .channel = m->channel };
		return CONTACTS_CHANNEL_GONE;
	default: /* not for an agent, or not about a peer */
		return CONTACTS_NOTHING;
	}
}

cv_time contacts_deadline(const struct contacts *c)
{
	if (list_is_empty(&c->asked))
		return CV_TIME_NEVER;
	return cv_time_after(list_entry(c->asked.next, struct contact, asking)->asked_at,
	                     ASK_AGAIN_AFTER);
}

void contacts_on_deadline(struct contacts *c, cv_time now)
{
	while (now >= contacts_deadline(c))
		ask(c, list_entry(c->asked.next, struct contact, asking));
}

bool contacts_check(const struct contacts *c)
{
	uint32_t count = 0, unregistered = 0, channels = 0;

	for (uint32_t i = 0; i < c->cap; i++) {
		const struct contact *p = c->slots[i];

		if (!p)
			continue;
		count++;
		unregistered += !p->is_registered;
		channels += p->channel != 0;
		if (find(c, &c->by_peer, p->peer) != p || p->slot != i)
			return false;
		if (p->channel != 0 && find(c, &c->by_channel, p->channel) != p)
			return false;
		if (!p->is_registered && i < c->cursor)
			return false;
	}
	return count == c->count && unregistered == c->unregistered &&
	       channels == c->by_channel.count;
}
