/* SPDX-License-Identifier: MIT */
#include "base/decimal.h"

bool decimal_read(const char *text, size_t size, unsigned max, unsigned *out)
{
	unsigned v = 0;

	if (size == 0 || size > 5 || (size > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = v * 10 + (unsigned)(text[i] - '0');
	}
	if (v > max)
		return false;
	*out = v;
	return true;
}
