/* SPDX-License-Identifier: MIT */
#include "tunnel/hub_session.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/alloc.h"

/*
 * What a session is told comes from two places: the directory's news (presence, channels), which
 * are state and become messages only when the link has room, and answers that carry something of
 * their own (an INIT in an OFFER), which are queued at once.
 *
 * A path is moved by nothing but a PROBE answered from the new address (rule 2.4). What makes us
 * ask is any packet of the session that comes from elsewhere, a relayed one included: until the
 * agent's next keepalive that may be all we hear from it.
 *
 * A path may also be a TCP connection: socket SOCKET_TCP and its address. When that ends, the
 * session is silent at once; its channels stand, and it goes on from wherever it is heard next
 * (rule 6.1).
 *
 * Time: of a session's deadlines the lapse moves with every packet heard, so it is looked at when
 * it comes, not written down each time.
 */

#define LAPSE_TIME CV_SEC(60)
/* Beyond the silence that an agent announced: repeats of its challenge, then an attempt. */
#define LAPSE_MARGIN CV_SEC(30)
#define CHECK_INTERVAL CV_MS(500)
#define RETRY_TIME CV_SEC(1)
/* For what is still in the queue of a TCP connection that a session leaves: 96 KiB at 150 kbit/s.
 */
#define BEFORE_TIME CV_SEC(5)

enum {
	CHECKS = 3,
	INTERVAL_MAX = 120,  /* s: the longest silence that anybody may announce */
	INTERVAL_MARGIN = 5, /* s: its challenge is repeated */
	LATER_MAX = 240,     /* s */
	CHALLENGE_RATE = 4,
	/* An agent with a hundred peers asks for all of them at its start. */
	OPEN_RATE_MAX = 20,
	OPEN_BURST_MAX = 1024,
	/* 4,096 tags take 86 messages; each may cost a walk over what was registered before. */
	REGISTER_RATE = 10,
	REGISTER_BURST = 100,
};
_Static_assert(RELAY_SMALL_RATE *RELAY_SMALL_MAX * 8 / 1000 == (int)MESSAGE_RATE_SMALL,
               "what passes where the relay is not lent is what agents are told");

/* ---- finding ---- */

uint64_t hub_session_key(const struct hub *h, const uint8_t pk[32])
{
	uint8_t key[crypto_shorthash_KEYBYTES] = { 0 };
	uint8_t hash[crypto_shorthash_BYTES];

	cv_store64(key, h->seed);
	(void)crypto_shorthash(hash, pk, 32, key);
	return cv_load64(hash);
}

struct hub_session *hub_session_by_number(const struct hub *h, uint64_t number)
{
	return number < h->opt.agents_max ? h->sessions[number] : NULL;
}

struct hub_session *hub_session_find(const struct hub *h, const uint8_t pk[32])
{
	struct hub_session *s =
		hub_session_by_number(h, idmap_find(&h->by_key, hub_session_key(h, pk)));

	return s && memcmp(s->pk, pk, 32) == 0 ? s : NULL;
}

/* One address may be that of an agent's UDP and of another's TCP. */
static uint64_t path_key(const struct hub *h, uint16_t socket, const struct addr *path)
{
	return addr_hash(path, socket == SOCKET_TCP ? h->seed + 1 : h->seed);
}

struct hub_session *hub_session_at(const struct hub *h, uint16_t socket, const struct addr *from)
{
	struct hub_session *s =
		hub_session_by_number(h, idmap_find(&h->by_addr, path_key(h, socket, from)));

	return s && addr_equal(&s->port.path, from) &&
	                       (s->port.socket == SOCKET_TCP) == (socket == SOCKET_TCP)
	               ? s
	               : NULL;
}

/* /32 or /64: what one subscriber has. */
static uint64_t prefix_of(const struct hub *h, const struct addr *from)
{
	struct addr prefix = *from;

	prefix.port = 0;
	prefix.scope = 0;
	if (prefix.family == ADDR_V6)
		memset(prefix.ip + 8, 0, 8);
	return addr_hash(&prefix, ~h->seed);
}

static uint64_t prefix_count(const struct hub *h, uint64_t prefix)
{
	uint64_t count = idmap_find(&h->by_prefix, prefix);

	return count == IDMAP_NONE ? 0 : count;
}

static void leave_prefix(struct hub *h, uint64_t prefix)
{
	uint64_t count = prefix_count(h, prefix);
	int r = 0;

	CV_ASSERT(count > 0);
	if (count == 1)
		(void)idmap_remove(&h->by_prefix, prefix);
	else
		r = idmap_add(&h->by_prefix, prefix, count - 1);
	CV_ASSERT(r == 0); /* replaces */
}

