#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A stream that nobody reads holds up itself only, and costs little memory. (P5, P8)"""
import json
import sys

import socks
from world import HERE, PROXY, World, main, report, resident_bytes

STREAMS, SECONDS, ROUNDS = 16, 2, 3
SHARE_MIN = 0.75
UNREAD = 20  # in the second part: more than what a session's first window would hold
MEMORY_MAX = 64 << 20


def mbit(w):
    """What 16 readers get together."""
    process = w.a.host.spawn([sys.executable, HERE / "transfer.py",
                              f"--proxy={PROXY[0]}:{PROXY[1]}", "drain",
                              f"{w.web.address}:9", STREAMS, SECONDS])
    assert process.wait(60) == 0, process.text()
    got = json.loads(process.text().splitlines()[-1])
    assert min(got["counts"]) > 0, got
    return sum(got["counts"]) * 8 / got["seconds"] / 1e6


def stuck(w, count):
    """Streams that are not read, once all that there is room for has arrived."""
    streams = [socks.connect(w.connect(PROXY), w.web.address, 9) for _ in range(count)]
    last = [None, 0]

    def is_full():
        now = w.a.peer("far")["rx_bytes"]
        last[1] = last[1] + 1 if now == last[0] else 0
        last[0] = now
        return last[1] >= 5
    w.wait_until(is_full, 30, "the windows are full", interval=0.1)
    return streams


def story():
    with World(one_way_ms=10) as w:
        w.serve_flood()
        # A link that is the bottleneck also where the processor is shared.
        w.b.host.link.set("out", rate_mbit=80, queue_kib=256)
        w.start()
        before = [resident_bytes(agent.process.pid) for agent in (w.a, w.b)]
        rates = {0: [], 1: [], UNREAD: []}
        for count in rates:
            unread = stuck(w, count) if count else []
            rates[count] = [mbit(w) for _ in range(ROUNDS)]
            report(f"Mbit/s of {STREAMS} readers beside {count} unread streams",
                   " ".join(f"{rate:.1f}" for rate in rates[count]))
            for s in unread:
                s.close()
        median = {count: sorted(values)[ROUNDS // 2] for count, values in rates.items()}
        for count in (1, UNREAD):
            share = median[count] / median[0]
            report(f"share with {count} unread", share)
            assert share >= SHARE_MIN
        after = [resident_bytes(agent.process.pid) for agent in (w.a, w.b)]
        report("resident MiB of a and b, before and after",
               [f"{x / (1 << 20):.1f}" for x in before + after])
        for x, y in zip(before, after):
            assert y - x < MEMORY_MAX, "memory grew beyond its bound"


main(story)
