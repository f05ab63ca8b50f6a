#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A connection through culvert ends as one without it, in each of 16 orders. (E14, S34)

P1, P2. Each side ends in one of four ways; data are in flight both ways. What the two sides see is
first learnt from a plain TCP connection on this kernel, and has to be the same through SOCKS and
through a forward, whoever of the two goes first; `culvert nc` has two ways of its own. Then
nothing at all, much both ways at once, and what interactive use needs of the sockets.
"""
import concurrent.futures
import fcntl
import hashlib
import os
import socket
import statistics
import struct
import subprocess
import termios
import threading
import time

import socks
from world import CULVERT, PROXY, World, main, report

FORWARD, TARGET = 2000, 2001
BEFORE, BURST, MORE = (os.urandom(size) for size in (64 << 10, 100_000, 200_000))
ANSWER = os.urandom(5000)
UNREAD = 1000   # bytes left in the queue of who closes with unread data
HUGE = 32 << 20
SEEN_WITHIN = 5
AT_ONCE = 8
PAUSE = 0.003   # between two small writes

# half: shutdown, read to the end, close. close: at once, with all read. reset: RST. unread: close
# with bytes in the receive queue, of which the kernel makes a reset.
WAYS = ("half", "close", "reset", "unread")


def digest(data):
    return hashlib.sha256(data).hexdigest()


def queued(s):
    """Bytes in the receive queue."""
    return struct.unpack("i", fcntl.ioctl(s, termios.FIONREAD, b"\0" * 4))[0]


def wait_queued(s, size):
    until = time.monotonic() + 20
    while queued(s) < size:
        assert time.monotonic() < until, f"{queued(s)} of {size} bytes are there"
        time.sleep(0.002)


def read_to_end(s, expected):
    """How it ends, and whether all of `expected` came before; never anything else."""
    got = bytearray()
    try:
        while block := s.recv(1 << 18):
            got += block
        end = "eof"
    except (ConnectionResetError, BrokenPipeError):
        end = "reset"
    if len(got) == len(expected):
        assert digest(got) == digest(expected), "other bytes"
        return f"all, {end}"
    assert expected.startswith(bytes(got)), f"{len(got)} bytes that were not sent"
    return f"part, {end}"


def write_in_vain(s):
    """Writes until it fails, as it must when nobody can read any more."""
    until = time.monotonic() + SEEN_WITHIN
    while time.monotonic() < until:
        try:
            s.sendall(BURST[:1000])
        except (ConnectionResetError, BrokenPipeError):
            return "cannot write"
        time.sleep(0.01)
    return "writes"


def finish(s, way):
    """One side's end; after "half" it can still read."""
    if way == "half":
        s.shutdown(socket.SHUT_WR)
    elif way == "reset":
        socks.reset(s)
    else:
        assert (queued(s) > 0) == (way == "unread"), f"{way} with {queued(s)} bytes unread"
        s.close()


def exchange(first, second):
    """Both ways, before anybody ends."""
    for x, y in ((first, second), (second, first)):
        x.sendall(BEFORE)
        assert digest(socks.read_exactly(y, len(BEFORE))) == digest(BEFORE)


def end_first(first, second, way):
    """The first to end has just sent, and so has the other."""
    second.sendall(BURST)
    if way == "unread":
        wait_queued(first, UNREAD)
    else:
        assert digest(socks.read_exactly(first, len(BURST))) == digest(BURST)
    first.sendall(BURST)
    finish(first, way)


def end_second(first, second, ways):
    """The other one hears of it, and ends in its turn: what second saw, what first saw."""
    if ways[0] in ("reset", "unread"):
        # What came before a reset may have been lost with it: the kernel promises no more.
        seen = read_to_end(second, BURST).replace("all", "part")
        finish(second, "reset" if ways[1] == "reset" else "close")
        return seen, "-"
    if ways[1] == "unread":
        assert digest(socks.read_exactly(second, len(BURST) - UNREAD)) == digest(BURST[:-UNREAD])
        wait_queued(second, UNREAD)
        seen = "all but what was left"
    else:
        seen = read_to_end(second, BURST)
    if ways[0] == "close":
        if ways[1] == "half":
            seen += ", " + write_in_vain(second)
        if ways[1] != "half":
            finish(second, ways[1])
        second.close()
        return seen, "-"
    if ways[1] != "unread":  # a reset would take it along, or not
        second.sendall(MORE)
    finish(second, ways[1])
    back = read_to_end(first, MORE if ways[1] != "unread" else b"")
    if ways[1] in ("reset", "unread"):
        back = back.replace("all", "part")
    first.close()
    second.close()
    return seen, back


def one_order(connect, who, ways):
    """(what the second to end saw, what the first saw after it); `who` goes first."""
    client, target = connect()
    with client, target:
        for s in (client, target):
            s.settimeout(20)
        first, second = (client, target) if who == "client" else (target, client)
        exchange(first, second)
        end_first(first, second, ways[0])
        return end_second(first, second, ways)