static void enter_prefix(struct hub *h, struct hub_session *s, uint64_t prefix)
{
	int r = idmap_add(&h->by_prefix, prefix, prefix_count(h, prefix) + 1);

	CV_ASSERT(r == 0); /* reserved: as many prefixes as sessions */
	s->prefix = prefix;
}

/* ---- life ---- */

static int reserve(struct hub *h)
{
	size_t count = (size_t)h->count + 1;

	if (idmap_reserve(&h->by_key, count) < 0 || idmap_reserve(&h->by_addr, count) < 0 ||
	    idmap_reserve(&h->by_prefix, count + 1) < 0 || heap_reserve(&h->deadlines, count) < 0)
		return -ENOMEM;
	return 0;
}

/* Nobody is found there any more. */
static void leave_path(struct hub *h, struct hub_session *s)
{
	uint64_t key = path_key(h, s->port.socket, &s->port.path);

	if (s->port.path.family != ADDR_NONE && idmap_find(&h->by_addr, key) == s->number)
		(void)idmap_remove(&h->by_addr, key);
}

/* Those at the other ends of its channels must know how patient to be, and how fast. */
void hub_session_tell_others(struct hub *h, struct hub_session *s)
{
	struct relay_end_info end;
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &s->port.channels)
	{
		relay_describe(&h->relay, pos, &end);
		directory_tell(&h->directory, end.other_name, DIRECTORY_OPENED);
	}
}

void hub_session_move(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                      const struct addr *from)
{
	bool was_tcp = s->port.socket == SOCKET_TCP;
	int r;

	leave_path(h, s);
	if (was_tcp && s->port.path.family != ADDR_NONE) {
		s->port.before = s->port.path;
		s->port.before_until = cv_time_after(now, BEFORE_TIME);
	}
	s->port.path = *from;
	s->port.socket = socket;
	s->port.strayed_at = 0;
	/* A NAT may have given the address of a silent session to this one: the newer has it. */
	r = idmap_add(&h->by_addr, path_key(h, socket, from), s->number);
	CV_ASSERT(r == 0); /* reserved: one address a session */
	leave_prefix(h, s->prefix);
	enter_prefix(h, s, prefix_of(h, from));
	if (was_tcp != (socket == SOCKET_TCP))
		hub_session_tell_others(h, s);
	hub_session_wake(h, s); /* it may have had none */
}

void hub_session_on_closed(struct hub *h, struct hub_session *s)
{
	CV_ASSERT(s->port.socket == SOCKET_TCP);
	leave_path(h, s);
	relay_port_lose(&h->relay, &s->port);
	s->check_at = CV_TIME_NEVER;
	s->is_check_due = false;
}

enum hub_admission hub_session_new(struct hub *h, cv_time now, const uint8_t pk[32],
                                   uint16_t socket, const struct addr *from,
                                   const uint8_t incarnation[INCARNATION_SIZE],
                                   struct hub_session **out)
{
	uint64_t prefix = prefix_of(h, from);
	struct hub_session *s;
	int r;

	CV_ASSERT(!hub_session_find(h, pk));
	if (h->count >= h->opt.agents_max)
		return HUB_AGENTS_FULL;
	if (prefix_count(h, prefix) >= h->opt.agents_per_address_max)
		return HUB_ADDRESS_FULL;
	if (reserve(h) < 0)
		return HUB_NO_MEMORY;
	s = cv_zalloc(sizeof(*s));
	if (!s)
		return HUB_NO_MEMORY;
	s->number = h->unused_count > 0 ? h->unused[--h->unused_count] : h->count;
	CV_ASSERT(!h->sessions[s->number]);
	h->sessions[s->number] = s;
	h->count++;
	memcpy(s->pk, pk, sizeof(s->pk));
	light_init(&s->light, &h->indexes, s->number, false, h->opt.rng);
	assoc_rename(&s->light.assoc, incarnation);
	relay_port_init(&s->port);
	directory_member_init(&s->member, s->pk);
	heap_node_init(&s->due);
	list_init(&s->ready);
	s->check_at = CV_TIME_NEVER;
	s->resume_at = CV_TIME_NEVER;
	s->later.at = CV_TIME_NEVER;
	s->port.heard_at = now;
	r = idmap_add(&h->by_key, hub_session_key(h, pk), s->number);
	CV_ASSERT(r == 0);
	enter_prefix(h, s, prefix);
	hub_session_move(h, now, s, socket, from);
	*out = s;
	return HUB_ADMITTED;
}

