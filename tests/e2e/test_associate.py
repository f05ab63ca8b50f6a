#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""UDP ASSOCIATE: datagrams of a SOCKS client reach any host and name that the far side allows. (T78)

        client ── a (proxy: loopback, LAN) ═══ b (far) ── web, 127.0.0.0/8 of b
        wife  ──┘                          ╚══ c (third, by route)
"""
import ipaddress
import json
import re
import select
import socket
import struct
import threading
import time

import socks
from world import World, main, report

ECHO, OTHER, SILENT = 7007, 7008, 7009
LAN_PROXY = 1085
THIRD_NAME = "echo.third.lab"
SERVICE_NAME = "echo.far.culvert"
SIZES = (0, 1, 512, 1200, 1400, 1473, 8192, 32000, 65000)
HOSTS_MAX = 512  # whom one association listens to


class Echo(threading.Thread):
    """Sends back what comes, from where it came to; also sends when it is told to."""

    def __init__(self, host, address, port=ECHO, family=socket.AF_INET):
        super().__init__(daemon=True)
        self.socket = host.socket(bind=(address, port), family=family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.settimeout(None)
        self.sources = []
        self.start()

    def run(self):
        while True:
            data, who = self.socket.recvfrom(65536)
            self.sources.append(who)
            self.socket.sendto(data, who)


class Association:
    """A client's connection to a proxy, its UDP socket, and the address that it was told."""

    def __init__(self, w, proxy=("127.0.0.1", 1080), host=None, hint=("0.0.0.0", 0)):
        host = host or w.a.host
        self.family = socket.AF_INET6 if ":" in proxy[0] else socket.AF_INET
        is_unix = isinstance(proxy, str)
        self.control = host.socket(kind=socket.SOCK_STREAM, bind=None,
                                   family=socket.AF_UNIX if is_unix else self.family)
        self.control.settimeout(15)
        self.control.connect(proxy)
        local = "127.0.0.1" if is_unix else self.control.getsockname()[0]
        self.udp = host.socket(bind=(local, 0), family=self.family)
        socks.greet(self.control)
        if hint == "own":
            hint = self.udp.getsockname()[:2]
        begin = time.monotonic()
        self.control.sendall(bytes([5, 3, 0]) + socks.address(*hint))
        self.code, self.bound = read_reply(self.control)
        self.seconds = time.monotonic() - begin
        assert self.code == socks.OK or self.bound == ("0.0.0.0", 0), self.bound

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()
        self.udp.close()

    def send(self, data, host, port=ECHO, frag=0, udp=None, reserved=0):
        head = struct.pack("!HB", reserved, frag) + socks.address(host, port)
        (udp or self.udp).sendto(head + data, self.bound)

    def receive(self, timeout=3, udp=None):
        """(data, source as (host, port)); None after the time."""
        udp = udp or self.udp
        if not select.select([udp], [], [], timeout)[0]:
            return None
        got, who = udp.recvfrom(65536)
        assert who[:2] == self.bound, f"an answer from {who}, not {self.bound}"
        assert got[:3] == b"\0\0\0", got[:4]
        if got[3] == 3:
            size = 1 + got[4]
            source = got[5:4 + size].decode()
        else:
            size = {1: 4, 4: 16}[got[3]]
            source = str(ipaddress.ip_address(got[4:4 + size]))
        return got[6 + size:], (source, struct.unpack("!H", got[4 + size:6 + size])[0])

    def ask(self, data, host, port=ECHO, tries=3, **options):
        """As receive(); a datagram may be lost, an answer to another is passed over."""
        for _ in range(tries):
            self.send(data, host, port, **options)
            end = time.monotonic() + 2
            while (left := end - time.monotonic()) > 0:
                got = self.receive(left)
                if got and got[0] == data:
                    return got
        return None

    def expect(self, data, host, port=ECHO, source=None, **options):
        got = self.ask(data, host, port, **options)
        assert got, f"no answer from {host}:{port}"
        assert source is None or got[1] == (source, port), got[1]
        return got

    def expect_silence(self, what, host, port=ECHO, then=None, **options):
        """It does not come back, though what is sent behind it does."""
        self.send(b"unwanted " + what.encode(), host, port, **options)
        self.expect_only(what, *(then or (host, port)))

    def expect_only(self, what, host, port=ECHO):
        """Nothing comes before the answer to what is asked now."""
        marker = b"after " + what.encode()
        self.send(marker, host, port)
        seen = []
        while marker not in seen:
            got = self.receive()
            assert got, f"{what}: nothing comes any more; got {seen}"
            seen.append(got[0])
        assert seen == [marker], f"{what}: {seen}"
        report(what, "dropped")


