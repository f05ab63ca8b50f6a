/* SPDX-License-Identifier: MIT */
#include "tunnel/relay.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

/*
 * A GRO batch comes in as up to 64 equal packets of one channel; they wait side by side in the
 * queue of their destination and leave as one train at the next relay_write(), which the shell
 * calls after every arrival. So a queue is longer than one batch only while the shell is refused.
 *
 *	arrival --relay_on_datagram()--> port queue --relay_write()--> train
 *	         number swapped            (pool)       equal sizes
 *
 * The pool of waiting packets is shared and bounded. A port that has its share drops its own
 * oldest packet; one that has none, and finds the pool empty, loses the new one.
 */

enum {
	PACKET_MAX = WIRE_RELAY_HEADER + WIRE_RELAYED_MAX,
	CHANNELS_PER_PORT = 4, /* on average */
	POOL_MAX = 8192,       /* 12 MiB */
	BURST = 256 * 1024,    /* 40 ms at 50 Mbit/s: several trains */
};

#define NONE UINT32_MAX
#define SILENT_AFTER CV_SEC(30)
/* Three questions to a path take so long. */
#define LEFT_AFTER CV_MS(1500)

struct relay_end {
	uint64_t number;
	struct relay_port *port;
	struct list of_port;
	struct bucket small;
	uint32_t name;
	uint32_t index; /* 2 * slot + side */
};

struct relay_channel {
	struct relay_end ends[2];
};

struct packet {
	uint32_t next;
	uint16_t size;
	uint8_t bytes[PACKET_MAX];
};

struct relay_packets {
	uint32_t free;  /* given back */
	uint32_t fresh; /* never used from here on: what is not needed is never touched */
	uint32_t cap;
	struct packet list[];
};

int relay_init(struct relay *r, uint32_t ports_max, uint64_t rate, bool is_small_only,
               uint64_t seed)
{
	uint32_t cap = ports_max < POOL_MAX / RELAY_QUEUE_PACKETS ? ports_max * RELAY_QUEUE_PACKETS
	                                                          : POOL_MAX;
	size_t size = sizeof(struct relay_packets) + cap * sizeof(struct packet);

	CV_ASSERT(ports_max > 0 && ports_max <= UINT32_MAX / (2 * CHANNELS_PER_PORT));
	*r = (struct relay){ .rate = rate,
		             .is_small_only = is_small_only,
		             .max = ports_max * CHANNELS_PER_PORT };
	list_init(&r->ready);
	idmap_init(&r->by_number, seed);
	r->slots = cv_zalloc_array(r->max, sizeof(struct relay_channel *));
	r->unused = cv_zalloc_array(r->max, sizeof(r->unused[0]));
	r->packets = cv_zalloc(size);
	if (!r->slots || !r->unused || !r->packets) {
		relay_deinit(r);
		return -ENOMEM;
	}
	r->packets->free = NONE;
	r->packets->cap = cap;
	return 0;
}

void relay_deinit(struct relay *r)
{
	for (uint32_t i = 0; r->slots && i < r->max; i++)
		cv_free(r->slots[i]);
	cv_free(r->slots);
	cv_free(r->unused);
	cv_free(r->packets);
	idmap_deinit(&r->by_number);
	*r = (struct relay){ 0 };
}

/* ---- waiting packets ---- */

static uint32_t take_packet(struct relay_packets *pool)
{
	uint32_t i = pool->free;

	if (i != NONE)
		pool->free = pool->list[i].next;
	else if (pool->fresh < pool->cap)
		i = pool->fresh++;
	return i;
}

static struct packet *packet_at(const struct relay *r, uint32_t i)
{
	CV_ASSERT(i < r->packets->cap);
	return &r->packets->list[i];
}

static void drop_first(struct relay *r, struct relay_port *p)
{
	uint32_t i = p->first;
	struct packet *e = packet_at(r, i);

	p->first = e->next;
	if (p->first == NONE)
		p->last = NONE;
	p->count--;
	p->bytes -= e->size;
	e->next = r->packets->free;
	r->packets->free = i;
	if (p->count == 0)
		list_remove(&p->ready);
}

/* Room for one more packet of @size to @p, whose own oldest ones give way. */
static struct packet *queue_packet(struct relay *r, struct relay_port *p, size_t size)
{
	struct packet *e;
	uint32_t i;

	while (p->count >= RELAY_QUEUE_PACKETS || p->bytes + size > RELAY_QUEUE_BYTES) {
		drop_first(r, p);
		r->dropped++;
	}
	i = take_packet(r->packets);
	if (i == NONE && p->count > 0) {
		drop_first(r, p);
		r->dropped++;
		i = take_packet(r->packets);
	}
	if (i == NONE)
		return NULL;
	e = packet_at(r, i);
	e->next = NONE;
	e->size = (uint16_t)size;
	if (p->last == NONE) {
		p->first = i;
		list_add_tail(&r->ready, &p->ready);
	} else {
		packet_at(r, p->last)->next = i;
	}
	p->last = i;
	p->count++;
	p->bytes += (uint32_t)size;
	return e;
}

