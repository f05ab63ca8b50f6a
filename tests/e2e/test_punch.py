#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ways through routers that give every destination another port: by prediction within 3 s, through a
carrier's block within 10 s, by the birthday method within 20 s; what they cost the routers and the
agents, what is left open, and what status says of it. (E03, T40)

Ports are random: one birthday attempt in twenty fails, and then another world has to succeed.
"""
import os
import re
import time

import nats
from world import main, report

STEPS_OF_2 = "EIM/APDF × sequential in steps of 2"
BLOCK = "EIM/APDF × a carrier's blocks of 512 ports"
PREDICTED_S, BLOCK_S, BIRTHDAY_S = 3.0, 10.0, 20.0
PAIRS = (
    ("EIM/APDF", "APDM sequential", PREDICTED_S),
    ("APDM sequential", "APDM sequential", PREDICTED_S),
    (STEPS_OF_2, None, PREDICTED_S),
    (BLOCK, None, BLOCK_S),
    ("EIM/APDF", "APDM random", BIRTHDAY_S),
)
TABLE = 1024  # entries of a router's
SOCKETS_MAX, PACKETS_MAX = 256, 768  # of an attempt, each side
LIMITS = {"sockets": SOCKETS_MAX, "packets": PACKETS_MAX, "rate": 100, "hourly": 6144}
LEFT_MAX = 5  # UDP sockets over IPv4: the main one, a path's, one that measures a mapping, and two
#               that look for a gateway with port mappings
LATE_MAX_MS = 20  # with a lab that is later than this, nothing was measured
TRIES = 3
BIRTHDAYS = 3  # one in 8,000 fails as often
ATTEMPT = re.compile("being (guessed|tried)")


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


def measure(x, y, limit):
    """What came of it, of the first world in which the machine kept up."""
    for seed in range(TRIES):
        with nats.Pair(x, y, seed=seed + 1) as pair:
            watch = Watch(pair)
            got = pair.measure(limit=limit, settle=0.5)
            watch.end()
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


def check(x, y, bound):
    report(f"{x} × {y}" if y else x)
    for _ in range(BIRTHDAYS if bound == BIRTHDAY_S else 1):
        got = measure(x, y, bound + 1)
        if got["direct_s"] is not None:
            break
        report("  ports were not met")
    report("  seconds to direct", got["direct_s"])
    report("  packets of each agent", got["packets"])
    report("  most mappings on each router", got["peaks"])
    report("  most UDP sockets of an agent", got["sockets"])
    assert got["connected"] and got["kind"] == "direct", got
    assert got["direct_s"] <= bound, got
    assert max(got["peaks"]) < TABLE, got
    assert got["sockets"] <= SOCKETS_MAX + 16, got
    check_status(got, y)
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
