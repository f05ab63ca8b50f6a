#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server's name that is being looked up while the network changes: the new network's answer counts.

The old network's name server never answers. Before, what was in flight there was waited for, and
then the next attempt.
"""
import threading
import time

import names
from world import SERVER, World, main, report

NAME = "rv.example"
ANSWER_S = 0.6  # of the new network's name server
SOON_S, LATER_S = 2.5, 3.5  # 200 ms of gathering, the answer (twice), the handshake


def lasts(seconds):
    """How long the old network is silent is part of the story: nothing is waited for here."""
    threading.Event().wait(seconds)


def change(w, nameserver):
    w.a.host.resolv_file.write_text(f"nameserver {nameserver.address}\n")
    got = w.a.host.run(["ip", "addr", "add", "10.99.0.1/32", "dev", "eth0"])
    assert got.returncode == 0, got.stderr


def looked_up(w, silent, old, new, after, limit):
    report(f"the network changes {after} s after the name was asked for")
    before = old.asked[NAME]
    w.a.host.resolv_file.write_text(f"nameserver {silent.address}\n")
    w.a.start(servers=[{"address": f"{NAME}:28583", "key": w.server.key}])
    w.wait_until(lambda: old.asked[NAME] > before, 5, "the silent name server is asked")
    lasts(after)
    change(w, new)
    begin = time.monotonic()
    w.wait_until(lambda: w.a.status()["servers"][0]["connected"], 20, "a is with the server",
                 interval=0.05)
    took = time.monotonic() - begin
    report("  seconds until a was with the server", took)
    assert took < limit, took
    w.a.stop()
    w.a.host.run(["ip", "addr", "del", "10.99.0.1/32", "dev", "eth0"])


def story():
    with World() as w:
        silent = w.lab.host("silent", public="203.0.113.53")
        new = w.lab.host("new", public="203.0.113.54")
        old_names = names.NameServer(silent, {NAME: names.Answer(silent=True)})
        names.NameServer(new, {NAME: names.Answer(SERVER, delay=ANSWER_S)})
        w.server.start()
        looked_up(w, silent, old_names, new, 0, SOON_S)
        # What is in flight has no time left for the new answer: it is asked for once more.
        looked_up(w, silent, old_names, new, 4.5, LATER_S)


main(story)
