# SPDX-License-Identifier: MIT
"""rows_wire - what no common client does, or only at times: bytes as a socket sends them."""
import os
import socket
import struct

from checks import Fail, check
from stage import LONG_NAME
from targets import HALF_UP, sha

CONNECT, BIND, ASSOCIATE = 1, 2, 3


def dial(c):
    s = socket.create_connection(("127.0.0.1", c.server.socks), timeout=8)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def read(s, size):
    out = b""
    while len(out) < size:
        try:
            block = s.recv(size - len(out))
        except TimeoutError:
            raise Fail(f"no answer within {s.gettimeout():.0f} s") from None
        if not block:
            raise Fail(f"closed after {len(out)} of {size} bytes" if out else
                       "closed without an answer")
        out += block
    return out


def read_all(s):
    out = []
    while block := s.recv(1 << 16):
        out.append(block)
    return b"".join(out)


def address(host, port):
    for family, kind in ((socket.AF_INET, 1), (socket.AF_INET6, 4)):
        try:
            return bytes([kind]) + socket.inet_pton(family, host) + struct.pack("!H", port)
        except OSError:
            pass
    return name(host, port)


def name(host, port):
    return bytes([3, len(host)]) + host.encode() + struct.pack("!H", port)


def reply(s):
    """(code, host, port) of SOCKS5; a reply must be whole."""
    version, code, _, kind = read(s, 4)
    if version != 5 or kind not in (1, 3, 4):
        raise Fail(f"reply begins with {version}, {code}, address type {kind}")
    if kind == 3:
        return code, read(s, read(s, 1)[0]).decode(), struct.unpack("!H", read(s, 2))[0]
    host = socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6,
                            read(s, 4 if kind == 1 else 16))
    return code, host, struct.unpack("!H", read(s, 2))[0]


def socks(c, command, where):
    """(socket, code, host, port)"""
    s = dial(c)
    s.sendall(b"\5\1\0")
    c.same(read(s, 2), b"\5\0", "answer to the greeting")
    s.sendall(bytes([5, command, 0]) + where)
    return s, *reply(s)


def connect(c, port, host=None):
    s, code, _, _ = socks(c, CONNECT, address(host or c.stage.ip4, port))
    c.same(code, 0, "reply")
    return s


def echoes(c, s, size=1000):
    data = os.urandom(size)
    s.sendall(data)
    c.same(read(s, size), data, "echo")
    s.close()


# Handshakes -------------------------------------------------------------------------

def one_by_one(s, data):
    for byte in data:
        s.sendall(bytes([byte]))


@check("raw socket", "SOCKS5, a byte at a time", "socks5", quick=True)
def _(c):
    s = dial(c)
    one_by_one(s, b"\5\1\0")
    c.same(read(s, 2), b"\5\0", "answer to the greeting")
    one_by_one(s, b"\5\1\0" + name(c.stage.name, c.targets.echo))
    c.same(reply(s)[0], 0, "reply")
    echoes(c, s)


@check("raw socket", "SOCKS5, greeting, request and data in one segment", "socks5", quick=True)
def _(c):
    s = dial(c)
    s.sendall(b"\5\1\0\5\1\0" + address(c.stage.ip4, c.targets.echo) + b"early")
    c.same(read(s, 2), b"\5\0", "answer to the greeting")
    c.same(reply(s)[0], 0, "reply")
    c.same(read(s, 5), b"early", "echo")
    echoes(c, s)


@check("raw socket", "SOCKS5, 255 methods offered", "socks5")
def _(c):
    s = dial(c)
    s.sendall(b"\5\xff" + bytes(reversed(range(255))))
    c.same(read(s, 2), b"\5\0", "answer to the greeting")
    s.sendall(b"\5\1\0" + address(c.stage.ip4, c.targets.echo))
    c.same(reply(s)[0], 0, "reply")
    echoes(c, s)


@check("raw socket", "SOCKS4a, a byte at a time", "socks4a", quick=True)
def _(c):
    s = dial(c)
    one_by_one(s, b"\4\1" + struct.pack("!H", c.targets.echo) + b"\0\0\0\1me\0" +
               c.stage.name.encode() + b"\0")
    c.same(read(s, 8)[:2], b"\0\x5a", "reply")
    echoes(c, s)


