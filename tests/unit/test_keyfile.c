/* SPDX-License-Identifier: MIT */

/*
 * Goal: a key is read only from a file that nobody else could have read or
 * replaced, and every other file is refused with its reason. Method: real files
 * of every kind in a directory of our own. What only root can make (files of
 * another owner) is left out for others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "config/keyfile.h"

#define TEXT "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static char directory[64];

static int enter_directory(void **state)
{
	(void)state;
	(void)snprintf(directory, sizeof(directory), "/tmp/culvert-keyfile-XXXXXX");
	return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int leave_directory(void **state)
{
	(void)state;
	(void)unsetenv("CREDENTIALS_DIRECTORY");
	return chdir("/") == 0 && rmdir(directory) == 0 ? 0 : -1;
}

static void write_bytes(const char *path, const char *bytes, size_t size, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

/* Reads @path; on failure @key must be untouched and there must be a reason. */
static int try_read(const char *path)
{
	uint8_t key[KEY_SIZE];
	uint8_t untouched[KEY_SIZE];
	char why[KEYFILE_WHY_MAX] = "";
	int r;

	memset(key, 0xEE, sizeof(key));
	memset(untouched, 0xEE, sizeof(untouched));
	r = keyfile_read(path, key, why);
	if (r == 0) {
		for (unsigned i = 0; i < KEY_SIZE; i++)
			assert_int_equal(key[i], i);
		return 0;
	}
	print_message("%s\n", why);
	assert_true(why[0] != '\0');
	assert_null(strstr(why, TEXT));
	assert_memory_equal(key, untouched, sizeof(key));
	return r;
}

static void only_the_owner_may_have_rights(void **state)
{
	static const mode_t good[] = { 0600, 0400, 0700 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(good); i++) {
		write_bytes("key", TEXT, strlen(TEXT), good[i]);
		assert_int_equal(try_read("key"), 0);
		assert_int_equal(unlink("key"), 0);
	}
	for (mode_t bit = 01; bit <= 040; bit <<= 1) {
		write_bytes("key", TEXT, strlen(TEXT), 0600 | bit);
		assert_int_equal(try_read("key"), -EPERM);
		assert_int_equal(unlink("key"), 0);
	}
}