def read_reply(s):
    """Code and bound address of a reply, which must be whole."""
    version, code, reserved, atyp = socks.read_exactly(s, 4)
    assert (version, reserved) == (5, 0), (version, reserved)
    ip = ipaddress.ip_address(socks.read_exactly(s, {1: 4, 4: 16}[atyp]))
    return code, (str(ip), struct.unpack("!H", socks.read_exactly(s, 2))[0])


def is_closed(bound, host, family):
    """A datagram to the address is refused."""
    with host.socket(bind=None, family=family) as s:
        s.connect(bound)
        s.settimeout(0.2)
        try:
            s.send(b"anyone?")
            s.recv(16)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    raise AssertionError("somebody answered")


def addresses(w):
    """BND.ADDR is the address that the client connected to; never 0.0.0.0."""
    lan, web = w.a.host.address, w.web.address
    for what, proxy, host, bound in (
            ("on 127.0.0.1", ("127.0.0.1", 1080), w.a.host, "127.0.0.1"),
            ("on ::1", ("::1", 1080), w.a.host, "::1"),
            ("on the LAN", (lan, LAN_PROXY), w.wife, lan),
            ("by a unix socket", str(w.a.directory / "socks.sock"), w.a.host, "127.0.0.1")):
        with Association(w, proxy, host) as s:
            report(f"{what}: BND.ADDR", "{}:{}".format(*s.bound))
            assert s.code == socks.OK and s.bound[0] == bound and s.bound[1] != 0, s.bound
            s.expect(what.encode(), web, source=web)
    with Association(w) as s:
        s.expect(b"a name", "web.far.lab", source=web)
        s.expect(b"rsv", web, reserved=0xffff)
        s.expect(b"localhost", "localhost", source="127.0.0.1")
        s.expect(b"loopback, IPv6", "::1", source="::1")
        s.expect(b"mapped", f"::ffff:{web}", source=web)
        s.expect(b"a route's peer", THIRD_NAME, source="127.0.0.1")
        # Any port; answers have the name, as what is behind it is the peer's business.
        s.expect(b"a service", SERVICE_NAME, 99, source=SERVICE_NAME)
        s.expect(b"of another port", SERVICE_NAME, 98, source=SERVICE_NAME)
        s.expect_silence("a service that is not offered", "none.far.culvert", then=(web, ECHO))
        s.expect_silence("a name of no peer", "echo.none.culvert", then=(web, ECHO))
        s.expect(b"and the first again", web, source=web)
        report("ports that the target saw of three associations, and of a fourth", len(set(w.echo.sources)))


def large(w):
    with Association(w) as s:
        for size in SIZES:
            data = bytes(i * 7 & 255 for i in range(size))
            s.expect(data, w.web.address, tries=5)
        report("sizes carried", " ".join(map(str, SIZES)))


