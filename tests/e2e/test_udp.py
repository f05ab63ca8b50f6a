#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Datagrams through forwards: a resolver, a VPN whose client roams, a game beside a download;
refusals, policies, answers from the address that was asked, more clients than a port may have."""
import shutil
import socket
import struct
import sys
import threading
import time

from world import World, main, report

DNS, ECHO, CLOSED, DENIED, WILD = 5353, 5400, 5401, 5402, 5403
PORT_FLOWS_MAX, CLIENTS = 2048, 2150
GAME_S, GAME_HZ = 2, 60
GAME_LIMIT_MS = 150  # of the median: 50 ms of path, and a machine that is busy with the download

CLIENTS_CODE = """
import resource, select, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
port, count = int(sys.argv[1]), int(sys.argv[2])
ok = 0
for at in range(0, count, 50):
    batch = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for i in range(min(50, count - at))]
    for i, s in enumerate(batch):
        s.settimeout(1)
        s.sendto(b"%d" % (at + i), ("127.0.0.1", port))
    for i, s in enumerate(batch):
        for turn in range(4):  # as clients of UDP do: on a busy machine one may wait too long
            try:
                ok += s.recv(100) == b"%d" % (at + i)
                break
            except OSError:
                s.sendto(b"%d" % (at + i), ("127.0.0.1", port))
        s.close()
print(ok)
"""


class Echo(threading.Thread):
    """Sends everything back, and remembers from how many ports it came."""

    def __init__(self, host, port):
        super().__init__(daemon=True)
        self.sources, self.count = set(), 0
        self._socket = host.socket(bind=("0.0.0.0", port))
        self._socket.settimeout(None)
        self.start()

    def run(self):
        while True:
            data, who = self._socket.recvfrom(65536)
            self.sources.add(who)
            self.count += 1
            self._socket.sendto(data, who)


class Resolver(threading.Thread):
    """Answers every A query with 192.0.2.99."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self._socket = host.socket(bind=("0.0.0.0", 53))
        self._socket.settimeout(None)
        self.start()

    def run(self):
        while True:
            query, who = self._socket.recvfrom(1500)
            at = 12
            while query[at]:
                at += 1 + query[at]
            answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(
                "192.0.2.99")
            self._socket.sendto(query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) +
                                query[12:at + 5] + answer, who)


def client(w, timeout=3):
    s = w.a.host.socket(bind=("127.0.0.1", 0))
    s.settimeout(timeout)
    return s


def ask(s, data, to):
    s.sendto(data, to)
    got, who = s.recvfrom(65536)
    assert got == data, f"{len(got)} bytes came back of {len(data)}"
    assert who == to, f"asked {to}, answered by {who}"


def streams(w):
    return w.a.peer("far")["streams"]


def a_resolver(w):
    report("a resolver")
    if shutil.which("dig"):
        got = w.a.host.run(["dig", "@127.0.0.1", "-p", str(DNS), "+short", "+tries=2", "a.test"],
                           timeout=20)
        assert got.stdout.strip() == "192.0.2.99", got.stdout + got.stderr
    query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\1a\4test\0" + struct.pack("!HH", 1, 1)
    for i in range(20):
        with client(w) as s:
            s.sendto(query, ("127.0.0.1", DNS))
            assert socket.inet_aton("192.0.2.99") in s.recv(1500)
    begin = time.monotonic()
    w.wait_until(lambda: streams(w) == 0, 12, "flows of queries that were answered end")
    report("  seconds until the flows of 20 queries had ended", time.monotonic() - begin)


def a_vpn(w, echo):
    report("handshakes, then packets of 1,420 bytes, from two ports of one client")
    for turn in range(2):
        before = len(echo.sources)
        with client(w) as s:
            for size in (148, 92, *[1420] * 30, 32, 1420):
                ask(s, bytes([turn]) * size, ("127.0.0.1", ECHO))
        assert len(echo.sources) == before + 1, "each port of the client is one flow"
    with client(w) as s:
        for size in (0, 1, 1472, 9000, 65507):
            ask(s, bytes(size), ("127.0.0.1", ECHO))


