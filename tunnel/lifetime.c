/* SPDX-License-Identifier: MIT */
#include "tunnel/lifetime.h"

/*
 * The ladder has steps, not a bisection: each costs its own length, and what is gained by knowing
 * 47 s instead of 40 is little. 28 is below the 30 s that many home routers have, 60, 90 and 120
 * are what others have (RFC 4787 asks for 120 at least), 15 and 10 are for carriers that keep less
 * than anybody should. It begins in the middle: most routers have 30 s or more, and until the first
 * answer the keepalive is what the lowest step allows.
 *
 * Of what is proven 17/20 are used: the next keepalive may get lost and be repeated a second later.
 * Keepalives themselves are up to a fifth sooner, at random.
 */

static const uint16_t ladder[] = { 10, 15, 28, 40, 60, 90, 120 };

enum {
	FIRST_STEP = 2,
	TOP_STEP = CV_ARRAY_SIZE(ladder) - 1,
	WARM_ENOUGH = 2,
	WARM_TRIES = 4,
	SILENCES_MAX = 2,
	ASK_TRIES = 2, /* both leave before the server counts: one may get lost */
};

#define KEEPALIVE_DEFAULT CV_SEC(25) /* below the 30 s of impatient NATs (RFC 8085, 3.5) */
#define KEEPALIVE_MIN CV_SEC(8)
#define KEEPALIVE_MAX CV_SEC(100)
/* netfilter calls a mapping a stream when it is answered 2 s after its beginning. */
#define WARM_SPACING CV_SEC(3)
#define REPEAT CV_SEC(1)
#define ASK_SPACING CV_MS(300)
/* Not while ways to the peers are looked for: each new mapping moves the ports that are predicted.
 */
#define BEGIN_DELAY CV_SEC(8)
#define LATENESS CV_SEC(3) /* of an answer: a round trip, and queues */
#define LOSS_SPACING CV_SEC(30)
#define OPEN_AGAIN CV_SEC(600)
#define LEARN_AGAIN CV_SEC(3600)

_Static_assert(OPEN_AGAIN < LEARN_AGAIN, "what failed is tried sooner than what is known");

void lifetime_init(struct lifetime *l, struct extras *extras)
{
	*l = (struct lifetime){
		.extras = extras,
		.due_at = CV_TIME_NEVER,
		.until = CV_TIME_NEVER,
	};
}

static void give_back(struct lifetime *l)
{
	if (l->socket)
		extras_give_back(l->extras, l->socket, 1);
	l->socket = 0;
	l->token = 0;
	l->until = CV_TIME_NEVER;
}

static void rest(struct lifetime *l, cv_time until)
{
	give_back(l);
	l->state = LIFETIME_RESTING;
	l->due_at = until;
}

/* The step after what is known; 0: there is none. */
static uint16_t next_step(const struct lifetime *l)
{
	uint16_t below = 0;

	if (l->proven_s == 0 && l->refuted_s == 0)
		return ladder[FIRST_STEP];
	for (unsigned i = 0; i <= TOP_STEP; i++) {
		if (l->refuted_s != 0 && ladder[i] >= l->refuted_s)
			break;
		if (l->proven_s != 0 && ladder[i] > l->proven_s)
			return ladder[i];
		below = ladder[i];
	}
	return l->proven_s == 0 ? below : 0;
}

static void warm_up(struct lifetime *l, cv_time now)
{
	l->state = LIFETIME_WARMING;
	l->warm = 0;
	l->tries = 0;
	l->token = 0;
	l->due_at = now;
	l->until = CV_TIME_NEVER;
}

static void ask(struct lifetime *l, cv_time now)
{
	l->state = LIFETIME_WAITING;
	l->tries = 0;
	l->token = 0;
	l->due_at = now;
	l->until = CV_TIME_NEVER;
}

static void step(struct lifetime *l, cv_time now, bool is_warm)
{
	l->silences = 0;
	l->asked_s = next_step(l);
	if (l->asked_s == 0)
		rest(l, CV_TIME_NEVER);
	else if (is_warm)
		ask(l, now);
	else
		warm_up(l, now);
}

void lifetime_begin(struct lifetime *l, cv_time now)
{
	give_back(l);
	if (next_step(l) == 0) {
		rest(l, CV_TIME_NEVER);
		return;
	}
	l->socket = extras_take(l->extras, 1);
	if (!l->socket) {
		rest(l, cv_time_after(now, OPEN_AGAIN));
		return;
	}
	l->state = LIFETIME_OPENING;
	l->due_at = cv_time_after(now, BEGIN_DELAY);
}

void lifetime_stop(struct lifetime *l)
{
	give_back(l);
	l->state = LIFETIME_OFF;
	l->due_at = CV_TIME_NEVER;
}

void lifetime_forget(struct lifetime *l, cv_time now)
{
	l->proven_s = 0;
	l->refuted_s = 0;
	if (l->state != LIFETIME_OFF)
		lifetime_begin(l, now);
}

