/* SPDX-License-Identifier: MIT */

/*
 * Standard input and output as the local end of a flow.
 *
 * The request goes out, and standard input behind it at once: its first bytes travel with the
 * opening of the stream. The agent answers with one line; what follows are the stream's bytes.
 *
 *	stdin  --read--> up   --send--> socket     EOF: a sign, shutdown(SHUT_WR), FIN to the far
 *side stdout <-write-- down <-recv--- socket     EOF: stdout is closed
 *
 * Both end: 0. A unix socket has no RST. What an abort looks like: the agent's sign (net/fds.h), or
 * ECONNRESET or EPIPE, or the agent closes while we may still send (the FIN of the far side leaves
 * that half open). Then what has come is still delivered, and the exit code is 1.
 *
 * When the reader of our output goes (ssh that ends closes both its pipes at once), the last
 * bytes of our input are still carried, for at most DRAIN_TIMEOUT.
 *
 * Nothing here may block, or each side could wait for the other. O_NONBLOCK on descriptors that
 * we inherited would change them for our parent too, so: sockets by MSG_DONTWAIT; a pipe of
 * output is opened again through /proc, which gives us a description of our own; and else
 * (a terminal, a file) at most PIPE_BUF bytes after poll() said so, which pipes promise to take.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "client.h"
#include "command.h"
#include "net/clock.h"
#include "net/fds.h"
#include "net/signals.h"

enum {
	BUFFER_SIZE = 64 * 1024,
	EARLY_MAX = 2048, /* what the agent takes along with the request */
};

#define ANSWER_TIMEOUT CV_SEC(30) /* the agent answers within 12 s, whatever the target does */
#define DRAIN_TIMEOUT CV_SEC(2)

/* Bytes on their way: bytes[begin..end). No ring: it is empty most of the time. */
struct buffer {
	uint8_t bytes[BUFFER_SIZE];
	size_t begin, end;
	bool is_eof;  /* no more will come in */
	bool is_done; /* and all went out, the end included */
};

struct nc {
	int socket;
	bool is_input_socket, is_output_socket;
	bool is_output_nonblocking;
	bool is_answered;  /* the line came, or nobody wants it: `down` holds stream bytes */
	bool has_line;     /* it came */
	size_t early_left; /* what may go up before it */
	bool is_reset;     /* the flow was aborted */
	bool is_failed;    /* standard input or output failed */
	cv_time end_by;    /* for the answer; or for the last input when output is gone */
	struct buffer up, down;
};

static size_t buffer_size(const struct buffer *b)
{
	return b->end - b->begin;
}

static uint8_t *buffer_room(struct buffer *b, size_t *size)
{
	if (b->begin == b->end)
		b->begin = b->end = 0;
	*size = sizeof(b->bytes) - b->end;
	return b->bytes + b->end;
}

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static bool would_block(int error)
{
	return error == EAGAIN || error == EINTR;
}

/* Descriptors 0 to 2 exist, so that the control socket does not become one of them. */
static void fill_standard(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO &&
	         fcntl(fd, F_SETFD, 0) == 0); /* was missing: it stays */
	if (fd > STDERR_FILENO)
		(void)close(fd);
}

/* Gives us a non-blocking description of an output pipe, if the system can. */
static bool reopen_output(void)
{
	struct stat st;
	int fd;

	if (fstat(STDOUT_FILENO, &st) < 0 || !S_ISFIFO(st.st_mode))
		return false;
	fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (dup2(fd, STDOUT_FILENO) < 0) {
		(void)close(fd);
		return false;
	}
	(void)close(fd);
	return true;
}

/* No more goes up; what comes down is still delivered. */
static void stop_up(struct nc *n)
{
	n->up.begin = n->up.end = 0;
	n->up.is_eof = n->up.is_done = true;
}

static void on_reset(struct nc *n)
{
	n->is_reset = true;
	stop_up(n);
}

/* Nobody reads what we write. */
static void on_output_gone(struct nc *n)
{
	n->is_failed = true;
	n->is_answered = true; /* whatever it says, nobody wants it */
	n->down.is_eof = n->down.is_done = true;
	n->end_by = cv_time_after(clock_now(), DRAIN_TIMEOUT);
}

static void read_input(struct nc *n)
{
	size_t room;
	uint8_t *at = buffer_room(&n->up, &room);
	ssize_t r;

	r = n->is_input_socket ? recv(STDIN_FILENO, at, room, MSG_DONTWAIT)
	                       : read(STDIN_FILENO, at, room);
	if (r > 0) {
		n->up.end += (size_t)r;
	} else if (r == 0) {
		n->up.is_eof = true;
	} else if (!would_block(errno)) {
		/* Not an end of file: the far side must not take it for one. */
		command_error("cannot read standard input: %s", strerror(errno));
		n->is_failed = true;
		n->up.is_done = n->down.is_done = true;
	}
}

static size_t sendable(const struct nc *n)
{
	size_t size = buffer_size(&n->up);

	return n->has_line ? size : CV_MIN(size, n->early_left);
}

