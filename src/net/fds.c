/* SPDX-License-Identifier: MIT */
#include "net/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
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

union sign {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int fds_send_sign(int fd)
{
	union sign sign = { .bytes = { 0 } };
	char mark = 0;
	struct iovec piece = { .iov_base = &mark, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = sign.bytes,
		.msg_controllen = sizeof(sign.bytes),
	};
	int any = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int r = 0;

	if (any < 0)
		return -errno;
	sign.head.cmsg_len = CMSG_LEN(sizeof(int));
	sign.head.cmsg_level = SOL_SOCKET;
	sign.head.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&sign.head), &any, sizeof(any));
	if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		r = -errno;
	(void)close(any);
	return r;
}

ssize_t fds_receive_sign(int fd, uint8_t *bytes, size_t size, bool *has_sign)
{
	union sign sign;
	struct iovec piece = { .iov_base = bytes, .iov_len = size };
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = sign.bytes,
		.msg_controllen = sizeof(sign.bytes),
	};
	ssize_t r = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *head = r > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	int any;

	*has_sign = head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS;
	if (*has_sign) {
		memcpy(&any, CMSG_DATA(head), sizeof(any));
		(void)close(any);
	}
	return r;
}