void lifetime_on_lost(struct lifetime *l, cv_time now)
{
	if (l->proven_s == 0 || (l->lost_at != 0 && cv_time_since(now, l->lost_at) < LOSS_SPACING))
		return;
	l->lost_at = now;
	l->refuted_s = l->proven_s;
	l->proven_s = 0;
	for (unsigned i = 0; i <= TOP_STEP && ladder[i] <= l->refuted_s / 2; i++)
		l->proven_s = ladder[i];
	/* It may have been a reboot: all is asked again, in a while. */
	if (l->state != LIFETIME_OFF)
		rest(l, cv_time_after(now, LEARN_AGAIN));
}

cv_duration lifetime_keepalive(const struct lifetime *l)
{
	cv_duration proven = CV_SEC((cv_duration)l->proven_s) / 20 * 17;

	if (l->proven_s != 0)
		return CV_MAX(CV_MIN(proven, KEEPALIVE_MAX), KEEPALIVE_MIN);
	/* Until the first step has been passed the mapping may be one of the shortest. */
	if (l->refuted_s != 0 || (l->state != LIFETIME_OFF && l->state != LIFETIME_RESTING))
		return KEEPALIVE_MIN;
	return KEEPALIVE_DEFAULT;
}

/* ---- questions ---- */

bool lifetime_next(struct lifetime *l, cv_time now, const struct rng *rng,
                   struct lifetime_question *out)
{
	bool is_waiting = l->state == LIFETIME_WAITING;

	if ((l->state != LIFETIME_WARMING && !is_waiting) || now < l->due_at)
		return false;
	if (l->tries == (is_waiting ? ASK_TRIES : WARM_TRIES))
		return false; /* the next deadline is what silence means */
	/* The server counts from the last one that it gets, and repeats its token. */
	if (l->token == 0)
		l->token = rng_u64(rng) | 1;
	l->tries++;
	l->asked_at = now;
	l->due_at = cv_time_after(now, is_waiting ? ASK_SPACING : REPEAT);
	if (is_waiting && l->tries == ASK_TRIES) {
		l->due_at = CV_TIME_NEVER;
		l->until = cv_time_after(now, CV_SEC((cv_duration)l->asked_s) + LATENESS);
	}
	*out = (struct lifetime_question){
		.socket = l->socket,
		.seconds = is_waiting ? l->asked_s : 0,
		.token = l->token,
	};
	return true;
}

static void on_late_answer(struct lifetime *l, cv_time now)
{
	cv_duration waited = cv_time_since(now, l->asked_at);

	/* A server that answers at once does not know the question. The first of the two may have
	 * been the only one that arrived. */
	if (waited + ASK_SPACING + CV_MS(200) < CV_SEC((cv_duration)l->asked_s)) {
		rest(l, cv_time_after(now, LEARN_AGAIN));
		return;
	}
	l->proven_s = l->asked_s;
	step(l, now, true);
}

void lifetime_on_answer(struct lifetime *l, cv_time now, uint64_t token)
{
	if (token == 0 || token != l->token)
		return;
	if (l->state == LIFETIME_WAITING) {
		on_late_answer(l, now);
		return;
	}
	CV_ASSERT(l->state == LIFETIME_WARMING);
	l->token = 0;
	l->tries = 0;
	l->warm++;
	if (l->warm < WARM_ENOUGH)
		l->due_at = cv_time_after(now, WARM_SPACING);
	else
		ask(l, now);
}

cv_time lifetime_deadline(const struct lifetime *l)
{
	return cv_time_min(l->due_at, l->until);
}

static void on_silence(struct lifetime *l, cv_time now)
{
	if (++l->silences < SILENCES_MAX) {
		warm_up(l, now);
		return;
	}
	l->refuted_s = l->asked_s;
	step(l, now, false);
}

void lifetime_on_deadline(struct lifetime *l, cv_time now)
{
	switch ((enum lifetime_state)l->state) {
	case LIFETIME_OFF:
		return;
	case LIFETIME_OPENING:
		if (now < l->due_at)
			return;
		/* The shell opens sockets between two turns; then it tells, and somebody asks us.
		 */
		if (extras_is_open(l->extras, l->socket))
			step(l, now, false);
		else if (extras_is_settled(l->extras, l->socket))
			rest(l, cv_time_after(now, OPEN_AGAIN));
		else
			l->due_at = cv_time_after(now, REPEAT);
		return;
	case LIFETIME_WARMING:
		if (now >= l->due_at && l->tries == WARM_TRIES)
			rest(l, cv_time_after(now, OPEN_AGAIN));
		return;
	case LIFETIME_WAITING:
		if (now >= l->until)
			on_silence(l, now);
		return;
	case LIFETIME_RESTING:
		if (now >= l->due_at)
			lifetime_forget(l, now);
		return;
	}
	CV_UNREACHABLE();
}

bool lifetime_check(const struct lifetime *l)
{
	bool is_asking = l->state != LIFETIME_OFF && l->state != LIFETIME_RESTING;

	if (is_asking != (l->socket != 0) || (l->refuted_s && l->proven_s >= l->refuted_s))
		return false;
	/* What asks goes on. */
	return !is_asking || lifetime_deadline(l) != CV_TIME_NEVER;
}
