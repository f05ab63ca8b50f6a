#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every fault of a target or of a request has its own SOCKS reply, in time. (E14, E15, E20, E26)

P3: within 12 s. P11: what is denied is never connected to.
"""
import socket
import struct
import threading
import time

import socks
from world import World, main, report

LIMIT_S = 12
OPEN, USERS = ("127.0.0.1", 1080), ("127.0.0.1", 1081)
OWN_PORT = 1090
METADATA = "169.254.169.254"


class NameServer(threading.Thread):
    """Knows two names; says NXDOMAIN to others, and nothing at all to those with 'silent'."""

    def __init__(self, host, names):
        super().__init__(daemon=True)
        self._names = names
        self._socket = host.socket(bind=("0.0.0.0", 53))
        self._socket.settimeout(None)
        self.start()

    def run(self):
        while True:
            query, who = self._socket.recvfrom(1500)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            name, question = ".".join(labels).lower(), query[12:at + 5]
            kind = struct.unpack("!H", query[at + 1:at + 3])[0]
            if "silent" in name:
                continue
            address = self._names.get(name)
            rcode, answers = (0 if address else 3), b""
            if address and kind == 1:
                answers = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + \
                    socket.inet_aton(address)
            head = query[:2] + struct.pack("!HHHHH", 0x8180 | rcode, 1, 1 if answers else 0, 0, 0)
            self._socket.sendto(head + question + answers, who)


def ask(w, what, expected, host=None, port=80, command=socks.CONNECT, raw=None, within=LIMIT_S):
    with w.connect(OPEN) as s:
        socks.greet(s)
        begin = time.monotonic()
        code = socks.request(s, host, port, command, raw)
        seconds = time.monotonic() - begin
        report(f"{what}: reply, seconds", f"{code} {seconds:.2f}")
        assert code == expected, f"{what}: reply {code}, expected {expected}"
        assert seconds < within, f"{what}: after {seconds} s"
        if code != socks.OK:
            assert s.recv(1) == b"", f"{what}: more than the reply"


def faults(w):
    web, dead = w.web.address, w.dead.address
    ask(w, "a good target", socks.OK, web)
    ask(w, "a good name", socks.OK, "web.far.lab")
    ask(w, "a name of the far side's name server", socks.OK, "known.example", within=3)
    ask(w, "refused", socks.REFUSED, web, 81, within=2)
    ask(w, "no such name", socks.HOST_UNREACHABLE, "nothing.example", within=3)
    ask(w, "a silent name server", socks.HOST_UNREACHABLE, "silent.example")
    ask(w, "a target that drops packets", socks.TTL_EXPIRED, dead)
    ask(w, "a command of no RFC", socks.BAD_COMMAND, web, command=9, within=1)
    ask(w, "BIND without allow_listen", socks.NOT_ALLOWED, web, command=socks.BIND, within=1)
    ask(w, "command 9", socks.BAD_COMMAND, web, command=9, within=1)
    ask(w, "address type 2", socks.BAD_ATYP, raw=b"\x02\x01\x02\x03\x04\x00\x50", within=1)


def denied(w):
    """What `*:*` and a LAN do not include, in all its spellings (T81)."""
    for what, host in (
            ("loopback", "127.0.0.1"), ("all of loopback", "127.1.2.3"),
            ("loopback, mapped", "::ffff:127.0.0.1"), ("loopback, IPv6", "::1"),
            ("loopback, NAT64", "64:ff9b::7f00:1"), ("loopback, 6to4", "2002:7f00:1::"),
            ("this host", "0.0.0.0"), ("this host, IPv6", "::"),
            ("localhost", "localhost"), ("a name for loopback", "loop.example"),
            ("metadata", METADATA), ("metadata, mapped", f"::ffff:{METADATA}"),
            ("a name for metadata", "metadata.example"),
            ("link-local, IPv6", "fe80::1"), ("multicast", "224.0.0.1"),
            ("multicast, IPv6", "ff02::1"), ("broadcast", "255.255.255.255")):
        ask(w, what, socks.NOT_ALLOWED, host, w.guard_port, within=3)
    # `*:*` includes the far host's own address, but none of its agent's listeners.
    ask(w, "the far agent's own proxy", socks.NOT_ALLOWED, w.b.host.address, OWN_PORT, within=3)
    ask(w, "a port of its own host", socks.REFUSED, w.b.host.address, OWN_PORT + 1, within=3)
    for host in ("0x7f.1", "2130706433", "127.1", "0177.0.0.1"):
        with w.connect(OPEN) as s:
            socks.greet(s)
            code = socks.request(s, host, w.guard_port)
            report(f"{host}: reply", code)
            assert code in (socks.NOT_ALLOWED, socks.HOST_UNREACHABLE, socks.FAILED), code
    w.guard.setblocking(False)
    try:
        w.guard.accept()
    except BlockingIOError:
        pass
    else:
        raise AssertionError("a denied destination was connected to")


def passwords(w):
    for user, word, status in (("alice", "secret", 0), ("alice", "wrong", 1), ("bob", "secret", 1),
                               ("", "secret", 1), ("alice", "", 1)):
        with w.connect(USERS) as s:
            try:
                got = socks.greet(s, user, word)
            except EOFError:
                got = "closed"
            report(f"user '{user}', password '{word}': status", got)
            assert (got == 0) == (status == 0) and got in (0, 1, "closed"), got
            if user and word:
                assert got == status, got
            if got == 0:
                assert socks.request(s, w.web.address, 80) == socks.OK
            else:
                assert s.recv(1) == b"", "not closed after a wrong password"
    with w.connect(USERS) as s:
        s.sendall(b"\x05\x01\x00")
        assert socks.read_exactly(s, 2) == b"\x05\xff"
        assert s.recv(1) == b""
    report("without a password: no acceptable method", "5 255")


def story():
    with World() as w:
        w.dead = w.lab.host("dead", behind=w.office)
        w.dead.link.down()
        w.serve_files()
        NameServer(w.web, {"known.example": w.web.address, "loop.example": "127.0.0.1",
                           "metadata.example": METADATA})
        w.b.host.resolv_file.write_text(f"nameserver {w.web.address}\n")
        w.guard = w.listen(0, w.b.host)  # any connection that reaches b itself ends here
        w.guard_port = w.guard.getsockname()[1]
        w.b.config["peers"]["near"]["allow"] = [f"{w.office.lan}:80-81", "*:*"]
        w.a.config["proxies"].append({"listen": f"{USERS[0]}:{USERS[1]}", "peer": "far",
                                      "users": {"alice": "secret"}})
        w.a.file.touch(mode=0o600)
        w.b.config["proxies"] = [{"listen": f"0.0.0.0:{OWN_PORT}", "open": True, "peer": "near"}]
        w.start()
        faults(w)
        denied(w)
        passwords(w)
        # A refused request leaves a line that names peer, target and cause.
        for line in ("peer=far target=nothing.example:80", "peer=far target=192.168.2.11:81"):
            assert line in w.a.log(), f"not in the log: {line}"


main(story)
