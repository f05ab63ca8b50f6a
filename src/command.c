/* SPDX-License-Identifier: MIT */
#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ares.h>
#include <sodium.h>
#include <uv.h>
#include <yaml.h>

#include "base/log.h"
#include "metrics.h"
#include "net/upnp.h"

static const struct command commands[] = {
	{ .name = "keygen",
	  .usage = "keygen [--psk] [FILE | -]",
	  .help = "Writes a new private key to FILE (mode 0600; an existing file is left alone) "
	          "and\n"
	          "prints the public key. Without FILE: identity.key beside the default\n"
	          "configuration; -: standard output.\n\n"
	          "  --psk           write a pre-shared key instead and print nothing\n",
	  .flags = "p",
	  .args_max = 1,
	  .run = cmd_keygen },
	{ .name = "pubkey",
	  .usage = "pubkey [FILE | -]",
	  .help = "Prints the public key of a private key file (-: standard input).\n",
	  .flags = "",
	  .args_max = 1,
	  .run = cmd_pubkey },
	{ .name = "run",
	  .usage = "run [-c FILE] [--control PATH]",
	  .help = "Runs the agent in the foreground until SIGTERM or SIGINT. Logs go to standard\n"
	          "error; one line says `ready` when all listeners are open.\n",
	  .flags = "",
	  .run = cmd_run },
	{ .name = "server",
	  .usage = "server [-c FILE] [--control PATH]",
	  .help = "Runs the rendezvous and relay server in the foreground.\n",
	  .flags = "",
	  .run = cmd_server },
	{ .name = "check",
	  .usage = "check [-c FILE]",
	  .help = "Validates a configuration and says what it would do. Touches no network.\n",
	  .flags = "",
	  .run = cmd_check },
	{ .name = "status",
	  .usage = "status [--json] [--watch] [--server]",
	  .help = "Shows peers, paths, round-trip times, rates and streams of the running "
	          "agent.\n\n"
	          "  --json          one JSON object\n"
	          "  --watch         again every second, until interrupted\n"
	          "  --server        of the running server instead\n",
	  .flags = "jwS",
	  .run = cmd_status },
	{ .name = "ping",
	  .usage = "ping PEER [-n N]",
	  .help = "Measures round-trip times to PEER and names the path they took; endless\n"
	          "without -n. Exit code 0 if one reply came, 3 if none.\n\n"
	          "  -n N            send N and stop\n",
	  .flags = "n",
	  .args_min = 1,
	  .args_max = 1,
	  .run = cmd_ping },
	{ .name = "netcheck",
	  .usage = "netcheck [--json]",
	  .help = "Says what kind of NAT this is and what will work through it: asks the servers "
	          "of\n"
	          "the configuration and its `stun` list, from sockets of its own. Needs no "
	          "running\n"
	          "agent. Takes some seconds. Exit code 0 if anything answered, 3 if nothing "
	          "did.\n\n"
	          "  --json          one JSON object\n",
	  .flags = "j",
	  .run = cmd_netcheck },
	{ .name = "nc",
	  .usage = "nc PEER TARGET",
	  .help = "Connects standard input and output to TARGET (HOST:PORT, PORT or unix:/path) "
	          "at\n"
	          "PEER, through the running agent; for ssh's ProxyCommand:\n\n"
	          "  ssh -o ProxyCommand='culvert nc %h 22' home\n",
	  .flags = "",
	  .args_min = 2,
	  .args_max = 2,
	  .run = cmd_nc },
	{ .name = "forward",
	  .usage = "forward [--udp] PEER [BIND:]PORT:HOST:HOSTPORT | --list | --remove [BIND:]PORT",
	  .help = "Adds a forward to the running agent, as ssh's -L takes it: listens on PORT\n"
	          "(127.0.0.1 and ::1 without BIND; every address with *), and PEER connects to\n"
	          "HOST:HOSTPORT. A path is a unix socket, at either end. It lives until the "
	          "agent\n"
	          "stops, also over a reload.\n\n"
	          "  --udp           datagrams instead of connections\n"
	          "  --list          shows all forwards, those of the configuration too\n"
	          "  --remove WHERE  closes one that was added so\n"
	          "  --json          with --list: one JSON array\n",
	  .flags = "julr",
	  .args_max = 2,
	  .run = cmd_forward },
	{ .name = "reload",
	  .usage = "reload [--server]",
	  .help = "Has the running agent read its configuration again, and waits for the outcome. "
	          "All\n"
	          "of it holds then, or nothing has changed: a bad file is reported as by "
	          "`culvert\n"
	          "check`, exit code 2. Streams go on, but for those of a peer that is gone.\n\n"
	          "  --server        the running server instead\n",
	  .flags = "S",
	  .run = cmd_reload },
	{ .name = "stop",
	  .usage = "stop [--server]",
	  .help = "Ends the running agent, and waits until it is gone.\n\n"
	          "  --server        the running server instead\n",
	  .flags = "S",
	  .run = cmd_stop },
};

