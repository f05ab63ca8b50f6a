#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A transfer while its network changes under it. (E05, E06, E12, E13)

The cases of tests/bench/moves, smaller; those that test_migration and test_server_gone tell are left
to them.
"""
import moves
from world import main, report

CASES = ("relay-to-direct", "address-both", "move-receiver", "swap", "interface", "relay-restart",
         "two-servers", "sleep-receiver", "sleep-both")


def story():
    options = moves.Options(size=60_000_000, rate_mbit=60, sleep_s=12)
    for case in (c for c in moves.CASES if c.name in CASES):
        report(case.what)
        got = moves.run(case, options)
        report(f"  longest stall, s (at most {case.stall_max:g})", got["stall_s"])
        if got["direct_s"] is not None:
            report("  direct again, s", got["direct_s"])
        for note in got["notes"]:
            report(f"  {note}")
        assert got["is_met"], got


main(story)
