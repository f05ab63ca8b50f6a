#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Networks that block UDP: the job goes by TCP through the server, and back when UDP returns. (E07)

Blocked in silence and with ICMP, on one side and on both, from the start, in mid-transfer and in the
next network. What
TCP carries is measured: throughput, and the round trip of a shell beside a bulk transfer.
"""
import collections
import socket
import statistics
import threading
import time

from world import SERVER, World, main, report

SIZE = 24_000_000
FIRST_BYTE_MAX = 4  # seconds, from nothing running
MOVED_MAX = 6       # the longest stall while the session changes what carries it
ROAMED_MAX = 4      # the longest stall when an address changes
BACK_MAX = 45       # UDP is asked every 30 s
ECHO = 7
ETH_P_ALL = 3


class Sniffer(threading.Thread):
    """Counts the packets that a host exchanges with the server, by protocol."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.packets = collections.Counter()
        self._server = socket.inet_aton(SERVER)
        self._socket = host.socket(kind=socket.SOCK_DGRAM, bind=None, family=socket.AF_PACKET)
        self._socket.bind(("eth0", ETH_P_ALL))
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self.start()

    def run(self):
        while not self._ended.is_set():
            try:
                packet = self._socket.recv(64)
            except TimeoutError:
                continue
            except OSError:
                continue
            if packet[0] >> 4 == 4 and self._server in (packet[12:16], packet[16:20]):
                self.packets[{6: "tcp", 17: "udp"}.get(packet[9], "other")] += 1

    def stop(self):
        self._ended.set()
        self.join()
        self._socket.close()
        return self.packets


def fetch(w, digest, what):
    got = w.fetch().result(90)
    assert got["error"] is None and got["sha256"] == digest, got
    report(f"  Mbit/s {what}", got["bytes"] * 8 / got["seconds"] / 1e6)
    return got


def cold_start(w, digest, what, kinds=("tcp",)):
    """Both agents start; a client waits at a's proxy from the first moment."""
    report(what)
    begin = time.monotonic()
    w.b.start()
    w.a.start()
    got = w.fetch(path="/small").result(30)
    first = time.monotonic() - begin
    assert got["error"] is None, got
    report("  seconds from the start of both agents to the first byte", first)
    assert first < FIRST_BYTE_MAX, first
    for agent, peer in ((w.a, "far"), (w.b, "near")):
        path = agent.wait_path(peer, kinds, 5)
        report(f"  {agent.name}: kind {path['kind']}, rtt {path['rtt_ms']} ms, why", path["why"])
        assert path["why"] and "UDP" in path["why"], path
    fetch(w, digest, "by TCP")
    transports = [agent.status()["servers"][0]["transport"] for agent in (w.a, w.b)]
    report("  to the server by", ", ".join(transports))
    ping = w.a.ask("ping", "far", "-n", "1")
    assert " tcp " in ping.stdout, ping
    return transports


def stop_agents(w):
    w.a.stop()
    w.b.stop()


def from_the_start(w, digest):
    for udp in ("drop", "reject"):
        w.home.set(udp=udp)
        w.office.set(udp="pass")
        assert cold_start(w, digest, f"udp={udp} at one side") == ["tcp", "udp"]
        stop_agents(w)
        w.office.set(udp=udp)
        assert cold_start(w, digest, f"udp={udp} at both sides") == ["tcp", "tcp"]
        relayed = w.server.status()
        assert relayed["tcp_connections"] == 2, relayed
        stop_agents(w)
        w.wait_until(lambda: w.server.status()["tcp_connections"] == 0, 5, "no connection is left")


def dies_and_returns(w, digest):
    report("UDP dies in mid-transfer, at one side and then at both, and returns")
    w.home.set(udp="pass")
    w.office.set(udp="pass")
    w.b.host.link.set("out", rate_mbit=20, queue_kib=128)
    w.a.start()
    w.b.start()
    w.a.wait_path("far", ["direct"], 10)
    running = w.fetch(path="/large")
    running.wait_bytes(1 << 20)

    def flows():
        running.wait_bytes(running.bytes() + (2 << 20), 30)

    for what, nat, agent in (("one side", w.home, w.a), ("the other too", w.office, w.b)):
        begin = time.monotonic()
        nat.set(udp="drop")
        w.wait_until(lambda: agent.status()["servers"][0]["transport"] == "tcp", 20,
                     f"{agent.name} reaches the server by TCP")
        w.a.wait_path("far", ["tcp"], 20)
        w.b.wait_path("near", ["tcp"], 20)
        report(f"  blocked at {what}: seconds until it was carried by TCP",
               time.monotonic() - begin)
        flows()
        report("  seconds until 2 MiB more had come", time.monotonic() - begin)
    begin = time.monotonic()
    for nat in (w.home, w.office):
        nat.set(udp="pass")
    w.a.wait_path("far", ["direct"], BACK_MAX)
    w.b.wait_path("near", ["direct"], BACK_MAX)
    report("  UDP is back: seconds until both were direct", time.monotonic() - begin)
    w.wait_until(lambda: all(a.status()["servers"][0]["transport"] == "udp" for a in (w.a, w.b)),
                 BACK_MAX, "both reach the server by UDP")
    report("  seconds until both reached the server by UDP", time.monotonic() - begin)
    flows()
    w.wait_until(lambda: w.server.status()["tcp_connections"] == 0, 10, "no connection is left")
    got = running.result(150)
    assert got["error"] is None and got["sha256"] == w.large, got
    report("  longest stall of the transfer, s", got["stall_s"])
    assert got["stall_s"] < MOVED_MAX, got
    w.b.host.link.set("out", rate_mbit=0)
    stop_agents(w)