def sources(w):
    """Who may send to an association: the client's address; the first datagram decides the port."""
    web = w.web.address
    with Association(w) as s:
        s.expect(b"first", web)
        with w.a.host.socket(bind=("127.0.0.1", 0)) as other:
            s.expect_silence("another port of the client", web, udp=other)
        with w.a.host.socket(bind=("127.0.0.2", s.udp.getsockname()[1])) as other:
            s.expect_silence("another address", web, udp=other)
    with Association(w, hint="own") as s:
        with w.a.host.socket(bind=("127.0.0.1", 0)) as other:
            s.expect_silence("not the port of the hint", web, udp=other)
    with Association(w, hint=("0.0.0.0", 9)) as s:
        s.send(b"not from port 9", web)
        assert s.receive(0.5) is None, "a hint's port was ignored"
    # An address that is not the client's: what NATs make of it in front of a proxy. It counts for
    # nothing, as the connection says better who the client is.
    with Association(w, hint=("192.0.2.99", 0)) as s:
        s.expect(b"a hint with a foreign address", web)
    with Association(w, (w.a.host.address, LAN_PROXY), w.wife) as s:
        s.expect(b"first", web)
        with w.a.host.socket(bind=(w.a.host.address, 0)) as other:
            s.expect_silence("another machine", web, udp=other)
    with Association(w) as s:
        s.expect_silence("a fragment", web, frag=1)
        s.expect_silence("the last fragment", web, frag=0x81)
        s.udp.sendto(b"\0\0", s.bound)
        s.udp.sendto(b"\0\0\0\x05\1\2\3\4\0\7", s.bound)
        s.expect(b"after two that are malformed", web)


def policy(w):
    """What is denied is dropped, and said; not a line for each."""
    with Association(w) as s:
        for what, host, port in (("a denied port", w.web.address, SILENT),
                                 ("metadata", "169.254.169.254", ECHO),
                                 ("a name for loopback", "loop.far.lab", SILENT)):
            s.expect_silence(what, host, port, then=(w.web.address, ECHO))
        for i in range(300):
            s.send(b"x", w.web.address, SILENT)
        s.expect(b"behind 300 denied", w.web.address)
    lines = re.findall(r"datagrams? refused .*", w.b.log())
    report("lines about 303 refused datagrams", len(lines))
    report("one of them", lines[0] if lines else "-")
    assert 3 <= len(lines) <= 30, len(lines)
    assert w.guard.sources == [], "a denied destination was sent to"


def who_is_heard(w):
    """Answers come from whom was sent to, from any port of theirs; 512 of them are remembered."""
    with Association(w) as s:
        s.expect(b"hello", w.web.address)
        mapped = w.echo.sources[-1]
        w.other.socket.sendto(b"another port", mapped)
        got = s.receive()
        assert got == (b"another port", (w.web.address, OTHER)), got
        w.stranger.sendto(b"stranger", mapped)
        s.expect_only("a stranger's", w.web.address)
        # 127.0.1.0/24 and more on b itself, one after the other.
        w.many[0].clear()
        hosts = [f"127.0.{1 + i // 250}.{1 + i % 250}" for i in range(HOSTS_MAX + 8)]
        for at in range(0, len(hosts), 20):
            block = hosts[at:at + 20]
            for host in block:
                s.send(host.encode(), host)
            missing = set(block)
            while missing:
                got = s.receive()
                assert got, f"no answer from {sorted(missing)}"
                missing.discard(got[1][0])
        mapped = w.many[0][-1]
        first, last = w.many[1][hosts[0]], w.many[1][hosts[-1]]
        first.sendto(b"forgotten", mapped)
        last.sendto(b"remembered", mapped)
        got = s.receive()
        assert got and got[0] == b"remembered", got
        report("addresses sent to, and remembered", f"{len(hosts)}, the last {HOSTS_MAX}")


def ends(w):
    """The association ends with its connection."""
    for how in ("close", "reset"):
        s = Association(w)
        s.expect(b"x", w.web.address)
        assert not is_closed(s.bound, w.a.host, s.family)
        begin = time.monotonic()
        if how == "close":
            s.control.close()
        else:
            socks.reset(s.control)
        w.wait_until(lambda: is_closed(s.bound, w.a.host, s.family), 2, "the port is closed")
        report(f"{how}: port closed after, s", time.monotonic() - begin)
        s.udp.close()
    # What a client sends on the connection means nothing, and ends nothing.
    with Association(w) as s:
        s.control.sendall(b"x" * 100000)
        s.expect(b"noise on the connection", w.web.address)


