/* SPDX-License-Identifier: MIT */

/*
 * A peer that may say anything of its routers and ask for anything, servers that answer anything,
 * and a shell without sockets: the input is a list of NAT and PUNCH frames, STUN answers to
 * questions that are really out, packets by any socket, and steps of time. Oracles besides the
 * sanitizers are those of punch_world.h: punch_check(), discovery_check() and extras_check() after
 * each turn, the budgets of a second and an hour, no probe to where candidate.h forbids, none from
 * a socket that is closed, no deadline without end. When the input ends so does every attempt, and
 * no socket stays open that no path has.
 */
#include "tests/unit/punch_world.h"

enum { INPUT_MAX = 512, STEPS_MAX = 100, FRAME_MAX_SIZE = 20 };

static struct punch_world w;

static void run(cv_duration d)
{
	cv_time until = w.now + d;

	w.steps = 0;
	do {
		world_deliver(&w);
		discovery_on_deadline(&w.e->discovery, w.now, w.e->core.rng);
		traversal_turn(w.e, w.now);
		world_turn(&w);
	} while (world_step(&w, until));
}

/* A frame of this type with a body from the input, if it can be read at all. */
static void say(struct rd *in, uint8_t type)
{
	uint8_t bytes[1 + FRAME_MAX_SIZE] = { type };
	size_t size = in->bad ? 0 : CV_MIN(rd_left(in), (size_t)FRAME_MAX_SIZE);
	struct rd r = rd_init(bytes, sizeof(bytes));
	struct wire_frame f;

	if (size > 0)
		memcpy(bytes + 1, rd_take(in, size), size);
	if (wire_read_frame(&r, &f) == WIRE_FRAME)
		world_frame(&w, &f);
}

/* What we know of our own router: one of the kinds, or anything. */
static void learn(struct rd *in, unsigned what)
{
	struct nat_profile mine = world_easy();

	if (what < NAT_PORTS_KINDS)
		mine = world_hard((enum nat_ports)what);
	mine.address = w.outside;
	mine.step = (int16_t)rd_u16(in);
	mine.port_low = rd_u16(in);
	mine.port_high = rd_u16(in);
	mine.is_suspect = what == 5;
	mine.has_mapped = what == 6;
	if (what == 7)
		mine.address = (struct addr){ 0 };
	/* What nat_read_samples() promises. */
	if (mine.ports == NAT_PORTS_REGULAR && mine.step == 0)
		mine.step = 1;
	if (mine.ports != NAT_PORTS_RANDOM)
		mine.port_low = mine.port_high = 0;
	if (mine.port_high != 0) {
		mine.port_low = CV_MAX(mine.port_low, (uint16_t)NAT_PORT_MIN);
		mine.port_high = CV_MAX(mine.port_high, mine.port_low);
	}
	world_know(&w, &mine);
}

/* An answer to a question that is out, or nearly; or bytes. */
static void answer(struct rd *in, unsigned how)
{
	const struct discovery_question *q =
		&w.e->discovery.questions[rd_u8(in) % DISCOVERY_QUESTIONS_MAX];
	struct stun_told told = { .mapped = w.outside };
	struct stun_message m = { .type = STUN_REQUEST };
	struct addr from = q->to;
	uint8_t bytes[STUN_PADDED_SIZE];
	size_t size;

	told.mapped.port = rd_u16(in);
	if (how & 1)
		told.mapped.ip[3] = rd_u8(in);
	if (how & 2)
		from.port++;
	cv_store32(m.id, 0x2112a442);
	memcpy(m.id + 4, q->id, STUN_ID_SIZE);
	size = stun_write_answer(bytes, sizeof(bytes), &m, &told);
	if (how & 4)
		bytes[rd_u8(in) % size] ^= rd_u8(in);
	(void)discovery_on_datagram(&w.e->discovery, w.now, q->socket, &from, bytes, size);
}

