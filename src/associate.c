/* SPDX-License-Identifier: MIT */

/*
 * associate - SOCKS5's UDP ASSOCIATE: datagrams of a client, as long as its connection lives.
 */
#include "bridge.h"

void associate_open(struct flow *f)
{
	near_refuse(f, TARGET_UNSUPPORTED);
}