static void close_channel(struct hub *h, const struct relay_end_info *end)
{
	directory_set_channel(&h->directory, end->name, 0);
	directory_set_channel(&h->directory, end->other_name, 0);
	relay_close(&h->relay, end->number);
}

static void forget_registration(struct hub *h, struct hub_session *s, bool is_gone)
{
	struct relay_end_info end;

	while (relay_first(&h->relay, &s->port, &end))
		close_channel(h, &end);
	directory_remove_member(&h->directory, &s->member, is_gone);
}

void hub_session_drop(struct hub *h, cv_time now, struct hub_session *s, bool is_gone)
{
	uint64_t key = hub_session_key(h, s->pk);

	/* A handshake that it answered may name this object, and no other may ever have its name.
	 */
	pendings_drop_owner(&h->pendings, now, &h->indexes, key);
	forget_registration(h, s, is_gone);
	relay_port_deinit(&h->relay, &s->port);
	heap_remove(&h->deadlines, &s->due);
	list_remove(&s->ready);
	leave_path(h, s);
	if (idmap_find(&h->by_key, key) == s->number)
		(void)idmap_remove(&h->by_key, key);
	leave_prefix(h, s->prefix);
	h->sessions[s->number] = NULL;
	h->unused[h->unused_count++] = s->number;
	CV_ASSERT(h->count > 0);
	h->count--;
	light_deinit(&s->light, now);
	sodium_memzero(s, sizeof(*s));
	cv_free(s);
}

void hub_session_begin_again(struct hub *h, cv_time now, struct hub_session *s)
{
	forget_registration(h, s, false);
	light_begin(&s->light);
	s->port.heard_at = now;
	s->port.strayed_at = 0;
	s->check_at = CV_TIME_NEVER;
	s->is_challenge_due = false;
	s->challenge_token = 0;
	s->port.silence_s = 0;
	s->later.at = CV_TIME_NEVER;
	s->later.is_due = false;
}

void hub_session_wake(struct hub *h, struct hub_session *s)
{
	if (!list_is_linked(&s->ready))
		list_add_tail(&h->ready, &s->ready);
}

/* ---- paths ---- */

bool hub_session_doubt(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                       const struct addr *from, size_t budget)
{
	if (budget < LIGHT_PROBE_MIN ||
	    !bucket_take(&s->challenges, now, CHALLENGE_RATE, CHALLENGE_RATE, 1))
		return false;
	/* Every challenge to one address asks the same: the answer to the first of them may cross
	 * the next, and would else be too late. */
	if (s->doubtful_socket != socket || !addr_equal(&s->doubtful, from))
		s->challenge_token = 0;
	s->doubtful = *from;
	s->doubtful_socket = socket;
	s->is_challenge_due = true;
	hub_session_wake(h, s);
	return true;
}

void hub_session_stays(struct hub *h, struct hub_session *s)
{
	if (s->port.strayed_at == 0)
		return;
	s->port.strayed_at = 0;
	hub_session_wake(h, s); /* with what was held back */
}

static void begin_check(struct hub_session *s, cv_time now)
{
	s->check_count = 0;
	s->was_refused_again = false;
	s->check_at = now;
}

/* What comes from elsewhere may be copies: while the path answers they change nothing. */
void hub_session_on_opened(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                           const struct addr *from, size_t budget)
{
	bool is_here = relay_port_is_at(&s->port, now, socket, from);

	s->port.heard_at = now;
	if (is_here || s->port.strayed_at == 0) {
		s->check_at = CV_TIME_NEVER; /* it lives */
		s->is_check_due = false;
	}
	if (is_here) {
		hub_session_stays(h, s);
	} else if (hub_session_doubt(h, now, s, socket, from, budget) && s->port.strayed_at == 0 &&
	           s->port.path.family != ADDR_NONE) {
		s->port.strayed_at = now;
		begin_check(s, now); /* at its deadline: who calls goes on with @s */
	}
}

void hub_session_on_answer(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                           const struct addr *from, uint64_t token)
{
	if (s->challenge_token == 0 || token != s->challenge_token ||
	    socket != s->doubtful_socket || !addr_equal(from, &s->doubtful))
		return;
	s->challenge_token = 0;
	s->is_challenge_due = false;
	hub_session_move(h, now, s, socket, from);
}

