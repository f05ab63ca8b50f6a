#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An end is an end and an abort an abort, each way by itself. (E14)

P1, P2: 8 MiB up, end of input, then 1 MiB back; the same with the far side ending first; a reset
arrives as a reset. Through a forward, through SOCKS and through `culvert nc`.
"""
import hashlib
import os
import socket
import subprocess
import time

import socks
from world import CULVERT, PROXY, World, main, report

UP, DOWN = os.urandom(8 << 20), os.urandom(1 << 20)
FORWARD, TARGET = 2000, 2001
RESET_WITHIN = 5


def digest(data):
    return hashlib.sha256(data).hexdigest()


def read_to_end(s):
    out = []
    while block := s.recv(1 << 18):
        out.append(block)
    return b"".join(out)


class Pipe:
    """`culvert nc` with pipes, in the shape of a socket."""

    def __init__(self, w):
        words = [CULVERT, "nc", "--control", w.a.control, "far", f"{w.web.address}:{TARGET}"]
        self.process = subprocess.Popen(w.a.host._wrap(words, None), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def sendall(self, data):
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"nc ended: {self.process.wait(20)}, "
                                 f"{self.process.stderr.read()}") from None

    def recv(self, size):
        return os.read(self.process.stdout.fileno(), size)

    def shutdown(self, _how):
        self.process.stdin.close()

    def end(self):
        """Its exit code, and what it said."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(20)
        said = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        return code, said


def forward(w):
    return w.connect(("127.0.0.1", FORWARD))


def proxy(w):
    return socks.connect(w.connect(PROXY), w.web.address, TARGET)


def client_first(w, connect):
    def far():
        peer, _ = w.listener.accept()
        with peer:
            peer.settimeout(20)
            got = read_to_end(peer)
            peer.sendall(DOWN)
            return digest(got)
    answer = w.in_background(far)
    near = connect(w)
    near.sendall(UP)
    near.shutdown(socket.SHUT_WR)
    got = read_to_end(near)
    assert digest(got) == digest(DOWN), f"{len(got)} bytes came back"
    assert answer.result() == digest(UP)
    return near


def server_first(w, connect):
    def far():
        peer, _ = w.listener.accept()
        with peer:
            peer.settimeout(20)
            peer.sendall(DOWN)
            peer.shutdown(socket.SHUT_WR)
            return digest(read_to_end(peer))
    answer = w.in_background(far)
    near = connect(w)
    got = read_to_end(near)
    assert digest(got) == digest(DOWN), f"{len(got)} bytes came first"
    near.sendall(UP)
    near.shutdown(socket.SHUT_WR)
    assert answer.result() == digest(UP)
    return near


def how_it_ends(s):
    """Reads to the end: (b"..." so far, "eof" | "reset")."""
    out = b""
    try:
        while block := s.recv(1 << 16):
            out += block
        return out, "eof"
    except ConnectionResetError:
        return out, "reset"


def client_resets(w, connect):
    near = connect(w)
    near.sendall(b"half a sent")
    far, _ = w.listener.accept()
    far.settimeout(20)
    assert socks.read_exactly(far, 11) == b"half a sent"
    begin = time.monotonic()
    if isinstance(near, Pipe):
        near.process.kill()
        near.process.wait()
    else:
        socks.reset(near)
    data, end = how_it_ends(far)
    far.close()
    report("  the client aborts: the target sees, after s", f"{end} {time.monotonic() - begin:.3f}")
    assert (data, end) == (b"", "reset"), (data, end)
    assert time.monotonic() - begin < RESET_WITHIN


def server_resets(w, connect):
    near = connect(w)
    far, _ = w.listener.accept()
    far.sendall(b"half a sent")
    assert near.recv(100) == b"half a sent"
    begin = time.monotonic()
    socks.reset(far)
    if isinstance(near, Pipe):
        code = near.process.wait(20)
        said = near.process.stderr.read().decode()
        end = "reset" if code == 1 and "reset" in said else f"{code} {said}"
    else:
        _, end = how_it_ends(near)
    report("  the target aborts: the client sees, after s",
           f"{end} {time.monotonic() - begin:.3f}")
    assert end == "reset", end
    assert time.monotonic() - begin < RESET_WITHIN


def story():
    with World() as w:
        w.a.config["forwards"] = [{"listen": f"127.0.0.1:{FORWARD}", "peer": "far",
                                   "to": f"{w.web.address}:{TARGET}"}]
        w.listener = w.listen(TARGET)
        w.start()
        for name, connect in (("a forward", forward), ("SOCKS", proxy), ("nc", Pipe)):
            report(f"through {name}")
            for case in (client_first, server_first):
                begin = time.monotonic()
                near = case(w, connect)
                if isinstance(near, Pipe):
                    code, said = near.end()
                    assert code == 0, f"nc: exit code {code}: {said}"
                else:
                    near.close()
                report(f"  {case.__name__}, s", time.monotonic() - begin)
            client_resets(w, connect)
            server_resets(w, connect)
        # Nothing is left behind.
        for agent, peer in ((w.a, "far"), (w.b, "near")):
            w.wait_until(lambda: agent.peer(peer)["streams"] == 0, 10, f"{agent.name} is idle")


main(story)
