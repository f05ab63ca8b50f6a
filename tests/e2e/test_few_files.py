#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An agent with few descriptors serves more clients than it has, in turn. (E16, T79)

P8: 500 clients of an agent that may open 64 files, on either side: each is served or refused whole,
none hangs, the processor rests, and when they are gone a new client is served within a second. An
agent that may have more takes it: the soft limit is raised to the hard one.
"""
import concurrent.futures
import os
import pathlib
import shutil
import socket
import threading
import time

import socks
from world import PROXY, World, main, report, skip

FILES, CLIENTS, HELD = 64, 500, 80
TARGET, UDP, FLOWS = 2001, 2002, 60
PROCESSOR_MAX = 0.2  # of a core, while clients wait
SERVED_WITHIN = 1
MEASURED = 1.5       # seconds


def echo(listener):
    def one(conn):
        with conn:
            conn.settimeout(60)
            try:
                while data := conn.recv(4096):
                    conn.sendall(data)
            except ConnectionResetError:
                pass  # of a client that was told otherwise

    def serve():
        listener.settimeout(None)
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=one, args=(conn,), daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()


def echo_datagrams(s):
    s.settimeout(None)

    def serve():
        while True:
            s.sendto(*s.recvfrom(4096))
    threading.Thread(target=serve, daemon=True).start()


def served(w, timeout=30):
    """Asks for the echo once: "served", or how it was told that it is not."""
    try:
        with w.connect(PROXY, timeout=timeout) as s:
            socks.greet(s)
            code = socks.request(s, w.web.address, TARGET)
            if code != socks.OK:
                return f"reply {code}"
            s.sendall(b"hello")
            return "served" if socks.read_exactly(s, 5) == b"hello" else "other bytes"
    except (ConnectionResetError, BrokenPipeError, EOFError):
        return "closed"
    except (TimeoutError, socket.timeout):
        return "hangs"


def processor_seconds(program):
    fields = pathlib.Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hold(w):
    """More connections than there are descriptors, that say nothing."""
    return [w.connect(PROXY) for _ in range(HELD)]


def crowd(w, program):
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        begin = time.monotonic()
        results = list(pool.map(lambda _: served(w), range(CLIENTS)))
        seconds = time.monotonic() - begin
    counts = {kind: results.count(kind) for kind in set(results)}
    report(f"{program.name} with {FILES} files, {CLIENTS} clients in s", f"{seconds:.1f} {counts}")
    assert set(counts) <= {"served", "reply 1", "closed"}, counts
    assert counts.get("served", 0) >= FILES // 3, counts


def datagrams(w):
    """More flows than b has descriptors: the longest unused go, so that connections have theirs."""
    clients, answered = [], 0
    for _ in range(FLOWS):
        s = w.a.host.socket(bind=("127.0.0.1", 0))
        s.settimeout(0.9)  # one that is refused makes a wait for a second
        s.connect(("127.0.0.1", UDP))
        s.send(b"hello")
        try:
            answered += s.recv(100) == b"hello"
        except (TimeoutError, socket.timeout):
            pass
        clients.append(s)
    assert answered >= FLOWS * 9 // 10, f"{answered} of {FLOWS} new flows were answered at once"
    assert served(w) == "served", "flows of datagrams have taken all descriptors"
    report(f"{FLOWS} flows of datagrams at b, answered", answered)


def rest(w, program):
    """The processor, while connections wait that nobody can accept."""
    held = hold(w)
    used, begin = processor_seconds(program), time.monotonic()
    while time.monotonic() - begin < MEASURED:
        time.sleep(0.1)
    share = (processor_seconds(program) - used) / (time.monotonic() - begin)
    report(f"processor of {program.name} while {HELD} connections wait, of a core", share)
    assert share < PROCESSOR_MAX, share
    for s in held:
        s.close()


def recovered(w, program):
    begin = time.monotonic()
    w.wait_until(lambda: served(w, 5) == "served", 5, "a client is served again")
    report(f"then a new client of {program.name} is served, after s", time.monotonic() - begin)
    assert time.monotonic() - begin < SERVED_WITHIN


def soft_limit(w):
    """Both began with a soft limit of 256."""
    for program in (w.a, w.b):
        text = pathlib.Path(f"/proc/{program.process.pid}/limits").read_text()
        soft, hard = next(line for line in text.splitlines()
                          if line.startswith("Max open files")).split()[3:5]
        report(f"open files of {program.name}, soft and hard", f"{soft} {hard}")
        assert int(soft) == min(int(hard), 65536), (soft, hard)


def story():
    if not shutil.which("prlimit"):
        skip("no prlimit")
    few = ["prlimit", f"--nofile={FILES}:{FILES}"]
    with World() as w:
        echo(w.listen(TARGET))
        echo_datagrams(w.web.socket(bind=("0.0.0.0", UDP)))
        w.a.config["forwards"] = [{"listen": f"127.0.0.1:{UDP}", "peer": "far", "protocol": "udp",
                                   "to": f"{w.web.address}:{UDP}"}]
        w.b.config["peers"]["near"]["allow"].append(f"{w.web.address}:{UDP}/udp")
        w.a.wrapper = w.b.wrapper = ["prlimit", "--nofile=256:"]
        w.start()
        soft_limit(w)
        for program in (w.a, w.b):
            program.stop()
            program.wrapper = few
            program.start()
            w.a.wait_path("far", ["direct"])
            crowd(w, program)
            recovered(w, program)
            if program is w.b:
                datagrams(w)
            rest(w, program)
            recovered(w, program)
            program.stop()
            program.wrapper = []
            program.start()
            w.a.wait_path("far", ["direct"])


main(story)
