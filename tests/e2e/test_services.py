#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Services: targets with a name, offered to some peers, and nothing said to the others.

By a proxy's client as `web.far.culvert`, by a forward as `service:web`, by `culvert nc`; to TCP, to
unix sockets, to targets that the peer could not reach itself.
"""
import socket
import threading
import time

import socks
from world import World, culvert, main, report, sha256


class Say:
    """A service in a host that says one word to whoever connects."""

    def __init__(self, w, host, address, word):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.listener = host.socket(family=family, kind=socket.SOCK_STREAM, bind=None)
        self.listener.bind(address)
        self.listener.listen(16)
        self.listener.settimeout(None)
        self.word = word
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            with s:
                s.sendall(self.word)


def read_all(s):
    s.settimeout(20)
    out = b""
    while block := s.recv(1000):
        out += block
    s.close()
    return out


def by_proxy(w, name, port, expected=socks.OK):
    """Through the proxy; what the service says, or None."""
    s = w.connect(("127.0.0.1", 1080))
    socks.greet(s)
    begin = time.monotonic()
    code = socks.request(s, name, port)
    assert code == expected, f"{name}: reply {code}, expected {expected}"
    assert time.monotonic() - begin < 2, f"{name}: after {time.monotonic() - begin} s"
    if code == socks.OK:
        return read_all(s)
    s.close()
    return None


def nc(w, peer, target):
    return w.a.ask("nc", peer, target, timeout=10)


def configure(w):
    w.a.config["forwards"] = [
        {"listen": "127.0.0.1:7000", "peer": "far", "to": "service:web"},
        {"listen": f"unix:{w.a.directory}/db.sock", "peer": "far", "to": "service:db"},
        {"listen": "127.0.0.1:7002", "peer": "far", "to": "service:secret"},
        {"listen": "127.0.0.1:7003", "peer": "far", "to": "service:dns", "protocol": "udp"},
        {"listen": "127.0.0.1:7004", "peer": "far", "to": "service:web", "protocol": "udp"}]
    w.a.config["services"] = {"back": {"to": "127.0.0.1:8000", "allow": "far"}}
    w.b.config["services"] = {
        "web": {"to": "127.0.0.1:8000", "allow": ["near"]},
        "name": {"to": "web.far.lab:80", "allow": ["near"]},
        "page": {"to": "localhost:8080", "allow": ["near"]},
        "db": {"to": f"unix:{w.b.directory}/db.sock", "allow": ["near"]},
        "dns": {"to": "127.0.0.1:5353", "allow": ["near"], "protocol": "udp"},
        "down": {"to": "127.0.0.1:8999", "allow": ["near"]},
        "proxy": {"to": "127.0.0.1:1085", "allow": ["near"]},
        "secret": {"to": "127.0.0.1:8000", "allow": ["other"]},
        "nobody": {"to": "127.0.0.1:8000"}}
    other = culvert("keygen", w.lab.directory / "other.key").stdout.strip()
    w.b.config["peers"]["other"] = {"key": other}
    w.b.config["proxies"] = [{"listen": "127.0.0.1:1085", "peer": "near"}]
    w.b.config["peers"]["near"]["allow"] = []
    w.a.config["proxies"] = [{"listen": "127.0.0.1:1080", "peer": "far"}]


def names_lead_to_their_targets(w):
    assert by_proxy(w, "web.far.culvert", 80) == b"web"
    assert by_proxy(w, "WEB.Far.Culvert.", 1) == b"web"  # any port; the service decides
    assert by_proxy(w, "db.far.culvert", 5432) == b"db"
    assert by_proxy(w, "name.far.culvert", 443) == b"named"
    assert read_all(w.connect(("127.0.0.1", 7000))) == b"web"
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{w.a.directory}/db.sock")
        assert read_all(s) == b"db"
    done = nc(w, "far", "service:web")
    assert (done.returncode, done.stdout) == (0, "web"), done
    # What the operator offers may be a listener of the agent's own.
    s = w.connect(("127.0.0.1", 1080))
    socks.connect(s, "proxy.far.culvert", 1)
    assert socks.connect(s, "back.near.culvert", 1)
    assert read_all(s) == b"back"
    # A browser's way: absolute form, and CONNECT.
    for words in [], ["--proxytunnel"]:
        got = w.a.host.run(["curl", "-sS", "--max-time", "10", "-x", "http://127.0.0.1:1080", *words,
                            "http://page.far.culvert/data", "-o", w.lab.directory / "got"])
        assert got.returncode == 0, got
        assert sha256(w.lab.directory / "got") == w.page
    report("by proxy, forward and nc", "the right one answers")


def ask_udp(w, port, tries=20):
    s = w.a.host.socket(bind=("127.0.0.1", 0))
    s.settimeout(0.25)
    s.connect(("127.0.0.1", port))
    for _ in range(tries):
        try:
            s.send(b"?")
            return s.recv(100)
        except (TimeoutError, ConnectionRefusedError):
            pass
    return None


def udp_services(w):
    """A service has one protocol; by the other there is none of that name."""
    server = w.b.host.socket(bind=("127.0.0.1", 5353))
    server.settimeout(None)

    def serve():
        while True:
            _, who = server.recvfrom(100)
            server.sendto(b"dns", who)
    threading.Thread(target=serve, daemon=True).start()
    assert ask_udp(w, 7003) == b"dns"
    assert ask_udp(w, 7004, tries=3) is None
    by_proxy(w, "dns.far.culvert", 53, socks.HOST_UNREACHABLE)
    report("a UDP service by a UDP forward", "the right one answers")


def nothing_else_is_granted(w):
    """`allow` suffices for the service, and opens nothing but it."""
    assert by_proxy(w, "127.0.0.1", 8000, socks.NOT_ALLOWED) is None
    done = nc(w, "far", f"unix:{w.b.directory}/db.sock")
    assert done.returncode == 4 and "not allow" in done.stderr, done


def errors_are_told_in_time(w):
    for name in ("none.far.culvert", "secret.far.culvert", "nobody.far.culvert",
                 "web.nobody.culvert", "far.culvert", "culvert", "a.web.far.culvert"):
        by_proxy(w, name, 80, socks.HOST_UNREACHABLE)
    by_proxy(w, "down.far.culvert", 80, socks.REFUSED)
    unknown, withheld = nc(w, "far", "service:none"), nc(w, "far", "service:secret")
    assert unknown.returncode == 4 and "no such service" in unknown.stderr, unknown
    # Who may not use it does not hear that it exists.
    assert (withheld.returncode, withheld.stderr) == (4, unknown.stderr), withheld
    assert "service withheld peer=near service=secret" in w.b.log()
    with w.connect(("127.0.0.1", 7002)) as s:
        try:
            assert s.recv(1) and False, "a withheld service answered"
        except ConnectionResetError:
            pass
    assert nc(w, "nobody", "service:web").returncode == 2
    report("unknown, withheld, down, no such peer", "each its own answer")


def story():
    with World(one_way_ms=5) as w:
        configure(w)
        Say(w, w.b.host, ("127.0.0.1", 8000), b"web")
        Say(w, w.b.host, f"{w.b.directory}/db.sock", b"db")
        Say(w, w.a.host, ("127.0.0.1", 8000), b"back")
        Say(w, w.web, ("0.0.0.0", 80), b"named")
        w.page = w.file(100000)
        w.serve_files(w.b.host, 8080)
        w.start()
        names_lead_to_their_targets(w)
        udp_services(w)
        nothing_else_is_granted(w)
        errors_are_told_in_time(w)


main(story)
