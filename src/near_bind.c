/* SPDX-License-Identifier: MIT */

/*
 * near_bind - SOCKS5's BIND: the far side listens for one connection.
 */
#include "bridge.h"

void near_bind(struct flow *f)
{
	near_refuse(f, TARGET_UNSUPPORTED);
}
