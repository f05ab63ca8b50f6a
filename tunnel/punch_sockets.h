/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * punch_sockets - the sockets beside the main one, and the paths on them, of whatever session:
 * which stay, which go, and that no path is left on a number that may soon be another socket's.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

struct endpoint;

/* An attempt gives its sockets back. One that data take stays with its path, until no path is on
 * it; the paths on the others go: one hole is enough. True when one stays. */
bool punch_sockets_release(struct endpoint *e, cv_time now, uint16_t first, uint16_t count);
/* It is being closed: whoever had a path on it, though nobody asked for one there, has it no
 * longer. */
void punch_sockets_on_close(struct endpoint *e, cv_time now, uint16_t socket);
/* Those that stayed and have no path any more are given back. True when some still stay. */
bool punch_sockets_sweep(struct endpoint *e);