/* ---- ports and channels ---- */

void relay_port_init(struct relay_port *p)
{
	*p = (struct relay_port){ .first = NONE, .last = NONE };
	list_init(&p->channels);
	list_init(&p->ready);
}

void relay_port_deinit(struct relay *r, struct relay_port *p)
{
	CV_ASSERT(list_is_empty(&p->channels));
	while (p->count > 0)
		drop_first(r, p);
}

bool relay_port_is_at(const struct relay_port *p, cv_time now, uint16_t socket,
                      const struct addr *from)
{
	if (p->socket == socket && addr_equal(&p->path, from))
		return true;
	return socket == SOCKET_TCP && now < p->before_until && addr_equal(&p->before, from);
}

bool relay_port_is_left(const struct relay_port *p, cv_time now)
{
	return p->strayed_at != 0 && cv_time_since(now, p->strayed_at) > LEFT_AFTER;
}

void relay_port_lose(struct relay *r, struct relay_port *p)
{
	while (p->count > 0)
		drop_first(r, p);
	p->path = (struct addr){ .family = ADDR_NONE };
}

static struct relay_end *end_at(const struct relay *r, uint64_t index)
{
	return &r->slots[index / 2]->ends[index % 2];
}

static struct relay_end *other_of(const struct relay *r, const struct relay_end *e)
{
	return end_at(r, e->index ^ 1);
}

static struct relay_end *find(const struct relay *r, uint64_t number)
{
	uint64_t index = idmap_find(&r->by_number, number);

	return index == IDMAP_NONE ? NULL : end_at(r, index);
}

static uint64_t draw_number(const struct relay *r, const struct rng *rng)
{
	uint64_t number;

	do {
		number = rng_u64(rng);
	} while (number == 0 || idmap_find(&r->by_number, number) != IDMAP_NONE);
	return number;
}

static void init_end(struct relay *r, struct relay_end *e, uint32_t index, uint64_t number,
                     struct relay_port *port, uint32_t name)
{
	int ret;

	e->index = index;
	e->number = number;
	e->port = port;
	e->name = name;
	list_init(&e->of_port);
	list_add_tail(&port->channels, &e->of_port);
	ret = idmap_add(&r->by_number, number, index);
	CV_ASSERT(ret == 0); /* reserved */
}

int relay_open(struct relay *r, const struct rng *rng, struct relay_port *a, uint32_t a_name,
               struct relay_port *b, uint32_t b_name, uint64_t *a_number, uint64_t *b_number)
{
	struct relay_channel *c;
	uint32_t slot;

	CV_ASSERT(a != b);
	if (r->count == r->max)
		return -ENOBUFS;
	if (idmap_reserve(&r->by_number, (r->count + 1) * 2) < 0)
		return -ENOMEM;
	c = cv_zalloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	slot = r->unused_count > 0 ? r->unused[--r->unused_count] : r->count;
	r->slots[slot] = c;
	r->count++;
	*a_number = draw_number(r, rng);
	init_end(r, &c->ends[0], 2 * slot, *a_number, a, a_name);
	*b_number = draw_number(r, rng);
	init_end(r, &c->ends[1], 2 * slot + 1, *b_number, b, b_name);
	return 0;
}

static void describe(const struct relay_end *e, const struct relay_end *other,
                     struct relay_end_info *out)
{
	*out = (struct relay_end_info){ .number = e->number,
		                        .name = e->name,
		                        .other_name = other->name,
		                        .other = other->port };
}

bool relay_find(const struct relay *r, const struct relay_port *owner, uint64_t number,
                struct relay_end_info *out)
{
	const struct relay_end *e = find(r, number);

	if (!e || e->port != owner)
		return false;
	describe(e, other_of(r, e), out);
	return true;
}

void relay_close(struct relay *r, uint64_t number)
{
	uint64_t index = idmap_find(&r->by_number, number);
	struct relay_channel *c;

	CV_ASSERT(index != IDMAP_NONE);
	c = r->slots[index / 2];
	for (unsigned i = 0; i < 2; i++) {
		(void)idmap_remove(&r->by_number, c->ends[i].number);
		list_remove(&c->ends[i].of_port);
	}
	cv_free(c);
	r->slots[index / 2] = NULL;
	r->unused[r->unused_count++] = (uint32_t)(index / 2);
	r->count--;
}

void relay_describe(const struct relay *r, struct list *node, struct relay_end_info *out)
{
	const struct relay_end *e = list_entry(node, struct relay_end, of_port);

	describe(e, other_of(r, e), out);
}

bool relay_first(const struct relay *r, const struct relay_port *p, struct relay_end_info *out)
{
	if (list_is_empty(&p->channels))
		return false;
	relay_describe(r, p->channels.next, out);
	return true;
}

/* ---- forwarding ---- */

/* What agents send each other. A RELAY in a RELAY would be a loop, and STUN a way to speak to
 * others in our name. */
