/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * foreign - the addresses of the STUN servers that the configuration lists: names are looked up
 * at the start, after a change of the network and every hour, those that failed every minute.
 */

#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "config/config.h"
#include "net/resolver.h"

struct foreign;

enum { FOREIGN_MAX = 16 }; /* addresses handed out: of each name one a family */

/* All that are known, in the order of the configuration; borrowed for the call. */
typedef void (*foreign_changed)(void *ctx, const struct addr *list, unsigned count);

/* All borrowed; @on_change comes at once for literals, later from the loop. 0 or a negative errno,
 * which is in the log. */
CV_NODISCARD int foreign_open(uv_loop_t *loop, const struct config *config,
                              struct resolver *resolver, foreign_changed on_change, void *ctx,
                              struct foreign **out);
/* Looks all names up again. */
/* Another configuration with the same list: nothing points into the one before any longer. False,
 * and nothing changed: the lists differ. */
bool foreign_rebind(struct foreign *f, const struct config *config);
void foreign_network_changed(struct foreign *f);
/* Takes @f; before the resolver goes. */
void foreign_close(struct foreign *f);
