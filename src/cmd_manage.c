/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/time.h"
#include "client.h"
#include "command.h"
#include "net/clock.h"

enum { STOP_TIMEOUT = 10000 }; /* ms: goodbyes take one second at most */

/* Lines that are fit for a terminal already: report.c escapes what a file holds. */
static void print_report(const json_t *answer)
{
	const char *text = json_string_value(json_object_get(answer, "report"));

	if (text)
		(void)fputs(text, stderr);
}

int cmd_reload(const struct command_line *line)
{
	char path[CONFIG_PATH_MAX];
	char why[CLIENT_WHY_MAX];
	struct client client;
	json_t *answer = NULL;
	const char *error;
	int code = EXIT_FAILED;

	if (!command_control_path(line, path))
		return EXIT_USAGE;
	if (client_open(&client, path, line->server ? "server" : "agent", why) < 0) {
		command_error("%s", why);
		return EXIT_FAILED;
	}
	if (client_call(&client, json_pack("{s:s}", "command", "reload"), &answer, why) < 0) {
		command_error("%s", why);
	} else {
		print_report(answer);
		code = client_exit_code(answer, &error);
		if (code != EXIT_DONE)
			command_error("%s", error);
	}
	json_decref(answer);
	client_close(&client);
	return code;
}

/* Until the process is gone. @fd: a pidfd, or -1 where there is none: then it is asked for. */
static bool wait_for_end(int fd, pid_t pid)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	cv_time end = cv_time_after(clock_now(), CV_MS(STOP_TIMEOUT));
	struct pollfd p = { .fd = fd, .events = POLLIN };
	cv_time now;

	while ((now = clock_now()) < end) {
		if (fd >= 0 && poll(&p, 1, (int)((end - now) / CV_MS(1) + 1)) == 1)
			return true;
		if (fd < 0 && kill(pid, 0) < 0 && errno == ESRCH)
			return true;
		if (fd < 0)
			(void)nanosleep(&pause, NULL);
	}
	return false;
}

int cmd_stop(const struct command_line *line)
{
	char path[CONFIG_PATH_MAX];
	char why[CLIENT_WHY_MAX];
	struct client client;
	struct ucred who = { .pid = 0 };
	socklen_t size = sizeof(who);
	json_t *answer = NULL;
	const char *error;
	int code = EXIT_FAILED, fd = -1;

	if (!command_control_path(line, path))
		return EXIT_USAGE;
	if (client_open(&client, path, line->server ? "server" : "agent", why) < 0) {
		command_error("%s", why);
		return EXIT_FAILED;
	}
	if (getsockopt(client.fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
		who.pid = 0;
#ifdef SYS_pidfd_open
	/* Opened while it answers: no other process can have its number by then. */
	if (who.pid > 0)
		fd = (int)syscall(SYS_pidfd_open, who.pid, 0);
#endif
	if (client_call(&client, json_pack("{s:s}", "command", "stop"), &answer, why) < 0) {
		command_error("%s", why);
	} else if ((code = client_exit_code(answer, &error)) != EXIT_DONE) {
		command_error("%s", error);
	} else if (who.pid > 0 && !wait_for_end(fd, who.pid)) {
		command_error("it still runs %d s after it was told to stop", STOP_TIMEOUT / 1000);
		code = EXIT_FAILED;
	}
	json_decref(answer);
	client_close(&client);
	if (fd >= 0)
		(void)close(fd);
	return code;
}
