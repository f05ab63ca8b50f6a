#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`path: direct` where there is no direct path: it fails aloud, in time, with its reason. (rule 5.10)

Streams that wait go on when a direct path comes in time; `direct` against `relay` is refused in words
on both sides; and so is a peer without a server whose address does not answer, and a server
that is not reached. P3.
"""
import json
import re
import time

from moves import cut
from world import CULVERT, PROXY, SERVER, World, main, report
import socks

HELD_MAX, KNOWN_MAX, FIRST_MAX = 10, 1, 10  # seconds until a client hears
GENERAL_FAILURE = socks.FAILED


def ask(w, host=None):
    """One request through the proxy: (reply code, seconds)."""
    begin = time.monotonic()
    s = w.connect(PROXY, host=host)
    socks.greet(s)
    return socks.request(s, w.web.address, 80), time.monotonic() - begin


def refused(agent):
    return re.findall(r"info refused peer=\S+ target=\S+ cause=\"(.*)\"", agent.log())


def held(w, asker, peer):
    """Only the relay exists."""
    cut(w, True)
    w.start(wait=["relay"])
    code, seconds = ask(w)
    report("  SOCKS reply, s", f"{code}, {seconds:.2f}")
    assert code == GENERAL_FAILURE and seconds < HELD_MAX, (code, seconds)
    assert len(refused(asker)) == 1 and "path: direct" in refused(asker)[0], asker.log()
    report("  log", refused(asker)[0])
    path = asker.path(peer)
    assert path["kind"] == "relay" and "path: direct" in path["why"], path
    report("  path.why", path["why"])
    w.wait_until(lambda: ask(w)[1] < KNOWN_MAX, 15, "it is known to be missing", interval=0.2)
    begin = time.monotonic()
    got = asker.ask("nc", peer, f"{w.web.address}:80", input="")
    assert got.returncode == 3 and "path: direct" in got.stderr, got
    assert time.monotonic() - begin < KNOWN_MAX, "nc had to wait"
    report("  nc", got.stderr.strip())


def only_a_relay(side):
    with World() as w:
        w.serve_files()
        config = w.a.config["peers"]["far"] if side == "a" else w.b.config["peers"]["near"]
        config["path"] = "direct"
        report(f"only a relay is there, {side} says path: direct")
        held(w, w.a, "far")
        # A client that waits is the first to know when it comes.
        digest = w.file(1_000_000)
        fetch = w.fetch()
        w.wait_until(lambda: w.a.peer("far")["streams"] > 0 or fetch.process.poll() is not None,
                     5, "the stream waits")
        begin = time.monotonic()
        cut(w, False)
        got = fetch.result(20)
        if got["error"]:  # refused before: a new one finds the way
            w.a.wait_path("far", ["direct"], 15)
            got = w.fetch().result(20)
        assert got["error"] is None and got["sha256"] == digest, got
        report("  direct, and through, s", time.monotonic() - begin)
        assert w.server.status()["relay_tx_bytes"] < 100_000, "stream data took the relay"


def released():
    """The direct path comes while the first stream still waits."""
    report("a stream waits, and is released")
    with World() as w:
        w.serve_files()
        digest = w.file(1_000_000)
        w.a.config["peers"]["far"]["path"] = "direct"
        cut(w, True)
        w.start(wait=["relay"])
        fetch = w.fetch()
        w.wait_until(lambda: w.a.peer("far")["streams"] > 0, 5, "the stream waits")
        cut(w, False)
        begin = time.monotonic()
        got = fetch.result(20)
        report("  seconds", time.monotonic() - begin)
        assert got["error"] is None and got["sha256"] == digest, got
        assert w.server.status()["relay_tx_bytes"] < 100_000, "stream data took the relay"


def against_relay():
    report("path: direct against path: relay")
    with World() as w:
        w.serve_files()
        w.a.config["peers"]["far"]["path"] = "direct"
        w.b.config["peers"]["near"]["path"] = "relay"
        w.b.config["proxies"] = [{"listen": f"{PROXY[0]}:{PROXY[1]}", "peer": "near"}]
        w.start(wait=())
        for agent, peer in ((w.a, "far"), (w.b, "near")):
            w.wait_until(lambda: "path: relay" in (agent.path(peer)["why"] or ""), 10,
                         f"{agent.name} says why")
            got = agent.peer(peer)
            assert not got["connected"] and got["path"]["kind"] == "none", got
            report(f"  {agent.name} says", got["path"]["why"])
            code, seconds = ask(w, agent.host)
            assert code == GENERAL_FAILURE and seconds < KNOWN_MAX, (code, seconds)
            assert "path: direct" in refused(agent)[-1], agent.log()
            lines = re.findall(r"warn .*path: direct.*path: relay.*", agent.log())
            assert len(lines) == 1, agent.log()
            report("  log", lines[0])


def not_lent():
    """A server that lends no relay: as if both said path: direct, and the session is quiet."""
    report("a server with relay: { enabled: false }")
    with World() as w:
        w.serve_files()
        w.server.config["server"]["relay"] = {"enabled": False}
        cut(w, True)
        w.start(wait=["relay"])
        code, seconds = ask(w)
        report("  SOCKS reply, s", f"{code}, {seconds:.2f}")
        assert code == GENERAL_FAILURE and seconds < HELD_MAX, (code, seconds)
        for why in (refused(w.a)[0], w.a.path("far")["why"], w.b.path("near")["why"]):
            assert why.startswith("the server lends no relay, so streams wait: "), why
        report("  log", refused(w.a)[0])
        got = w.a.ask("ping", "far", "-n", "3")
        assert got.returncode == 0 and "0 % lost" in got.stdout, got
        for agent, peer in ((w.a, "far"), (w.b, "near")):
            assert [kind for _, kind in agent.paths(peer)] == ["relay"], agent.log()
        report("  lent by a reload")
        w.server.config["server"]["relay"] = {"enabled": True}
        w.server.file.write_text(json.dumps(w.server.config))
        assert w.server.ask("reload", "--server").returncode == 0
        digest = w.file(1_000_000)
        w.wait_until(lambda: "lends no" not in w.a.path("far")["why"], 5, "a knows")
        got = w.fetch().result(20)
        assert got["error"] is None and got["sha256"] == digest, got


def without_anything():
    report("path: direct, no server, and nobody at the address")
    with World(with_server=False) as w:
        w.a.config["peers"]["far"].update(path="direct", address="203.0.113.200:28583")
        w.a.start()
        code, seconds = ask(w)
        assert code == GENERAL_FAILURE and seconds < FIRST_MAX, (code, seconds)
        report("  SOCKS reply, s", f"{code}, {seconds:.2f}")
        report("  log", refused(w.a)[0])
        assert "no answer" in refused(w.a)[0], w.a.log()
        code, seconds = ask(w)
        assert code == GENERAL_FAILURE and seconds < KNOWN_MAX, (code, seconds)


def without_a_server():
    """Neither a wrong key nor a name that does not resolve looks like a peer that is off."""
    report("a server that is not reached")
    for what, server, why in (
            ("another key", lambda w: {"address": f"{SERVER}:28583", "key": w.b.key},
             "no answer by UDP or TCP (server off, network, wrong key"),
            ("no such name", lambda w: {"address": "nobody.invalid", "key": w.server.key},
             "its name is not resolved")):
        with World() as w:
            w.server.start()
            w.b.start()
            w.a.start(servers=[server(w)])
            told = w.wait_until(lambda: (s := w.a.status()["servers"][0])["why"] and
                                why in s["why"] and s, 8, what)
            assert not told["connected"], told
            assert w.a.path("far")["why"] == "no server is connected", w.a.path("far")
            text = w.a.ask("status").stdout
            assert why in text and "no server is connected" in text, text
            report(f"  {what}", told["why"])


def ping():
    report("ping names each path, and waits for the first")
    with World() as w:
        w.far_names({"web.far.lab": w.web.address})
        w.server.start()
        w.a.config["servers"] = w.b.config["servers"] = [
            {"address": "server.lab:28583", "key": w.server.key}]
        cut(w, True)
        w.b.start()
        w.a.start()
        got = w.a.ask("ping", "far", "-n", "1")  # at once: there is no session yet
        assert got.returncode == 0 and "via relay server.lab:28583" in got.stdout, got
        pinging = w.a.host.spawn([CULVERT, "ping", "far", "--control", w.a.control])
        w.wait_until(lambda: "via relay" in pinging.text(), 5, "a reply through the relay")
        cut(w, False)
        w.wait_until(lambda: re.search(r"path changed: via relay server\.lab:28583 -> via direct "
                                       r"192\.0\.2\.33:\d+", pinging.text()), 30, "the direct path")
        pinging.stop()
        report("  it said", pinging.text().splitlines()[-3])


def story():
    only_a_relay("a")
    only_a_relay("b")
    released()
    against_relay()
    not_lent()
    without_anything()
    without_a_server()
    ping()


main(story)
