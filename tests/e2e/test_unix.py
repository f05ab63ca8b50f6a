#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Forwards between unix sockets, and the control socket's rules."""
import hashlib
import os
import socket
import stat

import socks
from world import CULVERT, World, main, report

SIZE = 4 << 20


def listener(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(str(path))
    s.listen(4)
    s.settimeout(20)
    return s


def read_to_end(s):
    h = hashlib.sha256()
    while block := s.recv(1 << 16):
        h.update(block)
    return h.hexdigest()


def carry(w, near, far):
    """8 MiB in all, each end closing its half when it is done."""
    up, down = os.urandom(SIZE), os.urandom(SIZE)

    def serve():
        s, _ = far.accept()
        with s:
            s.settimeout(20)
            got = read_to_end(s)
            s.sendall(down)
            return got
    answer = w.in_background(serve)
    with near:
        near.settimeout(20)
        near.sendall(up)
        near.shutdown(socket.SHUT_WR)
        assert read_to_end(near) == hashlib.sha256(down).hexdigest()
    assert answer.result() == hashlib.sha256(up).hexdigest()


def unix_client(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(path))
    return s


def mode(path):
    info = os.stat(path)
    assert stat.S_ISSOCK(info.st_mode), path
    return stat.S_IMODE(info.st_mode)


def story():
    with World() as w:
        near_path, far_path = w.a.directory / "near.sock", w.b.directory / "far.sock"
        tcp_path = w.a.directory / "tcp.sock"
        w.a.config["forwards"] = [
            {"listen": f"unix:{near_path}", "peer": "far", "to": f"unix:{far_path}"},
            {"listen": f"unix:{tcp_path}", "peer": "far", "to": f"{w.web.address}:7"},
            {"listen": "127.0.0.1:7000", "peer": "far", "to": f"unix:{far_path}"},
            {"listen": "127.0.0.1:7001", "peer": "far", "to": f"unix:{w.b.control}"},
            {"listen": "127.0.0.1:7002", "peer": "far", "to": f"unix:{w.b.directory}/none"}]
        w.b.config["peers"]["near"]["allow"] += [f"unix:{w.b.directory}/*"]
        proxy_path = w.a.directory / "proxy.sock"
        w.a.config["proxies"].append({"listen": f"unix:{proxy_path}", "peer": "far"})
        far = listener(far_path)
        tcp = w.listen(7)
        w.start()
        carry(w, unix_client(near_path), far)
        report("unix to unix", "equal")
        carry(w, unix_client(tcp_path), tcp)
        report("unix to TCP", "equal")
        carry(w, w.connect(("127.0.0.1", 7000)), far)
        report("TCP to unix", "equal")
        carry(w, socks.connect(unix_client(proxy_path), w.web.address, 7), tcp)
        report("a proxy on a unix socket", "equal")
        long = w.a.ask("nc", "far", "unix:/" + 107 * "x", timeout=10)
        assert long.returncode == 2 and "107" in long.stderr, long
        for port, what in ((7001, "the far agent's own control socket"), (7002, "no such socket")):
            try:
                with w.connect(("127.0.0.1", port)) as s:
                    assert s.recv(1) == b"" and False, f"{what}: end of file, not a reset"
            except ConnectionResetError:
                report(what, "reset")

        for path in (near_path, tcp_path, proxy_path, w.a.control, w.b.control, w.server.control):
            assert mode(path) == 0o600, f"{path}: mode {mode(path):o}"
        report("modes of listeners and control sockets", "600")

        # A socket that answers is never taken over; one that was left behind is.
        again = w.a.host.run([CULVERT, "run", "-c", w.a.file, "--control", w.a.control])
        assert again.returncode == 1, again
        assert str(w.a.control) in again.stderr, again.stderr
        assert w.a.status()["role"] == "agent"
        w.a.kill()
        assert w.a.control.exists()
        w.a.start()
        assert w.a.status()["role"] == "agent"
        w.a.stop()
        for path in (near_path, tcp_path, proxy_path, w.a.control):
            assert not path.exists(), f"{path} was left behind"
        report("second run on a control socket: exit code", again.returncode)


main(story)