static uint16_t any_socket(struct rd *in)
{
	unsigned start = rd_u16(in) % SOCKETS_EXTRA_MAX;

	for (unsigned i = 0; i < SOCKETS_EXTRA_MAX; i++) {
		unsigned number = SOCKET_EXTRA + (start + i) % SOCKETS_EXTRA_MAX;

		if (w.is_open[number])
			return (uint16_t)number;
	}
	return SOCKET_MAIN;
}

static void move(struct rd *in, unsigned how)
{
	struct path *path;

	switch (how & 3) {
	case 0:
		(void)world_hear(&w, w.s, any_socket(in));
		return;
	case 1:
		path = world_hear(&w, w.s, any_socket(in));
		if (path)
			world_choose(w.s, path);
		return;
	case 2:
		world_choose(w.s, NULL);
		return;
	default:
		for (uint8_t i = 0; i < PATHS_MAX; i++) {
			if (w.s->paths.list[i].state != PATH_FREE && i != w.s->paths.active &&
			    !w.s->paths.list[i].to.is_relay)
				paths_remove(&w.s->paths, i);
		}
	}
}

static void change(struct rd *in, unsigned what)
{
	struct addr seen = w.outside;

	switch (what) {
	case 0:
		w.is_slow = !w.is_slow;
		if (!w.is_slow)
			world_answer_shell(&w);
		return;
	case 1:
		w.sockets_left = rd_u16(in) % 300;
		return;
	case 2:
		w.is_mute = !w.is_mute;
		return;
	case 3:
		traversal_on_network(w.e, w.now);
		return;
	case 4:
		seen.port = rd_u16(in);
		discovery_set_server(&w.e->discovery, w.now, 0, &w.server, &seen);
		return;
	case 5:
		discovery_drop_server(&w.e->discovery, 0);
		return;
	case 6:
		discovery_restart(&w.e->discovery, w.now);
		return;
	case 7:
		(void)extras_take(&w.e->extras, 1 + rd_u16(in) % 512u);
		return;
	case 8:
		w.s->paths.is_relay_only = !w.s->paths.is_relay_only;
		return;
	default:
		w.s->punch_at = w.now;
	}
}

static void step(struct rd *in)
{
	uint8_t op = rd_u8(in);
	unsigned low = op & 15;

	switch (op >> 4) {
	case 0:
	case 1:
	case 2:
		say(in, FRAME_PUNCH);
		return;
	case 3:
	case 4:
		say(in, FRAME_NAT);
		return;
	case 5:
		learn(in, low & 7);
		return;
	case 6:
	case 7:
		answer(in, low);
		return;
	case 8:
	case 9:
		move(in, low);
		return;
	case 10:
	case 11:
		change(in, low);
		return;
	default:
		run(CV_MS(1) << low);
	}
}

/* Nobody says anything any more. */
static void calm_down(void)
{
	w.is_slow = false;
	world_answer_shell(&w);
	w.s->paths.is_relay_only = false;
	discovery_stop(&w.e->discovery);
	w.e->core.nat_version = 0; /* nothing new is begun */
	world_choose(w.s, NULL);
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (w.s->paths.list[i].state != PATH_FREE && i != w.s->paths.active)
			paths_remove(&w.s->paths, i);
	}
	run(CV_SEC(120));
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++)
		CV_ASSERT(w.e->punch.list[i].role == PUNCH_NOBODY);
	CV_ASSERT(w.e->extras.adopted == 0);
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd in = rd_init(data, CV_MIN(size, (size_t)INPUT_MAX));
	uint64_t live = cv_alloc_live();
	unsigned steps = 0;
	uint8_t first = rd_u8(&in);

	world_init(&w, first & 1, 1);
	learn(&in, first >> 1 & 7);
	say(&in, FRAME_NAT);
	while (!in.bad && rd_left(&in) > 0 && steps++ < STEPS_MAX)
		step(&in);
	calm_down();
	world_deinit(&w);
	CV_ASSERT(cv_alloc_live() == live);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */
