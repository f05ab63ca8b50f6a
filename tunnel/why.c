/* SPDX-License-Identifier: MIT */
#include "tunnel/why.h"

#include <string.h>

#include "tunnel/punch_plan.h"

/* The core has no stdio: text is put together from pieces, cut at the end of the buffer. */
static void append(char out[ENDPOINT_WHY_MAX], const char *text)
{
	size_t used = strlen(out);
	size_t size = CV_MIN(strlen(text), ENDPOINT_WHY_MAX - 1 - used);

	memcpy(out + used, text, size);
	out[used + size] = 0;
}

static void append_number(char out[ENDPOINT_WHY_MAX], uint64_t n)
{
	char digits[24];
	size_t i = sizeof(digits);

	digits[--i] = 0;
	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0 && i > 0);
	append(out, digits + i);
}

static void append_seconds(char out[ENDPOINT_WHY_MAX], cv_duration d)
{
	append_number(out, (d + CV_SEC(1) - 1) / CV_SEC(1));
	append(out, " s");
}

/* Nobody can be asked for the peer: whatever was known of it may be true no longer. */
static bool is_cut_off(const struct session *s, enum why_servers servers,
                       char out[ENDPOINT_WHY_MAX])
{
	if (servers == WHY_SERVERS_UP || (s->has_address && !s->paths.is_relay_only))
		return false;
	append(out, servers == WHY_SERVERS_DOWN
	                    ? "no server is connected"
	                    : "there is neither a server nor an address: the peer has to call");
	return true;
}

void why_no_session(const struct session *s, cv_time now, enum why_servers servers,
                    char out[ENDPOINT_WHY_MAX])
{
	if (s->initiator.version_seen)
		append(out, "the peer speaks another protocol version");
	else if (now < s->duplicate_until)
		append(out, "another agent uses this identity");
	else if (is_cut_off(s, servers, out))
		return;
	else if (s->down_code == CLOSE_SHUTDOWN)
		append(out, "the peer was stopped");
	else if (s->gone_servers)
		append(out, "the server saw the peer end");
	else if (s->absent_servers)
		append(out, "the peer is not at the server, or has not configured this agent");
	else if (s->address_refusals > 2)
		append(out, "nobody listens at the peer's address");
	else if (s->attempts_failed)
		append(out, "no answer to the handshake (peer off, network, wrong key, or a "
		            "pre-shared key on one side only)");
	else
		append(out, "connecting");
	if (!s->initiator.is_running && s->attempt_at != CV_TIME_NEVER && s->attempt_at > now) {
		append(out, "; next try in ");
		append_seconds(out, s->attempt_at - now);
	}
}

void why_clash(char out[ENDPOINT_WHY_MAX])
{
	append(out, "one side says path: direct, the other path: relay");
}

/* "our router: address-and-port-dependent mapping, random ports" */
static void append_router(char out[ENDPOINT_WHY_MAX], const char *whose,
                          const struct nat_profile *nat)
{
	append(out, whose);
	append(out, nat_rule_name((enum nat_rule)nat->mapping));
	append(out, " mapping");
	if (nat_is_hard(nat) && nat->ports != NAT_PORTS_UNKNOWN) {
		append(out, ", ");
		append(out, nat_ports_name((enum nat_ports)nat->ports));
		append(out, " ports");
	}
	if (nat->filtering == NAT_ADDRESS_AND_PORT_DEPENDENT && !nat_is_hard(nat))
		append(out, ", port-dependent filtering");
}

static void append_routers(const struct session *s, char out[ENDPOINT_WHY_MAX])
{
	append_router(out, " (our router: ", &s->core->nat);
	append_router(out, "; the peer's: ", &s->punch.peer);
	append(out, ")");
}

static void append_retry(const char *what, cv_time now, cv_time at, char out[ENDPOINT_WHY_MAX])
{
	if (at == CV_TIME_NEVER || at <= now)
		return;
	append(out, what);
	append_seconds(out, at - now);
}

/* Whether we have an address of that family: by any other its packets do not even leave. While none
 * is known nothing is said of it. */
