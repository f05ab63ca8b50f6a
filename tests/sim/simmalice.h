/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * simmalice - a server with bad intentions (S17, S51): the production hub, whose words are changed
 * on their way out and in, under its own keys, and whose relay does what it likes. Each vice has
 * its own strength; zero is an honest server.
 */

#include "tests/sim/sim.h"

/* What it says unasked. */
enum {
	MALICE_OLD_INITS = 1, /* introductions that it heard before, under any name */
	MALICE_CHANNELS = 2,  /* numbers that nobody has, or others; channels gone that are not */
	MALICE_PRESENCE = 4,
	MALICE_GRANTS = 8, /* rates of next to nothing, legs of another kind */
	MALICE_TOPICS = 15,
};

/* ppm where nothing else is said. */
struct sim_malice {
	int only; /* host whose packets, to it or from it, are meant; SIM_NOBODY: everybody's */
	/* answers to challenges, and to STUN: where it sees somebody */
	uint32_t lies, stun_lies;
	struct addr place; /* always there; ADDR_NONE: another one each time */
	bool asks;         /* makes agents ask, as often as they will */
	/* messages */
	bool swaps;        /* agent 0's words of agent 1 are taken for words of 2, and back */
	int thief, ghost;  /* the first is taken for the second by agent 0; SIM_NOBODY */
	uint32_t swallows; /* messages of .only's, acknowledged and forgotten */
	uint32_t deaf;     /* packets of .only's session, lost */
	cv_duration talks; /* says something untrue each; 0: never */
	unsigned topics;
	/* the relay */
	uint32_t drops, delays, doubles, mixes, damages;
	uint32_t leaks; /* sent bare, too, from an address that nobody has */
	cv_duration delay_max;
};

extern const struct sim_malice SIM_HONEST;

/* From now on: @m at the server @hub; the first time in a story it also forgets earlier ones. */
void simmalice_begin(struct sim *sim, int hub, const struct sim_malice *m);
/* Honest again, as it stands: whatever it has told stays told. */
void simmalice_end(struct sim *sim);
/* Something was changed, dropped, or said unasked: so often. */
uint64_t simmalice_deeds(void);
