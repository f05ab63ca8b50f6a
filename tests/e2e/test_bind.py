#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SOCKS5's BIND: the far side listens for one connection; active FTP works through it.

With Debian's vsftpd behind the far NAT: control by CONNECT, data by BIND, both ways. Then who may
connect, what the policy says, and how each wait ends.
"""
import ftplib
import hashlib
import io
import os
import shutil
import socket
import struct
import time

import socks
from world import PROXY, World, main, report, skip

SIZE = 3 << 20
FTP_CONFIG = """
listen=YES
anonymous_enable=YES
write_enable=YES
anon_upload_enable=YES
anon_root={root}
anon_umask=022
background=NO
pasv_enable=NO
port_enable=YES
port_promiscuous=NO
connect_from_port_20=NO
run_as_launching_user=YES
nopriv_user=root
ftp_username=root
secure_chroot_dir={empty}
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
one_process_model=NO
allow_writeable_chroot=YES
"""


def read_address(s):
    """A reply of SOCKS5: its code, and the address in it."""
    version, code, _, atyp = socks.read_exactly(s, 4)
    assert version == 5
    family = {1: socket.AF_INET, 4: socket.AF_INET6}[atyp]
    ip = socket.inet_ntop(family, socks.read_exactly(s, {1: 4, 4: 16}[atyp]))
    return code, (ip, struct.unpack("!H", socks.read_exactly(s, 2))[0])


def ask_bind(w, host, port=0):
    s = w.connect(PROXY)
    socks.greet(s)
    s.sendall(bytes([5, socks.BIND, 0]) + socks.address(host, port))
    return s, *read_address(s)


class Ftp(ftplib.FTP):
    """An active client whose sockets are a SOCKS server's."""

    def __init__(self, w, host):
        super().__init__()
        self.w, self.host, self.port, self.passiveserver = w, host, 21, False
        self.sock = socks.connect(w.connect(PROXY), host, 21)
        self.af = socket.AF_INET
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()

    def ntransfercmd(self, cmd, rest=None):
        s, code, bound = ask_bind(self.w, self.host, 21)
        assert code == socks.OK, code
        self.sendport(*bound)
        answer = self.sendcmd(cmd)
        assert answer.startswith("1"), answer
        code, who = read_address(s)
        assert (code, who[0]) == (socks.OK, self.host), (code, who)
        return s, None


def serve_ftp(w):
    root, empty = w.lab.directory / "ftp", w.lab.directory / "empty"
    root.mkdir(), empty.mkdir()
    file = w.lab.directory / "vsftpd.conf"
    file.write_text(FTP_CONFIG.format(root=root, empty=empty).lstrip())
    server = w.web.spawn([shutil.which("vsftpd") or "/usr/sbin/vsftpd", file])

    def there():
        assert server.poll() is None, server.text()
        try:
            w.connect((w.web.address, 21), host=w.web, timeout=1).close()
        except OSError:
            return False
        return True
    w.wait_until(there, 10, "vsftpd listens")
    return root


def active_ftp(w, root):
    data = os.urandom(SIZE)
    (root / "down").write_bytes(data)
    ftp = Ftp(w, w.web.address)
    ftp.login()
    got = io.BytesIO()
    ftp.retrbinary("RETR down", got.write)
    assert hashlib.sha256(got.getvalue()).digest() == hashlib.sha256(data).digest()
    ftp.storbinary("STOR up", io.BytesIO(data))
    assert (root / "up").read_bytes() == data
    names = []
    ftp.retrlines("NLST", names.append)
    assert sorted(names) == ["down", "up"], names
    ftp.quit()
    report("active FTP by vsftpd: RETR, STOR, NLST", "equal")


def carry(s, t):
    s.settimeout(10)
    t.settimeout(10)
    for one, other in (s, t), (t, s):
        one.sendall(b"hello")
        assert socks.read_exactly(other, 5) == b"hello"
    s.shutdown(socket.SHUT_WR)
    assert t.recv(1) == b""
    t.sendall(b"bye")
    t.close()
    assert socks.read_exactly(s, 3) == b"bye" and s.recv(1) == b""
    s.close()


def who_may_connect(w):
    """Only who was named, only once; others are reset and the wait goes on."""
    s, code, bound = ask_bind(w, w.web.address)
    assert code == socks.OK and bound[0] == w.b.host.address, (code, bound)
    assert 7000 <= bound[1] <= 7099, bound
    assert is_turned_away(w, bound)
    t = w.connect(bound, host=w.web)
    assert read_address(s) == (socks.OK, t.getsockname())
    try:
        w.connect(bound, host=w.web).close()
        assert False, "a second one came through"
    except ConnectionRefusedError:
        pass
    carry(s, t)
    # A name is resolved there; 0.0.0.0 is anybody.
    for host in "web.far.lab", "0.0.0.0":
        s, code, bound = ask_bind(w, host)
        assert code == socks.OK, (host, code)
        t = w.connect(bound, host=w.web)
        assert read_address(s) == (socks.OK, t.getsockname())
        carry(s, t)
    report("who is named may connect, once", "as it should be")


def by_socks4(w):
    """The same command in the older protocol: two replies of eight bytes."""
    s = w.connect(PROXY)
    s.sendall(struct.pack("!BBH4s", 4, 2, 0, socket.inet_aton(w.web.address)) + b"me\0")
    version, code, port, ip = struct.unpack("!BBH4s", socks.read_exactly(s, 8))
    assert (version, code) == (0, 90), (version, code)
    t = w.connect((socket.inet_ntoa(ip), port), host=w.web)
    version, code, port, ip = struct.unpack("!BBH4s", socks.read_exactly(s, 8))
    assert (version, code) == (0, 90), (version, code)
    assert (socket.inet_ntoa(ip), port) == t.getsockname()
    carry(s, t)
    report("SOCKS4's BIND", "equal")


def is_turned_away(w, bound):
    """A stranger is reset, perhaps before connect() has returned."""
    try:
        with w.connect(bound, host=w.b.host) as s:
            s.recv(1)
    except ConnectionResetError:
        return True
    return False


def is_closed(w, bound):
    try:
        w.connect(bound, host=w.web, timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def how_it_ends(w):
    s, code, bound = ask_bind(w, w.web.address)
    assert code == socks.OK
    s.close()
    w.wait_until(lambda: is_closed(w, bound), 5, "the listener goes with its client")
    _, code, _ = ask_bind(w, "nobody.far.lab")
    assert code == socks.HOST_UNREACHABLE, code
    # Loopback would have to be named.
    _, code, _ = ask_bind(w, "127.0.0.1")
    assert code == socks.NOT_ALLOWED, code
    waiting, code, bound = ask_bind(w, w.web.address)
    assert code == socks.OK
    begin = time.monotonic()
    w.b.stop()
    code, _ = read_address(waiting)
    assert code == socks.FAILED and is_closed(w, bound), code
    report("the far agent ended; second reply after, seconds", time.monotonic() - begin)


def story():
    if not shutil.which("vsftpd") and not os.path.exists("/usr/sbin/vsftpd"):
        skip("no vsftpd")
    with World(one_way_ms=5) as w:
        w.b.config["peers"]["near"]["allow_listen"] = ["*:7000-7099"]
        root = serve_ftp(w)
        w.start()
        active_ftp(w, root)
        who_may_connect(w)
        by_socks4(w)
        how_it_ends(w)


main(story)