/* Bytes to the agent, and after the last our sign and FIN. */
static void send_up(struct nc *n)
{
	struct buffer *b = &n->up;
	size_t size = sendable(n);
	ssize_t r;

	if (size > 0) {
		r = send(n->socket, b->bytes + b->begin, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r < 0 && !would_block(errno)) {
			on_reset(n);
			return;
		}
		size = r > 0 ? (size_t)r : 0;
		b->begin += size;
		n->early_left -= CV_MIN(n->early_left, size);
	}
	/* An end without our sign would be an abort to the agent. Before it has answered, the
	 * bytes still pass through its control socket, which knows no signs. */
	if (!b->is_eof || buffer_size(b) > 0 || !n->has_line)
		return;
	r = fds_send_sign(n->socket);
	if (r < 0 && would_block((int)-r))
		return;
	b->is_done = true;
	(void)shutdown(n->socket, SHUT_WR); /* fails if the agent went: then reading tells */
}

static void receive_down(struct nc *n, short revents)
{
	size_t room;
	uint8_t *at = buffer_room(&n->down, &room);
	bool is_abort;
	ssize_t r = fds_receive_sign(n->socket, at, room, &is_abort);

	if (r > 0) {
		n->down.end += (size_t)r - is_abort;
		if (!is_abort)
			return;
		n->down.is_eof = true;
		on_reset(n);
		return;
	}
	if (r < 0 && would_block(errno))
		return;
	n->down.is_eof = true;
	/* After a FIN alone we could still send. Hung up while our half is open: an abort. */
	if (r < 0 || (!n->up.is_done && (revents & POLLHUP)))
		on_reset(n);
}

/* Whoever reads our output gets its end of file, though we may live on. */
static void close_output(struct nc *n)
{
	int fd;

	n->down.is_done = true;
	if (n->is_output_socket) {
		(void)shutdown(STDOUT_FILENO, SHUT_WR);
		return;
	}
	fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)dup2(fd, STDOUT_FILENO);
		(void)close(fd);
	}
}

