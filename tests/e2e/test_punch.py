#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ways through routers that give every destination another port: by prediction within 3 s, through a
carrier's block within 10 s, by the birthday method within 20 s, by crossing within 5 s; what they
cost the routers and the agents, what is left open, and what status says of it. A stream goes on
all the while. (E03, T40)

Ports are random: one birthday attempt in twenty fails, and every other cross. Then another world has
to succeed: the next attempt in the same one comes after two minutes.
"""
import contextlib
import os
import re
import socket
import threading
import time

import nats
import socks
from world import PROXY, main, report

STEPS_OF_2 = "EIM/APDF × sequential in steps of 2"
BLOCK = "EIM/APDF × a carrier's blocks of 512 ports"
CROSS, CROSS_BLOCK = "APDM sequential × a carrier's block of 256 ports", 256
PREDICTED_S, BLOCK_S, BIRTHDAY_S, CROSS_S = 3.0, 10.0, 20.0, 5.0
PAIRS = (
    ("EIM/APDF", "APDM sequential", PREDICTED_S),
    ("APDM sequential", "APDM sequential", PREDICTED_S),
    (STEPS_OF_2, None, PREDICTED_S),
    (BLOCK, None, BLOCK_S),
    ("EIM/APDF", "APDM random", BIRTHDAY_S),
    (CROSS, None, CROSS_S),
)
TABLE = 1024  # entries of a router's
SOCKETS_MAX, PACKETS_MAX = 256, 768  # of an attempt, each side
LIMITS = {"sockets": SOCKETS_MAX, "packets": PACKETS_MAX, "rate": 100, "hourly": 6144}
LEFT_MAX = 5  # UDP sockets over IPv4: the main one, a path's, one that measures a mapping, and two
#               that look for a gateway with port mappings
LATE_MAX_MS = 20  # with a lab that is later than this, nothing was measured
TRIES = 3
WORLDS = {BIRTHDAY_S: 3, CROSS_S: 13}  # one in 8,000 fails as often, of both
ROW = 33  # sockets of whose ports are known, one of them for a server to see; a packet of each
PAUSE_MAX_S = 1.0
ATTEMPT = re.compile("being (guessed|tried)")
CROSSED = re.compile("many ports of both routers are being tried|ports of the routers were not met")


def udp_sockets(agent):
    """How many UDP sockets over IPv4 an agent has open."""
    where = f"/proc/{agent.process.pid}"
    with open(f"{where}/net/udp") as f:
        udp = {line.split()[9] for line in list(f)[1:]}
    count = 0
    for fd in os.listdir(f"{where}/fd"):
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"{where}/fd/{fd}"))
        except FileNotFoundError:
            continue  # closed meanwhile
        count += bool(found and found[1] in udp)
    return count


class Watch:
    """What an agent says and holds while it is on its way."""

    def __init__(self, pair):
        self.whys, self.sockets, self.is_over = set(), 0, False
        self.task = pair.in_background(lambda: self._watch(pair))

    def _watch(self, pair):
        while not self.is_over:
            for agent, name in ((pair.a, "far"), (pair.b, "near")):
                if not agent.is_running or not agent.control.exists():
                    continue
                try:
                    self.sockets = max(self.sockets, udp_sockets(agent))
                    self.whys.add(agent.path(name)["why"])
                except (AssertionError, FileNotFoundError, StopIteration):
                    continue  # not up yet
            time.sleep(0.1)

    def end(self):
        self.is_over = True
        self.task.result()
        return self


class Talk:
    """One stream from a to b through the proxy, from the first moment on: a word and its echo."""

    def __init__(self, pair, every_s=0.02):
        self.times, self.is_over, self.every_s = [], False, every_s
        self.listener = pair.b.host.socket(kind=socket.SOCK_STREAM, bind=("127.0.0.1", 0))
        self.listener.listen(16)
        self.listener.settimeout(None)
        threading.Thread(target=self._echo, daemon=True).start()
        self.task = pair.in_background(lambda: self._talk(pair.a.host))

    def _echo(self):
        with contextlib.suppress(OSError):
            while True:
                with self.listener.accept()[0] as s:
                    s.settimeout(None)
                    while word := s.recv(64):
                        s.sendall(word)

    def _connect(self, host):
        while not self.is_over:
            s = host.socket(kind=socket.SOCK_STREAM, bind=None)
            s.settimeout(5)
            try:
                s.connect(PROXY)
                return socks.connect(s, "127.0.0.1", self.listener.getsockname()[1])
            except (OSError, EOFError, AssertionError):
                s.close()
                time.sleep(0.01)
        return None

    def _talk(self, host):
        s = self._connect(host)
        while s and not self.is_over:
            word = len(self.times).to_bytes(8, "big")
            s.sendall(word)
            assert socks.read_exactly(s, 8) == word
            self.times.append(time.time())
            time.sleep(self.every_s)
        if s:
            s.close()

    def end(self):
        """When echoes came."""
        self.is_over = True
        self.task.result()
        self.listener.close()
        return self.times


def measure(x, y, limit, seed):
    """What came of it, of the first world in which the machine kept up."""
    for i in range(TRIES):
        with nats.Pair(x, y, seed=seed * TRIES + i + 1) as pair:
            watch, talk = Watch(pair), Talk(pair)
            got = pair.measure(limit=limit, settle=0.5)
            watch.end()
            got["echoes"] = talk.end()
            got["direct_at"] = [pair.first_direct(*end) for end in
                                ((pair.a, "far"), (pair.b, "near"))]
            got["refused"] = [nat.counters()["drop_no_port"]
                              for nat in pair.routers_a + pair.routers_b]
            got["sockets"], got["whys"] = watch.sockets, watch.whys
            got["peaks"] = [nat.counters()["mappings_peak"]
                            for nat in pair.routers_a + pair.routers_b]
            got["status"] = [pair.a.status(), pair.b.status()]
            # From the relay to the direct path, without a gap.
            for agent, name in ((pair.a, "far"), (pair.b, "near")):
                kinds = [kind for _, kind in agent.paths(name)]
                assert "none" not in kinds, agent.log()
            if got["direct_s"] is not None:
                for agent in (pair.a, pair.b):
                    pair.wait_until(lambda a=agent: udp_sockets(a) <= LEFT_MAX, 15,
                                    f"{agent.name} has closed what it does not need")
        if got["late_ms"] <= LATE_MAX_MS:
            return got
        report("  the machine was busy; ms late", got["late_ms"])
    return got


def check_status(got, y):
    """The fields of status: what each router is, and what the attempts cost."""
    mappings = {status["nat"]["mapping"] for status in got["status"]}
    assert nats.APDM in mappings, mappings
    costs = [status["punch"] for status in got["status"]]
    report("  attempts, packets, sockets of each",
           [[cost["attempts"], cost["packets"], cost["sockets"]] for cost in costs])
    assert sum(cost["attempts"] for cost in costs) >= 1, costs
    for cost in costs:
        assert cost["limits"] == LIMITS, cost
        used = LIMITS["hourly"] // 2 - cost["packets_left"]
        assert 0 <= used <= cost["packets"], cost  # some have accrued again
        spent = 2 * LIMITS["sockets"] - cost["sockets_left"]
        assert 0 <= spent <= cost["sockets"], cost
    assert sum(cost["succeeded"] for cost in costs) == 1, costs
    for status in got["status"]:
        assert status["nat"]["filtering"] in (nats.APDM, "unknown"), status["nat"]
        assert status["punch"]["packets"] <= PACKETS_MAX * max(status["punch"]["attempts"], 1)
    if y == "APDM random":
        assert "random" in {status["nat"]["ports"] for status in got["status"]}
    assert all(status["peers"][0]["path"]["why"] is None for status in got["status"])


def check_talk(got, bound):
    """The stream did not notice any change; where chance takes its time it began on the relay."""
    echoes, direct_at = got["echoes"], got["direct_at"]
    assert len(echoes) > 1, got
    pauses = [after - before for before, after in zip(echoes, echoes[1:])]
    report("  echoes, seconds of the longest pause", [len(echoes), round(max(pauses), 3)])
    assert max(pauses) <= PAUSE_MAX_S, pauses
    if got["direct_s"] is not None:
        assert max(direct_at) < echoes[-1], got
        assert bound not in WORLDS or echoes[0] < min(direct_at), got


def is_crossed(got):
    """Both routers were taken for what they are, from the beginning. One in a thousand of a block's
    looks as if its ports had an order."""
    ports = {status["nat"]["ports"] for status in got["status"]}
    return ports == {"regular", "random"} and \
        sum(status["punch"]["attempts"] for status in got["status"]) == 1


def check_cross(got):
    """Both parts of a cross, and no more: whose ports are known makes a row, the other one aims from
    as many sockets as that takes at it, and leaves half of its block to others."""
    costs = [status["punch"] for status in got["status"]]
    known, other = sorted(costs, key=lambda cost: cost["attempts"])
    assert known["sockets"] == ROW and known["packets"] <= ROW, costs
    assert other["packets"] <= CROSS_BLOCK // 2, costs
    assert other["sockets"] <= CROSS_BLOCK // 2 // (ROW - 1), costs
    assert max(got["refused"]) == 0, got


def check_not_met(got, bound):
    """It was tried, the relay carries on, and status says why."""
    report("  ports were not met; why", got["why"])
    assert got["connected"] and got["kind"] == "relay", got
    check_talk(got, bound)
    if bound == CROSS_S:
        assert CROSSED.search(got["why"]), got
        check_cross(got)


def check(x, y, bound):
    report(f"{x} × {y}" if y else x)
    for seed in range(WORLDS.get(bound, 1)):
        got = measure(x, y, bound + 1, seed)
        if bound == CROSS_S and not is_crossed(got):
            report("  a router was taken for another", [s["nat"] for s in got["status"]])
            continue
        if got["direct_s"] is not None:
            break
        check_not_met(got, bound)
    report("  seconds to direct", got["direct_s"])
    report("  packets of each agent", got["packets"])
    report("  most mappings on each router", got["peaks"])
    report("  most UDP sockets of an agent", got["sockets"])
    assert got["connected"] and got["kind"] == "direct", got
    assert got["direct_s"] <= bound, got
    assert max(got["peaks"]) < TABLE, got
    assert got["sockets"] <= SOCKETS_MAX + 16, got
    check_status(got, y)
    check_talk(got, bound)
    if bound == CROSS_S:
        assert is_crossed(got), got
        check_cross(got)
    # Whoever looked while it was under way was told; a prediction may be too quick for that.
    if bound == BIRTHDAY_S:
        assert any(why and ATTEMPT.search(why) for why in got["whys"]), got["whys"]


def check_hopeless():
    """Where no plan helps nothing is sent, and why says so."""
    report("APDM random × APDM sequential")
    with nats.Pair("APDM random", "APDM sequential") as pair:
        got = pair.measure(limit=4)
        report("  why", got["why"])
        assert got["connected"] and got["kind"] == "relay", got
        assert "both routers give every destination another port" in got["why"], got
        assert "random ports" in got["why"] and "regular ports" in got["why"], got
        for agent in (pair.a, pair.b):
            assert agent.status()["punch"]["packets"] == 0


def story():
    for x, y, bound in PAIRS:
        check(x, y, bound)
    check_hopeless()


main(story)