def reload(w):
    """A reload keeps associations; its routes count for their next datagrams."""
    with Association(w) as s:
        s.expect(b"before", w.web.address)
        route = {"to": "localhost", "peer": "third"}
        w.a.config["proxies"][0]["routes"].append(route)
        w.a.file.write_text(json.dumps(w.a.config))
        seen = len(w.third_echo.sources)
        done = w.a.ask("reload")
        assert done.returncode == 0, done.stderr
        s.expect(b"after", w.web.address)
        s.expect(b"by another peer now", "localhost")
        assert len(w.third_echo.sources) == seen + 1, "not by the new route"
        w.a.config["proxies"] = w.a.config["proxies"][1:]
        w.a.file.write_text(json.dumps(w.a.config))
        done = w.a.ask("reload")
        assert done.returncode == 0, done.stderr
        s.expect(b"its proxy is gone", w.web.address)
        w.a.config["proxies"].insert(0, {"listen": "localhost:1080", "peer": "far"})
        w.a.file.write_text(json.dumps(w.a.config))
        done = w.a.ask("reload")
        assert done.returncode == 0, done.stderr
        s.expect(b"and there again", w.web.address)
    report("an association lived through three reloads")


PYSOCKS = """
import socks, sys
s = socks.socksocket(socks.socket.AF_INET, socks.socket.SOCK_DGRAM)
s.set_proxy(socks.SOCKS5, "127.0.0.1", 1080)
s.settimeout(5)
for host in sys.argv[1:]:
    s.sendto(b"py " + host.encode(), (host, %d))
    print(*s.recvfrom(2000))
""" % ECHO
PLAIN = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b"dante", (sys.argv[1], %d))
print(*s.recvfrom(2000))
""" % ECHO


def other_clients(w):
    web = w.web.address
    if w.a.host.run(["/usr/bin/python3", "-c", "import socks; socks.socksocket"], cwd="/").returncode:
        report("PySocks", "not installed")
    else:
        done = w.a.host.run(["/usr/bin/python3", "-c", PYSOCKS, web, "web.far.lab"], cwd="/")
        report("PySocks", done.stdout.strip().replace("\n", "; "))
        assert done.stdout.count(f"('{web}', {ECHO})") == 2, done.stdout + done.stderr
    conf = w.lab.directory / "dante.conf"
    conf.write_text("resolveprotocol: fake\nroute { from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 "
                    "port = 1080\n proxyprotocol: socks_v5\n protocol: udp\n method: none }\n")
    words = ["env", f"SOCKS_CONF={conf}", "socksify", "/usr/bin/python3", "-c", PLAIN, web]
    try:
        done = w.a.host.run(words, cwd="/")
    except FileNotFoundError:
        report("dante's socksify", "not installed")
        return
    report("dante's socksify", done.stdout.strip())
    assert done.stdout.startswith(f"b'dante' ('{web}', {ECHO})"), done.stdout + done.stderr


def peer_gone(w):
    """Living associations end with their peer, new ones are refused within 1 s."""
    with Association(w) as s:
        s.expect(b"x", w.web.address)
        w.b.stop()
        s.control.settimeout(10)
        begin = time.monotonic()
        try:
            assert s.control.recv(1) == b""
        except ConnectionResetError:
            pass
        report("the peer ended: connection closed after, s", time.monotonic() - begin)
        w.wait_until(lambda: is_closed(s.bound, w.a.host, s.family), 2, "the port is closed")
    w.wait_until(lambda: not w.a.peer("far")["connected"], 10, "the peer is known to be down")
    for _ in range(2):  # the first may still try for a while
        with Association(w) as s:
            report("peer down: reply, seconds", f"{s.code} {s.seconds:.2f}")
            assert s.code == socks.FAILED and s.seconds < 10
            assert s.control.recv(1) == b"", "more than the reply"


def targets(w):
    w.echo, w.other = Echo(w.web, "0.0.0.0"), Echo(w.web, "0.0.0.0", OTHER)
    w.guard = Echo(w.web, "0.0.0.0", SILENT)
    w.loop, w.loop6 = Echo(w.b.host, "127.0.0.1"), Echo(w.b.host, "::1", family=socket.AF_INET6)
    w.third_echo = Echo(w.c.host, "127.0.0.1")
    w.home_echo = Echo(w.a.host, "127.0.0.1")
    w.stranger = w.nosy.socket(bind=("0.0.0.0", ECHO))
    many = [f"127.0.{1 + i // 250}.{1 + i % 250}" for i in range(HOSTS_MAX + 8)]
    w.many = many_echoes(w, many)


def many_echoes(w, hosts):
    """One thread for all: ([sources], {address: socket})."""
    sockets = {host: w.b.host.socket(bind=(host, ECHO)) for host in hosts}
    seen = []

    def run():
        poll = select.poll()
        by_fd = {s.fileno(): s for s in sockets.values()}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                data, who = by_fd[fd].recvfrom(65536)
                seen.append(who)
                by_fd[fd].sendto(data, who)

    threading.Thread(target=run, daemon=True).start()
    return seen, sockets


def peers_by_loopback(w):
    """Who may send to our loopback does not get into a client's association by it."""
    with Association(w, proxy=("127.0.0.1", 1080), host=w.b.host) as other, Association(w) as s:
        assert other.ask(b"hello", "127.0.0.1"), "loopback of a is allowed"
        inner = b"\0\0\0" + socks.address(w.web.address, ECHO) + b"let me in"
        for _ in range(3):
            other.send(inner, *s.bound)
        other.expect(b"behind it", "127.0.0.1")
        s.expect(b"whose it is", w.web.address)


