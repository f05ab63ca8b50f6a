/* SPDX-License-Identifier: MIT */

/*
 * The directory is opened first and looked at through its descriptor, then the
 * ones above it by "..", and the file is opened inside the first. Whatever names
 * and symbolic links led there, what is checked is what is used, and nobody who
 * is not trusted could swap it in between.
 *
 * Trusted are the effective user, root, and for directories the owner of "/".
 * The last is root's other name: in a user namespace everything of the real root
 * belongs to the overflow user, and who owns "/" could replace this program too.
 */
#include "config/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef O_PATH
#define DIRECTORY_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC) /* needs no right to list it */
#else
#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#endif

enum {
	PATH_MAX_SIZE = 1024,
	DEPTH_MAX = 256,               /* directories above a key; deeper ones are refused */
	LINE_SIZE = KEY_TEXT_SIZE + 1, /* with the newline */
};

static const char credential_prefix[] = "credential:";

CV_PRINTF(3, 4)
static int fail(char why[KEYFILE_WHY_MAX], int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, KEYFILE_WHY_MAX, fmt, ap);
	va_end(ap);
	return error;
}

static void close_fd(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* read from, or synced before */
}

void keyfile_wipe(void *secret, size_t size)
{
	volatile unsigned char *p = secret;

	while (size-- > 0)
		*p++ = 0;
}

bool keyfile_others_can_read(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IROTH) != 0;
}

int keyfile_parse(const char *text, size_t size, uint8_t key[KEY_SIZE])
{
	if (size == LINE_SIZE && text[KEY_TEXT_SIZE] == '\n')
		size--;
	return base64_key_read(text, size, key);
}

/* Others may not put another entry in the place of one of ours. */
static bool is_safe_directory(const struct stat *st, uid_t root_owner)
{
	if (st->st_uid != geteuid() && st->st_uid != 0 && st->st_uid != root_owner)
		return false;
	/* Sticky: only the owner of an entry may rename or remove it. */
	return (st->st_mode & (S_IWGRP | S_IWOTH)) == 0 || (st->st_mode & S_ISVTX) != 0;
}

/* Checks the directory @fd and all above it. */
static int check_directories(int fd, const char *path, char why[KEYFILE_WHY_MAX])
{
	CV_CLEANUP(close_fd) int at = dup(fd);
	struct stat root;
	struct stat st;

	if (at < 0 || stat("/", &root) < 0)
		return fail(why, -errno, "cannot check the directory of %s: %s", path,
		            strerror(errno));
	for (unsigned level = 0; level < DEPTH_MAX; level++) {
		int up;

		if (fstat(at, &st) < 0)
			return fail(why, -errno, "cannot check the directory of %s: %s", path,
			            strerror(errno));
		if (!is_safe_directory(&st, root.st_uid))
			return fail(why, -EPERM,
			            "%s lies below a directory that others own or can write to",
			            path);
		if (st.st_dev == root.st_dev && st.st_ino == root.st_ino)
			return 0;
		up = openat(at, "..", DIRECTORY_FLAGS);
		if (up < 0)
			return fail(why, -errno, "cannot check the directory of %s: %s", path,
			            strerror(errno));
		(void)close(at);
		at = up;
	}
	return fail(why, -EPERM, "%s lies too deep", path);
}

/* Opens the directory of @path; *@name is the rest. A checked descriptor, or a negative errno. */
static int open_directory(const char *path, const char **name, char why[KEYFILE_WHY_MAX])
{
	char directory[PATH_MAX_SIZE];
	const char *slash = strrchr(path, '/');
	size_t size = slash ? (size_t)(slash - path) : 0;
	int fd;
	int r;

	*name = slash ? slash + 1 : path;
	if (size + 2 > sizeof(directory))
		return fail(why, -ENAMETOOLONG, "the path of a key file is too long");
	if (**name == '\0')
		return fail(why, -EISDIR, "%s is a directory, not a key file", path);
	if (!slash)
		memcpy(directory, ".", 2);
	else
		memcpy(directory, path, size + 1);
	directory[slash ? size + (size == 0) : 1] = '\0'; /* the directory of "/key" is "/" */

	fd = open(directory, DIRECTORY_FLAGS);
	if (fd < 0)
		return fail(why, -errno, "cannot open %s: %s", path, strerror(errno));
	r = check_directories(fd, path, why);
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	return fd;
}