@check("raw socket", "CONNECT, a byte at a time", "http", quick=True)
def _(c):
    s = dial(c)
    target = f"{c.stage.name}:{c.targets.echo}"
    one_by_one(s, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    http_ok(c, s)
    echoes(c, s)


@check("raw socket", "CONNECT, data right behind the request", "http")
def _(c):
    s = dial(c)
    target = f"{c.stage.ip4}:{c.targets.echo}"
    s.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly".encode())
    http_ok(c, s)
    c.same(read(s, 5), b"early", "echo")
    echoes(c, s)


def http_ok(c, s):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read(s, 1)
    c.same(head.split()[1], b"200", "status")


@check("raw socket", "SOCKS5, addresses sent as names", "socks5", quick=True)
def _(c):
    for host in (c.stage.ip4, c.stage.ip6):
        s, code, _, _ = socks(c, CONNECT, name(host, c.targets.echo))
        c.same(code, 0, f"reply for {host}")
        echoes(c, s)


@check("raw socket", "SOCKS5, IPv6 address in brackets sent as a name", "socks5")
def _(c):
    s, code, _, _ = socks(c, CONNECT, name(f"[{c.stage.ip6}]", c.targets.echo))
    c.same(code, 0, "reply")
    echoes(c, s)


@check("raw socket", "SOCKS5, the longest name, with a dot: 254 characters", "socks5",
       own_stage=True)
def _(c):
    s, code, _, _ = socks(c, CONNECT, name(LONG_NAME + ".", c.targets.echo))
    c.same(code, 0, "reply")
    echoes(c, s)


@check("raw socket", "SOCKS5, refused port: never success, a whole reply, code 5, the end",
       "socks5", quick=True)
def _(c):
    s, code, _, _ = socks(c, CONNECT, address(c.stage.ip4, c.targets.closed))
    c.same(code, 5, "reply")
    c.same(read_all(s), b"", "after the reply")


@check("raw socket", "CONNECT, refused port: never 200", "http")
def _(c):
    s = dial(c)
    target = f"{c.stage.ip4}:{c.targets.closed}"
    s.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    c.same(read_all(s).split()[1:2], [b"502"], "status")


@check("raw socket", "SOCKS5, unknown command: 7, unknown address type: 8", "socks5")
def _(c):
    for command, where, want in ((9, address(c.stage.ip4, c.targets.echo), 7),
                                 (CONNECT, b"\2abcdef", 8)):
        s, code, _, _ = socks(c, command, where)
        c.same(code, want, "reply")
        s.close()


# Ends ----------------------------------------------------------------------------

def half_close(c, s):
    data = os.urandom(HALF_UP)
    s.settimeout(25)
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    got = read_all(s)
    c.true(got, "no answer came back after our end")
    c.same(len(got), 32 + len(c.targets.down), "bytes after our end")
    c.same(got[:32].hex(), sha(data), "what the target got")
    c.same(got[32:], c.targets.down, "what it sent")


@check("raw socket", "SOCKS5, 8 MiB up, end, then 1 MiB down", "socks5", quick=True)
def _(c):
    half_close(c, connect(c, c.targets.half))


@check("raw socket", "CONNECT, 8 MiB up, end, then 1 MiB down", "http")
def _(c):
    s = dial(c)
    target = f"{c.stage.ip4}:{c.targets.half}"
    s.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    http_ok(c, s)
    half_close(c, s)


@check("raw socket", "the target's reset arrives as a reset", "socks5", quick=True)
def _(c):
    s = connect(c, c.targets.reset)
    s.sendall(b"1")
    c.same(read(s, 6), b"before", "data before it")
    s.sendall(b"2")
    try:
        got = s.recv(100)
    except ConnectionResetError:
        return
    raise Fail("an end instead" if not got else f"{got!r} instead")


@check("raw socket", "the client's reset arrives as a reset", "socks5", quick=True)
def _(c):
    while c.targets.resets.acquire(blocking=False):
        pass
    s = connect(c, c.targets.sees_reset)
    read(s, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    c.true(c.targets.resets.acquire(timeout=8), "the target saw none")


# UDP and BIND -------------------------------------------------------------------------

class Association:
    def __init__(self, c, hint=b"\1\0\0\0\0\0\0"):
        self.c = c
        self.tcp, code, self.host, self.port = socks(c, ASSOCIATE, hint)
        c.same(code, 0, "reply")
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.settimeout(8)

    def send(self, where, data, fragment=0):
        self.udp.sendto(bytes([0, 0, fragment]) + where + data, (self.host, self.port))

    def receive(self):
        """(address as it was sent, data)"""
        try:
            packet = self.udp.recv(65535)
        except TimeoutError:
            raise Fail("no datagram came back") from None
        size = {1: 10, 4: 22}[packet[3]] if packet[3] != 3 else 7 + packet[4]
        self.c.same(packet[:3], b"\0\0\0", "head of a datagram")
        return packet[3:size], packet[size:]


@check("raw socket", "ASSOCIATE: an address one can send to, no hint given", "udp", quick=True)
def _(c):
    a = Association(c)
    c.same(a.host, "127.0.0.1", "BND.ADDR")
    where = address(c.stage.ip4, c.targets.udp_echo)
    a.send(where, b"hello")
    c.same(a.receive(), (where, b"hello"), "datagram back")


def sized(c, size):
    a = Association(c)
    where, data = address(c.stage.ip4, c.targets.udp_echo), os.urandom(size)
    a.send(where, data)
    c.same(a.receive()[1], data, "datagram back")


@check("raw socket", "ASSOCIATE: datagrams of 1,400 bytes", "udp", quick=True)
def _(c):
    sized(c, 1400)


@check("raw socket", "ASSOCIATE: datagrams of 8 KB", "udp")
def _(c):
    sized(c, 8192)


@check("raw socket", "ASSOCIATE: IPv6", "udp")
def _(c):
    a = Association(c)
    where = address(c.stage.ip6, c.targets.udp_echo)
    a.send(where, b"hello")
    c.same(a.receive(), (where, b"hello"), "datagram back")


@check("raw socket", "ASSOCIATE: to a name", "udp")
def _(c):
    a = Association(c)
    a.send(name(c.stage.name, c.targets.udp_echo), b"hello")
    c.same(a.receive()[1], b"hello", "datagram back")


@check("raw socket", "ASSOCIATE: fragments are dropped, the rest goes on", "udp")
def _(c):
    a = Association(c)
    where = address(c.stage.ip4, c.targets.udp_echo)
    a.send(where, b"fragment", fragment=1)
    a.send(where, b"whole")
    c.same(a.receive()[1], b"whole", "datagram back")


@check("raw socket", "ASSOCIATE: ends with its TCP connection", "udp")
def _(c):
    a = Association(c)
    where = address(c.stage.ip4, c.targets.udp_echo)
    a.send(where, b"hello")
    a.receive()
    a.tcp.close()
    a.udp.connect((a.host, a.port))
    a.udp.settimeout(0.2)
    for _ in range(25):
        try:
            a.udp.send(b"\0\0\0" + where + b"still there?")
            a.udp.recv(100)
        except ConnectionRefusedError:
            return
        except TimeoutError:
            continue
    raise Fail("its port is still open after 5 s")


@check("raw socket", "BIND: two replies, then data both ways", "bind", quick=True)
def _(c):
    s, code, host, port = socks(c, BIND, address(c.stage.ip4, 0))
    c.same(code, 0, "first reply")
    caller = socket.create_connection((host, port), timeout=5, source_address=(c.stage.ip4, 0))
    code, host, port = reply(s)
    c.same((code, host, port), (0, *caller.getsockname()), "second reply")
    caller.sendall(b"from outside")
    c.same(read(s, 12), b"from outside", "data in")
    s.sendall(b"and back")
    c.same(read(caller, 8), b"and back", "data out")


@check("raw socket", "a UDP forward: 1 byte, 1,400 bytes, 8 KB", "forward-udp", quick=True)
def _(c):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(8)
    s.connect(("127.0.0.1", c.server.forwards["udp-echo"]))
    for size in (1, 1400, 8192):
        data = os.urandom(size)
        s.send(data)
        try:
            c.same(s.recv(65535), data, f"datagram of {size} bytes")
        except (TimeoutError, ConnectionRefusedError):
            raise Fail(f"no datagram of {size} bytes came back") from None
