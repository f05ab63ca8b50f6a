#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Whatever a client says to a proxy's port has one answer, and what is no request dials nothing.
(T70 to T77)

Every row goes to the real binary whole and a byte at a time: the answer is exact to the byte, then
comes the end. The far side's log shows that nothing of it was dialled. A client that ends or resets
after any byte leaves nothing behind. curl, in all its ways, agrees about the good ones.
"""
import re
import socket
import struct
import time

import socks
from world import World, main, report

OPEN, USERS = ("127.0.0.1", 1080), ("127.0.0.1", 1081)
HELLO, WELCOME = b"\x05\x01\x00", b"\x05\x00"
TO = b"\x01\x01\x02\x03\x04\x00\x50"
END, V11 = b"\r\n\r\n", b" HTTP/1.1\r\n"
LOGIN = b"\x05\x01\x02"
AUTH = b"Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n"


def error(code):
    return WELCOME + bytes([5, code, 0, 1]) + bytes(6)


NO = b"\x00\x5b" + bytes(6)
# What was sent, what comes back: bytes exactly, or the status of an HTTP answer.
SOCKS5 = [
    ("version 0", b"\x00\x01\x00", b""), ("version 6", b"\x06\x01\x00", b""),
    ("no methods", b"\x05\x00", b"\x05\xff"), ("methods 1 and 2", b"\x05\x02\x01\x02", b"\x05\xff"),
    ("255 useless methods", b"\x05\xff" + b"\x09" * 255, b"\x05\xff"),
    ("GSSAPI", b"\x05\x01\x01", b"\x05\xff"),
    ("version 4 in the request", HELLO + b"\x04\x01\x00\x01", error(1)),
    ("command 0", HELLO + b"\x05\x00\x00" + TO, error(7)),
    ("command 4", HELLO + b"\x05\x04\x00" + TO, error(7)),
    ("command 255", HELLO + b"\x05\xff\x00" + TO, error(7)),
    ("address type 0", HELLO + b"\x05\x01\x00\x00", error(8)),
    ("address type 2", HELLO + b"\x05\x01\x00\x02", error(8)),
    ("address type 5", HELLO + b"\x05\x01\x00\x05", error(8)),
    ("port 0", HELLO + b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x00", error(1)),
] + [(f"the name {name[:20]}", HELLO + b"\x05\x01\x00\x03" + bytes([len(name)]) + name + b"\x00\x50",
      error(1))
     for name in (b"", b".", b".a", b"a..b", b"a b", b"a%n", b"a\x00b", b"\xc3\xa4", b"fe80::1%eth0",
                  b"0x7f.1", b"2130706433", b"127.1", b"0177.0.0.1", b"a" * 64, b"a" * 255, b"[::1",
                  b"user@host", b"a:80", b"a\nb")]
SOCKS4 = [
    ("4: port 0", b"\x04\x01\x00\x00\x01\x02\x03\x04\x00", NO),
    ("4: command 3", b"\x04\x03\x00\x50\x01\x02\x03\x04\x00", NO),
    ("4: a user id of 256 bytes", b"\x04\x01\x00\x50\x01\x02\x03\x04" + b"u" * 256, NO),
    ("4a: no name", b"\x04\x01\x00\x50\x00\x00\x00\x01me\x00\x00", NO),
    ("4a: a disguise", b"\x04\x01\x00\x50\x00\x00\x00\x01\x00127.1\x00", NO),
    ("4a: a name of 256 bytes", b"\x04\x01\x00\x50\x00\x00\x00\x01\x00" + b"a" * 256, NO),
]
HTTP = [(f"CONNECT {target.decode()}", b"CONNECT " + target + V11 + b"\r\n", 400)
        for target in (b"a", b"a:", b"a:0", b"a:65536", b"a:+80", b"a:080", b":80", b"a@b:443",
                       b"a:b:443", b"::1:443", b"[fe80::1%25eth0]:80", b"[::1]", b"127.1:80",
                       b"http://a:80/", b"a:80/")] + [
    ("CONNECT with a length", b"CONNECT a:1" + V11 + b"Content-Length: 0" + END, 400),
    ("CONNECT with chunks", b"CONNECT a:1" + V11 + b"Transfer-Encoding: chunked" + END, 400),
    ("8 KiB and a byte", b"CONNECT a:1" + V11 + b"A: " + b"x" * 8164 + END, 431),
    ("a target of 9 KiB", b"CONNECT " + b"x" * 9000 + V11 + b"\r\n", 414),
    ("64 KiB and a byte", b"GET http://a/" + V11 + b"A: " + b"x" * 65506 + END, 431),
    ("65 fields", b"GET http://a/" + V11 + b"A: b\r\n" * 65 + b"\r\n", 431),
    ("https", b"GET https://a/" + V11 + b"\r\n", 400), ("ftp", b"GET ftp://a/" + V11 + b"\r\n", 400),
    ("userinfo", b"GET http://u:p@a/" + V11 + b"\r\n", 400),
    ("a fragment", b"GET http://a/#x" + V11 + b"\r\n", 400),
    ("HTTP/0.9", b"GET http://a/\r\n", 400), ("HTTP/2.0", b"GET http://a/ HTTP/2.0" + END, 505),
    ("small letters", b"Get http://a/" + V11 + b"\r\n", 405),
    ("small letters from the first on", b"get http://a/" + V11 + b"\r\n", b""),
    ("TRACE", b"TRACE http://a/" + V11 + b"\r\n", 405),
    ("LF alone", b"GET http://a/ HTTP/1.1\nHost: a\n\n", 400),
    ("CR alone", b"GET http://a/ HTTP/1.1\rHost: a\r\r", 400),
    ("NUL", b"GET http://a/" + V11 + b"A: \x00" + END, 400),
    ("folded", b"GET http://a/" + V11 + b"A: b\r\n c" + END, 400),
    ("no colon", b"GET http://a/" + V11 + b"Host a" + END, 400),
    ("a space before the colon", b"GET http://a/" + V11 + b"Host : a" + END, 400),
    ("two Proxy-Authorizations", b"CONNECT a:1" + V11 + AUTH + AUTH + b"\r\n", 400),
    ("two Hosts", b"GET http://a/" + V11 + b"Host: a\r\nHost: b" + END, 400),
    ("both framings", b"POST http://a/" + V11 + b"Content-Length: 1\r\nTransfer-Encoding: chunked" +
     END, 400),
    ("two lengths", b"POST http://a/" + V11 + b"Content-Length: 1\r\nContent-Length: 1" + END, 400),
    ("gzip, chunked", b"POST http://a/" + V11 + b"Transfer-Encoding: gzip, chunked" + END, 501),
]
# What a browser sends when a page lures it here (T72), and other protocols.
BROWSER = [
    ("GET", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*" + END,
     400),
    ("POST", b"POST /admin HTTP/1.1\r\nHost: web.far.lab\r\nOrigin: https://evil.example\r\n"
     b"Content-Length: 38" + END + b"CONNECT web.far.lab:80 HTTP/1.1\r\n\r\n..", 400),
    ("OPTIONS", b"OPTIONS /x HTTP/1.1\r\nHost: a\r\nAccess-Control-Request-Method: PUT" + END, 400),
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a" + END, 400),
    ("a WebSocket", b"GET /chat HTTP/1.1\r\nHost: 127.0.0.1:1080\r\nUpgrade: websocket\r\n"
     b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" + END, 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x12\x04" + bytes(23), 405),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500, b""),
    ("ssh", b"\x53SH-2.0-OpenSSH_9.2\r\n", 405), ("nothing known", b"\xff\xfe\r\n", b""),
]
PASSWORDS = [
    ("no password offered", HELLO, b"\x05\xff"),
    ("both offered, wrong", b"\x05\x02\x00\x02\x01\x05alice\x05wrong", b"\x05\x02\x01\x01"),
    ("empty", LOGIN + b"\x01\x05alice\x00", b"\x05\x02\x01\x01"),
    ("nobody", LOGIN + b"\x01\x00\x06secret", b"\x05\x02\x01\x01"),
    ("255 and 255", LOGIN + b"\x01\xff" + b"a" * 255 + b"\xff" + b"b" * 255, b"\x05\x02\x01\x01"),
    ("version 5 of it", LOGIN + b"\x05\x05alice\x06secret", b"\x05\x02\x01\x01"),
    ("a request instead", LOGIN + b"\x05\x01\x00" + TO, b"\x05\x02\x01\x01"),
    ("SOCKS4", b"\x04\x01\x00\x50\x01\x02\x03\x04alice\x00", NO),
    ("SOCKS4a", b"\x04\x01\x00\x50\x00\x00\x00\x01alice\x00web.far.lab\x00", NO),
    ("CONNECT", b"CONNECT web.far.lab:80" + V11 + b"\r\n", 407),
    ("CONNECT, wrong", b"CONNECT web.far.lab:80" + V11 +
     b"Proxy-Authorization: Basic YWxpY2U6d3Jvbmc=" + END, 407),
    ("GET", b"GET http://web.far.lab/" + V11 + b"\r\n", 407),
    ("another scheme", b"GET http://web.far.lab/" + V11 + b"Proxy-Authorization: Bearer x" + END, 407),
    ("huge base64", b"GET http://web.far.lab/" + V11 + b"Proxy-Authorization: Basic " +
     b"QUFB" * 5000 + END, 407),
]


def read_to_end(s):
    out = b""
    while block := s.recv(65536):
        out += block
    return out


def send(s, data, step):
    """In pieces of @step bytes. A proxy that has heard enough may be gone before the last."""
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for at in range(0, len(data), step):
            s.sendall(data[at:at + step])
    except (BrokenPipeError, ConnectionResetError):
        pass


def check_http(what, got, status):
    head, _, body = got.partition(END)
    lines = head.split(b"\r\n")
    assert re.fullmatch(rb"HTTP/1\.1 %d [A-Z][A-Za-z ]+" % status, lines[0]), f"{what}: {got[:200]}"
    fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
    assert fields[b"connection"] == b"close", got
    assert fields[b"content-type"].startswith(b"text/plain"), got
    assert int(fields[b"content-length"]) == len(body), got
    assert body.startswith(b"culvert ") and body.endswith(b".\n") and len(body) > 30, got
    assert (b"proxy-authenticate" in fields) == (status == 407), got
    assert (b"allow" in fields) == (status == 405), got


def check_rows(w, port, title, rows):
    for what, data, expected in rows:
        for step in (len(data), 1) if len(data) < 1000 else (len(data), 1500):
            with w.connect(port, timeout=5) as s:
                send(s, data, step)
                try:
                    got = read_to_end(s)
                except ConnectionResetError:
                    assert expected == b"", f"{what}: a reset in place of the answer"
                    got = b""
            if isinstance(expected, int):
                check_http(what, got, expected)
            else:
                assert got == expected, f"{what}: {got}, expected {expected}"
    report(f"{title}: rows answered exactly, whole and in pieces", len(rows))


def good_requests(w):
    """Port, request, answer of a client that gets through; the stream begins behind it."""
    name, ip = b"web.far.lab", socket.inet_aton(w.web.address)
    ok, port = bytes([5, 0, 0, 1]), b"\x00\x50"
    return [
        (USERS, LOGIN + b"\x01\x05alice\x06secret\x05\x01\x00\x03\x0b" + name + port,
         b"\x05\x02\x01\x00" + ok, 6),
        (OPEN, HELLO + b"\x05\x01\xaa\x01" + ip + port, WELCOME + ok, 6),
        (OPEN, b"\x04\x01" + port + ip + b"me\x00", b"\x00\x5a", 6),
        (OPEN, b"\x04\x01" + port + b"\x00\x00\x00\x01\x00" + name + b"\x00", b"\x00\x5a", 6),
        (USERS, b"CONNECT " + name + b":80" + V11 + b"Host: elsewhere:1\r\n" + AUTH + b"\r\n",
         b"HTTP/1.1 200 Connection established\r\n\r\n", 0),
    ]


def pipelined(w):
    """Handshake, request and payload in one segment, and in as many as there are bytes."""
    request = b"GET /data HTTP/1.0\r\n\r\n"
    for port, handshake, answer, rest in good_requests(w):
        for step in (10000, 1):
            with w.connect(port) as s:
                send(s, handshake + request, step)
                got = read_to_end(s)
            assert got.startswith(answer), got[:100]
            body = got[len(answer) + rest:]
            assert body.startswith(b"HTTP/1.") and body.endswith(w.page), (handshake, got[:200])
    for step in (10000, 1):
        with w.connect(OPEN) as s:
            send(s, b"GET http://web.far.lab/data HTTP/1.0" + END + request, step)
            got = read_to_end(s)
        assert got.startswith(b"HTTP/1.") and got.endswith(w.page), got[:200]
    report("all ways in: payload sent ahead arrives")


def cut_off(w):
    """A client that ends, or resets, after each byte of its request."""
    for port, handshake, answer, _ in good_requests(w):
        for size in range(len(handshake)):
            with w.connect(port, timeout=5) as s:
                send(s, handshake[:size], 10000)
                s.shutdown(socket.SHUT_WR)
                got = read_to_end(s)
                assert answer.startswith(got), (handshake[:size], got)
            s = w.connect(port)
            send(s, handshake[:size], 10000)
            socks.reset(s)
    report("ends and resets after each byte: nothing came of it")


def names_of_a_browser(w):
    """Chromium sends addresses as names, IPv6 in brackets; port 0 of nothing else."""
    for name, code in ((w.web.address.encode(), 0), (b"[::1]", 2), (b"127.0.0.1", 2),
                       (b"[::ffff:127.0.0.1]", 2), (b"WEB.far.lab.", 0)):
        with w.connect(OPEN) as s:
            s.sendall(HELLO + b"\x05\x01\x00\x03" + bytes([len(name)]) + name + b"\x00\x50")
            assert socks.read_exactly(s, 2) == WELCOME
            assert socks.read_reply(s) == code, name
    for target, status in ((b"[::1]:80", b"403"), (b"127.0.0.1:80", b"403"),
                           (b"web.far.lab:81", b"502"), (b"silent.far.lab:80", b"504"),
                           (b"a.b.culvert:80", b"502")):
        for request in (b"CONNECT " + target, b"GET http://" + target + b"/"):
            with w.connect(OPEN) as s:
                s.sendall(request + V11 + b"\r\n")
                got = read_to_end(s)
            check_http(request.decode(), got, int(status))
            assert target.replace(b"\r", b"") in got, got
    report("addresses as names; HTTP errors name target and cause")


def one_request(w):
    """Absolute form: rewritten, one a connection, the body framed, what is behind it ignored."""
    listener = w.listen(8080)
    to = f"{w.web.address}:8080".encode()
    with w.connect(OPEN) as s:
        s.sendall(b"POST http://" + to + b"/a?b" + V11 + b"Host: evil\r\nConnection: x-own, close\r\n"
                  b"X-Own: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: keep-alive\r\n" +
                  AUTH + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nX: y" + END)
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(10)
            head = b"POST /a?b" + V11 + b"Host: " + to + b"\r\nTransfer-Encoding: chunked\r\n" \
                b"Expect: 100-continue\r\nX: y\r\nConnection: close" + END
            assert socks.read_exactly(peer, len(head)) == head
            peer.sendall(b"HTTP/1.1 100 Continue" + END)
            assert socks.read_exactly(s, 25) == b"HTTP/1.1 100 Continue" + END
            s.sendall(b"5;ext=1\r\nhello\r\n")
            assert socks.read_exactly(peer, 10) == b"5\r\nhello\r\n"
            s.sendall(b"0\r\nTrailer: x" + END + b"GET http://" + to + b"/second" + V11 + b"\r\n")
            assert socks.read_exactly(peer, 5) == b"0" + END
            answer = b"HTTP/1.1 200 OK\r\nConnection: keep-alive" + END + b"x" * 3000
            peer.sendall(answer)
            peer.shutdown(socket.SHUT_WR)
            assert read_to_end(s) == answer, "the response was touched"
            # Nothing of the second request, only the end that the end of the response brought.
            assert peer.recv(100) == b""
    # A body that turns out to be malformed under way: both ends are reset.
    with w.connect(OPEN) as s:
        s.sendall(b"POST http://" + to + b"/" + V11 + b"Transfer-Encoding: chunked" + END)
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(10)
            while END not in peer.recv(1000):
                pass
            s.sendall(b"5\nhello")
            for end in (s, peer):
                try:
                    while end.recv(100):
                        pass
                    raise AssertionError("an end where a reset was due")
                except ConnectionResetError:
                    pass
    # A head of 60 KiB, and a body that comes with it, to a target that is slow to read.
    cookie, body = b"c" * 60000, b"b" * 200000
    with w.connect(OPEN) as s:
        task = w.in_background(lambda: s.sendall(
            b"PUT http://" + to + b"/" + V11 + b"Cookie: " + cookie + b"\r\nContent-Length: " +
            str(len(body)).encode() + END + body))
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(10)
            got = b""
            while len(got.partition(END)[2]) < len(body):
                got += peer.recv(65536)
            task.result()
            assert cookie in got and got.endswith(END + body)
    listener.close()
    report("absolute form: rewritten, framed, one request a connection")


def early_success(w):
    """`optimistic`: the answer comes first, a refusal is a reset."""
    for request, answer in ((HELLO + b"\x05\x01\x00" + TO[:1] + socket.inet_aton(w.web.address),
                             WELCOME + b"\x05\x00\x00\x01" + bytes(6)),
                            (b"CONNECT " + w.web.address.encode() + b":",
                             b"HTTP/1.1 200 Connection established" + END)):
        def with_port(port, request=request):
            if request.startswith(b"C"):
                return request + str(port).encode() + V11 + b"\r\n"
            return request + struct.pack("!H", port)
        with w.connect(("127.0.0.1", 1082)) as s:
            s.sendall(with_port(80) + b"GET /data HTTP/1.0" + END)
            got = read_to_end(s)
            assert got.startswith(answer) and got.endswith(w.page), got[:200]
        with w.connect(("127.0.0.1", 1082)) as s:
            s.sendall(with_port(81))
            try:
                got = socks.read_exactly(s, len(answer))
                assert got == answer, got
                s.recv(1)
                raise AssertionError("an end where a reset was due")
            except ConnectionResetError:
                pass
    report("optimistic: success at once, refused is reset")


def curl(w, *words, proxy=None):
    return w.a.host.run(["curl", "--silent", "--show-error", "--max-time", "15", *words, *(proxy or [])],
                        check=False)


def clients(w):
    url, name = f"http://{w.web.address}/data", "http://web.far.lab/data"
    for where, ways in (("127.0.0.1:1080", ("--socks4", "--socks4a", "--socks5", "--socks5-hostname",
                                            "--proxy", "--proxytunnel")),
                        ("127.0.0.1:1081", ("--socks5-hostname", "--proxy", "--proxytunnel"))):
        for way in ways:
            proxy = ["--proxytunnel", "--proxy", where] if way == "--proxytunnel" else [way, where]
            user = ["--proxy-user", "alice:secret"] if where.endswith("1") else []
            by_name = way not in ("--socks4", "--socks5")
            done = curl(w, *user, name if by_name else url, proxy=proxy)
            assert done.returncode == 0, f"{way}: {done.returncode} {done.stderr}"
            assert done.stdout.encode() == w.page, f"{way}: {done.stdout[:200]}"
    # Wrong passwords and refusals, as curl says them.
    wrong = ["--proxy-user", "alice:wrong"]
    for what, words, code, text in (
            ("SOCKS5, wrong password", [*wrong, "--socks5-hostname", "127.0.0.1:1081", name], 97,
             "User was rejected"),
            ("SOCKS5, no password", ["--socks5-hostname", "127.0.0.1:1081", name], 97, ""),
            ("SOCKS4 where a password is asked", ["--socks4a", "127.0.0.1:1081", name], 97, "(91)"),
            ("CONNECT, wrong password", [*wrong, "-p", "-x", "127.0.0.1:1081", name], 56, "407"),
            ("GET, wrong password", [*wrong, "--fail", "-x", "127.0.0.1:1081", name], 22, "407"),
            ("CONNECT, refused", ["-p", "-x", "127.0.0.1:1080", f"http://{w.web.address}:81/"], 56,
             "502"),
            ("SOCKS5, refused", ["--socks5", "127.0.0.1:1080", f"http://{w.web.address}:81/"], 97,
             "(5)"),
            ("CONNECT, not allowed", ["-p", "-x", "127.0.0.1:1080", "http://127.0.0.1:81/"], 56, "403")):
        done = curl(w, *words)
        report(f"curl, {what}", f"{done.returncode} {done.stderr.strip()}")
        assert done.returncode == code and text in done.stderr, done
    done = curl(w, "--proxy-anyauth", "--proxy-user", "alice:secret", "-x", "127.0.0.1:1081", name)
    assert done.stdout.encode() == w.page, done
    uploads(w)
    report("curl: every way in, passwords, refusals")


def take_upload(listener):
    """Serves one upload; returns its body as it came."""
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(10)
        got = b""
        while END not in got:
            got += peer.recv(65536)
        head, _, body = got.partition(END)
        assert b"Expect: 100-continue" in head, head
        peer.sendall(b"HTTP/1.1 100 Continue" + END)
        length = re.search(rb"Content-Length: (\d+)", head)
        while not (len(body) == int(length[1]) if length else body.endswith(b"\r\n0" + END)):
            body += peer.recv(65536)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0" + END)
        assert peer.recv(1) == b"", "more than the request"
    return body


def uploads(w):
    """Two megabytes that wait for 100 Continue, with a length and in chunks."""
    body = w.a.directory / "body"
    body.write_bytes(w.page * 100)
    listener = w.listen(8081)
    for extra in ([], ["--header", "Transfer-Encoding: chunked"]):
        task = w.in_background(lambda: take_upload(listener))
        done = curl(w, *extra, "--header", "Expect: 100-continue", "--data-binary", f"@{body}", "-w",
                    "%{http_code}", "-x", "127.0.0.1:1080", f"http://{w.web.address}:8081/")
        assert done.stdout == "200", done
        got = task.result()
        if extra:
            plain, at = [], 0
            while size := int(got[at:got.index(b"\r\n", at)], 16):
                at = got.index(b"\r\n", at) + 2
                plain.append(got[at:at + size])
                at += size + 2
            got = b"".join(plain)
        assert got == w.page * 100, "the upload differs"
    listener.close()


def peer_is_down(w):
    """503, in time, and why."""
    w.b.stop()
    w.wait_until(lambda: not w.a.peer("far")["connected"], 10, "the peer is known to be gone")
    for request in (b"CONNECT web.far.lab:80", b"GET http://web.far.lab/"):
        begin = time.monotonic()
        with w.connect(OPEN) as s:
            s.sendall(request + V11 + b"\r\n")
            got = read_to_end(s)
        report(f"{request.decode()}, peer down: seconds", time.monotonic() - begin)
        report("says", got.rpartition(END)[2].decode().strip())
        check_http("peer down", got, 503)
        assert b"web.far.lab:80: the peer is not connected" in got, got
        assert time.monotonic() - begin < 10


def dialled(w):
    return w.b.log().count("stream opened") + w.b.log().count("stream refused")


def story():
    with World(one_way_ms=5) as w:
        w.file(20000)
        w.page = bytes(65 + i % 26 for i in range(20000))
        (w.lab.directory / "htdocs/data").write_bytes(w.page)
        w.serve_files()
        w.a.config["proxies"] += [
            {"listen": f"{USERS[0]}:{USERS[1]}", "peer": "far", "users": {"alice": "secret"}},
            {"listen": "127.0.0.1:1082", "peer": "far", "optimistic": True}]
        w.a.file.touch(mode=0o600)
        w.b.config["peers"]["near"]["allow"] = [f"{w.office.lan}:*"]
        w.start()
        with w.connect(OPEN) as s:  # the path is there, and the log has its first line
            socks.connect(s, w.web.address, 80)
        before = dialled(w)
        assert before == 1, w.b.log()
        check_rows(w, OPEN, "SOCKS5", SOCKS5)
        check_rows(w, OPEN, "SOCKS4", SOCKS4)
        check_rows(w, OPEN, "HTTP", HTTP)
        check_rows(w, OPEN, "a browser, lured here", BROWSER)
        check_rows(w, USERS, "a browser, lured to users", BROWSER)
        check_rows(w, USERS, "passwords", PASSWORDS)
        cut_off(w)
        assert dialled(w) == before, "something was dialled"
        pipelined(w)
        names_of_a_browser(w)
        one_request(w)
        early_success(w)
        clients(w)
        assert "SOCKS4 has no password" in w.a.log()
        assert "names only a path" in w.a.log()
        w.wait_until(lambda: w.a.peer("far")["streams"] == 0, 15, "no stream is left")
        peer_is_down(w)


main(story)
