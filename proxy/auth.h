/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * auth - who may use a proxy: its users, and what a client says to be one of them.
 *
 * Knows how names and passwords are compared (in a time that says nothing of which exist) and the
 * credentials of HTTP's Basic scheme (RFC 7617). The protocols' messages are socks5's and http's.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum {
	AUTH_WORD_MAX = 255, /* bytes of a name or a password: RFC 1929, 2 */
};

struct auth_user {
	const char *name;     /* borrowed; 1..255 bytes */
	const char *password; /* borrowed; 1..255 bytes */
};

/**
 * auth_find() - the user with this name and password
 * Time: depends on the sizes and the number of users alone.
 * Return: one of @users, or NULL; always NULL for an empty name or password.
 */
const struct auth_user *auth_find(const struct auth_user *users, size_t user_count,
                                  const uint8_t *name, size_t name_size, const uint8_t *password,
                                  size_t password_size);

/**
 * auth_find_basic() - the same for the value of a Proxy-Authorization field
 * @value: "Basic " in any case, one space, base64 of NAME:PASSWORD
 * Return: NULL also for another scheme and for what is no base64. Nothing of it stays in memory.
 */
const struct auth_user *auth_find_basic(const struct auth_user *users, size_t user_count,
                                        const uint8_t *value, size_t size);

/* A plain memset() of memory that is not read again may be left out by the compiler. */
void auth_wipe(void *bytes, size_t size);