/* In the user's contract, and not in this version. */
static const char *const later[] = { "share", "join" };

void command_error(const char *fmt, ...)
{
	va_list args;

	(void)fputs("culvert: ", stderr);
	va_start(args, fmt);
	(void)vfprintf(stderr, fmt, args);
	va_end(args);
	(void)fputc('\n', stderr);
}

static void print_help(FILE *out)
{
	(void)fputs("culvert - SOCKS5 and port forwarding over punched tunnels\n\n"
	            "usage: culvert COMMAND [-c FILE] [--control PATH] ...\n\n",
	            out);
	for (size_t i = 0; i < CV_ARRAY_SIZE(commands); i++)
		(void)fprintf(out, "  culvert %s\n", commands[i].usage);
	(void)fputs(
		"\n`culvert COMMAND --help` says more; `culvert --version` names the version.\n",
		out);
}

static void print_command_help(const struct command *c, FILE *out)
{
	(void)fprintf(out, "usage: culvert %s\n\n%s\n", c->usage, c->help);
	(void)fputs("  -c FILE         configuration (default: $CULVERT_CONFIG, then\n"
	            "                  ~/.config/culvert/culvert.yaml, then "
	            "/etc/culvert/culvert.yaml)\n"
	            "  --control PATH  control socket of the running process\n"
	            "  --help          this text\n",
	            out);
}

static int print_version(void)
{
	int major, minor, patch;

	yaml_get_version(&major, &minor, &patch);
	(void)printf("culvert %s (libuv %s, libsodium %s, c-ares %s, libyaml %d.%d.%d)\n",
	             CULVERT_VERSION, uv_version_string(), sodium_version_string(),
	             ares_version(NULL), major, minor, patch);
	(void)printf("port mapping by PCP, NAT-PMP%s; %s\n",
	             upnp_is_built_in() ? ", UPnP" : " (UPnP is not built in)",
	             metrics_is_built_in() ? "metrics" : "metrics are not built in");
	return EXIT_DONE;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < CV_ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int unknown_command(const char *name)
{
	for (size_t i = 0; i < CV_ARRAY_SIZE(later); i++) {
		if (strcmp(later[i], name) == 0) {
			command_error("'%s' is not supported yet in version %s", name,
			              CULVERT_VERSION);
			return EXIT_USAGE;
		}
	}
	command_error("unknown command '%s'; see culvert --help", name);
	return EXIT_USAGE;
}

/* An option with a value, as "-c FILE", "--control PATH" or "--control=PATH". */
static const char *option_value(const char *name, char **argv, int argc, int *i, bool *is_bad)
{
	size_t size = strlen(name);

	if (strncmp(argv[*i], name, size) != 0)
		return NULL;
	if (argv[*i][size] == '=' && name[1] == '-')
		return argv[*i] + size + 1;
	if (argv[*i][size] != 0)
		return NULL;
	if (*i + 1 >= argc) {
		command_error("%s needs a value", name);
		*is_bad = true;
		return NULL;
	}
	return argv[++*i];
}

static bool parse_count(const char *text, long *out)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	if (errno != 0 || *end != 0 || *out < 1) {
		command_error("-n needs a number above 0, not '%s'", text);
		return false;
	}
	return true;
}

static bool parse_flag(const struct command *c, const char *arg, struct command_line *line)
{
	static const struct {
		const char *name;
		char letter;
		size_t offset;
	} flags[] = {
		{ "--json", 'j', offsetof(struct command_line, json) },
		{ "--watch", 'w', offsetof(struct command_line, watch) },
		{ "--server", 'S', offsetof(struct command_line, server) },
		{ "--psk", 'p', offsetof(struct command_line, psk) },
		{ "--udp", 'u', offsetof(struct command_line, udp) },
		{ "--list", 'l', offsetof(struct command_line, list) },
	};

	for (size_t i = 0; i < CV_ARRAY_SIZE(flags); i++) {
		if (strcmp(arg, flags[i].name) == 0 && strchr(c->flags, flags[i].letter)) {
			*(bool *)(void *)((char *)line + flags[i].offset) = true;
			return true;
		}
	}
	return false;
}

