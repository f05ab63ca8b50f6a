/* SPDX-License-Identifier: MIT */

/*
 * Goal: a good file becomes exactly the values it says, with the defaults of the
 * manual; a bad one is reported whole, in the layout users know. Method: texts through
 * config_parse(), and real files in a directory of their own through config_load(). The wording of
 * each single error is test_config_errors', hostile files are test_config_hostile's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "config/config.h"
#include "config/keyfile.h"
#include "tests/unit/config_load.h"

/* What is printed of a report; the caller frees it. */
static char *printed(const struct report *report, enum report_severity severity)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	report_print(report, severity, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void assert_addr(const struct config_listen *l, unsigned index, const char *text)
{
	char out[ADDR_TEXT_MAX];

	assert_true(index < l->addr_count);
	assert_string_equal(addr_format(&l->addrs[index], out), text);
}

static void smallest_agent_has_the_defaults_of_the_manual(void **state)
{
	struct loaded l = parse_good(AGENT);
	const struct config *c = l.config;

	(void)state;
	assert_string_equal(c->identity.path, "dir/id.key");
	assert_int_equal(c->listen_count, 1);
	assert_addr(&c->listen[0], 0, "0.0.0.0:0");
	assert_addr(&c->listen[0], 1, "[::]:0");
	assert_true(c->has_portmap);
	assert_int_equal(c->peer_count, 1);
	assert_string_equal(c->peers[0].name, "home");
	assert_int_equal(c->peers[0].key.key[31], 31);
	assert_int_equal(c->peers[0].path, CONFIG_PATH_AUTO);
	assert_int_equal(c->peers[0].address.host.kind, HOST_NONE);
	assert_null(c->peers[0].psk.path);
	assert_int_equal(c->peers[0].mark.line, 2);
	assert_int_equal(c->log.level, LOG_INFO);
	assert_int_equal(c->log.format, CONFIG_LOG_TEXT);
	assert_int_equal(c->sandbox, CONFIG_SANDBOX_BEST_EFFORT);
	assert_int_equal(c->tunnel.congestion, CONFIG_BBR);
	assert_int_equal(c->tunnel.streams_max, 16384);
	assert_int_equal(c->tunnel.memory_size, 256 << 20);
	assert_false(c->server.is_set);
	assert_ptr_equal(config_find_peer(c, "home"), &c->peers[0]);
	assert_null(config_find_peer(c, "hom"));
	drop(&l);
}

static void stun_servers_have_a_port(void **state)
{
	struct loaded l =
		parse_good(AGENT "stun: [ stun.example, 192.0.2.1, '[2001:db8::1]:5' ]\n");
	static const char *const texts[] = { "stun.example:3478", "192.0.2.1:3478",
		                             "[2001:db8::1]:5" };
	char text[HOSTPORT_TEXT_MAX];

	(void)state;
	assert_int_equal(l.config->stun_count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(hostport_format(&l.config->stun[i].host, text), texts[i]);
	drop(&l);
}

static void smallest_server_has_the_defaults_of_the_manual(void **state)
{
	static const char text[] = "identity: server.key\nserver: { access: anyone }\n";
	struct loaded l = parse_as(text, sizeof(text) - 1, CONFIG_ROLE_SERVER);
	const struct config_server *s;

	(void)state;
	assert_int_equal(l.result, 0);
	s = &l.config->server;
	assert_true(s->is_set);
	assert_true(s->access_anyone);
	assert_int_equal(s->access_count, 0);
	assert_int_equal(s->listen_count, 1);
	assert_addr(&s->listen[0], 0, "0.0.0.0:28583");
	assert_addr(&s->listen[0], 1, "[::]:28583");
	assert_int_equal(s->tcp_count, 1);
	assert_int_equal(s->tcp[0].mark.line, 0); /* as `listen` */
	assert_int_equal(s->connections_max, 16384);
	assert_int_equal(s->connections_per_address_max, 1024);
	assert_true(s->relay.is_enabled);
	assert_int_equal(s->relay.rate, 50000000);
	assert_int_equal(s->stun, CONFIG_STUN_PADDED);
	assert_int_equal(s->agents_max, 131072);
	assert_int_equal(s->agents_per_address_max, 4096);
	assert_int_equal(s->log.level, LOG_INFO);
	drop(&l);
}

static void what_a_server_does_not_say_is_inherited(void **state)
{
	struct loaded l =
		parse_good(AGENT "log: { level: debug, format: json }\n"
	                         "control: /run/a.sock\n"
	                         "server: { access: [ " K2 " ], log: { level: warn } }\n");

	(void)state;
	assert_int_equal(l.config->server.log.level, LOG_WARN);
	assert_int_equal(l.config->server.log.format, CONFIG_LOG_JSON);
	assert_string_equal(l.config->server.control, "/run/a.sock");
	assert_string_equal(l.config->control, "/run/a.sock");
	assert_false(l.config->server.access_anyone);
	assert_int_equal(l.config->server.access_count, 1);
	assert_int_equal(l.config->server.access[0].key[0], 32);
	drop(&l);
}

static void proxies_forwards_and_peers_are_read(void **state)
{
	struct loaded l =
		parse_good("identity: credential:id\n"
	                   "listen: [ 4000, '[::1]:4001' ]\n"
	                   "servers: [ { address: rv.example.net, key: " K2 " } ]\n"
	                   "peers:\n"
	                   "  home:\n"
	                   "    key: " K1 "\n"
	                   "    psk: home.psk\n"
	                   "    address: 2001:db8::1\n"
	                   "    path: direct\n"
	                   "    allow: [ 127.0.0.1:22, \"192.168.1.0/24:80,443\", '*:53/udp', "
	                   "unix:/run/app/* ]\n"
	                   "  office: { key: " K2 " }\n"
	                   "proxies:\n"
	                   "  - listen: 1080\n"
	                   "    users: { alice: secret, 'bob b': 1234 }\n"
	                   "    routes: [ { to: '*.office.example', peer: office }, { to: "
	                   "10.0.0.0/8, peer: home } ]\n"
	                   "  - { listen: 'unix:/run/p.sock', peer: office }\n"
	                   "  - { listen: '0.0.0.0:0', peer: home, open: true }\n"
	                   "forwards:\n"
	                   "  - { listen: localhost:2222, peer: office, to: 22 }\n"
	                   "  - { listen: 127.0.0.1:0, peer: home, to: 'unix:/run/x' }\n");
	const struct config *c = l.config;

	(void)state;
	assert_string_equal(c->identity.path, "credential:id");
	assert_int_equal(c->listen_count, 2);
	assert_addr(&c->listen[1], 0, "[::1]:4001");
	assert_string_equal(c->servers[0].address.text, "rv.example.net");
	assert_int_equal(c->servers[0].address.host.port, 28583);
	assert_string_equal(c->peers[0].psk.path, "dir/home.psk");
	assert_int_equal(c->peers[0].address.host.kind, HOST_ADDR);
	assert_int_equal(c->peers[0].address.host.port, 28583);
	assert_int_equal(c->peers[0].path, CONFIG_PATH_DIRECT);
	assert_int_equal(c->peers[0].allow_count, 4);
	assert_string_equal(c->peers[0].allow[1].text, "192.168.1.0/24:80,443");
	assert_int_equal(c->peers[0].allow[1].pattern.range_count, 2);
	assert_true(c->peers[0].allow[2].pattern.is_udp);
	assert_int_equal(c->peers[0].allow[3].pattern.kind, PATTERN_UNIX);
	assert_int_equal(c->proxy_count, 3);
	assert_addr(&c->proxies[0].listen, 0, "127.0.0.1:1080");
	assert_addr(&c->proxies[0].listen, 1, "[::1]:1080");
	assert_int_equal(c->proxies[0].listen.mark.line, 13);
	assert_null(c->proxies[0].peer.name);
	assert_int_equal(c->proxies[0].user_count, 2);
	assert_string_equal(c->proxies[0].users[1].name, "bob b");
	assert_string_equal(c->proxies[0].users[1].password, "1234");
	assert_int_equal(c->proxies[0].route_count, 2);
	assert_int_equal(c->proxies[0].routes[0].to.pattern.kind, PATTERN_SUFFIX);
	assert_int_equal(c->proxies[0].routes[0].peer.index, 1);
	assert_string_equal(c->proxies[1].listen.unix_path, "/run/p.sock");
	assert_int_equal(c->proxies[1].listen.addr_count, 0);
	assert_true(c->proxies[2].is_open);
	assert_int_equal(c->forward_count, 2);
	assert_int_equal(c->forwards[0].peer.index, 1);
	assert_string_equal(c->forwards[0].to.host.text, "localhost");
	assert_int_equal(c->forwards[0].to.host.port, 22);
	assert_int_equal(c->forwards[1].to.host.kind, HOST_UNIX);
	drop(&l);
}

static void what_is_offered_and_asked_for_is_read(void **state)
{
	struct loaded l = parse_good(
		"identity: id.key\n"
		"peers:\n"
		"  home: { key: v74/b32kgCuBvMM5pK6ukSGy7jeI/wSCQL58HsnRvJU=,\n"
		"    address: 192.0.2.1,\n"
		"    allow_listen: [ 'localhost:8000-8099', '*:53/udp', 'unix:/run/app/*' ] }\n"
		"remote_forwards:\n"
		"  - { listen: 0, peer: home, to: 3000 }\n"
		"  - { listen: 'unix:/run/x', peer: home, to: 'unix:/run/y' }\n"
		"services: { web: { to: 80, allow: home }, db: { to: 'unix:/run/db', allow: "
		"[ home ] } }\n"
		"forwards: [ { listen: 81, peer: home, to: 'service:web' } ]\n");
	const struct config *c = l.config;
	char *described = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&described, &size);

	(void)state;
	assert_int_equal(c->peers[0].allow_listen_count, 3);
	assert_true(c->peers[0].allow_listen[1].pattern.is_udp);
	assert_int_equal(c->remote_forward_count, 2);
	assert_int_equal(c->remote_forwards[0].listen.addr_count, 2);
	assert_string_equal(c->remote_forwards[1].listen.unix_path, "/run/x");
	assert_int_equal(c->service_count, 2);
	assert_string_equal(c->services[0].name, "web");
	assert_int_equal(c->services[0].allow[0].index, 0);
	assert_int_equal(c->services[1].to.host.kind, HOST_UNIX);
	assert_int_equal(c->forwards[0].to.host.kind, HOST_SERVICE);

	assert_non_null(file);
	config_describe(c, CONFIG_ROLE_CHECK, file);
	assert_int_equal(fclose(file), 0);
	assert_non_null(strstr(described, "  may listen here on localhost:8000-8099\n"));
	assert_non_null(strstr(described, "remote forward at home on unix:/run/x to unix:/run/y "
	                                  "from here\n"));
	assert_non_null(strstr(described, "service web is localhost:80, for home\n"));
	assert_non_null(strstr(described, "forward on 127.0.0.1:81 and [::1]:81 to service:web "
	                                  "through home\n"));
	free(described);
	drop(&l);
}

static void sections_of_nothing_are_empty(void **state)
{
	struct loaded l = parse_good(AGENT "proxies:\nforwards: []\nlog:\nservers: # none\n"
	                                   "server: { access: anyone, tcp: [] }\n");

	(void)state;
	assert_int_equal(l.config->proxy_count, 0);
	assert_int_equal(l.config->forward_count, 0);
	assert_int_equal(l.config->server.tcp_count, 0);
	assert_int_equal(l.config->log.level, LOG_INFO);
	drop(&l);
}

static void boundaries_of_numbers_are_kept(void **state)
{
	struct loaded l =
		parse_good(AGENT "tunnel: { streams_max: 65536, memory: 16MiB }\n"
	                         "server: { access: anyone, listen: 65534,\n"
	                         "  relay: { rate: 1 kbit, enabled: false },\n"
	                         "  limits: { agents: 1, agents_per_address: 4194304 } }\n");

	(void)state;
	assert_int_equal(l.config->tunnel.streams_max, 65536);
	assert_int_equal(l.config->tunnel.memory_size, 16 << 20);
	assert_int_equal(l.config->server.listen[0].addrs[0].port, 65534);
	assert_int_equal(l.config->server.relay.rate, 1000);
	assert_false(l.config->server.relay.is_enabled);
	assert_int_equal(l.config->server.agents_max, 1);
	assert_int_equal(l.config->server.agents_per_address_max, 4194304);
	drop(&l);
}

static void ports_of_tcp(void **state)
{
	struct loaded l = parse_good(
		AGENT "servers: [ { address: rv.example.net, tcp: 443, key: "
		      "v74/b32kgCuBvMM5pK6ukSGy7jeI/wSCQL58HsnRvJU= } ]\n"
		      "server: { access: anyone, tcp: [ 28583, \"192.0.2.1:443\" ],\n"
		      "  limits: { connections: 1, connections_per_address: 1048576 } }\n");

	(void)state;
	assert_int_equal(l.config->servers[0].tcp_port, 443);
	assert_int_equal(l.config->server.tcp_count, 2);
	assert_addr(&l.config->server.tcp[1], 0, "192.0.2.1:443");
	drop(&l);
}

static void bom_and_crlf_are_understood(void **state)
{
	struct loaded l = parse_good("\xEF\xBB\xBFidentity: id.key\r\n"
	                             "# caf\xC3\xA9\r\n" PEER);

	(void)state;
	assert_int_equal(l.config->peer_count, 1);
	drop(&l);
	l = parse("\xEF\xBB\xBFidentity: id.key\r\nlsten: 0\r\n" PEER);
	assert_int_equal(l.result, -EINVAL);
	assert_int_equal(error_at(&l.report, 0)->mark.line, 2);
	assert_int_equal(error_at(&l.report, 0)->mark.column, 1);
	assert_string_equal(error_at(&l.report, 0)->source, "lsten: 0");
	drop(&l);
}

static void errors_are_drawn_as_the_manual_shows(void **state)
{
	struct loaded l;
	char *text;

	(void)state;
	/* The example of the manual: line 14, column 5. */
	l = parse(AGENT
	          "#\n#\n#\n#\n#\n#\n#\n#\n#\n#\nserver:\n    forwrads:\n    access: anyone\n");
	text = printed(&l.report, REPORT_ERROR);
	assert_string_equal(text, "culvert.yaml:14:5: unknown key 'forwrads'\n"
	                          "   14 |     forwrads:\n"
	                          "      |     ^~~~~~~~\n");
	free(text);
	drop(&l);

	l = parse(AGENT "forwrads:\n");
	text = printed(&l.report, REPORT_ERROR);
	assert_string_equal(text,
	                    "culvert.yaml:3:1: unknown key 'forwrads' (did you mean 'forwards'?)\n"
	                    "    3 | forwrads:\n"
	                    "      | ^~~~~~~~\n");
	free(text);
	drop(&l);

	/* Columns are characters, and a tab stays a tab. */
	l = parse(AGENT "log: { \"\xC3\xA9\":\t1,\tx: 2 }\n");
	text = printed(&l.report, REPORT_ERROR);
	assert_string_equal(text, "culvert.yaml:3:8: unknown key '\xC3\xA9'\n"
	                          "    3 | log: { \"\xC3\xA9\":\t1,\tx: 2 }\n"
	                          "      |        ^~~\n"
	                          "culvert.yaml:3:16: unknown key 'x'\n"
	                          "    3 | log: { \"\xC3\xA9\":\t1,\tx: 2 }\n"
	                          "      |            \t  \t^\n");
	free(text);
	drop(&l);
}

static void all_errors_come_at_once_in_order(void **state)
{
	static const uint32_t lines[] = { 1, 2, 3, 6, 8, 10 };
	struct loaded l = parse("identty: a\n"
	                        "listen: 70000\n"
	                        "log: { level: x }\n"
	                        "peers:\n"
	                        "  home:\n"
	                        "    key: short\n"
	                        "proxies:\n"
	                        "  - listen: 8.8.8.8:53\n"
	                        "    peer: home\n"
	                        "metrics: x\n"
	                        "# identity is missing too\n");

	(void)state;
	assert_int_equal(l.result, -EINVAL);
	assert_int_equal(report_errors(&l.report), 1 + CV_ARRAY_SIZE(lines));
	assert_int_equal(error_at(&l.report, 0)->mark.line, 0);
	for (uint32_t i = 0; i < CV_ARRAY_SIZE(lines); i++)
		assert_int_equal(error_at(&l.report, i + 1)->mark.line, lines[i]);
	drop(&l);
}

static void the_report_is_bounded(void **state)
{
	char text[REPORT_ITEMS_MAX * 16 + 64] = AGENT;
	size_t size = strlen(text);
	struct loaded l;
	char *lines;

	(void)state;
	for (unsigned i = 0; i < REPORT_ITEMS_MAX + 1; i++)
		size += (size_t)snprintf(text + size, sizeof(text) - size, "qq%u: 1\n", i);
	l = parse(text);
	assert_int_equal(report_errors(&l.report), REPORT_ITEMS_MAX + 1);
	assert_non_null(report_at(&l.report, REPORT_ITEMS_MAX - 1));
	assert_null(report_at(&l.report, REPORT_ITEMS_MAX));
	lines = printed(&l.report, REPORT_ERROR);
	assert_non_null(strstr(lines, "culvert.yaml: and 1 more\n"));
	free(lines);
	drop(&l);
}

static void passwords_are_never_shown(void **state)
{
	struct loaded l = parse(AGENT "proxies:\n"
	                              "  - { listen: 1080, peer: hoem, users: { alice: s3cret } }\n"
	                              "  - listen: 1081\n"
	                              "    peer: home\n"
	                              "    users:\n"
	                              "      alice: s3cret\n"
	                              "      bob: ''\n"
	                              "      eve: [ s3cret ]\n");
	char *text = printed(&l.report, REPORT_ERROR);

	(void)state;
	assert_int_equal(report_errors(&l.report), 3);
	assert_null(strstr(text, "s3cret"));
	assert_non_null(strstr(text, "culvert.yaml:4:27: unknown peer 'hoem'"));
	free(text);
	drop(&l);
}

static void control_characters_do_not_reach_the_terminal(void **state)
{
	struct loaded l = parse("\"a\\e[31m\\x9b\": 1\n");
	char *text = printed(&l.report, REPORT_ERROR);

	(void)state;
	assert_null(strchr(text, 0x1b));
	assert_null(strstr(text, "\xC2\x9B"));
	free(text);
	drop(&l);
}

static void a_nul_byte_is_refused(void **state)
{
	static const char text[] = "identity: a\0b\n";
	struct loaded l = parse_as(text, sizeof(text) - 1, CONFIG_ROLE_AGENT);

	(void)state;
	assert_int_equal(l.result, -EINVAL);
	assert_int_equal(error_at(&l.report, 0)->mark.column, 12);
	drop(&l);
}

static void every_failed_allocation_is_survived(void **state)
{
	static const char text[] = AGENT "proxies: [ { listen: 1080, peer: home } ]\nlog: {}\n";

	(void)state;
	for (uint64_t k = 1; k < 1000; k++) {
		struct loaded l = { 0 };

		report_init(&l.report, "culvert.yaml");
		cv_alloc_fail_at(k);
		l.result = config_parse("culvert.yaml", text, sizeof(text) - 1, CONFIG_ROLE_AGENT,
		                        &l.report, &l.config);
		cv_alloc_fail_at(0);
		if (l.result == 0) {
			assert_true(k > 10);
			drop(&l);
			return;
		}
		assert_null(l.config);
		assert_true(report_errors(&l.report) > 0);
		drop(&l);
	}
	fail_msg("allocations never end");
}

static void roles_need_different_keys(void **state)
{
	static const char empty[] = "# nothing\n";
	static const char agent[] = AGENT;
	struct loaded l = parse_as(empty, sizeof(empty) - 1, CONFIG_ROLE_CLIENT);

	(void)state;
	assert_int_equal(l.result, 0);
	assert_non_null(l.config->control);
	drop(&l);
	l = parse_as(agent, sizeof(agent) - 1, CONFIG_ROLE_SERVER);
	assert_int_equal(l.result, -EINVAL);
	drop(&l);
	l = parse_as(agent, sizeof(agent) - 1, CONFIG_ROLE_CHECK);
	assert_int_equal(l.result, 0);
	drop(&l);
	l = parse("identity: id.key\n");
	assert_int_equal(l.result, 0);
	assert_int_equal(report_at(&l.report, 0)->severity, REPORT_WARNING);
	assert_int_equal(report_errors(&l.report), 0);
	drop(&l);
}

/* A directory of its own for one test, entered; tests leave it empty. */
static char directory[64];

static int enter_directory(void **state)
{
	(void)state;
	(void)snprintf(directory, sizeof(directory), "/tmp/culvert-config-XXXXXX");
	return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int leave_directory(void **state)
{
	(void)state;
	(void)unsetenv("CULVERT_CONFIG");
	return chdir("/") == 0 && rmdir(directory) == 0 ? 0 : -1;
}

static void write_text(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void files_are_loaded_with_their_keys(void **state)
{
	static const uint8_t key[KEY_SIZE] = { 1, 2, 3 };
	char why[KEYFILE_WHY_MAX];
	struct loaded l = { 0 };

	(void)state;
	write_text("culvert.yaml",
	           AGENT "proxies: [ { listen: 1, peer: home, users: { a: b } } ]\n", 0644);
	report_init(&l.report, "culvert.yaml");
	assert_int_equal(config_load("culvert.yaml", CONFIG_ROLE_AGENT, &l.report, &l.config),
	                 -EINVAL);
	assert_int_equal(report_errors(&l.report), 1);
	assert_int_equal(error_at(&l.report, 0)->mark.line, 1);
	assert_int_equal(error_at(&l.report, 0)->mark.column, 11);
	assert_string_equal(error_at(&l.report, 0)->source, "identity: id.key");
	drop(&l);

	report_init(&l.report, "culvert.yaml");
	assert_int_equal(keyfile_create("id.key", key, why), 0);
	assert_int_equal(config_load("culvert.yaml", CONFIG_ROLE_AGENT, &l.report, &l.config), 0);
	assert_int_equal(report_errors(&l.report), 0);
	assert_string_equal(report_at(&l.report, 0)->message,
	                    "the file holds passwords ('users') and everybody can read it");
	drop(&l);
	assert_int_equal(unlink("id.key"), 0);
	assert_int_equal(unlink("culvert.yaml"), 0);
}

static void a_file_that_is_not_there_says_so(void **state)
{
	struct loaded l = { 0 };
	char *text;

	(void)state;
	report_init(&l.report, "none.yaml");
	assert_int_equal(config_load("none.yaml", CONFIG_ROLE_AGENT, &l.report, &l.config),
	                 -ENOENT);
	text = printed(&l.report, REPORT_ERROR);
	assert_string_equal(text, "none.yaml: cannot open: No such file or directory\n");
	free(text);
	drop(&l);
	report_init(&l.report, ".");
	assert_int_equal(config_load(".", CONFIG_ROLE_AGENT, &l.report, &l.config), -EISDIR);
	drop(&l);
}

static void default_paths_follow_the_manual(void **state)
{
	char out[CONFIG_PATH_MAX];
	char wanted[CONFIG_PATH_MAX];

	(void)state;
	assert_int_equal(setenv("CULVERT_CONFIG", "/x/y.yaml", 1), 0);
	assert_int_equal(config_default_path(out), 0);
	assert_string_equal(out, "/x/y.yaml");
	assert_int_equal(unsetenv("CULVERT_CONFIG"), 0);

	assert_int_equal(mkdir("culvert", 0700), 0);
	write_text("culvert/culvert.yaml", "", 0600);
	assert_int_equal(setenv("XDG_CONFIG_HOME", directory, 1), 0);
	assert_int_equal(config_default_path(out), 0);
	(void)snprintf(wanted, sizeof(wanted), "%s/culvert/culvert.yaml", directory);
	assert_string_equal(out, wanted);
	assert_int_equal(unlink("culvert/culvert.yaml"), 0);
	assert_int_equal(rmdir("culvert"), 0);

	assert_int_equal(setenv("XDG_RUNTIME_DIR", "/run/user/1", 1), 0);
	assert_int_equal(config_default_control(CONFIG_ROLE_AGENT, out), 0);
	assert_string_equal(out, "/run/user/1/culvert.sock");
	assert_int_equal(config_default_control(CONFIG_ROLE_SERVER, out), 0);
	assert_string_equal(out, "/run/user/1/culvert-server.sock");
	assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
	assert_int_equal(config_default_control(CONFIG_ROLE_AGENT, out), 0);
	assert_string_equal(out, "/run/culvert/culvert.sock");

	assert_int_equal(setenv("HOME", "/home/u", 1), 0);
	struct loaded l = parse_good(AGENT "state: ~/s\ncontrol: c.sock\n");
	assert_string_equal(l.config->state, "/home/u/s");
	assert_string_equal(l.config->control, "dir/c.sock");
	drop(&l);
}

/* Copies an example here, with the key files it names beside it. */
static void check_example(const char *name, enum config_role role)
{
	static const char *const keys[] = { "identity.key", "server.key", "home.psk" };
	static const uint8_t key[KEY_SIZE] = { 9 };
	char path[512];
	char why[KEYFILE_WHY_MAX];
	static char text[16384];
	char *described = NULL;
	size_t size = 0;
	struct loaded l = { 0 };
	FILE *file;

	memset(text, 0, sizeof(text));
	(void)snprintf(path, sizeof(path), "%s/../contrib/examples/%s", TEST_SOURCE_DIR, name);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	assert_int_equal(fclose(file), 0);
	write_text(name, text, 0600);
	for (size_t i = 0; i < CV_ARRAY_SIZE(keys); i++)
		assert_int_equal(keyfile_create(keys[i], key, why), 0);

	report_init(&l.report, name);
	l.result = config_load(name, role, &l.report, &l.config);
	report_print(&l.report, REPORT_ERROR, stdout);
	report_print(&l.report, REPORT_WARNING, stdout);
	assert_int_equal(l.result, 0);
	assert_null(report_at(&l.report, 0));
	file = open_memstream(&described, &size);
	assert_non_null(file);
	config_describe(l.config, role, file);
	assert_int_equal(fclose(file), 0);
	assert_true(size > 0);
	assert_null(strstr(described, "change-me"));
	free(described);
	drop(&l);
	for (size_t i = 0; i < CV_ARRAY_SIZE(keys); i++)
		assert_int_equal(unlink(keys[i]), 0);
	assert_int_equal(unlink(name), 0);
}

static void examples_pass_the_check(void **state)
{
	(void)state;
	check_example("home.yaml", CONFIG_ROLE_AGENT);
	check_example("laptop.yaml", CONFIG_ROLE_AGENT);
	check_example("server.yaml", CONFIG_ROLE_SERVER);
	check_example("full.yaml", CONFIG_ROLE_CHECK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(smallest_agent_has_the_defaults_of_the_manual),
		cmocka_unit_test(stun_servers_have_a_port),
		cmocka_unit_test(smallest_server_has_the_defaults_of_the_manual),
		cmocka_unit_test(what_a_server_does_not_say_is_inherited),
		cmocka_unit_test(proxies_forwards_and_peers_are_read),
		cmocka_unit_test(what_is_offered_and_asked_for_is_read),
		cmocka_unit_test(sections_of_nothing_are_empty),
		cmocka_unit_test(boundaries_of_numbers_are_kept),
		cmocka_unit_test(ports_of_tcp),
		cmocka_unit_test(bom_and_crlf_are_understood),
		cmocka_unit_test(errors_are_drawn_as_the_manual_shows),
		cmocka_unit_test(all_errors_come_at_once_in_order),
		cmocka_unit_test(the_report_is_bounded),
		cmocka_unit_test(passwords_are_never_shown),
		cmocka_unit_test(control_characters_do_not_reach_the_terminal),
		cmocka_unit_test(a_nul_byte_is_refused),
		cmocka_unit_test(every_failed_allocation_is_survived),
		cmocka_unit_test(roles_need_different_keys),
		cmocka_unit_test_setup_teardown(files_are_loaded_with_their_keys, enter_directory,
		                                leave_directory),
		cmocka_unit_test_setup_teardown(a_file_that_is_not_there_says_so, enter_directory,
		                                leave_directory),
		cmocka_unit_test_setup_teardown(default_paths_follow_the_manual, enter_directory,
		                                leave_directory),
		cmocka_unit_test_setup_teardown(examples_pass_the_check, enter_directory,
		                                leave_directory),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