class Ways:
    """How client and target come together: without culvert, through SOCKS, through a forward."""

    def __init__(self, w):
        self._w = w
        self._lock = threading.Lock()

    def pair(self, connect):
        """One at a time, so that they belong to each other."""
        def both():
            with self._lock:
                client = connect()
                target, _ = self._w.listener.accept()
                return client, target
        return both

    def plain(self):
        return self._w.connect((self._w.web.address, TARGET), host=self._w.b.host)

    def socks(self):
        return socks.connect(self._w.connect(PROXY), self._w.web.address, TARGET)

    def forward(self):
        return self._w.connect(("127.0.0.1", FORWARD))


ORDERS = [(who, (x, y)) for who in ("client", "target") for x in WAYS for y in WAYS]


def all_orders(pair):
    def one(order):
        try:
            return one_order(pair, *order)
        except (AssertionError, OSError, EOFError) as error:
            return (f"failed: {error!r}", "")
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(ORDERS, pool.map(one, ORDERS)))


def orders(w):
    ways, wrong = Ways(w), []
    begin = time.monotonic()
    plain = all_orders(ways.pair(ways.plain))
    report("who goes first, how; then the other, how: what that one saw; what the first saw then")
    for (who, (x, y)), seen in plain.items():
        report(f"  {who} {x}, then {y}", f"{seen[0]}; {seen[1]}")
        assert not seen[0].startswith("failed"), f"without culvert: {who} {x}, {y}: {seen}"
    for name, connect in (("SOCKS", ways.socks), ("a forward", ways.forward)):
        got = all_orders(ways.pair(connect))
        for order, seen in got.items():
            if seen != plain[order]:
                wrong.append(f"through {name}: {order}: {seen}, without culvert {plain[order]}")
        report(f"through {name}: the same of {len(ORDERS)}",
               sum(got[order] == plain[order] for order in ORDERS))
    report("s", time.monotonic() - begin)
    assert not wrong, "\n".join(wrong)


# culvert nc ------------------------------------------------------------------------


