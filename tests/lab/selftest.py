#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""selftest - proves that the lab does what README.md says of it. Takes some 25 s.

Every behaviour is observed from inside, with sockets of the hosts. Silence is
never waited for: labnet counts what it drops, so a test waits for the counter.
"""
import collections
import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import socket
import statistics
import sys
import time
import traceback

import lab as lab_module
import selftest_nat  # noqa: F401 (its tests come first)
from selftest_world import HOME, OFFICE, S1, S2, World, expect, seen, tcp_pair, test, tests, transfer

SPEED_MIN_MBIT = 500

IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
UDP_SEGMENT = 103


# Links ------------------------------------------------------------------------

Arrival = collections.namedtuple("Arrival", "number delay at data")


def processed(link, direction="out"):
    c = link.counters()[direction]
    return c["packets"] - c["duplicated"] + sum(v for k, v in c.items() if k.startswith("drop_"))


def stream(w, count, size=100, interval=0.0):
    """Send numbered packets from a to s1 and return those that arrive, as they arrive."""
    s, i = w.udp(w.s1), w.udp(w.a)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)  # or what the system allows
    s.setblocking(False)
    to = (S1, s.getsockname()[1])
    goal = processed(w.a.link) + count
    arrivals = []

    def drain(timeout):
        while select.select([s], [], [], timeout)[0]:
            try:
                data = s.recv(2000)
            except BlockingIOError:  # it was there, but its checksum is wrong
                continue
            at = time.monotonic()
            number, sent = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:12], "big")
            arrivals.append(Arrival(number, at - sent / 1e9, at, data[12:]))
            timeout = 0

    def is_carried(number):
        drain(0)
        return processed(w.a.link) >= goal - count + number
    filler = b"\xa5" * (size - 12)
    for n in range(count):
        now = time.monotonic_ns()
        i.sendto(n.to_bytes(4, "big") + now.to_bytes(8, "big") + filler, to)
        drain(0)
        if n % 128 == 127:  # no more at once than the queue of the device holds
            w.lab.wait_until(lambda sent=n + 1: is_carried(sent), 5, "labnet to read on", 0)
        next_at = now / 1e9 + interval
        while (left := next_at - time.monotonic()) > 0:
            drain(left)

    def is_over():
        drain(0.002)
        return processed(w.a.link) >= goal and w.lab.internet.counters()["waiting"] == 0
    w.lab.wait_until(is_over, 20, "all packets to arrive or be dropped", interval=0)
    drain(0)
    return arrivals


def inversions(arrivals):
    return sum(x.number > y.number for x, y in itertools.pairwise(arrivals))


@test
def delay(w):
    """link: delay, and none on the other direction"""
    w.a.link.set("out", delay_ms=40)
    got = statistics.median(p.delay for p in stream(w, 20, interval=0.002))
    expect(0.040 <= got < 0.050, f"{got}")
    w.a.link.set("out", delay_ms=0)
    got = statistics.median(p.delay for p in stream(w, 20, interval=0.002))
    expect(got < 0.005, f"{got}")


@test
def lateness(w):
    """link: packets that go on too late are counted"""
    w.a.link.set("out", delay_ms=20)
    sender, receiver = w.udp(w.a), w.udp(w.s1, 7000)
    before = w.lab.internet.counters()
    for _ in range(10):
        sender.sendto(b"x", (S1, 7000))
    w.lab.wait_until(lambda: w.lab.internet.counters()["waiting"] == 10, 5, "all are under way")
    os.kill(w.lab._process.pid, signal.SIGSTOP)
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        time.sleep(0.01)
    os.kill(w.lab._process.pid, signal.SIGCONT)
    for _ in range(10):
        receiver.recv(100)
    after = w.lab.internet.counters()
    late = after["late"] - before["late"]
    expect(late == 10 and after["carried"] - before["carried"] == 10, f"{late} of {after}")
    expect(after["late_max_ns"] >= 50_000_000, f"{after}")


@test
def jitter(w):
    """link: jitter keeps order unless told otherwise"""
    w.a.link.set(delay_ms=10, jitter_ms=20)
    got = stream(w, 200, interval=0.001)
    delays = [p.delay for p in got]
    expect(min(delays) >= 0.010 and 0.022 < max(delays) < 0.050, f"{min(delays)} {max(delays)}")
    expect(len(got) == 200 and inversions(got) == 0, "in order")
    w.a.link.set(jitter_reorders=True)
    got = stream(w, 200, interval=0.001)
    expect(len(got) == 200 and inversions(got) > 20, f"{inversions(got)} inversions")


@test
def rate(w):
    """link: rate"""
    w.a.link.set(rate_mbit=10, queue_kib=1024)
    got = stream(w, 200, size=1000)
    took = got[-1].at - got[0].at
    ideal = 199 * 1028 * 8 / 10e6
    expect(len(got) == 200 and 0.9 < took / ideal < 1.15, f"{took} s instead of {ideal}")


@test
def queue(w):
    """link: a full queue drops its tail"""
    w.a.link.set(rate_mbit=1, queue_kib=16)
    before = w.a.link.counters()["out"]["drop_queue"]
    got = stream(w, 100, size=1000)
    lost = w.a.link.counters()["out"]["drop_queue"] - before
    expect(14 <= len(got) <= 20 and lost == 100 - len(got), f"{len(got)} passed, {lost} lost")
    expect([p.number for p in got[:12]] == list(range(12)), "the first ones pass")


def codepoints(w, s, count=1):
    """Send as ECT(0) to s and return what arrives in the field."""
    i = w.udp(w.a)
    i.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 2)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    for _ in range(count):
        i.sendto(bytes(1000), (S1, s.getsockname()[1]))
    got = []
    s.settimeout(1)
    try:
        while len(got) < count:
            got.append(s.recvmsg(2000, 100)[1][0][2][0])
    except TimeoutError:
        pass
    return got


@test
def ecn(w):
    """link: ECN is passed, cleared, dropped, and set where the queue is long"""
    s = w.udp(w.s1, 7001)
    expect(codepoints(w, s) == [2], "passed")
    w.a.link.set(ecn="clear")
    expect(codepoints(w, s) == [0], "cleared")
    w.a.link.set(ecn="drop")
    expect(codepoints(w, s) == [] and w.a.link.counters()["out"]["drop_ecn"] == 1, "dropped")
    seen(w.udp(w.a), s, (S1, 7001))
    w.a.link.set(ecn="pass", rate_mbit=10, ecn_kib=16)
    got = codepoints(w, s, 40)
    marked = w.a.link.counters()["out"]["marked"]
    expect(got == [2] * (40 - marked) + [3] * marked and 18 <= marked <= 26, f"{got}")


@test
def loss(w):
    """link: independent loss"""
    w.a.link.set(loss=0.1)
    got = len(stream(w, 5000))
    expect(4400 <= got <= 4600, f"{got} of 5000")


@test
def burst_loss(w):
    """link: loss in bursts (Gilbert-Elliott)"""
    w.a.link.set(burst_enter=0.01, burst_leave=0.1)
    got = {p.number for p in stream(w, 5000)}
    runs = [len(list(g)) for lost, g in itertools.groupby(n not in got for n in range(5000))
            if lost]
    expect(200 < sum(runs) < 800 and 5 < statistics.mean(runs) < 20,
           f"{sum(runs)} lost in {len(runs)} bursts")


@test
def reordering(w):
    """link: reordering"""
    before = w.a.link.counters()["out"]["reordered"]
    w.a.link.set(reorder=0.1, reorder_ms=5)
    got = stream(w, 1000, interval=0.0002)
    held = w.a.link.counters()["out"]["reordered"] - before
    expect(len(got) == 1000 and 60 < held < 140, f"{held} held back")
    expect(0.5 * held < inversions(got) <= held, f"{inversions(got)} inversions of {held}")


@test
def duplication(w):
    """link: duplication"""
    w.a.link.set(duplicate=0.1)
    got = stream(w, 1000)
    twice = [n for n, count in collections.Counter(p.number for p in got).items() if count == 2]
    expect(len(got) == 1000 + len(twice) and 60 < len(twice) < 140, f"{len(twice)} twice")


@test
def corruption(w):
    """link: corruption reaches the application, or the kernel drops it"""
    def damaged():
        return w.a.link.counters()["out"]["corrupted"]
    before = damaged()
    w.a.link.set(corrupt=0.1)
    got = stream(w, 1000, size=500)
    count = damaged() - before
    bits = collections.Counter(
        (int.from_bytes(p.data, "big") ^ int.from_bytes(b"\xa5" * 488, "big")).bit_count()
        for p in got)
    expect(len(got) == 1000 and 60 < count < 140, f"{count} damaged, {len(got)} came")
    # The flipped bit may be in the number and the time, which take 12 bytes of 500.
    expect(count - 15 < bits[1] <= count and set(bits) == {0, 1}, f"{bits} of {count}")
    before = damaged()
    w.a.link.set(corrupt_checksum="broken")
    got = stream(w, 1000, size=500)
    count = damaged() - before
    expect(len(got) == 1000 - count and 60 < count < 140, f"{count} damaged, {len(got)} came")


@test
def mtu(w):
    """link: MTU, silent or with an ICMP error, also to the outside of a NAT"""
    s, i = w.udp(w.s1, 7001), w.udp(w.a)
    for end in (s, i):
        end.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    w.a.link.set(mtu=1300)
    outside = seen(i, s, (S1, 7001), b"x" * 1272)
    before = w.a.link.counters()["out"]["drop_mtu"]
    i.sendto(b"x" * 1273, (S1, 7001))
    w.lab.wait_until(lambda: w.a.link.counters()["out"]["drop_mtu"] > before, 5, "the drop")
    i.sendto(b"no error is pending", (S1, 7001))
    w.a.link.set(mtu_icmp=True)
    i.connect((S1, 7001))
    s.recv(100)
    s.connect(outside)
    for end in (i, s):
        end.send(b"x" * 1400)
        w.lab.wait_until(lambda e=end: e.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1300, 5,
                         "the kernel to learn the path MTU")


@test
def down(w):
    """link: down in one direction or both"""
    s, i = w.udp(w.s1, 7001), w.udp(w.a)
    outside = seen(i, s, (S1, 7001))
    w.a.link.down("in")
    seen(i, s, (S1, 7001))
    before = w.a.link.counters()["in"]["drop_down"]
    s.sendto(b"x", outside)
    w.lab.wait_until(lambda: w.a.link.counters()["in"]["drop_down"] > before, 5, "the drop")
    w.a.link.up("in")
    w.a.link.down("out")
    before = w.a.link.counters()["out"]["drop_down"]
    i.sendto(b"x", (S1, 7001))
    w.lab.wait_until(lambda: w.a.link.counters()["out"]["drop_down"] > before, 5, "the drop")
    s.sendto(b"y", outside)
    expect(i.recv(10) == b"y", "the other way is open")
    w.a.link.up("out")
    expect(seen(i, s, (S1, 7001)) == outside, "up again")


@test
def super_packets(w):
    """link: the super-packets of UDP GSO and TSO count as the packets they are"""
    s, i = w.udp(w.s1, 7001), w.udp(w.a)
    i.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
    for delay_ms in (0, 1):
        w.a.link.set(delay_ms=delay_ms)
        before = w.a.link.counters()["out"]["packets"]
        data = os.urandom(9500)
        i.sendto(data, (S1, 7001))
        parts = [s.recv(2000) for _ in range(10)]
        expect([len(p) for p in parts] == [1000] * 9 + [500], "cut at the borders")
        expect(b"".join(parts) == data, "the same bytes")
        expect(w.a.link.counters()["out"]["packets"] - before == 10, "counted as ten")


@test
def tcp_on_a_bad_link(w):
    """TCP: the same bytes over a bad link, IPv4 through a NAT and IPv6 beside it"""
    w.a.link.set(delay_ms=2, jitter_ms=1, loss=0.01, reorder=0.01, reorder_ms=2,
                 duplicate=0.01, corrupt=0.01, corrupt_checksum="broken")
    for family, address in ((socket.AF_INET, S1), (socket.AF_INET6, "2001:db8:1::10")):
        client, far = tcp_pair(w, w.a, w.s1, 8002 + family, family, address)
        transfer(client, far, 1000000)
        client, far = tcp_pair(w, w.a, w.s1, 8102 + family, family, address)
        transfer(far, client, 1000000)
    expect(w.a.link.counters()["out"]["corrupted"] > 0, "it was bad")


# The rest ---------------------------------------------------------------------

@test
def same_seed(w):
    """seed: the same seed loses the same packets, another one others"""
    lost = []
    for seed in (3, 3, 4):
        other = World(seed)
        try:
            other.a.link.set(loss=0.2)
            lost.append({p.number for p in stream(other, 300)})
        finally:
            other.lab.stop()
    expect(lost[0] == lost[1] != lost[2], "by seed")


@test
def names(w):
    """hosts: names resolve, and a host has a name of its own"""
    answer = w.c.run(["getent", "ahostsv4", "s2.lab"]).stdout
    expect(answer.split()[:1] == [S2], answer)
    w.lab.name("target.lab", "203.0.113.77")
    expect("203.0.113.77" in w.a.run(["getent", "hosts", "target.lab"]).stdout, "added later")
    expect(w.c.python("import os; print(os.uname().nodename)").stdout.strip() == "c", "its name")


@test
def move(w):
    """hosts: a host moves to another network and back"""
    s, i = w.udp(w.s1, 7001), w.udp(w.b)
    expect(seen(i, s, (S1, 7001))[0] == HOME, "at home")
    w.b.move(behind=w.office)
    expect(seen(i, s, (S1, 7001))[0] == OFFICE, "in the office")
    w.b.move(public="203.0.113.99")
    expect(seen(i, s, (S1, 7001))[0] == "203.0.113.99", "in the open")
    w.b.move(behind=w.home)
    expect(seen(i, s, (S1, 7001))[0] == HOME, "at home again")


@test
def uplinks(w):
    """hosts: with two interfaces, the second one takes over when the first is unplugged"""
    wifi = w.b.uplink("b-wifi", behind=w.office)
    s, i = w.udp(w.s1, 7001), w.udp(w.b)
    expect(seen(i, s, (S1, 7001))[0] == HOME, "by cable")
    w.b.unplug()
    outside = seen(i, s, (S1, 7001))
    expect(outside[0] == OFFICE, "by air")
    s.sendto(b"back", outside)
    expect(i.recv(10) == b"back", "and back")
    w.b.plug()
    expect(seen(i, s, (S1, 7001))[0] == HOME, "by cable again")
    bound = w.b.socket(bind=(wifi.address, 0))
    w.sockets.append(bound)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
    expect(seen(bound, s, (S1, 7001))[0] == OFFICE, "both at once")
    wifi.move(public="203.0.113.98")
    w.b.unplug()
    expect(seen(i, s, (S1, 7001))[0] == "203.0.113.98", "the second one has moved")
    w.b.plug()
    wifi.unplug()


@test
def nothing_stays(w):
    """end: processes that hide from their parents end with the lab"""
    other = World(5)
    daemon = other.a.python("import os, sys\n"
                            "if os.fork() == 0:\n"
                            "    os.setsid(); r, w = os.pipe()\n"
                            "    if os.fork() == 0:\n"
                            "        os.close(1); os.close(2); os.read(r, 1)\n"
                            "    else: print(os.getpid()); sys.stdout.flush(); os._exit(0)\n"
                            "else: os.wait()\n")
    expect(daemon.returncode == 0, daemon.stderr)
    cat = other.b.spawn(["cat"], stdin=-1)
    space = os.stat(f"/proc/{other.a.holder}/ns/net").st_ino
    holder = other.a.holder
    other.fresh()
    other.lab.stop()

    def inhabitants():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/net").st_ino == space:
                    found.append(pid)
        return found
    w.lab.wait_until(lambda: not inhabitants(), 5, "nobody left in the host")
    expect(cat.poll() is not None and not os.path.exists(f"/proc/{holder}"), "all gone")


def iperf(w, *options):
    if not shutil.which("iperf3"):
        return None
    with contextlib.closing(w.s1.socket(socket.SOCK_STREAM)) as probe:
        port = probe.getsockname()[1]
    server = w.s1.spawn(["iperf3", "-s", "-1", "--forceflush", "-p", port])
    w.lab.wait_until(lambda: "listening" in server.text().lower(), 5, "iperf3 to listen")
    answer = w.a.run(["iperf3", "-J", "-c", S1, "-p", port, "-t", "2", *options])
    end = json.loads(answer.stdout)["end"]
    return end["sum_received"]["bits_per_second"] / 1e6  # of iperf3 3.7 and later, also for UDP


@test
def speed(w):
    """speed: through a NAT, clear and cut into packets"""
    for delay_ms in (0, 1):
        w.a.link.set(delay_ms=delay_ms)
        for options in ((), ("-R",), ("-u", "-b", "1G", "-l", "1400")):
            got = iperf(w, *options)
            if got is None:
                return "no iperf3"
            kind = "UDP offered 1 Gbit/s" if options[:1] == ("-u",) else "TCP" + "".join(options)
            print(f"#    {kind}, delay {delay_ms} ms: {got:.0f} Mbit/s")
            if delay_ms == 0 and "-u" not in options:  # where a busy machine does not matter
                expect(got > SPEED_MIN_MBIT, f"{got:.0f} Mbit/s {kind}")
    return None


def run_one(w, function, counts):
    """A test returns nothing, or the reason why it could not run."""
    what = function.__doc__.strip().splitlines()[0]
    try:
        w.fresh()
        skipped = function(w)
    except Exception:  # the report is the point, and the next test starts afresh
        counts["failed"] += 1
        print(f"FAIL {what}\n{traceback.format_exc()}", flush=True)
        return
    counts["skipped" if skipped else "passed"] += 1
    print(f"skip {what}: {skipped}" if skipped else f"ok   {what}", flush=True)


def main(wanted):
    counts = collections.Counter()
    try:
        world = World()
    except lab_module.Unavailable as error:
        print(f"skip {error}")
        return lab_module.SKIP
    with world.lab:
        for function in tests:
            if not wanted or any(word in function.__doc__ for word in wanted):
                run_one(world, function, counts)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