static void write_output(struct nc *n, bool is_ready)
{
	struct buffer *b = &n->down;
	size_t size = buffer_size(b);
	ssize_t r = 0;

	if (size > 0 && n->is_output_socket)
		r = send(STDOUT_FILENO, b->bytes + b->begin, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (size > 0 && n->is_output_nonblocking)
		r = write(STDOUT_FILENO, b->bytes + b->begin, size);
	else if (size > 0 && is_ready)
		r = write(STDOUT_FILENO, b->bytes + b->begin, CV_MIN(size, (size_t)PIPE_BUF));
	if (r < 0 && !would_block(errno)) {
		/* EPIPE: as with `| head`; no sentence. */
		if (errno != EPIPE)
			command_error("cannot write to standard output: %s", strerror(errno));
		on_output_gone(n);
		return;
	}
	b->begin += r > 0 ? (size_t)r : 0;
	if (b->is_eof && buffer_size(b) == 0)
		close_output(n);
}

/* What the agent's line says: an exit code, after its sentence was printed. */
static int read_answer(const char *line, size_t size, const char *control_path)
{
	json_t *answer = json_loadb(line, size, 0, NULL);
	const char *error;
	char text[256];
	int code = client_exit_code(answer, &error);

	if (code != EXIT_DONE) {
		(void)log_escape(text, sizeof(text), error, strlen(error));
		if (code == EXIT_USAGE)
			client_print_unknown_peer(control_path, text);
		else
			command_error("%s", text);
	}
	json_decref(answer);
	return code;
}

/* Looks for the agent's line in `down`; an exit code other than 0 ends the command. */
static int take_answer(struct nc *n, const char *control_path)
{
	struct buffer *b = &n->down;
	const uint8_t *at = b->bytes + b->begin;
	const uint8_t *newline = memchr(at, '\n', buffer_size(b));
	int code;

	if (newline) {
		code = read_answer((const char *)at, (size_t)(newline - at), control_path);
		b->begin += (size_t)(newline - at) + 1;
		n->is_answered = n->has_line = true;
		n->end_by = CV_TIME_NEVER;
		return code;
	}
	if (!b->is_eof && b->end < sizeof(b->bytes))
		return EXIT_DONE;
	command_error("the agent closed the connection without an answer");
	return EXIT_FAILED;
}

static bool has_room(const struct buffer *b)
{
	return !b->is_eof && (b->begin == b->end || b->end < sizeof(b->bytes));
}

enum { INPUT, OUTPUT, SOCKET, POLLED };

/* Who is asked for what. A descriptor that is asked for nothing is left out, as its hang-up would
 * wake us for ever. */
static void plan(const struct nc *n, struct pollfd polled[POLLED])
{
	const bool has_up = sendable(n) > 0 || (n->up.is_eof && !n->up.is_done && n->has_line);
	const bool has_down = n->is_answered && buffer_size(&n->down) > 0;
	const bool wants_down = has_room(&n->down);
	const bool watches_hangup = n->down.is_eof && !n->up.is_done;

	polled[INPUT].fd = has_room(&n->up) ? STDIN_FILENO : -1;
	polled[INPUT].events = POLLIN;
	polled[OUTPUT].fd = n->down.is_done ? -1 : STDOUT_FILENO;
	polled[OUTPUT].events = has_down ? POLLOUT : 0;
	polled[SOCKET].fd = wants_down || has_up || watches_hangup ? n->socket : -1;
	polled[SOCKET].events = (short)((wants_down ? POLLIN : 0) | (has_up ? POLLOUT : 0));
	for (int i = 0; i < POLLED; i++)
		polled[i].revents = 0;
}

/* Moves what is ready. */
static void move(struct nc *n, const struct pollfd polled[POLLED])
{
	const short output = polled[OUTPUT].revents, socket = polled[SOCKET].revents;

	/* A file or a terminal never says these. */
	if ((output & POLLERR) || (n->is_output_socket && (output & POLLHUP)))
		on_output_gone(n);
	if (polled[INPUT].revents && has_room(&n->up))
		read_input(n);
	if (!n->up.is_done)
		send_up(n); /* at once: what was read just now need not wait for a round */
	if (has_room(&n->down) && (socket & (POLLIN | POLLHUP | POLLERR)))
		receive_down(n, socket);
	else if (n->down.is_eof && !n->up.is_done && (socket & (POLLHUP | POLLERR)))
		on_reset(n);
}

/* Milliseconds for poll(): -1 without a deadline. */
static int time_left(const struct nc *n)
{
	cv_time now = clock_now();

	/* Output is gone and nothing is in flight: only what waits already is carried. */
	if (n->is_failed && buffer_size(&n->up) == 0)
		return 0;
	if (n->end_by == CV_TIME_NEVER)
		return -1;
	return now >= n->end_by ? 0 : (int)((n->end_by - now) / CV_MS(1) + 1);
}

/* Waits for something to do; an exit code other than 0 ends the command. */
static int wait_for(const struct nc *n, struct pollfd polled[POLLED])
{
	int r;

	plan(n, polled);
	r = poll(polled, POLLED, time_left(n));
	if (r < 0 && errno != EINTR) {
		command_error("cannot wait: %s", strerror(errno));
		return EXIT_FAILED;
	}
	if (r != 0 && (n->end_by == CV_TIME_NEVER || clock_now() < n->end_by))
		return EXIT_DONE;
	if (!n->is_answered)
		command_error("no answer from the agent within 30 s");
	return EXIT_FAILED;
}

static int run(struct nc *n, const char *control_path)
{
	struct pollfd polled[POLLED];
	int code;

	while (!n->up.is_done || !n->down.is_done) {
		code = wait_for(n, polled);
		if (code != EXIT_DONE)
			return code;
		move(n, polled);
		if (!n->is_answered)
			code = take_answer(n, control_path);
		if (code != EXIT_DONE)
			return code;
		if (n->is_answered && !n->down.is_done)
			write_output(n, polled[OUTPUT].revents & POLLOUT);
	}
	if (n->is_reset && !n->is_failed)
		command_error("the connection was reset");
	return n->is_reset || n->is_failed ? EXIT_FAILED : EXIT_DONE;
}

static bool is_target(const char *text)
{
	struct hostport target;
	const char *why;

	if (hostport_parse(text, 0, &target, &why) == 0)
		return true;
	command_error("'%s' is not a target: %s", text, why);
	return false;
}

static int connect_agent(const struct command_line *line, const char *path, struct client *client)
{
	char why[CLIENT_WHY_MAX];
	int r = client_open(client, path, "agent", why);

	if (r == 0)
		r = client_send(client,
		                json_pack("{s:s,s:s,s:s}", "command", "nc", "peer", line->args[0],
		                          "target", line->args[1]),
		                why);
	if (r == 0)
		return EXIT_DONE;
	command_error("%s", why);
	client_close(client);
	return EXIT_FAILED;
}

int cmd_nc(const struct command_line *line)
{
	char path[CONFIG_PATH_MAX];
	struct client client;
	struct nc *n;
	int code;

	if (!is_target(line->args[1]) || !command_control_path(line, path))
		return EXIT_USAGE;
	fill_standard();
	signals_ignore_pipe();
	code = connect_agent(line, path, &client);
	if (code != EXIT_DONE)
		return code;
	n = cv_zalloc(sizeof(*n));
	if (!n) {
		command_error("out of memory");
		client_close(&client);
		return EXIT_FAILED;
	}
	n->socket = client.fd;
	n->is_input_socket = is_socket(STDIN_FILENO);
	n->is_output_socket = is_socket(STDOUT_FILENO);
	n->is_output_nonblocking = reopen_output();
	n->early_left = EARLY_MAX;
	n->end_by = cv_time_after(clock_now(), ANSWER_TIMEOUT);
	code = run(n, path);
	cv_free(n);
	client_close(&client);
	return code;
}
