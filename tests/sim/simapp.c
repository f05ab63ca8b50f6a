/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <errno.h>
#include <string.h>

enum {
	HEADER = 8,        /* the first bytes of a stream name its flow */
	BLOCK = 4096,      /* written or compared at once */
	VECS = 4,          /* pieces peeked at */
	APP_CODE = 77,     /* our resets say this */
	SLICES_MAX = 4096, /* writes of one turn */
};

#define MAGIC UINT64_C(0x63756c7600000000)

/* ---- what every byte should be ---- */

static uint64_t word(uint64_t key, uint64_t i)
{
	uint64_t z = key + i * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Which flow it is, and of which generation: simapp_forget() and simapp_reopen() begin the next. */
static uint64_t name_of(const struct sim *sim, const struct sim_flow *f)
{
	return MAGIC | (uint64_t)f->generation << 16 | (uint64_t)(f - sim->flows);
}

/* Depends on the flow, the direction and the place: no shift, repeat or mix is like another. */
static void fill(const struct sim *sim, const struct sim_flow *f, unsigned side, uint64_t offset,
                 uint8_t *out, size_t size)
{
	uint64_t name = name_of(sim, f);

	for (size_t i = 0; i < size;) {
		uint64_t at = offset + i, w = word(f->key + side, at / 8);

		if (side == 0 && at < HEADER) {
			out[i++] = (uint8_t)(name >> (8 * (HEADER - 1 - at)));
		} else if (at % 8 == 0 && size - i >= 8) {
			w = sim_little(w);
			memcpy(out + i, &w, 8);
			i += 8;
		} else {
			out[i++] = (uint8_t)(w >> (8 * (at % 8)));
		}
	}
}

/* ---- bookkeeping ---- */

static uint64_t tag_of(const struct sim *sim, const struct sim_flow *f, unsigned side)
{
	return (uint64_t)(f - sim->flows) * 2 + side + 1;
}

static unsigned index_of(const struct sim *sim, const struct sim_flow *f)
{
	return (unsigned)(f - sim->flows);
}

static bool is_reading_over(const struct sim_side *s)
{
	return s->was_ended || s->is_reset;
}

static bool is_writing_over(const struct sim_side *s)
{
	return s->was_finished || s->was_reset || s->was_stopped;
}

static void want_tick(struct sim *sim, struct sim_host *h)
{
	if (h->app_is_due || !h->is_running)
		return;
	h->app_is_due = true;
	sim_push(sim, (struct sim_event){
			      .at = sim->now + CV_MS(5) + sim_below(sim, CV_MS(15)),
			      .kind = SIM_EVENT_APP,
			      .number = h->number,
		      });
}

static void settle(struct sim_side *s)
{
	if (!s->stream || !is_reading_over(s) || !is_writing_over(s))
		return;
	stream_release(s->streams, s->stream, APP_CODE);
	s->stream = NULL;
	s->was_released = true;
}

/* ---- writing and reading ---- */

static size_t write_slice(struct sim *sim, struct sim_flow *f, unsigned side, size_t size)
{
	struct sim_side *s = &f->side[side];
	uint8_t block[BLOCK];
	uint8_t *to;

	if (sim_below(sim, 4) == 0) {
		to = stream_reserve(s->streams, s->stream, &size);
		if (!to)
			return 0;
		size = CV_MIN(size, (size_t)BLOCK);
		fill(sim, f, side, s->written, to, size);
		stream_commit(s->streams, s->stream, size);
		return size;
	}
	fill(sim, f, side, s->written, block, size);
	return stream_write(s->streams, s->stream, block, size);
}

static void write_more(struct sim *sim, struct sim_flow *f, unsigned side)
{
	struct sim_side *s = &f->side[side];
	uint64_t last = CV_MIN(s->size, s->reset_at);
	uint64_t end = CV_MIN(last, s->hold_at);

	for (unsigned i = 0; s->stream && !is_writing_over(s) && i < SLICES_MAX; i++) {
		size_t room, size, taken;

		if (s->written >= end)
			break;
		room = stream_room(s->streams, s->stream);
		size = CV_MIN(CV_MIN(room, (size_t)BLOCK), (size_t)(end - s->written));
		if (s->chunk)
			size = CV_MIN(size, CV_MAX((size_t)HEADER, s->chunk));
		if (size == 0 || (taken = write_slice(sim, f, side, size)) == 0)
			return;
		s->written += taken;
		if (s->chunk) {
			want_tick(sim, &sim->hosts[s->host]);
			break;
		}
	}
	if (!s->stream || is_writing_over(s) || s->written < last)
		return;
	if (s->written >= s->reset_at) {
		stream_reset(s->streams, s->stream, APP_CODE);
		s->was_reset = true;
	} else {
		stream_finish(s->streams, s->stream);
		s->was_finished = true;
	}
	settle(s);
}

/* P1: exactly what the other side wrote, in its place. */
static void compare(struct sim *sim, struct sim_flow *f, unsigned side, const uint8_t *bytes,
                    size_t size)
{
	struct sim_side *s = &f->side[side];
	uint8_t block[BLOCK];

	if (s->read + size > f->side[!side].written)
		sim_fail(sim, "P1: flow %u brings %llu bytes of %llu written", index_of(sim, f),
		         (unsigned long long)(s->read + size),
		         (unsigned long long)f->side[!side].written);
	while (size > 0) {
		size_t n = CV_MIN(size, (size_t)BLOCK);

		fill(sim, f, !side, s->read, block, n);
		if (memcmp(block, bytes, n) != 0)
			sim_fail(sim, "P1: flow %u, side %u: wrong bytes at %llu", index_of(sim, f),
			         side, (unsigned long long)s->read);
		s->read += n;
		bytes += n;
		size -= n;
	}
}

static void on_end(struct sim *sim, struct sim_flow *f, unsigned side)
{
	struct sim_side *s = &f->side[side];
	const struct sim_side *other = &f->side[!side];

	s->was_ended = true;
	s->end_at = sim->now;
	sim_tell(sim, "end of flow", s->host, index_of(sim, f), s->read);
	if (!other->was_finished || s->read != other->written)
		sim_fail(sim, "P2: flow %u ends clean after %llu bytes of %llu%s", index_of(sim, f),
		         (unsigned long long)s->read, (unsigned long long)other->written,
		         other->was_finished ? "" : ", unfinished");
}

static void read_more(struct sim *sim, struct sim_flow *f, unsigned side)
{
	struct sim_side *s = &f->side[side];
	size_t left = s->sip ? s->sip : SIZE_MAX;

	while (s->stream && !s->is_patient && !is_reading_over(s) && left > 0) {
		struct stream_vec vec[VECS];
		unsigned count = stream_peek(s->stream, vec, VECS);
		size_t total = 0;

		for (unsigned i = 0; i < count && left > 0; i++) {
			size_t n = CV_MIN(vec[i].size, left);

			compare(sim, f, side, vec[i].bytes, n);
			total += n;
			left -= n;
		}
		if (total > 0 && s->first_at == 0)
			s->first_at = sim->now;
		if (total > 0)
			stream_consume(s->streams, s->stream, sim->now, total);
		if (stream_is_at_end(s->stream))
			on_end(sim, f, side);
		else if (total == 0)
			return;
	}
	if (s->stream && s->sip && stream_readable(s->stream) > 0)
		want_tick(sim, &sim->hosts[s->host]);
	settle(s);
}

/* ---- opening ---- */

static bool try_open(struct sim *sim, struct sim_flow *f)
{
	struct sim_side *s = &f->side[0];
	struct sim_host *h = &sim->hosts[s->host];
	uint32_t peer = h->peers[f->side[1].host];
	int r;

	CV_ASSERT(peer != SIM_NO_PEER);
	endpoint_want_peer(h->endpoint, sim->now, peer);
	s->streams = endpoint_streams(h->endpoint, peer);
	r = streams_open(s->streams, &s->stream);
	if (r == -EAGAIN)
		return false;
	CV_ASSERT(r == 0);
	s->birth = h->births;
	stream_set_tag(s->stream, tag_of(sim, f, 0));
	sim_tell(sim, "opens flow", h->number, index_of(sim, f), stream_id(s->stream));
	write_more(sim, f, 0);
	return true;
}

static void set_up(struct sim *sim, struct sim_flow *f, uint16_t generation,
                   const struct sim_host *const ends[2], const uint64_t sizes[2])
{
	*f = (struct sim_flow){ .is_used = true, .generation = generation };
	f->key = rng_u64(&sim->rng);
	for (unsigned i = 0; i < 2; i++) {
		f->side[i].host = ends[i]->number;
		f->side[i].size = sizes[i];
		f->side[i].reset_at = f->side[i].hold_at = UINT64_MAX;
	}
}

struct sim_flow *simapp_open(struct sim *sim, struct sim_host *from, struct sim_host *to,
                             uint64_t size, uint64_t size_back)
{
	struct sim_flow *f = &sim->flows[sim->flow_count++];

	CV_ASSERT(sim->flow_count <= SIM_FLOWS_MAX);
	set_up(sim, f, sim->flow_generation, (const struct sim_host *[]){ from, to },
	       (uint64_t[]){ CV_MAX(size, (uint64_t)HEADER), size_back });
	return f;
}

void simapp_reopen(struct sim *sim, struct sim_flow *f, struct sim_host *from, struct sim_host *to,
                   uint64_t size, uint64_t size_back)
{
	CV_ASSERT(!f->is_used || simapp_is_done(sim, f));
	set_up(sim, f, (uint16_t)(f->generation + 1), (const struct sim_host *[]){ from, to },
	       (uint64_t[]){ CV_MAX(size, (uint64_t)HEADER), size_back });
}

void simapp_begin(struct sim *sim, struct sim_flow *f)
{
	struct sim_host *h = &sim->hosts[f->side[0].host];

	f->begun_at = sim->now;
	if (!h->is_running) {
		f->side[0].is_lost = true;
		return;
	}
	endpoint_on_turn(h->endpoint, sim->now);
	if (!try_open(sim, f))
		want_tick(sim, h);
	simhost_poke(sim, h);
}

/* A stream of the peer's: its first bytes say which flow it is. */
static void on_opened(struct sim *sim, struct sim_host *h, const struct endpoint_event *ev)
{
	struct stream *st = ev->stream.stream;
	struct stream_vec vec[VECS];
	unsigned count = stream_peek(st, vec, VECS);
	struct sim_flow *f;
	uint64_t name = 0;
	size_t got = 0;
	bool is_known;

	for (unsigned i = 0; i < count; i++) {
		for (size_t k = 0; k < vec[i].size && got < HEADER; k++, got++)
			name = name << 8 | vec[i].bytes[k];
	}
	if (got < HEADER)
		return; /* READABLE comes */
	f = &sim->flows[(uint16_t)name];
	is_known = (uint16_t)name < sim->flow_count;
	if ((name ^ MAGIC) >> 32 == 0 &&
	    (uint16_t)(name >> 16) != (is_known ? f->generation : sim->flow_generation)) {
		/* Its opener died before this side heard of it. */
		stream_reset(ev->streams, st, APP_CODE);
		stream_release(ev->streams, st, APP_CODE);
		return;
	}
	if ((name ^ MAGIC) >> 32 != 0 || !is_known) {
		sim_fail(sim, "P1: %s: a stream begins with %llx", h->name,
		         (unsigned long long)name);
		return;
	}
	if (h->peers[f->side[0].host] == SIM_NO_PEER ||
	    ev->streams != endpoint_streams(h->endpoint, h->peers[f->side[0].host])) {
		sim_fail(sim, "P6: flow %u comes in another's session", index_of(sim, f));
		return;
	}
	if (f->side[1].host != h->number || f->side[1].stream || f->side[1].birth != 0) {
		sim_fail(sim, "7.2: flow %u was opened twice", index_of(sim, f));
		return;
	}
	f->side[1].streams = ev->streams;
	f->side[1].stream = st;
	f->side[1].birth = h->births;
	stream_set_tag(st, tag_of(sim, f, 1));
	if (!f->side[1].refuses)
		stream_accept(ev->streams, st);
	read_more(sim, f, 1);
	write_more(sim, f, 1);
}

/* ---- events ---- */

static void on_reset(struct sim *sim, struct sim_flow *f, unsigned side, uint16_t code)
{
	struct sim_side *s = &f->side[side];
	const struct sim_side *other = &f->side[!side];

	s->is_reset = true;
	s->end_at = sim->now;
	sim_tell(sim, "reset of flow", s->host, index_of(sim, f), code);
	if (!f->may_reset && !sim->may_reset && !s->was_reset && !other->was_reset &&
	    !other->is_lost && !other->is_reset)
		sim_fail(sim, "P4: flow %u was reset with code %u for no reason", index_of(sim, f),
		         code);
	if (s->stream) {
		stream_release(s->streams, s->stream, APP_CODE);
		s->stream = NULL;
		s->was_released = true;
		s->was_reset |= !s->was_finished;
	}
}

void simapp_on_event(struct sim *sim, struct sim_host *h, const struct endpoint_event *ev)
{
	uint64_t tag = ev->stream.stream ? stream_tag(ev->stream.stream) : 0;
	struct sim_flow *f = tag ? &sim->flows[(tag - 1) / 2] : NULL;
	unsigned side = (unsigned)(tag - 1) & 1;

	if (f && f->side[side].stream != ev->stream.stream) {
		sim_fail(sim, "%s: an event for a stream that was let go", h->name);
		return;
	}
	switch (ev->stream.kind) {
	case STREAM_EVENT_OPENED:
	case STREAM_EVENT_READABLE:
		if (f && f->side[side].is_slow)
			want_tick(sim, h);
		else if (f)
			read_more(sim, f, side);
		else
			on_opened(sim, h, ev);
		return;
	case STREAM_EVENT_WRITABLE:
		if (f)
			write_more(sim, f, side);
		return;
	case STREAM_EVENT_RESET:
		if (f)
			on_reset(sim, f, side, ev->stream.code);
		else
			stream_release(ev->streams, ev->stream.stream, APP_CODE);
		return;
	case STREAM_EVENT_STOPPED:
		if (!f) { /* given up before its first bytes came */
			stream_release(ev->streams, ev->stream.stream, APP_CODE);
			return;
		}
		f->side[side].was_stopped = true;
		if (!f->side[side].is_reset)
			settle(&f->side[side]);
		return;
	case STREAM_EVENT_ACKED:
		if (f && !f->side[side].was_finished)
			sim_fail(sim, "flow %u: acknowledged before its end", index_of(sim, f));
		else if (f)
			f->side[side].was_acked = true;
		return;
	case STREAM_EVENT_OPENABLE:
		want_tick(sim, h);
		return;
	}
	CV_UNREACHABLE();
}

void simapp_tick(struct sim *sim, struct sim_host *h)
{
	for (unsigned i = 0; i < sim->flow_count; i++) {
		struct sim_flow *f = &sim->flows[i];

		if (f->side[0].host == h->number && f->begun_at && !f->side[0].birth &&
		    !f->side[0].is_lost && !try_open(sim, f))
			want_tick(sim, h);
		for (unsigned k = 0; k < 2; k++) {
			if (f->side[k].host != h->number || !f->side[k].stream)
				continue;
			read_more(sim, f, k);
			write_more(sim, f, k);
		}
	}
}

void simapp_wake(struct sim *sim, struct sim_host *h)
{
	want_tick(sim, h);
}

void simapp_on_dead(struct sim *sim, struct sim_host *h)
{
	for (unsigned i = 0; i < sim->flow_count; i++) {
		for (unsigned k = 0; k < 2; k++) {
			struct sim_side *s = &sim->flows[i].side[k];

			if (s->host != h->number || (!s->stream && (k == 1 || s->birth)))
				continue;
			if (k == 0 && !sim->flows[i].begun_at)
				continue;
			s->stream = NULL;
			s->is_lost = true;
		}
	}
}

void simapp_abort(struct sim *sim, struct sim_flow *f, unsigned side)
{
	struct sim_side *s = &f->side[side];

	if (!s->stream || is_writing_over(s))
		return;
	stream_reset(s->streams, s->stream, APP_CODE);
	s->was_reset = true;
	settle(s);
	simhost_poke(sim, &sim->hosts[s->host]);
}

void simapp_drop(struct sim *sim, struct sim_flow *f, unsigned side)
{
	struct sim_side *s = &f->side[side];

	if (!s->stream)
		return;
	f->may_reset = true; /* the other side's end may be on its way already */
	s->was_reset |= !s->was_finished;
	s->is_reset |= !s->was_ended;
	s->was_released = true;
	stream_release(s->streams, s->stream, APP_CODE);
	s->stream = NULL;
	simhost_poke(sim, &sim->hosts[s->host]);
}

void simapp_forget(struct sim *sim)
{
	CV_ASSERT(simapp_are_done(sim));
	memset(sim->flows, 0, sizeof(sim->flows));
	sim->flow_count = 0;
	sim->flow_generation = (uint16_t)(sim->flow_generation + 1);
}

/* ---- looking ---- */

static bool is_side_done(const struct sim_side *s)
{
	return s->is_lost || s->was_released;
}

bool simapp_is_done(const struct sim *sim, const struct sim_flow *f)
{
	const struct sim_side *a = &f->side[0], *b = &f->side[1];

	(void)sim;
	if (!is_side_done(a))
		return false;
	/* The far side may never have heard of a stream that was given up. */
	if (!b->birth)
		return a->is_lost || a->was_reset || a->is_reset;
	return is_side_done(b);
}

bool simapp_are_done(struct sim *sim)
{
	for (unsigned i = 0; i < sim->flow_count; i++) {
		if (sim->flows[i].begun_at && !simapp_is_done(sim, &sim->flows[i]))
			return false;
	}
	return true;
}

bool simapp_is_whole(const struct sim_flow *f)
{
	for (unsigned k = 0; k < 2; k++) {
		const struct sim_side *s = &f->side[k];

		if (!s->was_finished || !s->was_ended || s->read != f->side[!k].size)
			return false;
	}
	return true;
}

void simapp_print(const struct sim *sim, FILE *out)
{
	for (unsigned i = 0; i < sim->flow_count; i++) {
		const struct sim_flow *f = &sim->flows[i];

		if (!f->begun_at || simapp_is_done(sim, f))
			continue;
		for (unsigned k = 0; k < 2; k++) {
			const struct sim_side *s = &f->side[k];

			(void)fprintf(
				out,
				"  flow %u side %u (%s): wrote %llu of %llu, read %llu%s%s%s%s%s\n",
				i, k, sim->hosts[s->host].name, (unsigned long long)s->written,
				(unsigned long long)s->size, (unsigned long long)s->read,
				s->birth ? "" : ", no stream", s->was_finished ? ", finished" : "",
				s->was_ended ? ", ended" : "", s->is_reset ? ", reset" : "",
				s->is_lost ? ", lost" : "");
		}
	}
}
