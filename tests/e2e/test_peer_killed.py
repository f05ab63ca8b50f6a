#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The far agent ends: every client hears of it in time, and its return is noticed. (E10)

P2, P3, P4: a reset and never an end of file; SOCKS reply 1 within 10 s, within 1 s while the
peer is known to be down; new requests work within seconds of its restart.
"""
import socket
import threading
import time

import socks
from world import PROXY, World, main, report

CLIENTS = 20
GOODBYE_MAX = 1  # a stopped peer says so
RESET_MAX, REPLY_MAX, KNOWN_MAX, BACK_MAX = 10, 10, 1, 3


def drain(s, out):
    """Reads to the end of a stream: ("reset" | "eof", when)."""
    try:
        while s.recv(1 << 16):
            pass
        out.append(("eof", time.monotonic()))
    except ConnectionResetError:
        out.append(("reset", time.monotonic()))
    except OSError as error:
        out.append((repr(error), time.monotonic()))


def ask(w, timeout=15):
    """One SOCKS request: (code, seconds)."""
    with w.connect(PROXY, timeout=timeout) as s:
        begin = time.monotonic()
        socks.greet(s)
        return socks.request(s, w.web.address, 80), time.monotonic() - begin


def case(w, name, end, kind):
    report(f"{name} on the {kind} path")
    clients = [socks.connect(w.connect(PROXY, timeout=30), w.web.address, 9)
               for _ in range(CLIENTS // 2)]
    clients += [socks.connect(w.connect(PROXY, timeout=30), w.web.address, 8)
                for _ in range(CLIENTS // 2)]
    # Half of them are in the middle of a download, half are silent.
    ends = [[] for _ in clients]
    threads = [threading.Thread(target=drain, args=(s, out), daemon=True)
               for s, out in zip(clients, ends)]
    for t in threads:
        t.start()
    w.wait_until(lambda: w.a.peer("far")["rx_bytes"] > w.rx_before + 1e6, 10, "data flow")

    begin = time.monotonic()
    end()
    asked = w.in_background(lambda: ask(w))
    for t in threads:
        t.join(20)
    assert all(ends), f"{sum(not e for e in ends)} of {CLIENTS} clients hear nothing"
    times = [e[0][1] - begin for e in ends]
    report("seconds to the first and last reset", f"{min(times):.2f} {max(times):.2f}")
    assert {e[0][0] for e in ends} == {"reset"}, [e[0][0] for e in ends]
    assert max(times) < (GOODBYE_MAX if name == "SIGTERM" else RESET_MAX)
    code, seconds = asked.result()
    report("a request at once: code, seconds", f"{code} {seconds:.2f}")
    assert code == socks.FAILED and seconds < REPLY_MAX

    w.wait_until(lambda: not w.a.peer("far")["connected"], 20, "a knows that far is down",
                 interval=0.05)
    assert w.a.path("far")["kind"] == "none" and w.a.path("far")["why"]
    report("a says", w.a.path("far")["why"])
    for _ in range(3):
        code, seconds = ask(w)
        report("a request while it is down: code, seconds", f"{code} {seconds:.2f}")
        assert code == socks.FAILED and seconds < KNOWN_MAX

    w.b.start()
    begin = time.monotonic()
    w.wait_until(lambda: ask(w)[0] == socks.OK, BACK_MAX, "requests work again", interval=0.1)
    back_s = time.monotonic() - begin
    report("seconds from its restart to a good request", back_s)
    assert back_s < BACK_MAX
    w.a.wait_path("far", [kind])
    for s in clients:
        s.close()
    w.rx_before = w.a.peer("far")["rx_bytes"]


def story():
    for kind in ("direct", "relay"):
        with World() as w:
            w.rx_before = 0
            w.serve_files()
            w.serve_flood()
            silent = w.listen(8)
            w.b.host.link.set("out", rate_mbit=20, queue_kib=128)
            if kind == "relay":
                w.a.config["peers"]["far"]["path"] = "relay"
            w.start(wait=[kind])
            case(w, "SIGKILL", w.b.kill, kind)
            case(w, "SIGTERM", w.b.stop, kind)
            silent.close()


main(story)