def story():
    with World() as w:
        w.wife = w.lab.host("wife", behind=w.home)
        w.nosy = w.lab.host("nosy", behind=w.office)
        w.c = w.agent("c", w.lab.host("c", behind=w.office))
        w.c.config["peers"] = {"near": {"key": w.a.key, "allow": [f"localhost:{ECHO}/udp"]}}
        w.a.config["peers"]["third"] = {"key": w.c.key}
        w.a.config["proxies"] = [
            {"listen": "localhost:1080", "peer": "far",
             "routes": [{"to": "*.third.lab", "peer": "third"}]},
            {"listen": f"{w.a.host.address}:{LAN_PROXY}", "peer": "far", "open": True},
            {"listen": f"unix:{w.a.directory}/socks.sock", "peer": "far"}]
        w.b.config["peers"]["near"]["allow"] = [
            f"{w.web.address}:{ECHO}/udp", f"127.0.0.0/8:{ECHO}/udp", f"[::1]:{ECHO}/udp"]
        w.a.config["peers"]["far"]["allow"] = "127.0.0.1:*/udp"
        w.b.config["proxies"] = [{"listen": "127.0.0.1:1080", "peer": "near"}]
        w.b.config["services"] = {"echo": {"to": f"127.0.0.1:{ECHO}", "protocol": "udp",
                                           "allow": ["near"]}}
        w.far_names({"loop.far.lab": "127.0.0.1"})
        with open(w.c.host.hosts_file, "a") as f:
            f.write(f"127.0.0.1 {THIRD_NAME}\n")
        w.start(wait=())
        w.c.start(servers=w.a.config["servers"])
        targets(w)
        w.a.wait_connected("far")
        w.a.wait_connected("third")
        for part in (addresses, large, sources, policy, who_is_heard, ends, other_clients,
                     peers_by_loopback, reload, peer_gone):
            report(part.__doc__.split("\n")[0] if part.__doc__ else part.__name__)
            part(w)


if __name__ == "__main__":
    main(story)