bool hub_session_on_aside(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                          const struct addr *from, const struct wire_probe *probe)
{
	if (probe->seconds == 0)
		return false;
	s->later.to = *from;
	s->later.socket = socket;
	s->later.token = probe->token;
	s->later.is_due = false;
	s->later.at = cv_time_after(now, CV_SEC(CV_MIN(probe->seconds, (cv_duration)LATER_MAX)));
	hub_session_wake(h, s); /* plans it */
	return true;
}

void hub_session_on_interval(struct hub_session *s, uint16_t seconds)
{
	s->port.silence_s = (uint16_t)(CV_MIN(seconds, INTERVAL_MAX) + INTERVAL_MARGIN);
}

void hub_session_on_refused(struct hub *h, cv_time now, struct hub_session *s)
{
	if (s->check_at != CV_TIME_NEVER) {
		s->was_refused_again = true;
		return;
	}
	begin_check(s, now);
	hub_session_on_deadline(h, now, s);
}

/* ---- messages ---- */

static uint32_t granted_kbit(const struct hub *h)
{
	uint64_t kbit = h->opt.relay_rate * 8 / 1000;

	if (!h->opt.relay_enabled)
		return MESSAGE_RATE_SMALL;
	if (kbit == MESSAGE_RATE_SMALL)
		kbit++; /* it is lent all the same */
	return (uint32_t)CV_MIN(kbit, UINT32_MAX);
}

static void grant(const struct hub *h, const struct hub_session *other, struct wire_message *m)
{
	m->rate_kbit = granted_kbit(h);
	m->leg = other->port.socket == SOCKET_TCP ? LEG_TCP : LEG_UDP;
}

/* Nothing depends on whether this one fits: who is not told asks again. */
static void tell(struct hub *h, struct hub_session *s, const struct wire_message *m)
{
	if (link_send(&s->light.link, m) < 0)
		h->stats.drop_queue_full++;
	hub_session_wake(h, s);
}

static void refuse(struct hub *h, struct hub_session *s, const char *text)
{
	struct wire_message m = { .type = MESSAGE_REFUSED };

	CV_ASSERT(strlen(text) < sizeof(m.text));
	memcpy(m.text, text, strlen(text));
	tell(h, s, &m);
}

/* Channels whose tag is no longer among those registered. */
static void close_unlisted(struct hub *h, struct hub_session *s, const struct wire_message *m)
{
	struct relay_end_info end;
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &s->port.channels)
	{
		relay_describe(&h->relay, pos, &end);
		if (!directory_is_listed(&h->directory, end.name, m->tags, m->tag_count))
			close_channel(h, &end);
	}
}

static void on_register(struct hub *h, cv_time now, struct hub_session *s,
                        const struct wire_message *m)
{
	if (!bucket_take(&s->registers, now, REGISTER_RATE, REGISTER_BURST, 1)) {
		h->stats.drop_quota++;
		refuse(h, s, "too many registrations");
		return;
	}
	if (m->is_first) {
		close_unlisted(h, s, m);
		directory_keep(&h->directory, &s->member, m->tags, m->tag_count);
	}
	for (unsigned i = 0; i < m->tag_count; i++) {
		if (directory_add(&h->directory, &s->member, m->tags[i]) < 0) {
			h->stats.drop_quota++;
			refuse(h, s, "no room for all of your peers");
			return;
		}
	}
}

/* One answer for not registered, not mutual and unknown: nobody learns which (rule 2.2). */
static void answer_absent(struct hub *h, struct hub_session *s, const uint8_t tag[TAG_SIZE])
{
	struct wire_message m = { .type = MESSAGE_ABSENT };

	memcpy(m.tag, tag, TAG_SIZE);
	tell(h, s, &m);
}

/* The channel between two matched entries, opened if there is none. */
static bool open_channel(struct hub *h, struct hub_session *s, uint32_t entry, uint32_t match)
{
	struct hub_session *other =
		list_entry(directory_member_of(&h->directory, match), struct hub_session, member);
	uint64_t ours, theirs;

	if (directory_channel(&h->directory, entry) != 0)
		return true;
	if (relay_open(&h->relay, h->opt.rng, &s->port, entry, &other->port, match, &ours,
	               &theirs) < 0)
		return false;
	directory_set_channel(&h->directory, entry, ours);
	directory_set_channel(&h->directory, match, theirs);
	return true;
}

