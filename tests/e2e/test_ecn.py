#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Explicit congestion notification: used where the network has it, harmless where it has not.

What the data path carries is seen at the wire of b's network: packets that may be marked become
CE, are cleared, or are dropped there.
"""
import time

from world import World, main, report

SIZE = 4_000_000


def fetch(w, digest, what):
    begin = time.monotonic()
    got = w.fetch().result()
    assert not got["error"] and got["sha256"] == digest, f"{what}: {got}"
    report(f"  {what}: seconds", time.monotonic() - begin)


def story():
    with World(one_way_ms=20) as w:
        digest = w.file(SIZE)
        w.serve_files()
        wire = w.office.link

        report("a queue that marks")
        w.start()
        wire.set("out", rate_mbit=20, queue_kib=1024, ecn_kib=32)
        for i in range(2):
            before = wire.counters()["out"]
            fetch(w, digest, "fetched")
            after = wire.counters()["out"]
            marked = after["marked"] - before["marked"]
            report("  packets marked", marked)
            assert marked > 0, "nothing that left b could be marked"
        wire.set("out", ecn_kib=0)

        report("a network that clears the field, then drops what has it set")
        wire.set("out", ecn="clear")
        fetch(w, digest, "fetched")
        wire.set("out", ecn="drop")
        fetch(w, digest, "fetched")
        dropped = wire.counters()["out"]["drop_ecn"]
        assert dropped == 0, f"{dropped} packets were marked after it had been cleared"

        report("a network that drops it from the beginning, both ways")
        for agent in (w.a, w.b):
            agent.stop()
        w.home.link.set("out", ecn="drop")
        begin = time.monotonic()
        for agent in (w.b, w.a):
            agent.start()
        w.a.wait_path("far", ["direct"])
        w.b.wait_path("near", ["direct"])
        report("  seconds to direct", time.monotonic() - begin)
        fetch(w, digest, "fetched")
        for link in (wire, w.home.link):
            dropped = link.counters()["out"]["drop_ecn"]
            report("  packets dropped", dropped)
            assert dropped < 100, "marks were not given up"
        assert dropped + wire.counters()["out"]["drop_ecn"] > 0, "nothing was ever marked"


main(story)