/* False after an error was printed. */
static bool parse_line(const struct command *c, int argc, char **argv, struct command_line *line)
{
	bool only_args = false;
	bool is_bad = false;
	const char *value;

	for (int i = 0; i < argc; i++) {
		if (!only_args && strcmp(argv[i], "--") == 0) {
			only_args = true;
		} else if (!only_args && argv[i][0] == '-' && argv[i][1] != 0) {
			if ((value = option_value("-c", argv, argc, &i, &is_bad)) != NULL)
				line->config = value;
			else if (!is_bad &&
			         (value = option_value("--control", argv, argc, &i, &is_bad)))
				line->control = value;
			else if (!is_bad && strchr(c->flags, 'n') &&
			         (value = option_value("-n", argv, argc, &i, &is_bad)))
				is_bad = !parse_count(value, &line->count);
			else if (!is_bad && strchr(c->flags, 'r') &&
			         (value = option_value("--remove", argv, argc, &i, &is_bad)))
				line->remove = value;
			else if (!is_bad && !parse_flag(c, argv[i], line)) {
				command_error("unknown option '%s'; see culvert %s --help", argv[i],
				              c->name);
				return false;
			}
			if (is_bad)
				return false;
		} else if (line->arg_count == c->args_max) {
			command_error("too many arguments; usage: culvert %s", c->usage);
			return false;
		} else {
			line->args[line->arg_count++] = argv[i];
		}
	}
	if (line->arg_count < c->args_min) {
		command_error("usage: culvert %s", c->usage);
		return false;
	}
	return true;
}

static void to_stderr(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)fprintf(stderr, "culvert: %s\n", line);
}

int command_main(int argc, char **argv)
{
	struct command_line line = { 0 };
	const struct command *c;

	log_init(LOG_INFO, to_stderr, NULL);
	if (sodium_init() < 0) {
		command_error("libsodium does not start");
		return EXIT_FAILED;
	}
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return print_version();
	c = find_command(argv[1]);
	if (!c)
		return unknown_command(argv[1]);
	for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			print_command_help(c, stdout);
			return EXIT_DONE;
		}
	}
	if (!parse_line(c, argc - 2, argv + 2, &line))
		return EXIT_USAGE;
	return c->run(&line);
}

struct config *command_load_config(const struct command_line *line, enum config_role role)
{
	char path[CONFIG_PATH_MAX];
	struct config *config = NULL;
	struct report report;
	int r;

	if (line->config) {
		if (strlen(line->config) >= sizeof(path)) {
			command_error("the path of the configuration is too long");
			return NULL;
		}
		memcpy(path, line->config, strlen(line->config) + 1);
	} else if (config_default_path(path) < 0) {
		command_error("the path of the configuration is too long");
		return NULL;
	}
	report_init(&report, path);
	r = config_load(path, role, &report, &config);
	if (r < 0)
		report_print(&report, REPORT_ERROR, stderr);
	report_print(&report, REPORT_WARNING, stderr);
	report_deinit(&report);
	if (r < 0)
		return NULL;
	if (role != CONFIG_ROLE_CLIENT && !command_can_serve(config, stderr)) {
		config_free(config);
		return NULL;
	}
	return config;
}

bool command_can_serve(const struct config *config, FILE *out)
{
	/* A server's own is inherited where it is not set. */
	const struct config_listen *m = &config->server.metrics;

	if (metrics_is_built_in() || (m->addr_count == 0 && !m->unix_path))
		return true;
	(void)fprintf(out, "%s:%u:%u: 'metrics' needs libmicrohttpd, which this build is without\n",
	              config->file, m->mark.line, m->mark.column);
	return false;
}

static bool copy_path(const char *from, char out[CONFIG_PATH_MAX])
{
	size_t size = strlen(from);

	if (size >= CONFIG_PATH_MAX) {
		command_error("the path of the control socket is too long");
		return false;
	}
	memcpy(out, from, size + 1);
	return true;
}

bool command_control_path(const struct command_line *line, char out[CONFIG_PATH_MAX])
{
	enum config_role role = line->server ? CONFIG_ROLE_SERVER : CONFIG_ROLE_AGENT;
	const char *env = getenv("CULVERT_CONTROL");
	char path[CONFIG_PATH_MAX];
	struct config *config;
	bool is_ok;

	if (line->control)
		return copy_path(line->control, out);
	if (env && *env)
		return copy_path(env, out);
	/* A configuration that is not there says nothing; one that was named must be readable. */
	if (line->config || (config_default_path(path) == 0 && access(path, F_OK) == 0)) {
		config = command_load_config(line, CONFIG_ROLE_CLIENT);
		if (!config)
			return false;
		is_ok = copy_path(line->server ? config->server.control : config->control, out);
		config_free(config);
		return is_ok;
	}
	if (config_default_control(role, out) < 0) {
		command_error("the path of the control socket is too long");
		return false;
	}
	return true;
}

void command_warn_root(void)
{
	if (geteuid() == 0)
		log_warn("running as root: an unprivileged user is enough");
}