static void content_is_one_key_and_a_newline(void **state)
{
	static const struct {
		const char *what;
		const char *bytes;
		int result;
	} rows[] = {
		{ "no newline", TEXT, 0 },
		{ "a newline", TEXT "\n", 0 },
		{ "two newlines", TEXT "\n\n", -EINVAL },
		{ "a carriage return", TEXT "\r\n", -EINVAL },
		{ "another character", TEXT "=", -EINVAL },
		{ "a space before", " " TEXT, -EINVAL },
		{ "nothing", "", -EINVAL },
		{ "a newline alone", "\n", -EINVAL },
		{ "43 characters", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n", -EINVAL },
		{ "33 bytes", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g\n", -EINVAL },
		{ "unused bits that are set", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
		  -EINVAL },
		{ "two keys", TEXT "\n" TEXT "\n", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		uint8_t key[KEY_SIZE];

		print_message("%s\n", rows[i].what);
		write_bytes("key", rows[i].bytes, strlen(rows[i].bytes), 0600);
		assert_int_equal(try_read("key"), rows[i].result);
		assert_int_equal(unlink("key"), 0);
		assert_int_equal(keyfile_parse(rows[i].bytes, strlen(rows[i].bytes), key),
		                 rows[i].result);
	}
}

static void what_is_no_regular_file_is_refused(void **state)
{
	(void)state;
	assert_int_equal(try_read("none"), -ENOENT);
	assert_int_equal(try_read("none/key"), -ENOENT);
	assert_int_equal(try_read(""), -EISDIR);

	assert_int_equal(mkdir("dir", 0700), 0);
	assert_int_equal(try_read("dir"), -EPERM);
	assert_int_equal(try_read("dir/"), -EISDIR);
	assert_int_equal(rmdir("dir"), 0);

	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(try_read("fifo"), -EPERM); /* and does not wait for a writer */
	assert_int_equal(unlink("fifo"), 0);

	write_bytes("key", TEXT, strlen(TEXT), 0600);
	assert_int_equal(symlink("key", "link"), 0);
	assert_int_equal(try_read("link"), -ELOOP);
	assert_int_equal(unlink("link"), 0);
	assert_int_equal(unlink("key"), 0);

	assert_int_equal(try_read("/dev/null"), -EPERM);
}

static void no_directory_above_may_be_open_to_others(void **state)
{
	static const struct {
		const char *what;
		mode_t outer, inner;
		int result;
	} rows[] = {
		{ "both closed", 0700, 0700, 0 },
		{ "readable", 0755, 0755, 0 },
		{ "the inner one writable by a group", 0700, 0770, -EPERM },
		{ "the inner one writable by all", 0700, 0707, -EPERM },
		{ "the outer one writable by all", 0777, 0700, -EPERM },
		{ "sticky, as /tmp is", 01777, 0700, 0 },
	};

	(void)state;
	assert_int_equal(mkdir("outer", 0700), 0);
	assert_int_equal(mkdir("outer/inner", 0700), 0);
	write_bytes("outer/inner/key", TEXT, strlen(TEXT), 0600);
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		char absolute[128];

		print_message("%s\n", rows[i].what);
		assert_int_equal(chmod("outer", rows[i].outer), 0);
		assert_int_equal(chmod("outer/inner", rows[i].inner), 0);
		assert_int_equal(try_read("outer/inner/key"), rows[i].result);
		(void)snprintf(absolute, sizeof(absolute), "%s/outer/inner/key", directory);
		assert_int_equal(try_read(absolute), rows[i].result);
		/* From within, where the path does not show what is above. */
		assert_int_equal(chdir("outer/inner"), 0);
		assert_int_equal(try_read("key"), rows[i].result);
		assert_int_equal(chdir("../.."), 0);
	}
	assert_int_equal(unlink("outer/inner/key"), 0);
	assert_int_equal(rmdir("outer/inner"), 0);
	assert_int_equal(rmdir("outer"), 0);
}

static void a_link_to_an_open_directory_hides_nothing(void **state)
{
	(void)state;
	assert_int_equal(mkdir("open", 0700), 0);
	write_bytes("open/key", TEXT, strlen(TEXT), 0600);
	assert_int_equal(symlink("open", "link"), 0);
	assert_int_equal(try_read("link/key"), 0);
	assert_int_equal(chmod("open", 0777), 0);
	assert_int_equal(try_read("link/key"), -EPERM);
	assert_int_equal(unlink("link"), 0);
	assert_int_equal(unlink("open/key"), 0);
	assert_int_equal(rmdir("open"), 0);
}

static void another_owner_is_refused(void **state)
{
	enum { SOMEBODY = 12345 };

	(void)state;
	if (geteuid() != 0)
		skip();
	write_bytes("key", TEXT, strlen(TEXT), 0600);
	if (chown("key", SOMEBODY, SOMEBODY) < 0) {
		assert_int_equal(unlink("key"), 0);
		skip();
	}
	assert_int_equal(try_read("key"), -EPERM);
	assert_int_equal(chown("key", 0, 0), 0);

	assert_int_equal(mkdir("dir", 0700), 0);
	assert_int_equal(rename("key", "dir/key"), 0);
	assert_int_equal(chown("dir", SOMEBODY, SOMEBODY), 0);
	assert_int_equal(try_read("dir/key"), -EPERM);
	assert_int_equal(unlink("dir/key"), 0);
	assert_int_equal(rmdir("dir"), 0);
}

static void credentials_may_be_read_by_a_group(void **state)
{
	char path[128];

	(void)state;
	assert_int_equal(try_read("credential:key"), -ENOENT); /* no variable */
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", directory, 1), 0);
	assert_int_equal(try_read("credential:key"), -ENOENT); /* no file */
	write_bytes("key", TEXT "\n", strlen(TEXT) + 1, 0440);
	assert_int_equal(try_read("credential:key"), 0);
	(void)snprintf(path, sizeof(path), "%s/key", directory);
	assert_int_equal(try_read(path), 0);
	assert_int_equal(try_read("key"), -EPERM); /* not known to be in there */
	assert_int_equal(chmod("key", 0444), 0);
	assert_int_equal(try_read("credential:key"), -EPERM);
	assert_int_equal(chmod("key", 0460), 0);
	assert_int_equal(try_read("credential:key"), -EPERM);
	assert_int_equal(unlink("key"), 0);

	assert_int_equal(try_read("credential:"), -EINVAL);
	assert_int_equal(try_read("credential:.."), -EINVAL);
	assert_int_equal(try_read("credential:../key"), -EINVAL);
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "relative", 1), 0);
	assert_int_equal(try_read("credential:key"), -ENOENT);
}

