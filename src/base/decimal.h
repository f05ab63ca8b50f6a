/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * decimal - a whole number in text, as ports, prefix lengths and the parts of an address are
 * written: digits only, no sign, no blank, no leading zero, so that one number has one text.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

/* At most @max, which has five digits at most; false, and @out as it was, for everything else. */
CV_NODISCARD bool decimal_read(const char *text, size_t size, unsigned max, unsigned *out);
