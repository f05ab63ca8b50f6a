/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * extras - numbers of the UDP sockets beside the main one: which are wanted, open, in use. Opens
 * none itself: the shell is asked by events. Whoever took sockets gives them back; one that became
 * a path's socket is left to the paths, and found again when none needs it (rule 5.11).
 *
 *   FREE -take-> WANTED -event-> ASKED -opened-> OPEN -give back-> CLOSING -event-> FREE
 *                                  \-refused-> REFUSED -give back-> FREE
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "tunnel/train.h"

struct extras {
	struct {
		uint8_t state;
		bool is_adopted; /* left to a path */
		bool is_seen;    /* while paths are asked which they need */
		uint16_t port;   /* local, once open */
	} list[SOCKETS_EXTRA_MAX];
	unsigned used;    /* not FREE */
	unsigned adopted; /* of them */
	bool has_wish;    /* an event is due */
};

/* @count numbers in a row; 0 when there are none. */
uint16_t extras_take(struct extras *x, unsigned count);
void extras_give_back(struct extras *x, uint16_t first, unsigned count);
/* This one belongs to a path from now on; the others of its attempt may be given back. */
void extras_adopt(struct extras *x, uint16_t number);
bool extras_is_open(const struct extras *x, uint16_t number);
/* Opened, or refused: nothing is to be waited for. */
bool extras_is_settled(const struct extras *x, uint16_t number);
uint16_t extras_port(const struct extras *x, uint16_t number);

/* Paths are asked which sockets they need: begin, extras_keep() for each, end; those that nobody
 * named are given back. */
void extras_sweep_begin(struct extras *x);
void extras_keep(struct extras *x, uint16_t number);
void extras_sweep_end(struct extras *x);

struct extras_wish {
	bool is_close;
	uint16_t first;
	uint16_t count; /* 1 for a close */
};
bool extras_next_wish(struct extras *x, struct extras_wish *out);
/* The shell's answer: @opened of the @count are open, with their local @ports. */
void extras_on_opened(struct extras *x, uint16_t first, unsigned count, unsigned opened,
                      const uint16_t *ports);
bool extras_check(const struct extras *x);