static void offer(struct hub *h, const struct hub_session *s, uint32_t match,
                  const struct wire_message *open)
{
	struct hub_session *other =
		list_entry(directory_member_of(&h->directory, match), struct hub_session, member);
	struct wire_message m = { .type = MESSAGE_OFFER };

	memcpy(m.tag, open->tag, TAG_SIZE);
	m.channel = directory_channel(&h->directory, match);
	m.init = open->init;
	grant(h, s, &m);
	/* Without room for the INIT it hears of the channel at least; INITs may come through that.
	 */
	if (link_send(&other->light.link, &m) < 0)
		directory_tell(&h->directory, match, DIRECTORY_OPENED);
	hub_session_wake(h, other);
}

static void on_open(struct hub *h, cv_time now, struct hub_session *s, const struct wire_message *m)
{
	uint32_t entry, match;

	if (!bucket_take(&s->opens, now, OPEN_RATE_MAX, OPEN_BURST_MAX, 1)) {
		h->stats.drop_quota++;
		return;
	}
	entry = directory_find(&h->directory, &s->member, m->tag);
	match = entry == DIRECTORY_NONE ? DIRECTORY_NONE : directory_match(&h->directory, entry);
	if (match == DIRECTORY_NONE) {
		answer_absent(h, s, m->tag);
		return;
	}
	if (!open_channel(h, s, entry, match)) {
		h->stats.drop_quota++;
		refuse(h, s, "too many channels");
		return;
	}
	directory_tell(&h->directory, entry, DIRECTORY_OPENED);
	offer(h, s, match, m);
}

static void on_message(struct hub *h, cv_time now, struct hub_session *s,
                       const struct wire_message *m)
{
	struct relay_end_info end;

	switch (m->type) {
	case MESSAGE_REGISTER:
		on_register(h, now, s, m);
		return;
	case MESSAGE_OPEN:
		on_open(h, now, s, m);
		return;
	case MESSAGE_CLOSE_CHANNEL:
		if (relay_find(&h->relay, &s->port, m->channel, &end))
			close_channel(h, &end);
		return;
	default: /* what only servers say */
		return;
	}
}

void hub_session_on_frames(struct hub *h, cv_time now, struct hub_session *s, const uint8_t *plain,
                           size_t size)
{
	struct rd in = rd_init(plain, size);
	struct wire_frame f;
	struct wire_message m;

	while (wire_read_frame(&in, &f) == WIRE_FRAME) {
		switch (f.type) {
		case FRAME_MESSAGE:
		case FRAME_MESSAGE_ACK:
			if (link_on_frame(&s->light.link, now, &f, &m))
				on_message(h, now, s, &m);
			break;
		case FRAME_PING: /* an acknowledgement says that this epoch is heard */
			s->light.link.is_ack_due = true;
			break;
		case FRAME_CLOSE:
			hub_session_drop(h, now, s, true);
			return;
		default: /* of sessions between agents */
			break;
		}
	}
	directory_resume(&h->directory, &s->member); /* the link may have room again */
	hub_session_wake(h, s);
}

/* ---- time ---- */

static cv_time lapse_at(const struct hub_session *s)
{
	cv_duration told = CV_SEC((cv_duration)s->port.silence_s) + LAPSE_MARGIN;

	return cv_time_after(s->port.heard_at, CV_MAX(LAPSE_TIME, told));
}

/* One that it may have left is asked, and told nothing until it answers. */
static bool has_path(const struct hub_session *s)
{
	return s->port.path.family != ADDR_NONE && s->port.strayed_at == 0;
}

void hub_session_plan(struct hub *h, struct hub_session *s)
{
	cv_time at = lapse_at(s);

	at = cv_time_min(at, s->check_at);
	at = cv_time_min(at, s->later.at);
	at = cv_time_min(at, s->resume_at);
	at = cv_time_min(at, assoc_dead_at(&s->light.assoc));
	/* What is ready is written before any time passes; without a path nothing is. */
	if (!list_is_linked(&s->ready) && has_path(s))
		at = cv_time_min(at, link_deadline(&s->light.link));
	/* A later lapse is found out when the earlier one comes. */
	if (s->due.slot == HEAP_OUT || at < s->due.at)
		heap_set(&h->deadlines, &s->due, at);
}

/* One challenge after the other; silence, and another refusal, is the end. */
static bool turn_check(struct hub *h, cv_time now, struct hub_session *s)
{
	if (now < s->check_at)
		return true;
	if (s->check_count == CHECKS) {
		s->check_at = CV_TIME_NEVER;
		return !s->was_refused_again || s->port.strayed_at != 0;
	}
	s->check_count++;
	s->check_at = cv_time_after(now, CHECK_INTERVAL);
	s->is_check_due = true;
	hub_session_wake(h, s);
	return true;
}