def nc_one(w, way, lock):
    """The target ends in this way while nc is still there; nc's exit code and what it wrote."""
    words = [CULVERT, "nc", "--control", w.a.control, "far", f"{w.web.address}:{TARGET}"]
    with lock:
        nc = subprocess.Popen(w.a.host._wrap(words, None), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        target, _ = w.listener.accept()
    with target:
        target.settimeout(20)
        nc.stdin.write(BEFORE)
        nc.stdin.flush()
        if way == "unread":
            wait_queued(target, UNREAD)
        else:
            assert digest(socks.read_exactly(target, len(BEFORE))) == digest(BEFORE)
        target.sendall(BURST)
        got = nc.stdout.read(len(BURST))
        assert digest(got) == digest(BURST)
        finish(target, way)
        if way in ("half", "close"):
            assert nc.stdout.read(1) == b"", "more than was sent"
            nc.stdin.close()
        if way == "half":
            assert target.recv(1) == b""
        code = nc.wait(20)
        for pipe in (nc.stdin, nc.stdout, nc.stderr):
            pipe.close()
        return code


def nc(w):
    lock = threading.Lock()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        codes = dict(zip(WAYS, pool.map(lambda way: nc_one(w, way, lock), WAYS)))
    report("nc's exit code after the target's end", codes)
    assert codes == {"half": 0, "close": 0, "reset": 1, "unread": 1}, codes


# An answer before the request has ended ------------------------------------------------


def early_answer(pair, way):
    """The target has seen enough: it answers and closes, with the rest unread or still to come."""
    client, target = pair()
    with client, target:
        client.settimeout(20)
        target.settimeout(20)
        client.sendall(BEFORE[:20_000])
        if way == "unread":
            socks.read_exactly(target, 1000)
            wait_queued(target, 1)
        else:
            socks.read_exactly(target, 20_000)
        target.sendall(ANSWER)
        finish(target, way)
        if way == "close":
            try:
                for _ in range(50):
                    client.sendall(BURST[:1000])
                    time.sleep(0.002)
            except (ConnectionResetError, BrokenPipeError):
                pass
        return read_to_end(client, ANSWER)


def early_answers(w):
    """A server that refuses an upload, say: its client reads why."""
    ways = Ways(w)
    for way in ("unread", "close"):
        seen = {}
        for connect in (ways.plain, ways.socks, ways.forward):
            got = [early_answer(ways.pair(connect), way) for _ in range(5)]
            seen[connect.__name__] = sorted(set(got))
        report(f"an answer before the request has ended, then {way}", seen)
        assert all(got.startswith("all") for found in seen.values() for got in found), seen
        assert seen["socks"] == seen["forward"], seen


# Nothing, and much -------------------------------------------------------------------


def nothing(w):
    """Not one byte either way: an end all the same, whoever is first."""
    ways = Ways(w)
    for connect in (ways.socks, ways.forward):
        for first_is_client in (True, False):
            client, target = ways.pair(connect)()
            with client, target:
                target.settimeout(20)
                first, second = (client, target) if first_is_client else (target, client)
                first.shutdown(socket.SHUT_WR)
                assert second.recv(1) == b""
                second.shutdown(socket.SHUT_WR)
                assert first.recv(1) == b""
    report("0 bytes each way", "ended")


def much(w):
    """Both ways at once; the one that is through first ends first."""
    ways, block = Ways(w), os.urandom(1 << 20)
    client, target = ways.pair(ways.forward)()
    begin = time.monotonic()

    def send(s, size):
        for _ in range(size >> 20):
            s.sendall(block)
        s.shutdown(socket.SHUT_WR)

    def read(s):
        h, size = hashlib.sha256(), 0
        while got := s.recv(1 << 18):
            h.update(got)
            size += len(got)
        return size, h.hexdigest()

    with client, target:
        target.settimeout(20)
        sizes = {client: HUGE, target: HUGE // 2}
        senders = [w.in_background(lambda s=s: send(s, sizes[s])) for s in sizes]
        readers = {s: w.in_background(lambda s=s: read(s)) for s in sizes}
        for s, other in ((client, target), (target, client)):
            got = readers[s].result(60)
            assert got == (sizes[other], digest(block * (sizes[other] >> 20))), got
        for sender in senders:
            sender.result()
    report(f"{HUGE >> 20} and {HUGE >> 21} MiB at once, s", time.monotonic() - begin)


# What interactive use needs ------------------------------------------------------------


def small_writes(w):
    """Two small writes and two back cost no more than one: Nagle's rule, together with delayed
    acknowledgements, would add 40 ms on each side."""
    ways = Ways(w)
    client, target = ways.pair(ways.forward)()

    def answer():
        while count := target.recv(1):
            for _ in range(count[0] - 1):
                target.recv(1)
            for _ in range(count[0]):
                target.sendall(b"a")
                time.sleep(PAUSE)

    def ask(count):
        begin = time.monotonic()
        for _ in range(count):
            client.sendall(bytes([count]))
            time.sleep(PAUSE)
        socks.read_exactly(client, count)
        return time.monotonic() - begin - (2 * count - 1) * PAUSE

    with client, target:
        for s in (client, target):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task, times = w.in_background(answer), {1: [], 2: []}
        for _ in range(15):
            for count in times:
                times[count].append(ask(count))
        client.shutdown(socket.SHUT_WR)
        task.result()
    one, two = (statistics.median(times[count]) * 1000 for count in (1, 2))
    report("one small write and its answer, two and two, ms", f"{one:.1f} {two:.1f}")
    assert two < one + 30, times


def timers(host):
    """Ports of established TCP connections that have a keepalive timer: [(local, remote)]."""
    text = host.run(["cat", "/proc/net/tcp"]).stdout
    out = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[3] == "01" and fields[5].startswith("02:"):
            out.append(tuple(int(field.split(":")[1], 16) for field in fields[1:3]))
    return out


def keepalive(w):
    """On both sides, and also where nothing is read because nobody takes it."""
    ways = Ways(w)
    client, target = ways.pair(ways.forward)()
    with client, target:
        client.setblocking(False)
        until = time.monotonic() + 20
        last = time.monotonic()
        while time.monotonic() - last < 0.5:  # until everything on the way is full
            assert time.monotonic() < until
            try:
                client.send(BURST)
                last = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        near = [p for p in timers(w.a.host) if p[0] == FORWARD]
        assert near, "no keepalive on the client's side"
        socks.reset(client)  # and a reset is seen although nothing is read
        begin = time.monotonic()
        target.settimeout(SEEN_WITHIN)
        try:
            while target.recv(1 << 20):
                pass
            raise AssertionError("an abort looks like an end")
        except ConnectionResetError:
            report("a reset behind a full way, s", time.monotonic() - begin)
    client, target = ways.pair(ways.forward)()
    with client, target:
        client.sendall(b"x")
        assert target.recv(1) == b"x"
        w.wait_until(lambda: any(p[1] == TARGET for p in timers(w.b.host)), 5,
                     "keepalive on the target's side")
        report("keepalive", "both sides")


def story():
    with World() as w:
        w.a.config["forwards"] = [{"listen": f"127.0.0.1:{FORWARD}", "peer": "far",
                                   "to": f"{w.web.address}:{TARGET}"}]
        w.listener = w.listen(TARGET)
        w.start()
        for part in (orders, early_answers, nc, nothing, much, small_writes, keepalive):
            part(w)
        # Nothing is left behind.
        for agent, peer in ((w.a, "far"), (w.b, "near")):
            w.wait_until(lambda: agent.peer(peer)["streams"] == 0, 10, f"{agent.name} is idle")


main(story)
