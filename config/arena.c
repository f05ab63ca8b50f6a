/* SPDX-License-Identifier: MIT */
#include "config/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "config/keyfile.h"

struct arena_block {
	struct arena_block *next;
	size_t size; /* of bytes */
	alignas(max_align_t) unsigned char bytes[];
};

void *arena_zalloc(struct arena *a, size_t count, size_t size)
{
	struct arena_block *block;

	if (size > 0 && count > (SIZE_MAX - sizeof(*block)) / size)
		return NULL;
	block = cv_zalloc(sizeof(*block) + count * size);
	if (!block)
		return NULL;
	block->size = count * size;
	block->next = a->blocks;
	a->blocks = block;
	return block->bytes;
}

char *arena_copy(struct arena *a, const char *text, size_t size)
{
	char *copy = arena_zalloc(a, size + 1, 1);

	if (copy)
		memcpy(copy, text, size);
	return copy;
}

void arena_deinit(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *block = a->blocks;

		a->blocks = block->next;
		keyfile_wipe(block->bytes, block->size);
		cv_free(block);
	}
}
