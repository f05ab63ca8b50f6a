/* SPDX-License-Identifier: MIT */
#include "base/compiler.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void cv_assert_fail(const char *what, const char *file, int line)
{
	/* If standard error is gone too, the abort still tells. */
	(void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
	abort();
}
