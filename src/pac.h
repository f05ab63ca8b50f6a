/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pac - the proxy auto-configuration file: which names a browser sends to the first proxy.
 *
 * `*.culvert` and the names of the proxy's routes; everything else goes direct. HTTP is offered
 * before SOCKS5: browsers let an HTTP proxy resolve every name, and can give it a password, while
 * Firefox resolves for a SOCKS proxy of a PAC file unless told otherwise, and none has passwords
 * for SOCKS.
 */

#include <stdio.h>

#include "config/config.h"

/* Writes the file to @out. @address: "HOST:PORT" of the proxy as the browser reaches it; NULL:
 * there is none that a browser can use (a unix socket), and all goes direct. @proxy may be NULL
 * likewise. */
void pac_write(FILE *out, const struct config_proxy *proxy, const char *address);
