/* SPDX-License-Identifier: MIT */

/*
 * replay - main() of a fuzz target for compilers without libFuzzer. Feeds the target every file
 * of the directories and every file named on the command line, and the empty input.
 *
 * Each input lies in a heap block of exactly its size, so that a sanitizer or valgrind sees the
 * first byte read beyond it. Order is that of the names: a failure is the same on every machine.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20 }; /* libFuzzer's own default is 4 KiB; nobody keeps a megabyte */

static unsigned inputs_count;

static bool replay_file(const char *path)
{
	struct stat st;
	FILE *file = fopen(path, "rbe");
	uint8_t *bytes = NULL;
	bool is_read = false;
	size_t size;

	if (!file || fstat(fileno(file), &st) < 0 || st.st_size > INPUT_MAX)
		goto out;
	size = (size_t)st.st_size;
	bytes = malloc(size + (size == 0)); /* malloc(0) may be NULL, which is no failure */
	if (!bytes || fread(bytes, 1, size, file) != size)
		goto out;
	is_read = true;

	/* Named before it runs: an assertion ends the process. */
	printf("%s\n", path);
	(void)fflush(stdout);
	(void)LLVMFuzzerTestOneInput(bytes, size);
	inputs_count++;
out:
	if (!is_read)
		(void)fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
	free(bytes);
	if (file)
		(void)fclose(file);
	return is_read;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* One level: a corpus has no folders inside. */
static bool replay_directory(const char *path)
{
	struct dirent **names = NULL;
	char file[4096];
	const int count = scandir(path, &names, is_visible, alphasort);
	bool is_good = count > 0; /* an empty corpus is a target that nobody has looked at */

	if (count <= 0)
		(void)fprintf(stderr, "no inputs in %s\n", path);
	for (int i = 0; i < count; i++) {
		const int size = snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);

		if (size < 0 || (size_t)size >= sizeof(file) || !replay_file(file))
			is_good = false;
		free(names[i]);
	}
	free(names);
	return is_good;
}

int main(int argc, char **argv)
{
	bool is_good = argc > 1;
	uint8_t nothing = 0;
	struct stat st;

	(void)LLVMFuzzerTestOneInput(&nothing, 0);
	for (int i = 1; i < argc; i++) {
		const bool is_directory = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);

		if (!(is_directory ? replay_directory(argv[i]) : replay_file(argv[i])))
			is_good = false;
	}
	printf("%u inputs\n", inputs_count);
	return is_good ? EXIT_SUCCESS : EXIT_FAILURE;
}
