/* SPDX-License-Identifier: MIT */
#include "net/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "net/convert.h"

int fds_prepare(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
#ifdef SO_NOSIGPIPE
	fds_option(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
	return 0;
}

#ifndef SOCK_NONBLOCK
static int prepared(int fd)
{
	int r;

	if (fd < 0)
		return -errno;
	r = fds_prepare(fd);
	if (r < 0)
		fds_close(&fd);
	return r < 0 ? r : fd;
}
#endif

int fds_socket(int family, int type, int protocol)
{
#ifdef SOCK_NONBLOCK
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

	return fd < 0 ? -errno : fd;
#else
	return prepared(socket(family, type, protocol));
#endif
}

int fds_accept(int fd)
{
#ifdef SOCK_NONBLOCK
	int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	return conn < 0 ? -errno : conn;
#else
	return prepared(accept(fd, NULL, NULL));
#endif
}

void fds_option(int fd, int level, int name, int value)
{
	int saved = errno;

	(void)setsockopt(fd, level, name, &value, sizeof(value)); /* by contract */
	errno = saved;
}

int fds_take_error(int fd)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return -errno;
	return -error;
}

void fds_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* a socket: whatever it says, the descriptor is gone */
	*fd = -1;
}

struct addr fds_local(int fd)
{
	struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
	socklen_t size = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &size) < 0)
		size = 0;
	return convert_from_sockaddr((const struct sockaddr *)&sa, size);
}

struct addr fds_peer(int fd)
{
	struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
	socklen_t size = sizeof(sa);

	if (getpeername(fd, (struct sockaddr *)&sa, &size) < 0)
		size = 0;
	return convert_from_sockaddr((const struct sockaddr *)&sa, size);
}