void hub_session_on_deadline(struct hub *h, cv_time now, struct hub_session *s)
{
	bool is_gone = !turn_check(h, now, s);

	if (is_gone || now >= lapse_at(s) || !assoc_is_live(&s->light.assoc, now)) {
		hub_session_drop(h, now, s, is_gone);
		return;
	}
	if (now >= s->resume_at) {
		s->resume_at = CV_TIME_NEVER;
		directory_resume(&h->directory, &s->member);
	}
	if (now >= s->later.at) {
		s->later.at = CV_TIME_NEVER;
		s->later.is_due = true;
		hub_session_wake(h, s);
	}
	if (now >= link_deadline(&s->light.link))
		hub_session_wake(h, s);
	heap_remove(&h->deadlines, &s->due);
	hub_session_plan(h, s);
}

/* ---- writing ---- */

/* Whom @s meets by @tag. */
static const struct hub_session *other_of(const struct hub *h, const struct hub_session *s,
                                          const uint8_t tag[TAG_SIZE])
{
	uint32_t match =
		directory_match(&h->directory, directory_find(&h->directory, &s->member, tag));

	return list_entry(directory_member_of(&h->directory, match), struct hub_session, member);
}

/* The directory's news, as far as the link has room for them. */
static void take_news(struct hub *h, cv_time now, struct hub_session *s)
{
	struct wire_message m;

	while (directory_next_news(&h->directory, &s->member, &m)) {
		if (m.type == MESSAGE_OPENED)
			grant(h, other_of(h, s, m.tag), &m);
		if (s->light.link.queued >= LINK_WINDOW) {
			directory_defer(&s->member); /* its next acknowledgement resumes */
			return;
		}
		if (link_send(&s->light.link, &m) < 0) {
			directory_defer(&s->member);
			s->resume_at = cv_time_after(now, RETRY_TIME);
			return;
		}
		directory_told(&h->directory, &s->member);
	}
}

static bool emit(struct train *out, uint16_t socket, const struct addr *to, size_t size)
{
	out->size = size;
	out->segment_size = size;
	out->count = 1;
	out->socket = socket;
	out->to = *to;
	return true;
}

static bool write_challenge(struct hub *h, cv_time now, struct hub_session *s, struct train *out)
{
	struct epoch *e = assoc_send_epoch(&s->light.assoc, now);
	struct wire_probe probe = { .type = PROBE_CHALLENGE };

	if (!e || (!s->is_challenge_due && !s->is_check_due))
		return false;
	probe.token = rng_u64(h->opt.rng) | 1;
	if (s->is_challenge_due) {
		s->is_challenge_due = false;
		if (s->challenge_token == 0)
			s->challenge_token = probe.token;
		probe.token = s->challenge_token;
		return emit(out, s->doubtful_socket, &s->doubtful,
		            light_write_probe(e, out->bytes, 0, &probe));
	}
	s->is_check_due = false; /* whatever opens is an answer */
	if (s->port.path.family == ADDR_NONE)
		return false;
	return emit(out, s->port.socket, &s->port.path,
	            light_write_probe(e, out->bytes, 0, &probe));
}

static bool write_later(cv_time now, struct hub_session *s, struct train *out)
{
	struct epoch *e = assoc_send_epoch(&s->light.assoc, now);
	struct wire_probe probe = { .type = PROBE_ANSWER };

	if (!s->later.is_due || !e)
		return false;
	s->later.is_due = false;
	probe.token = s->later.token;
	probe.seen = s->later.to;
	return emit(out, s->later.socket, &s->later.to,
	            light_write_probe(e, out->bytes, 0, &probe));
}

bool hub_session_write(struct hub *h, cv_time now, struct hub_session *s, struct train *out)
{
	struct epoch *e = assoc_send_epoch(&s->light.assoc, now);
	struct wr w = wr_init(out->bytes + WIRE_DATA_HEADER, LIGHT_PLAIN_MAX);

	if (write_challenge(h, now, s, out) || write_later(now, s, out))
		return true;
	take_news(h, now, s);
	if (e && has_path(s) && link_has_output(&s->light.link, now) &&
	    link_write(&s->light.link, now, &w) > 0)
		return emit(out, s->port.socket, &s->port.path,
		            light_seal(&s->light, e, out->bytes, wr_size(&w)));
	list_remove(&s->ready);
	hub_session_plan(h, s);
	return false;
}