def play(w):
    """Round trips of a small packet sixty times a second, in ms."""
    times, sent = [], {}
    with client(w, 0.001) as s:
        begin, number = time.monotonic(), 0
        while time.monotonic() < begin + GAME_S + 0.5:
            now = time.monotonic()
            if number < GAME_S * GAME_HZ and now >= begin + number / GAME_HZ:
                sent[number] = now
                s.sendto(struct.pack("!I", number) + bytes(76), ("127.0.0.1", ECHO))
                number += 1
            try:
                back = struct.unpack("!I", s.recv(200)[:4])[0]
                times.append((time.monotonic() - sent.pop(back)) * 1000)
            except TimeoutError:
                pass
    return sorted(times), len(sent)


def a_game(w):
    report("a game, alone and beside a download")
    for what in ("alone", "beside"):
        if what == "beside":
            fetch = w.fetch(path="/bulk")
            fetch.wait_bytes(1 << 20)
        times, lost = play(w)
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        report(f"  {what}: p50, p99 ms, lost", f"{p50:.1f} {p99:.1f} {lost}")
        assert lost <= 2, lost
        assert p50 < GAME_LIMIT_MS, p50
    assert fetch.process.poll() is None or fetch.result()["error"] is None


def refusals(w):
    report("a closed port, and a target that is allowed for TCP alone")
    for port, cause in ((CLOSED, "the target refused the connection"),
                        (DENIED, "does not allow this target")):
        before = w.b.log().count(f":{port} protocol=udp")
        with client(w) as s:
            for i in range(100):
                s.sendto(b"x", ("127.0.0.1", port))
                time.sleep(0.005)
        w.wait_until(lambda: cause in w.a.log(), 5, f"a's log says: {cause}")
        tried = w.b.log().count(f":{port} protocol=udp") - before
        report(f"  port {port}: lines at the far side for 100 datagrams", tried)
        assert 1 <= tried <= 4, tried


def a_wildcard(w):
    report("answers come from the address that was asked")
    s = w.a.host.socket(bind=("0.0.0.0", 0))
    s.settimeout(3)
    for address in ("127.0.0.1", w.a.host.address, "127.0.0.9"):
        ask(s, b"who", (address, WILD))
    s.close()


def many(w):
    report("more client ports than one port here may have flows")
    got = w.a.host.run([sys.executable, "-c", CLIENTS_CODE, str(ECHO), str(CLIENTS)], timeout=60)
    report(f"  of {CLIENTS} answered", got.stdout.strip())
    assert int(got.stdout) >= CLIENTS * 99 // 100, got.stdout + got.stderr
    assert streams(w) <= PORT_FLOWS_MAX + 20, streams(w)


def story():
    with World() as w:
        w.file(60_000_000, "bulk")
        w.serve_files()
        Resolver(w.web)
        echo = Echo(w.web, ECHO)
        web = w.web.address
        w.b.config["peers"]["near"]["allow"] = [
            f"{web}:80", f"{web}:53/udp", f"{web}:{ECHO}-{CLOSED}/udp", f"{web}:{DENIED}"]
        w.a.config["forwards"] = [
            {"listen": f"127.0.0.1:{DNS}", "peer": "far", "to": f"{web}:53", "protocol": "udp"},
            {"listen": f"0.0.0.0:{WILD}", "peer": "far", "to": f"{web}:{ECHO}",
             "protocol": "udp"},
            *[{"listen": f"127.0.0.1:{port}", "peer": "far", "to": f"{web}:{port}",
               "protocol": "udp"} for port in (ECHO, CLOSED, DENIED)]]
        w.start()
        a_resolver(w)
        a_vpn(w, echo)
        a_game(w)
        refusals(w)
        a_wildcard(w)
        many(w)


main(story)