static bool has_family(const struct session_core *c, uint8_t family)
{
	for (unsigned i = 0; i < c->candidate_count; i++) {
		if (c->candidates[i].addr.family == family)
			return true;
	}
	return c->candidate_count == 0;
}

/* The plain probes, and what became of them; when they begin again, or 0 while they run. */
static cv_time read_probes(const struct session *s, char out[ENDPOINT_WHY_MAX])
{
	unsigned checking = 0, failed = 0, narrow = 0;
	uint8_t foreign = ADDR_NONE;
	cv_time retry_at = CV_TIME_NEVER;

	for (unsigned i = 0; i < PATHS_MAX; i++) {
		const struct path *p = &s->paths.list[i];

		if (p->state == PATH_FREE || p->to.is_relay)
			continue;
		if (!has_family(s->core, p->to.addr.family)) {
			foreign = p->to.addr.family;
			continue;
		}
		/* What has failed once is being tried again, and again: it is known. */
		checking += (p->state == PATH_CHECKING && p->retry_interval == PATH_RETRY_MIN) ||
		            p->state == PATH_VALID;
		failed += p->state == PATH_FAILED || p->state == PATH_CHECKING;
		narrow += p->is_narrow;
		if (p->state == PATH_FAILED)
			retry_at = cv_time_min(retry_at, p->retry_at);
	}
	if (checking > 0)
		append(out, "direct addresses are being tried");
	else if (narrow > 0)
		append(out, "a direct path passes small packets only");
	else if (failed > 0)
		append(out, "no direct address answered");
	else if (foreign != ADDR_NONE)
		append(out, foreign == ADDR_V6
		                    ? "no address family in common: IPv4 here, IPv6 at the peer"
		                    : "no address family in common: IPv6 here, IPv4 at the peer");
	else
		append(out, "no direct address is known yet");
	return checking > 0 ? 0 : retry_at;
}

void why_tcp(const struct path *p, char out[ENDPOINT_WHY_MAX])
{
	if (p->kind != PATH_KIND_TCP)
		return;
	append(out, "UDP to the server does not pass ");
	append(out, !p->is_tcp_there ? "here" : p->is_tcp_here ? "on either side" : "at the peer");
	append(out, "; ");
}

void why_relayed(const struct session *s, cv_time now, char out[ENDPOINT_WHY_MAX])
{
	struct punch_plan plan = { .kind = PUNCH_PLAN_NONE };
	bool is_scant = s->paths.active != PATHS_NONE && s->paths.list[s->paths.active].is_scant;
	cv_time retry_at;

	if (is_scant)
		append(out, "the server lends no relay, so streams wait: ");
	if (s->policy == POLICY_RELAY) {
		append(out, "the configuration says path: relay");
		return;
	}
	if (s->assoc.peer_policy == POLICY_RELAY) {
		append(out, "the peer's configuration says path: relay");
		return;
	}
	if (!is_scant && session_is_held(s))
		append(out, "path: direct, so streams wait: ");
	if (s->core->nat_version != 0 && s->punch.has_peer)
		plan = punch_plan(&s->core->nat, &s->punch.peer, s->has_smaller_key);
	if (s->punch_doing) {
		append(out, s->punch_doing);
		append_routers(s, out);
		return;
	}
	if (plan.kind == PUNCH_PLAN_CROSS && s->punch_one_in > 0) {
		append(out, "both routers give every destination another port, and not in an order "
		            "that could be known: one attempt in ");
		append_number(out, s->punch_one_in);
		append(out, " would meet");
		append_routers(s, out);
		return;
	}
	if (plan.kind != PUNCH_PLAN_NONE && s->punches_failed > 0) {
		append(out, "the ports of the routers were not met");
		append_routers(s, out);
		append_retry("; next try in ", now, s->punch_at, out);
		return;
	}
	retry_at = read_probes(s, out);
	if (retry_at == 0)
		return;
	if (s->core->nat_version != 0 && s->punch.has_peer)
		append_routers(s, out);
	append_retry("; next try in ", now, retry_at, out);
}