static bool is_inner(uint8_t first)
{
	switch (first & WIRE_KIND_MASK) {
	case WIRE_INIT:
	case WIRE_RESP:
	case WIRE_COOKIE:
	case WIRE_VERSION:
	case WIRE_DATA:
	case WIRE_PROBE:
		return true;
	default: /* a byte from outside */
		return false;
	}
}

static bool take_quota(struct relay *r, cv_time now, struct relay_end *from, struct relay_end *to,
                       size_t size)
{
	uint64_t rate = r->rate;

	if (!r->is_small_only) {
		if (rate == 0)
			return true;
		if (bucket_take(&from->port->from, now, rate, BURST, size) &&
		    bucket_take(&to->port->to, now, rate, BURST, size))
			return true;
	}
	/* Whoever has used up his share can still rekey, and leave the relay (rule 5.9). */
	return size <= RELAY_SMALL_MAX &&
	       bucket_take(&from->small, now, RELAY_SMALL_RATE, RELAY_SMALL_RATE, 1);
}

static bool is_silent(const struct relay_port *p, cv_time now)
{
	cv_duration patience = CV_MAX(SILENT_AFTER, CV_SEC((cv_duration)p->silence_s));

	return p->path.family == ADDR_NONE || relay_port_is_left(p, now) ||
	       cv_time_since(now, p->heard_at) > patience;
}

enum relay_verdict relay_on_datagram(struct relay *r, cv_time now, uint16_t socket,
                                     const struct addr *from, const uint8_t *bytes, size_t size,
                                     struct relay_port **owner)
{
	struct relay_end *e, *other;
	struct packet *out;
	uint64_t number;

	*owner = NULL;
	if (!wire_read_relay(bytes, size, &number) || size <= WIRE_RELAY_HEADER ||
	    !is_inner(bytes[WIRE_RELAY_HEADER]))
		return RELAY_MALFORMED;
	e = find(r, number);
	if (!e)
		return RELAY_UNKNOWN;
	*owner = e->port;
	other = other_of(r, e);
	if (!relay_port_is_at(e->port, now, socket, from))
		return RELAY_WRONG_SOURCE;
	if (is_silent(other->port, now))
		return RELAY_SILENT;
	if (size > PACKET_MAX)
		return RELAY_TOO_LARGE;
	r->rx_packets++;
	r->rx_bytes += size;
	if (!take_quota(r, now, e, other, size - WIRE_RELAY_HEADER))
		return RELAY_QUOTA;
	out = queue_packet(r, other->port, size);
	if (!out)
		return RELAY_FULL;
	wire_write_relay(out->bytes, other->number);
	memcpy(out->bytes + WIRE_RELAY_HEADER, bytes + WIRE_RELAY_HEADER, size - WIRE_RELAY_HEADER);
	return RELAY_FORWARDED;
}

bool relay_write_to(struct relay *r, struct relay_port *p, struct train *out)
{
	size_t size;

	if (p->count == 0)
		return false;
	out->size = 0;
	out->count = 0;
	out->segment_size = packet_at(r, p->first)->size;
	out->socket = p->socket;
	out->to = p->path;
	do {
		size = packet_at(r, p->first)->size;
		memcpy(out->bytes + out->size, packet_at(r, p->first)->bytes, size);
		out->size += size;
		out->count++;
		drop_first(r, p);
	} while (p->count > 0 && size == out->segment_size && out->count < TRAIN_SEGMENTS_MAX &&
	         packet_at(r, p->first)->size <= out->segment_size &&
	         out->size + packet_at(r, p->first)->size <= TRAIN_BYTES_MAX);
	if (p->count > 0) { /* the others first */
		list_remove(&p->ready);
		list_add_tail(&r->ready, &p->ready);
	}
	r->tx_bytes += out->size;
	return true;
}

bool relay_write(struct relay *r, struct train *out)
{
	return !list_is_empty(&r->ready) &&
	       relay_write_to(r, list_entry(r->ready.next, struct relay_port, ready), out);
}

bool relay_check(const struct relay *r)
{
	uint32_t count = 0, waiting = 0;

	for (uint32_t i = 0; i < r->max; i++) {
		const struct relay_channel *c = r->slots[i];

		if (!c)
			continue;
		count++;
		for (unsigned side = 0; side < 2; side++) {
			if (find(r, c->ends[side].number) != &c->ends[side] ||
			    c->ends[side].port == c->ends[side ^ 1].port)
				return false;
		}
	}
	for (struct list *n = r->ready.next; n != &r->ready; n = n->next) {
		const struct relay_port *p = list_entry(n, struct relay_port, ready);

		if (p->count == 0 || p->count > RELAY_QUEUE_PACKETS || p->bytes > RELAY_QUEUE_BYTES)
			return false;
		waiting += p->count;
	}
	for (uint32_t i = r->packets->free; i != NONE; i = packet_at(r, i)->next)
		waiting++;
	return count == r->count && r->by_number.count == 2 * (size_t)count &&
	       waiting == r->packets->fresh;
}
