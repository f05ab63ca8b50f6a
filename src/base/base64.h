/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * base64 - keys as WireGuard writes them: 32 bytes, standard alphabet, 44
 * characters, canonical only. Private keys pass here: no branch and no index
 * depends on a byte of them.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum { KEY_SIZE = 32, KEY_TEXT_SIZE = 44 };

/* Writes 44 characters and a NUL. */
void base64_key_write(char out[KEY_TEXT_SIZE + 1], const uint8_t key[KEY_SIZE]);
/* 0, or -EINVAL for anything but 44 canonical characters (unused bits zero). @out unchanged then.
 */
CV_NODISCARD int base64_key_read(const char *text, size_t size, uint8_t out[KEY_SIZE]);
