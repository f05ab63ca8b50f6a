#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pairs of routers that must be passed at once: direct within a second at 50 ms, and cheaply. (E03)

The matrix as a whole is tests/bench/paths.
"""
import nats
from world import main, report

PAIRS = (
    ("public", "EIM/APDF"),
    ("EIM/EIF", "APDM sequential"),
    ("EIM/ADF", "APDM random"),
    ("EIM/APDF", "EIM/APDF"),
    ("double NAT", "double NAT"),
    ("same NAT, hairpin", None),
    ("same NAT, no hairpin", None),
    ("one carrier, hairpin", None),
    ("random NATs, IPv6 firewalls", None),
    ("IPv6 firewalls only", None),
)
LATE_MAX_MS = 20  # with a lab that is later than this, nothing was measured
TRIES = 3
MAPPINGS_MAX = 64  # of a router's table, for both agents together


def measure(x, y):
    for seed in range(TRIES):
        with nats.Pair(x, y, seed=seed + 1) as pair:
            got = pair.measure(limit=10, settle=0.5)
        if got["late_ms"] <= LATE_MAX_MS:
            return got
        report("  the machine was busy; ms late", got["late_ms"])
    return got


def check(x, y):
    report(f"{x} × {y}" if y else x)
    got = measure(x, y)
    report("  seconds to the first byte", got["first_byte_s"])
    report("  seconds to direct", got["direct_s"])
    report("  packets of each agent", got["packets"])
    report("  mappings on each router", got["mappings"])
    assert got["connected"], got
    assert got["kind"] in nats.DIRECT and got["why"] is None, got
    assert got["direct_s"] <= nats.DIRECT_MAX["cone"], got
    assert max(sum(got["mappings"], []), default=0) <= MAPPINGS_MAX, got


def story():
    for x, y in PAIRS:
        check(x, y)
    x = "one carrier, no hairpin"
    report(x)
    with nats.Pair(x) as pair:
        got = pair.measure(limit=4)
    report("  why", got["why"])
    assert got["connected"] and got["kind"] == "relay" and got["why"], got
    no_family_in_common()


def no_family_in_common():
    """Both say so, as soon as they have heard of each other's addresses."""
    x = "IPv4 only × IPv6 only"
    report(x)
    with nats.Pair(x) as pair:
        got = pair.measure(limit=1)
        assert got["connected"] and got["kind"] == "relay", got
        for agent, peer, here, there in ((pair.a, "far", 4, 6), (pair.b, "near", 6, 4)):
            why = f"no address family in common: IPv{here} here, IPv{there} at the peer"
            pair.wait_until(lambda: agent.path(peer)["why"] == why, 5, f"{agent.name} says: {why}")


main(story)