static void a_new_file_is_private_and_never_replaces_one(void **state)
{
	uint8_t key[KEY_SIZE];
	char why[KEYFILE_WHY_MAX];
	char text[64] = { 0 };
	mode_t mask = umask(0);
	struct stat st;
	FILE *file;

	(void)state;
	for (unsigned i = 0; i < KEY_SIZE; i++)
		key[i] = (uint8_t)i;
	assert_int_equal(keyfile_create("key", key, why), 0);
	(void)umask(mask);
	assert_int_equal(stat("key", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, KEY_TEXT_SIZE + 1);
	assert_int_equal(try_read("key"), 0);
	file = fopen("key", "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	assert_int_equal(fclose(file), 0);
	assert_string_equal(text, TEXT "\n");

	memset(key, 0xFF, sizeof(key));
	assert_int_equal(keyfile_create("key", key, why), -EEXIST);
	assert_int_equal(try_read("key"), 0);
	assert_int_equal(unlink("key"), 0);

	assert_int_equal(symlink("elsewhere", "link"), 0);
	assert_int_equal(keyfile_create("link", key, why), -EEXIST);
	assert_int_equal(access("elsewhere", F_OK), -1);
	assert_int_equal(unlink("link"), 0);
	assert_int_equal(keyfile_create("none/key", key, why), -ENOENT);
}

static void a_failed_write_leaves_no_file(void **state)
{
	const uint8_t key[KEY_SIZE] = { 0 };
	struct rlimit all;
	struct rlimit little;
	char why[KEYFILE_WHY_MAX] = "";
	int r;

	(void)state;
	/* A limit on the size of files does what a full disk does. */
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
	little = all;
	little.rlim_cur = 10;
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	r = keyfile_create("key", key, why);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
	assert_int_equal(r, -EFBIG);
	assert_string_equal(why, "cannot write key: File too large");
	assert_int_equal(access("key", F_OK), -1);
}

static void who_can_read_is_seen(void **state)
{
	int fd;

	(void)state;
	write_bytes("file", "x", 1, 0640);
	fd = open("file", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_false(keyfile_others_can_read(fd));
	assert_int_equal(fchmod(fd, 0604), 0);
	assert_true(keyfile_others_can_read(fd));
	assert_int_equal(close(fd), 0);
	assert_int_equal(unlink("file"), 0);
	assert_false(keyfile_others_can_read(-1));
}

static void wiping_wipes(void **state)
{
	uint8_t bytes[5] = { 1, 2, 3, 4, 5 };

	(void)state;
	keyfile_wipe(bytes, 4);
	assert_memory_equal(bytes, "\0\0\0\0\5", 5);
	keyfile_wipe(bytes, 0);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, enter_directory, leave_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIRECTORY(only_the_owner_may_have_rights),
		IN_DIRECTORY(content_is_one_key_and_a_newline),
		IN_DIRECTORY(what_is_no_regular_file_is_refused),
		IN_DIRECTORY(no_directory_above_may_be_open_to_others),
		IN_DIRECTORY(a_link_to_an_open_directory_hides_nothing),
		IN_DIRECTORY(another_owner_is_refused),
		IN_DIRECTORY(credentials_may_be_read_by_a_group),
		IN_DIRECTORY(a_new_file_is_private_and_never_replaces_one),
		IN_DIRECTORY(a_failed_write_leaves_no_file),
		IN_DIRECTORY(who_can_read_is_seen),
		cmocka_unit_test(wiping_wipes),
	};

	return cmocka_run_group_tests_name("keyfile", tests, NULL, NULL);
}
