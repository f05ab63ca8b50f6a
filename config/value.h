/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * value - one text of the file to one value: numbers with units, places to listen, paths.
 *
 * Knows no YAML and no keys. Every function returns 0, or -EINVAL with @why set
 * to what was expected; outputs are unchanged then.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "config/config.h"

enum { VALUE_WHY_MAX = 256 };

CV_NODISCARD int value_read_bool(const char *text, bool *out, char why[VALUE_WHY_MAX]);

/* Decimal digits; no sign, no leading zeros (YAML 1.1 would read those as octal). */
CV_NODISCARD int value_read_integer(const char *text, uint64_t min, uint64_t max, uint64_t *out,
                                    char why[VALUE_WHY_MAX]);

/* Bytes: B, kB, MB, GB, TB are powers of 1000, KiB, MiB, GiB, TiB of 1024. */
CV_NODISCARD int value_read_size(const char *text, uint64_t min, uint64_t max, uint64_t *out,
                                 char why[VALUE_WHY_MAX]);

/* Bits per second: bit, kbit, Mbit, Gbit, powers of 1000. */
CV_NODISCARD int value_read_rate(const char *text, uint64_t min, uint64_t max, uint64_t *out,
                                 char why[VALUE_WHY_MAX]);

/**
 * value_read_listen() - a place to listen
 * @text:      kept by @out: it must live as long
 * @is_tunnel: a bare port is every address of both families and a unix path is
 *             refused; else a bare port is 127.0.0.1 and ::1
 */
CV_NODISCARD int value_read_listen(const char *text, bool is_tunnel, struct config_listen *out,
                                   char why[VALUE_WHY_MAX]);

/* A host to send datagrams to: an address or a name, with a port or @port. */
CV_NODISCARD int value_read_address(const char *text, uint16_t port, struct hostport *out,
                                    char why[VALUE_WHY_MAX]);

/* What the far agent connects to. */
CV_NODISCARD int value_read_target(const char *text, struct hostport *out, char why[VALUE_WHY_MAX]);

/**
 * value_read_path() - a path relative to the directory of the configuration
 * @file: the configuration's own path
 *
 * "~" and "~/..." are the home directory; the result of a relative @file may be relative too.
 */
CV_NODISCARD int value_read_path(const char *text, const char *file, char out[CONFIG_PATH_MAX],
                                 char why[VALUE_WHY_MAX]);
