/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "base/base64.h"
#include "command.h"
#include "config/keyfile.h"

/* identity.key beside the default configuration. */
static bool default_file(char out[CONFIG_PATH_MAX])
{
	static const char name[] = "identity.key";
	char *slash;

	if (config_default_path(out) < 0)
		return false;
	slash = strrchr(out, '/');
	if (!slash || (size_t)(slash + 1 - out) + sizeof(name) > CONFIG_PATH_MAX)
		return false;
	memcpy(slash + 1, name, sizeof(name));
	return true;
}

/* The folders above the default file; what fails is reported when the file is made. */
static void make_folders(char *file)
{
	for (char *slash = strchr(file + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(file, S_IRWXU);
		*slash = '/';
	}
}

static void print_key(const uint8_t key[KEY_SIZE])
{
	char text[KEY_TEXT_SIZE + 1];

	base64_key_write(text, key);
	(void)printf("%s\n", text);
	sodium_memzero(text, sizeof(text));
}

int cmd_keygen(const struct command_line *line)
{
	char path[CONFIG_PATH_MAX];
	char why[KEYFILE_WHY_MAX] = "";
	const char *file = line->arg_count > 0 ? line->args[0] : path;
	uint8_t sk[KEY_SIZE], pk[KEY_SIZE];
	int r = 0;

	if (line->arg_count == 0 && !default_file(path)) {
		command_error("the path of the configuration is too long; name a file");
		return EXIT_USAGE;
	}
	if (line->arg_count == 0)
		make_folders(path);
	randombytes_buf(sk, sizeof(sk));
	if (!line->psk) {
		/* Clamped as X25519 uses it, so that the file holds the key itself. */
		sk[0] &= 248;
		sk[31] = (uint8_t)((sk[31] & 127) | 64);
	}
	if (strcmp(file, "-") == 0)
		print_key(sk);
	else
		r = keyfile_create(file, sk, why);
	if (r == 0 && !line->psk) {
		CV_ASSERT(crypto_scalarmult_base(pk, sk) == 0);
		if (strcmp(file, "-") != 0)
			print_key(pk);
	}
	sodium_memzero(sk, sizeof(sk));
	if (r < 0) {
		command_error("%s", why);
		return EXIT_FAILED;
	}
	return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int read_stdin(uint8_t sk[KEY_SIZE])
{
	char text[KEY_TEXT_SIZE + 2];
	size_t size = fread(text, 1, sizeof(text), stdin);
	int r = keyfile_parse(text, size, sk);

	sodium_memzero(text, sizeof(text));
	if (r < 0)
		command_error(
			"standard input is not a key: 44 characters of base64 and at most one "
			"newline are expected");
	return r;
}

int cmd_pubkey(const struct command_line *line)
{
	char path[CONFIG_PATH_MAX];
	char why[KEYFILE_WHY_MAX] = "";
	const char *file = line->arg_count > 0 ? line->args[0] : path;
	uint8_t sk[KEY_SIZE], pk[KEY_SIZE];
	int r;

	if (line->arg_count == 0 && !default_file(path)) {
		command_error("the path of the configuration is too long; name a file");
		return EXIT_USAGE;
	}
	if (strcmp(file, "-") == 0) {
		r = read_stdin(sk);
	} else {
		r = keyfile_read(file, sk, why);
		if (r < 0)
			command_error("%s", why);
	}
	if (r < 0)
		return EXIT_FAILED;
	CV_ASSERT(crypto_scalarmult_base(pk, sk) == 0);
	sodium_memzero(sk, sizeof(sk));
	print_key(pk);
	return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}