def round_trips(w, count, pause):
    """As a shell sees them: a few bytes there and back through the tunnel, in ms."""
    import socks
    s = w.connect(("127.0.0.1", 1080))
    s = socks.connect(s, w.web.address, ECHO)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    out = []
    for i in range(count):
        begin = time.monotonic()
        s.sendall(b"x" * 40)
        got = b""
        while len(got) < 40:
            got += s.recv(100)
        out.append((time.monotonic() - begin) * 1000)
        time.sleep(pause)  # a typist's; what is waited for is the answer
    s.close()
    return sorted(out)


def serve_echo(w):
    listener = w.listen(ECHO)

    def serve(s):
        try:
            while block := s.recv(1 << 12):
                s.sendall(block)
        except OSError:
            pass

    def accept():
        while True:
            try:
                s, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            s.settimeout(None)
            threading.Thread(target=serve, args=(s,), daemon=True).start()
    w.in_background(accept)


def shell_beside_bulk(w, digest):
    report("a shell beside a bulk transfer: 10 Mbit/s at both ends, TCP at both sides")
    for nat in (w.home, w.office):
        nat.set(udp="drop")
    for agent in (w.a, w.b):
        agent.host.link.set("both", rate_mbit=10, queue_kib=64)
    w.a.start()
    w.b.start()
    w.a.wait_path("far", ["tcp"], 15)
    serve_echo(w)
    idle = round_trips(w, 20, 0.02)
    report("  round trips alone, ms: median, worst", f"{statistics.median(idle):.0f}, {idle[-1]:.0f}")
    running = w.fetch()
    running.wait_bytes(1 << 20, 30)
    busy = round_trips(w, 100, 0.02)
    report("  beside bulk, ms: median, 95th, worst",
           f"{statistics.median(busy):.0f}, {busy[94]:.0f}, {busy[-1]:.0f}")
    got = running.result(90)
    assert got["error"] is None and got["sha256"] == digest, got
    report("  Mbit/s of 10", got["bytes"] * 8 / got["seconds"] / 1e6)
    assert got["bytes"] * 8 / got["seconds"] / 1e6 > 6, got
    assert statistics.median(busy) < 1000, busy
    for agent in (w.a, w.b):
        agent.host.link.set("both", rate_mbit=0)
    stop_agents(w)


def moves(w, digest):
    report("a moves to another network without UDP, and back, in mid-transfer")
    cafe = w.lab.nat("cafe", public="198.51.100.99", udp="drop")
    w.b.host.link.set("out", rate_mbit=20, queue_kib=128)
    w.a.start()
    w.b.start()
    w.a.wait_path("far", ["tcp"], 15)
    running = w.fetch()
    for place in (cafe, w.home):
        running.wait_bytes(running.bytes() + (4 << 20), 30)
        w.a.host.move(behind=place)
    got = running.result(90)
    assert got["error"] is None and got["sha256"] == digest, got
    report("  longest stall of the transfer, s", got["stall_s"])
    assert got["stall_s"] < ROAMED_MAX, got
    w.b.host.link.set("out", rate_mbit=0)
    stop_agents(w)


def only_443(w, digest):
    report("the server listens on 443 alone")
    w.server.stop()
    w.server.config["server"]["tcp"] = [443]
    w.server.start()
    kinds = {(listener["kind"], listener["address"]) for listener in w.server.status()["listeners"]}
    assert ("tcp", "0.0.0.0:443") in kinds, kinds
    sniffer = Sniffer(w.a.host)
    cold_start(w, digest, "udp=drop at both sides")
    packets = sniffer.stop()
    report("  packets between a and the server", dict(packets))
    assert packets["tcp"] > 1000 and packets["udp"] < 100, packets
    path = w.a.path("far")
    assert path["address"] == f"{SERVER}:443", path
    report("  the server restarts")
    begin = time.monotonic()
    w.server.kill()
    w.server.start()
    w.wait_until(lambda: w.server.status()["agents"] == 2, 15, "both agents are back")
    report("  seconds until both were registered again", time.monotonic() - begin)
    fetch(w, digest, "after that")


def story():
    with World() as w:
        digest = w.file(SIZE)
        w.file(1000, "small")
        w.large = w.file(5 * SIZE, "large")
        w.serve_files()
        w.a.config["peers"]["far"]["path"] = "auto"
        w.start(wait=())
        stop_agents(w)
        from_the_start(w, digest)
        dies_and_returns(w, digest)
        shell_beside_bulk(w, digest)
        moves(w, digest)
        only_443(w, digest)


main(story)
