/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "status.h"
#include "status_text.h"

static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int signal)
{
	(void)signal;
	is_interrupted = 1;
}

/* Prints one status; an exit code. */
static int show(const struct command_line *line, const json_t *answer)
{
	const json_t *status = json_object_get(answer, "status");
	const char *error;
	int code = client_exit_code(answer, &error);

	if (code != EXIT_DONE) {
		command_error("%s", error);
		return code;
	}
	if (!json_is_object(status)) {
		command_error("the answer of the control socket is not understood");
		return EXIT_FAILED;
	}
	if (line->json) {
		/* --watch: one object a line, so that a program can read along. */
		(void)json_dumpf(status, stdout,
		                 STATUS_JSON_FLAGS | (line->watch ? JSON_COMPACT : JSON_INDENT(2)));
		(void)fputc('\n', stdout);
	} else {
		if (line->watch && isatty(STDOUT_FILENO))
			(void)fputs("\033[H\033[2J", stdout); /* home, clear: redrawn in place */
		status_text_print(status, stdout);
	}
	if (fflush(stdout) == 0)
		return EXIT_DONE;
	command_error("cannot write to standard output");
	return EXIT_FAILED;
}

static int ask(const struct command_line *line, struct client *client)
{
	char why[CLIENT_WHY_MAX];
	json_t *answer = NULL;
	int code;

	if (client_call(client, json_pack("{s:s}", "command", "status"), &answer, why) < 0) {
		command_error("%s", why);
		return EXIT_FAILED;
	}
	code = show(line, answer);
	json_decref(answer);
	return code;
}

/* Again every second until SIGINT; the process may be restarted meanwhile. */
static int watch(const struct command_line *line, struct client *client)
{
	struct sigaction action = { .sa_handler = on_interrupt };
	const struct timespec second = { .tv_sec = 1 };
	int code = EXIT_DONE;

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	while (!is_interrupted && code == EXIT_DONE) {
		code = ask(line, client);
		if (code == EXIT_DONE && !is_interrupted)
			(void)nanosleep(&second, NULL);
	}
	return is_interrupted ? EXIT_DONE : code;
}

int cmd_status(const struct command_line *line)
{
	char path[CONFIG_PATH_MAX];
	char why[CLIENT_WHY_MAX];
	struct client client;
	int code;

	if (!command_control_path(line, path))
		return EXIT_USAGE;
	if (client_open(&client, path, line->server ? "server" : "agent", why) < 0) {
		command_error("%s", why);
		return EXIT_FAILED;
	}
	code = line->watch ? watch(line, &client) : ask(line, &client);
	client_close(&client);
	return code;
}
