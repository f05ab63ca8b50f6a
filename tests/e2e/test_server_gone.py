#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The server ends in the middle of a transfer on the direct path: nobody notices. (E12)

P1, P4: equal data, no stall; when the server is back the agents are with it again.
"""
import time

from world import World, main, report

SIZE = 60_000_000
STALL_MAX = 1
AFTERWARDS = 3  # seconds that a transfer goes on without its server, at least


def case(w, name, end):
    report(f"server ends by {name}")
    fetch = w.fetch()
    fetch.wait_bytes(SIZE // 10)
    end()
    ended_at = time.time()
    got = fetch.result()
    assert got["error"] is None and got["sha256"] == w.digest, got
    report("seconds that it went on without the server", got["ended_at"] - ended_at)
    report("longest stall, s", got["stall_s"])
    assert got["ended_at"] - ended_at > AFTERWARDS, "the transfer was over too early to tell"
    assert got["stall_s"] < STALL_MAX, got
    assert w.a.path("far")["kind"] == "direct"
    # New streams too.
    assert w.fetch(path="/small").result()["sha256"] == w.small
    w.wait_until(lambda: not w.a.status()["servers"][0]["connected"], 60,
                 "a knows that its server is gone", interval=0.2)
    report("seconds until the agent says so", time.time() - ended_at)
    w.server.start()
    begin = time.time()
    for agent in (w.a, w.b):
        w.wait_until(lambda: agent.status()["servers"][0]["connected"], 30,
                     f"{agent.name} is with the server again", interval=0.1)
    report("seconds until both agents are back", time.time() - begin)


def story():
    with World() as w:
        w.digest, w.small = w.file(SIZE), w.file(1000, "small")
        w.serve_files()
        w.b.host.link.set("out", rate_mbit=100, queue_kib=512)
        w.start()
        case(w, "SIGTERM", w.server.stop)
        case(w, "SIGKILL", w.server.kill)


main(story)
