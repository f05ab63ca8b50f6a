#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hundreds of clients that never ask, and hundreds more than there are descriptors.
(E16, E19, T75, T79)

500 clients on loopback and 500 from the LAN send a byte now and then and never a request: a new one
is served within a second all the while, and they are gone after 10 s. With 64 descriptors 500
clients have their turn, the loop does not spin, and afterwards all is as before.
"""
import os
import resource
import selectors
import time

import socks
from world import World, main, report

CROWD = 500
LAN_PORT = 1083
SERVED_WITHIN = 1
GONE_AT = (9, 12)  # seconds after it had come


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Crowd:
    """Clients that began a handshake and let it lie."""

    def __init__(self, w, address, host, words):
        self.open = selectors.DefaultSelector()
        self.told = 0  # of HTTP, that they took too long
        for i in range(CROWD):
            s = w.connect(address, host)
            s.setblocking(False)
            try:
                s.send(words[i % len(words)])
            except OSError:
                pass
            self.open.register(s, selectors.EVENT_READ)
        self.whole_at = time.monotonic()  # the last of them has its 10 s from here on

    def look(self, timeout=0):
        """Forgets those that were closed; returns how many are left."""
        for key, _ in self.open.select(timeout):
            try:
                got = key.fileobj.recv(1000)
                gone = not got
                self.told += got.startswith(b"HTTP/1.1 408 ")
            except OSError:
                gone = True
            if gone:
                self.open.unregister(key.fileobj)
                key.fileobj.close()
        return len(self.open.get_map())

    def nudge(self):
        """One more byte of each, which changes nothing."""
        for key in list(self.open.get_map().values()):
            try:
                key.fileobj.send(b"x")
            except OSError:
                pass

    def close(self):
        for key in list(self.open.get_map().values()):
            self.open.unregister(key.fileobj)
            key.fileobj.close()


def served(w, address, host):
    begin = time.monotonic()
    with w.connect(address, host) as s:
        socks.connect(s, w.web.address, 80)
    return time.monotonic() - begin


def slow(w):
    """Both crowds at once; those of loopback stay, those of the LAN lose their places."""
    words = (b"\x05", b"\x05\x02\x00", b"\x04\x01\x00", b"CONNECT a:1 HTTP/1.1\r\nX: ", b"GET http://")
    ways = (("127.0.0.1", 1080), w.a.host), ((w.a.host.address, LAN_PORT), w.c)
    crowds = [Crowd(w, *way, words) for way in ways]
    held, times, last = [crowd.look() for crowd in crowds], [[], []], [0, 0]
    asked_at = 0
    while any(left := [crowd.look(0.05) for crowd in crowds]):
        now = time.monotonic()
        for i, crowd in enumerate(crowds):
            if left[i]:
                last[i] = now - crowd.whole_at
        if now - asked_at > 1:
            asked_at = now
            for i, way in enumerate(ways):
                times[i].append(served(w, *way))
                crowds[i].nudge()
        assert max(last) < GONE_AT[1], f"{left} are still there"
    for i, what in enumerate(("loopback", "the LAN")):
        report(f"{what}: of {CROWD} that do not ask, held", held[i])
        report(f"{what}: slowest of {len(times[i])} that do", max(times[i]))
        report(f"{what}: the last was closed after", last[i])
        assert last[i] > GONE_AT[0], last
        assert max(times[i]) < SERVED_WITHIN, times
    assert crowds[0].told == 2 * CROWD // len(words), crowds[0].told
    assert held[0] == CROWD and held[1] <= 256, held


def few_descriptors(w):
    """Each of 500 clients at once asks for a page, with 64 descriptors for all of them."""
    w.a.stop()
    w.a.wrapper = ["prlimit", "--nofile=64:64"]
    w.a.start()
    w.a.wait_path("far", ["direct"])
    begin, cpu = time.monotonic(), cpu_seconds(w.a.process.pid)
    clients, answers = selectors.DefaultSelector(), 0
    for _ in range(CROWD):
        s = w.connect(("127.0.0.1", 1080))
        s.sendall(b"\x05\x01\x00" + b"\x05\x01\x00" + socks.address(w.web.address, 80) +
                  b"GET /data HTTP/1.0\r\n\r\n")
        s.setblocking(False)
        clients.register(s, selectors.EVENT_READ, bytearray())
    while clients.get_map() and time.monotonic() - begin < 60:
        for key, _ in clients.select(1):
            block = key.fileobj.recv(65536)
            key.data.extend(block)
            if not block:
                assert key.data.endswith(w.page), bytes(key.data[:100])
                clients.unregister(key.fileobj)
                key.fileobj.close()
                answers += 1
    seconds = time.monotonic() - begin
    share = (cpu_seconds(w.a.process.pid) - cpu) / seconds
    report(f"64 descriptors: {answers} of {CROWD} clients served in", seconds)
    report("64 descriptors: share of a core", share)
    assert answers == CROWD, f"{answers} of {CROWD}"
    # Those that hold their places for nothing: no spinning, and the control socket still answers.
    crowd = Crowd(w, ("127.0.0.1", 1080), w.a.host, (b"\x05",))
    begin, cpu = time.monotonic(), cpu_seconds(w.a.process.pid)
    w.wait_until(lambda: time.monotonic() - begin > 2, 4, "two seconds of waiting")
    share = (cpu_seconds(w.a.process.pid) - cpu) / (time.monotonic() - begin)
    report("64 descriptors, all taken: share of a core", share)
    assert share < 0.2, share
    assert w.a.status()["peers"], "no status"
    crowd.close()
    begin = time.monotonic()
    served(w, ("127.0.0.1", 1080), w.a.host)
    report("64 descriptors: served again after", time.monotonic() - begin)
    assert time.monotonic() - begin < SERVED_WITHIN
    assert w.a.log().count("accepting paused") <= 2, w.a.log()


def story():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with World(one_way_ms=5) as w:
        w.c = w.lab.host("c", behind=w.home)
        w.page = os.urandom(3000)
        w.file(1)
        (w.lab.directory / "htdocs/data").write_bytes(w.page)
        w.serve_files()
        w.a.config["proxies"].append({"listen": f"0.0.0.0:{LAN_PORT}", "peer": "far", "open": True})
        w.start()
        slow(w)
        few_descriptors(w)


main(story)
