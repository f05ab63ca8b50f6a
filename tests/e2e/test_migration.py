#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A running transfer changes its way without losing a byte. (E05, E08)

From direct to relay and back, as often as the direct way is cut; and new addresses in mid-transfer
on each side. P1, P4.
"""
import time

from world import HOME, OFFICE, World, main, report

SIZE = 80_000_000
REBOUND_STALL_MAX = 2  # seconds
CUT_STALL_MAX = 4
BOTH_STALL_MAX = 7  # nobody's address is known any more
BACK_MAX = 30


def cut(w, is_cut):
    """Packets between the two NATs vanish in their hosts; the server stays reachable."""
    for agent, other in ((w.a, OFFICE), (w.b, HOME)):
        verb = "add" if is_cut else "del"
        got = agent.host.run(["ip", "route", verb, f"{other}/32", "dev", "lo"])
        assert got.returncode == 0, got.stderr


def transfer(w, what, stall_max, *steps):
    report(what)
    fetch = w.fetch()
    fetch.wait_bytes(SIZE // 20)
    for step in steps:
        step(fetch)
    got = fetch.result(90)
    assert got["error"] is None and got["sha256"] == w.digest, got
    report("  longest stall, s", got["stall_s"])
    assert got["stall_s"] < stall_max, got


def flows(w, fetch):
    """The transfer goes on, whatever was done to it."""
    fetch.wait_bytes(min(fetch.bytes() + (2 << 20), SIZE), timeout=20)


def to_relay(w):
    def step(fetch):
        begin = time.monotonic()
        cut(w, True)
        w.a.wait_path("far", ["relay"], 10)
        w.b.wait_path("near", ["relay"], 10)
        report("  seconds to the relay", time.monotonic() - begin)
        report("  why", w.a.path("far")["why"])
        flows(w, fetch)
    return step


def to_direct(w):
    def step(fetch):
        begin = time.monotonic()
        cut(w, False)
        w.a.wait_path("far", ["direct"], BACK_MAX)
        w.b.wait_path("near", ["direct"], BACK_MAX)
        report("  seconds to the direct path", time.monotonic() - begin)
        flows(w, fetch)
    return step


def rebind(w, *nats):
    def step(fetch):
        begin = time.monotonic()
        for nat in nats:
            nat.reboot()
        flows(w, fetch)
        report(f"  seconds until 2 MiB more had come, {len(nats)} new", time.monotonic() - begin)
        w.a.wait_path("far", ["direct"], BACK_MAX)
        w.b.wait_path("near", ["direct"], BACK_MAX)
        report("  seconds until both were direct", time.monotonic() - begin)
    return step


def story():
    with World() as w:
        w.digest = w.file(SIZE)
        w.serve_files()
        w.b.host.link.set("out", rate_mbit=40, queue_kib=256)
        w.start()
        transfer(w, "the direct way is cut, and comes back", CUT_STALL_MAX,
                 to_relay(w), to_direct(w))
        transfer(w, "the receiver's NAT restarts, then the sender's", REBOUND_STALL_MAX,
                 rebind(w, w.home), rebind(w, w.office))
        transfer(w, "both NATs restart at once", BOTH_STALL_MAX, rebind(w, w.home, w.office))


main(story)
