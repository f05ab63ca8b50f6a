/* SPDX-License-Identifier: MIT */

/*
 * Taking a path over safely, in this order:
 *
 *	1. the directory: made with 0700 if missing; ours or root's; nobody else may write in it
 *	   (or it is sticky, as /tmp), so that nobody else can replace what stands there
 *	2. a lock on the directory, so that two processes do not both find a stale socket, one of
 *	   them removing the socket that the other has just bound
 *	3. what is there: nothing; or a socket of ours that refuses connections: removed
 *	4. bind, chmod 0600, and only then listen: before it nobody can connect
 */
#include "control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "net/convert.h"
#include "net/fds.h"

enum {
	BACKLOG = 64,
	LOCK_TRIES = 50, /* of 20 ms: the lock is held for microseconds */
};

_Static_assert(sizeof(((struct control_socket *)NULL)->path) ==
                       sizeof(((struct sockaddr_un *)NULL)->sun_path),
               "a path that binds fits");

struct reason {
	char *text;
	size_t size;
};

static int fail(const struct reason *why, int code, const char *fmt, ...) CV_PRINTF(3, 4);
static int fail(const struct reason *why, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(why->text, why->size, fmt, args);
	va_end(args);
	return code;
}

static int check_directory(const char *path, const char *directory, const struct reason *why)
{
	struct stat st;

	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return fail(why, -errno, "cannot make the directory of the control socket %s: %s",
		            path, strerror(errno));
	if (stat(directory, &st) < 0)
		return fail(why, -errno, "cannot open the directory of the control socket %s: %s",
		            path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return fail(why, -ENOTDIR, "cannot open the control socket %s: %s is no directory",
		            path, directory);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return fail(why, -EPERM,
		            "will not open the control socket %s: %s belongs to another user", path,
		            directory);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(st.st_mode & S_ISVTX))
		return fail(why, -EPERM,
		            "will not open the control socket %s: others may write in %s (chmod "
		            "go-w helps)",
		            path, directory);
	return 0;
}

/* The directory, locked if that is possible; -1 when it cannot be read: then only a race between
 * two starts at the same instant is left unguarded. */
static int lock_directory(const char *directory)
{
	const struct timespec pause = { .tv_nsec = 20000000L };
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			break;
		(void)nanosleep(&pause, NULL);
	}
	return fd;
}

/* 0: nobody is there, @un may be removed. */
static int probe(const struct sockaddr_un *un, socklen_t size)
{
	int fd = fds_socket(AF_UNIX, SOCK_STREAM, 0);
	int r;

	if (fd < 0)
		return fd;
	/* A full backlog (EAGAIN) is an answer too: somebody listens. */
	r = connect(fd, (const struct sockaddr *)un, size) == 0 ? 0 : errno;
	(void)close(fd);
	if (r == ECONNREFUSED || r == ENOENT)
		return 0;
	return r == EACCES || r == EPERM ? -r : -EADDRINUSE;
}

static int clear_path(const struct sockaddr_un *un, socklen_t size, const struct reason *why)
{
	const char *path = un->sun_path;
	struct stat st;
	int r;

	if (lstat(path, &st) < 0) {
		if (errno == ENOENT)
			return 0;
		return fail(why, -errno, "cannot open the control socket %s: %s", path,
		            strerror(errno));
	}
	if (!S_ISSOCK(st.st_mode))
		return fail(why, -EADDRINUSE,
		            "cannot open the control socket %s: a file that is no socket is there",
		            path);
	if (st.st_uid != geteuid())
		return fail(why, -EADDRINUSE,
		            "cannot open the control socket %s: it belongs to another user", path);
	r = probe(un, size);
	if (r == -EADDRINUSE)
		return fail(why, r, "another process already answers at the control socket %s",
		            path);
	if (r == 0 && unlink(path) < 0 && errno != ENOENT)
		r = -errno;
	if (r < 0)
		return fail(why, r, "cannot replace the control socket %s: %s", path, strerror(-r));
	return 0;
}

static int bind_and_listen(struct control_socket *s, const struct sockaddr_un *un, socklen_t size)
{
	struct stat st;
	int r = 0;

	if (bind(s->fd, (const struct sockaddr *)un, size) < 0)
		return -errno;
	if (chmod(un->sun_path, 0600) < 0 || lstat(un->sun_path, &st) < 0 ||
	    listen(s->fd, BACKLOG) < 0) {
		r = -errno;
		(void)unlink(un->sun_path);
		return r;
	}
	s->device = st.st_dev;
	s->inode = st.st_ino;
	memcpy(s->path, un->sun_path, sizeof(s->path));
	return 0;
}

/* "/run/x/y.sock" -> "/run/x"; a path without a directory: ".". */
static void directory_of(const char *path, char out[108])
{
	const char *slash = strrchr(path, '/');
	size_t size = slash ? (size_t)(slash - path) : 0;

	if (!slash) {
		memcpy(out, ".", 2);
		return;
	}
	if (size == 0)
		size = 1; /* the root */
	memcpy(out, path, size);
	out[size] = 0;
}

int control_socket_open(struct control_socket *s, const char *path, char *why, size_t why_size)
{
	const struct reason reason = { why, why_size };
	struct sockaddr_un un;
	char directory[108];
	socklen_t size;
	int lock, r;

	*s = (struct control_socket){ .fd = -1 };
	r = convert_to_unix(path, &un, &size);
	if (r < 0)
		return fail(&reason, r, "the path of the control socket is %s: %s",
		            r == -ENAMETOOLONG ? "too long (at most 107 bytes)" : "not usable",
		            path);
	directory_of(un.sun_path, directory);
	r = check_directory(path, directory, &reason);
	if (r < 0)
		return r;

	lock = lock_directory(directory);
	r = clear_path(&un, size, &reason);
	if (r == 0) {
		s->fd = fds_socket(AF_UNIX, SOCK_STREAM, 0);
		r = s->fd < 0 ? s->fd : bind_and_listen(s, &un, size);
		if (r < 0)
			(void)fail(&reason, r, "cannot open the control socket %s: %s", path,
			           strerror(-r));
		if (r < 0 && s->fd >= 0)
			(void)close(s->fd);
	}
	if (lock >= 0)
		(void)close(lock);
	if (r < 0)
		*s = (struct control_socket){ .fd = -1 };
	return r;
}

void control_socket_close(struct control_socket *s)
{
	struct stat st;

	if (s->fd < 0)
		return;
	if (lstat(s->path, &st) == 0 && st.st_dev == s->device && st.st_ino == s->inode)
		(void)unlink(s->path);
	(void)close(s->fd);
	s->fd = -1;
}

static bool peer_user(int fd, uid_t *uid)
{
#ifdef SO_PEERCRED
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || size != sizeof(peer))
		return false;
	*uid = peer.uid;
	return true;
#else
	gid_t gid;

	return getpeereid(fd, uid, &gid) == 0;
#endif
}

int control_socket_accept(const struct control_socket *s)
{
	int fd = fds_accept(s->fd);
	uid_t uid;

	if (fd < 0)
		return fd;
	if (!peer_user(fd, &uid) || (uid != geteuid() && uid != 0)) {
		fds_close(&fd);
		return -EPERM;
	}
	return fd;
}
