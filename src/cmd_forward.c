/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "client.h"
#include "command.h"
#include "forward_spec.h"

enum { TEXT_MAX = 2 * HOSTPORT_TEXT_MAX };

/* One request to the agent; the answer, or NULL after an error was printed. Takes @request. */
static json_t *call(const char *path, json_t *request)
{
	char why[CLIENT_WHY_MAX];
	struct client client;
	json_t *answer = NULL;

	if (client_open(&client, path, "agent", why) < 0) {
		command_error("%s", why);
		json_decref(request);
		return NULL;
	}
	if (client_call(&client, request, &answer, why) < 0)
		command_error("%s", why);
	client_close(&client);
	return answer;
}

/* The exit code of @answer, whose error is printed; @path is NULL where no peer was named. */
static int finish(json_t *answer, const char *path)
{
	const char *error;
	char text[TEXT_MAX];
	int code = EXIT_FAILED;

	if (!answer)
		return code;
	code = client_exit_code(answer, &error);
	if (code != EXIT_DONE) {
		(void)log_escape(text, sizeof(text), error, strlen(error));
		if (code == EXIT_USAGE && path && strstr(text, "no such peer"))
			client_print_unknown_peer(path, text);
		else
			command_error("%s", text);
	}
	json_decref(answer);
	return code;
}

static int add(const struct command_line *line, const char *path)
{
	const char *peer = line->args[0];
	char why[FORWARD_SPEC_WHY_MAX];
	struct forward_spec spec;
	const json_t *addresses;
	json_t *answer;

	if (!host_label_is_valid(peer, strlen(peer))) {
		command_error("'%s' is not the name of a peer", peer);
		return EXIT_USAGE;
	}
	if (forward_spec_parse(line->args[1], &spec, why) < 0) {
		command_error("%s", why);
		return EXIT_USAGE;
	}
	answer = call(path, json_pack("{s:s,s:s,s:s,s:s,s:s}", "command", "forward", "peer", peer,
	                              "target", spec.target, "listen", spec.listen, "protocol",
	                              line->udp ? "udp" : "tcp"));
	addresses = json_object_get(answer, "addresses");
	for (size_t i = 0; i < json_array_size(addresses); i++) {
		const char *address = json_string_value(json_array_get(addresses, i));

		(void)printf("%s\n", address ? address : "");
	}
	return finish(answer, path);
}

static int drop(const struct command_line *line, const char *path)
{
	char why[FORWARD_SPEC_WHY_MAX], listen[HOSTPORT_TEXT_MAX];

	if (forward_spec_parse_listen(line->remove, listen, why) < 0) {
		command_error("%s", why);
		return EXIT_USAGE;
	}
	return finish(call(path, json_pack("{s:s,s:s,s:s}", "command", "forward-remove", "listen",
	                                   listen, "protocol", line->udp ? "udp" : "tcp")),
	              NULL);
}

static const char *text_of(char out[TEXT_MAX], const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	(void)log_escape(out, TEXT_MAX, text ? text : "", text ? strlen(text) : 0);
	return out;
}

static void print_forward(const json_t *forward)
{
	char listen[TEXT_MAX], peer[TEXT_MAX], target[TEXT_MAX], protocol[TEXT_MAX];

	(void)printf("%s %s -> %s %s%s\n", text_of(protocol, forward, "protocol"),
	             text_of(listen, forward, "listen"), text_of(peer, forward, "peer"),
	             text_of(target, forward, "target"),
	             json_is_true(json_object_get(forward, "added")) ? " (added)" : "");
}

static int list(const struct command_line *line, const char *path)
{
	json_t *answer = call(path, json_pack("{s:s}", "command", "forwards"));
	const json_t *forwards = json_object_get(answer, "forwards");

	if (json_is_array(forwards) && line->json) {
		(void)json_dumpf(forwards, stdout, JSON_INDENT(2));
		(void)putchar('\n');
	}
	for (size_t i = 0; !line->json && i < json_array_size(forwards); i++)
		print_forward(json_array_get(forwards, i));
	return finish(answer, NULL);
}

int cmd_forward(const struct command_line *line)
{
	char path[CONFIG_PATH_MAX];
	bool is_add = line->arg_count == 2;
	int code;

	/* One of the three. */
	if (is_add + line->list + (line->remove != NULL) != 1 || (!is_add && line->arg_count > 0)) {
		command_error("expected PEER [BIND:]PORT:HOST:HOSTPORT, --list, or --remove "
		              "[BIND:]PORT; see culvert forward --help");
		return EXIT_USAGE;
	}
	if (!command_control_path(line, path))
		return EXIT_USAGE;
	if (is_add)
		code = add(line, path);
	else
		code = line->list ? list(line, path) : drop(line, path);
	return fflush(stdout) == 0 ? code : EXIT_FAILED;
}
