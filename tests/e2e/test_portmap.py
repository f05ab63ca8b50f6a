#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A real miniupnpd maps the port, by each protocol in turn: what was relayed becomes direct.

       a ── router (kernel NAT, miniupnpd) ── internet ── office (NAT) ── b
                                                 └── server

Both NATs give random ports and let nobody in unasked, so that without a mapping the two stay
relayed for as long as anybody likes to wait.
"""
import os
import re
import signal
import time

from world import SERVER, World, main, report, skip
from gateway import Gateway, missing_tools

ROUTER = "88.77.66.55"
RELAYED_FOR_S = 8   # what is not direct by then is taken for hard; attempts have been made
MAPPED_S = {"pcp": 1, "nat-pmp": 3, "upnp": 5}
DIRECT_S = 3        # from the mapping to the path
# A gateway announces itself when it starts. This one had been up for so short a time that its epoch
# does not betray it: then the announcement is heeded 5 s after the last answer, plus a second.
AGAIN_S = 8
STOP_S = 1.6        # a gateway that is dead in mid-sentence holds up the end by a second


def portmap(agent):
    return agent.status()["portmap"]


def wait_mapped(agent, protocol, timeout):
    def current():
        found = portmap(agent)
        return found if found["protocol"] else None
    found = agent.world.wait_until(current, timeout, f"a mapping by {protocol}", interval=0.02)
    assert found["protocol"] == protocol, found
    assert re.fullmatch(rf"{re.escape(ROUTER)}:\d+", found["address"]), found
    assert 7000 <= found["expires_s"] <= 7200, found
    assert found["why"] is None, found
    return found


def without(w, gw, a, b):
    report("no port mapping: relayed")
    a.start()
    a.wait_path("b", ["relay", "direct"])
    begin = time.monotonic()
    w.wait_until(lambda: portmap(a)["why"] and "UPnP" in portmap(a)["why"], 10, "a says why")
    report("  a says after s", time.monotonic() - begin)
    report("  a says", portmap(a)["why"])
    assert portmap(a)["address"] is None and portmap(a)["expires_s"] is None
    assert gw.asked() > 0
    w.wait_until(lambda: time.monotonic() - begin > RELAYED_FOR_S or
                 a.path("b")["kind"] == "direct", 2 * RELAYED_FOR_S, "it is still relayed")
    assert a.path("b")["kind"] == "relay", a.path("b")
    report("  path after s", f"{RELAYED_FOR_S}: {a.path('b')['kind']}")
    a.stop()


def turned_off(w, gw, a, b):
    report("portmap: false")
    asked = gw.asked()
    a.start(portmap=False)
    a.wait_path("b", ["relay"])
    assert portmap(a) == {"protocol": None, "address": None, "expires_s": None,
                          "why": "turned off (portmap: false)"}, portmap(a)
    a.stop()
    assert gw.asked() == asked
    a.config["portmap"] = True


def mapped(w, gw, a, b, protocol):
    report(f"a mapping by {protocol}")
    begin = time.monotonic()
    a.start()
    found = wait_mapped(a, protocol, MAPPED_S[protocol])
    report("  mapped after s", time.monotonic() - begin)
    report("  address", found["address"])
    assert len(gw.mappings()) == 1, gw.mappings()
    port = found["address"].rpartition(":")[2]
    assert f"dport {port} " in gw.mappings()[0], gw.mappings()
    a.wait_path("b", ["direct"], DIRECT_S + MAPPED_S[protocol])
    path = b.wait_path("a", ["direct"], DIRECT_S)
    report("  direct after s", time.monotonic() - begin)
    assert path["address"] == found["address"], (path, found)
    pinged = b.ask("ping", "a", "-n", "1")
    assert pinged.returncode == 0 and "direct" in pinged.stdout, pinged
    return found


def ends(gw, a, limit=STOP_S):
    took = a.stop()
    report("  stopped after s", took)
    assert took < limit, took
    assert not gw.mappings(), gw.mappings()


def restarted(w, gw, a, b):
    report("  the gateway restarts")
    gw.stop_daemon()
    assert not gw.mappings()
    begin = time.monotonic()
    gw.start_daemon()
    w.wait_until(gw.mappings, AGAIN_S, "the mapping is there again")
    report("  mapped again after s", time.monotonic() - begin)
    wait_mapped(a, "pcp", 1)
    b.wait_path("a", ["direct"], 10)


def ipv6(w, gw, a):
    report("IPv6: the firewall is opened by PCP")
    gw.give_ipv6(a.host)
    gw.start_daemon()
    a.start()
    w.wait_until(gw.pinholes, MAPPED_S["pcp"] + 1, "an opening")
    assert len(gw.mappings()) == 1, gw.mappings()
    ends(gw, a)
    assert not gw.pinholes(), gw.pinholes()
    gw.stop_daemon()


def dead_at_the_end(gw, a, protocol):
    report(f"  a gateway that is dead at the end ({protocol})")
    os.kill(gw.daemon.pid, signal.SIGSTOP)
    took = a.stop()
    report("  stopped after s", took)
    assert took < STOP_S, took
    os.kill(gw.daemon.pid, signal.SIGCONT)


def story():
    missing = missing_tools()
    if missing:
        skip(f"{', '.join(missing)}: not here")
    with World(mapping="address-and-port-dependent", allocation="random") as w:
        gw = Gateway(w.lab, "router", public=ROUTER)
        a = w.agent("inside", gw.host("inside", public="88.77.66.56"))
        b = w.b
        servers = [{"address": f"{SERVER}:28583", "key": w.server.key}]
        a.config.update(servers=servers, peers={"b": {"key": b.key}})
        b.config.update(servers=servers, peers={"a": {"key": a.key}})
        w.server.start()
        b.start()

        without(w, gw, a, b)
        turned_off(w, gw, a, b)

        gw.start_daemon()
        mapped(w, gw, a, b, "pcp")
        restarted(w, gw, a, b)
        ends(gw, a)
        gw.stop_daemon()

        gw.start_daemon(upnp=False)
        gw.refuse_pcp(True)
        mapped(w, gw, a, b, "nat-pmp")
        ends(gw, a)
        mapped(w, gw, a, b, "nat-pmp")
        dead_at_the_end(gw, a, "nat-pmp")
        gw.refuse_pcp(False)
        gw.stop_daemon()

        gw.start_daemon(natpmp=False)
        mapped(w, gw, a, b, "upnp")
        ends(gw, a)
        mapped(w, gw, a, b, "upnp")
        dead_at_the_end(gw, a, "upnp")
        gw.stop_daemon()

        ipv6(w, gw, a)


main(story)