static int check_file(int fd, const char *path, bool is_credential, char why[KEYFILE_WHY_MAX])
{
	mode_t refused = is_credential ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(why, -errno, "cannot check %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(why, -EPERM, "%s is not a regular file", path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return fail(why, -EPERM, "%s belongs to another user", path);
	if ((st.st_mode & refused) != 0)
		return fail(why, -EPERM,
		            "%s is open to others (mode %04o): make it readable by its owner only, "
		            "chmod 600",
		            path, (unsigned)(st.st_mode & 07777));
	return 0;
}

/* Reads up to @cap bytes; the number, or a negative errno. */
static ssize_t read_all(int fd, char *buf, size_t cap)
{
	size_t size = 0;

	while (size < cap) {
		ssize_t n = read(fd, buf + size, cap - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		size += (size_t)n;
	}
	return (ssize_t)size;
}

static int read_key(int fd, const char *path, uint8_t key[KEY_SIZE], char why[KEYFILE_WHY_MAX])
{
	char text[LINE_SIZE + 1]; /* one byte more shows that there is more */
	ssize_t size = read_all(fd, text, sizeof(text));
	int r = 0;

	if (size < 0)
		r = fail(why, (int)size, "cannot read %s: %s", path, strerror((int)-size));
	else if (keyfile_parse(text, (size_t)size, key) < 0)
		r = fail(
			why, -EINVAL,
			"%s holds no key: expected 44 characters of base64 and at most one newline",
			path);
	keyfile_wipe(text, sizeof(text));
	return r;
}

/* The path of credential @name. */
static int credential_path(const char *name, char out[PATH_MAX_SIZE], char why[KEYFILE_WHY_MAX])
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	int size;

	if (*name == '\0' || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return fail(why, -EINVAL, "'%s' is no name of a credential", name);
	if (!directory || directory[0] != '/')
		return fail(why, -ENOENT,
		            "credential:%s needs $CREDENTIALS_DIRECTORY, which is not set", name);
	size = snprintf(out, PATH_MAX_SIZE, "%s/%s", directory, name);
	if (size < 0 || size >= PATH_MAX_SIZE)
		return fail(why, -ENAMETOOLONG, "the path of a key file is too long");
	return 0;
}

/* True for a path right inside $CREDENTIALS_DIRECTORY. */
static bool is_in_credentials(const char *path)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	size_t size = directory ? strlen(directory) : 0;

	return size > 1 && strncmp(path, directory, size) == 0 && path[size] == '/' &&
	       !strchr(path + size + 1, '/');
}

int keyfile_read(const char *path, uint8_t key[KEY_SIZE], char why[KEYFILE_WHY_MAX])
{
	CV_CLEANUP(close_fd) int directory = -1;
	CV_CLEANUP(close_fd) int fd = -1;
	char credential[PATH_MAX_SIZE] = "";
	const char *name;
	int r;

	if (strncmp(path, credential_prefix, sizeof(credential_prefix) - 1) == 0) {
		r = credential_path(path + sizeof(credential_prefix) - 1, credential, why);
		if (r < 0)
			return r;
		path = credential;
	}
	directory = open_directory(path, &name, why);
	if (directory < 0)
		return directory;
	/* Not blocking, so that a FIFO is refused rather than waited for. */
	fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ELOOP)
		return fail(why, -ELOOP, "%s is a symbolic link", path);
	if (fd < 0)
		return fail(why, -errno, "cannot open %s: %s", path, strerror(errno));
	r = check_file(fd, path, is_in_credentials(path), why);
	if (r < 0)
		return r;
	return read_key(fd, path, key, why);
}

static int write_all(int fd, const char *buf, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, buf, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		size -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int keyfile_create(const char *path, const uint8_t key[KEY_SIZE], char why[KEYFILE_WHY_MAX])
{
	char line[LINE_SIZE + 1];
	int r;
	int fd;

	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return fail(why, -errno, "cannot create %s: %s", path, strerror(errno));
	base64_key_write(line, key);
	line[KEY_TEXT_SIZE] = '\n';
	r = write_all(fd, line, LINE_SIZE);
	keyfile_wipe(line, sizeof(line));
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(path); /* ours: O_EXCL */
		return fail(why, r, "cannot write %s: %s", path, strerror(-r));
	}
	return 0;
}
