# SPDX-License-Identifier: MIT
"""selftest_nat - the routers of the lab: what they translate, refuse and count."""
import contextlib
import errno
import itertools
import os
import select
import socket
import time

from selftest_world import (A6, CARRIER, D6, HOME, OFFICE, RULES, S1, S1_6, S2, S2_6, drops, expect,
                            seen, tcp_pair, test, transfer)

ALLOCATIONS = ("preserving", "sequential", "random")

# NAT --------------------------------------------------------------------------

def check_nat(w, mapping, filtering, allocation):
    w.home.set(mapping=mapping, filtering=filtering, allocation=allocation)
    w.home.reboot(keep_ports=True)
    s11, s12, s21 = w.udp(w.s1, 7001), w.udp(w.s1, 7002), w.udp(w.s2, 7001)
    i, j = w.udp(w.a), w.udp(w.a)
    ports = [seen(i, s11, (S1, 7001))[1], seen(i, s12, (S1, 7002))[1],
             seen(i, s21, (S2, 7001))[1], seen(j, s11, (S1, 7001))[1]]
    distinct = {RULES[0]: 2, RULES[1]: 3, RULES[2]: 4}[mapping]
    expect(len(set(ports)) == distinct, f"{distinct} outside ports, {ports}")
    expect((ports[0] == ports[1]) == (mapping != RULES[2]), f"same address: {ports}")
    used = sorted(set(ports), key=ports.index)
    steps = {(b - a) % 65536 for a, b in itertools.pairwise(used)}
    if allocation == "preserving":
        expect(ports[0] == i.getsockname()[1] and ports[3] == j.getsockname()[1], "preserved")
    elif allocation == "sequential":
        expect(steps == {1}, f"consecutive: {used}")
    else:
        expect(steps != {1} and ports[0] != i.getsockname()[1], f"random: {used}")

    k = w.udp(w.a)
    outside = seen(k, s11, (S1, 7001))
    for sender, rules in ((s12, RULES[:2]), (s21, RULES[:1])):
        if filtering in rules:
            sender.sendto(b"in", outside)
            expect(k.recvfrom(10)[1][1] == sender.getsockname()[1], "let in")
        else:
            drops(w, w.home, "drop_filtered", 1, lambda s=sender: s.sendto(b"no", outside))
    s11.sendto(b"answer", outside)
    expect(k.recv(10) == b"answer", "the answer comes in, and nothing before it")


for _rules in itertools.product(RULES, RULES, ALLOCATIONS):
    def _check(w, rules=_rules):
        check_nat(w, *rules)
    _check.__doc__ = "NAT: mapping {}, filtering {}, allocation {}".format(*_rules)
    test(_check)


@test
def mapping_timeout(w):
    """NAT: a mapping times out, use keeps it alive"""
    w.home.set(allocation="sequential", udp_timeout=0.3)
    s, i = w.udp(w.s1, 7001), w.udp(w.a)
    outside = seen(i, s, (S1, 7001))
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        expect(seen(i, s, (S1, 7001)) == outside, "kept alive")
        select.select([], [], [], 0.05)
    w.lab.wait_until(lambda: w.home.counters()["mappings"] == 0, 5, "no mapping")
    drops(w, w.home, "drop_no_mapping", 1, lambda: s.sendto(b"late", outside))
    expect(seen(i, s, (S1, 7001)) != outside, "another port")


@test
def inbound_refresh(w):
    """NAT: without inbound refresh, answers do not keep a mapping alive"""
    w.home.set(inbound_refresh=False, udp_timeout=0.2)
    s, i = w.udp(w.s1, 7001), w.udp(w.a)
    outside = seen(i, s, (S1, 7001))
    before = w.home.counters()["drop_no_mapping"]

    def answered():
        s.sendto(b"x", outside)
        return w.home.counters()["drop_no_mapping"] > before
    w.lab.wait_until(answered, 5, "the mapping to end under a stream of answers")
    w.home.set(inbound_refresh=True)


@test
def reboot(w):
    """NAT: a reboot forgets mappings and changes ports, also where they are preserved"""
    for allocation in ALLOCATIONS:
        w.home.set(allocation=allocation)
        s, i = w.udp(w.s1), w.udp(w.a)
        to = (S1, s.getsockname()[1])
        outside = seen(i, s, to)
        w.home.reboot()
        drops(w, w.home, "drop_no_mapping", 1, lambda: s.sendto(b"x", outside))
        expect(seen(i, s, to) != outside, allocation)
    w.home.set(allocation="preserving")
    outside = seen(i, s, to)
    w.home.reboot(keep_ports=True)
    expect(seen(i, s, to) == outside, "kept")


@test
def address_change(w):
    """NAT: the public address changes, the old one leads nowhere"""
    s, i = w.udp(w.s1, 7001), w.udp(w.a)
    outside = seen(i, s, (S1, 7001))
    expect(outside[0] == HOME, outside)
    w.home.set(public="198.51.100.8")
    before = w.lab.internet.counters()["drop_no_route"]
    s.sendto(b"x", outside)
    w.lab.wait_until(lambda: w.lab.internet.counters()["drop_no_route"] > before, 5, "no route")
    expect(seen(i, s, (S1, 7001))[0] == "198.51.100.8", "new address")
    w.home.set(public=HOME)


@test
def hairpin(w):
    """NAT: hairpin on and off; neighbours reach each other directly either way"""
    s, i, j = w.udp(w.s1, 7001), w.udp(w.a), w.udp(w.b)
    outside = seen(i, s, (S1, 7001))
    drops(w, w.home, "drop_no_hairpin", 1, lambda: j.sendto(b"x", outside))
    w.home.set(hairpin=True)
    j.sendto(b"turn", outside)
    data, source = i.recvfrom(10)
    expect(data == b"turn" and source[0] == HOME, source)
    i.sendto(b"back", source)
    expect(j.recvfrom(10) == (b"back", outside), "the way back")
    j.sendto(b"lan", (w.a.address, i.getsockname()[1]))
    expect(i.recvfrom(10)[1] == (w.b.address, j.getsockname()[1]), "untranslated")


@test
def double_nat(w):
    """NAT: behind a NAT"""
    w.flat.set(filtering=RULES[2], mapping=RULES[2])
    w.carrier.set(filtering=RULES[2])
    s, i = w.udp(w.s1, 7001), w.udp(w.c)
    outside = seen(i, s, (S1, 7001))
    expect(outside[0] == CARRIER, outside)
    s.sendto(b"back", outside)
    expect(i.recv(10) == b"back", "the answer")
    drops(w, w.carrier, "drop_filtered", 1, lambda: w.udp(w.s2).sendto(b"x", outside))
    expect(w.flat.counters()["created"] >= 1, "both translate")


@test
def udp_blocked(w):
    """NAT: UDP blocked silently or with an error, while TCP passes"""
    s, i = w.udp(w.s1, 7001), w.udp(w.a)
    outside = seen(i, s, (S1, 7001))
    w.home.set(udp="drop")
    drops(w, w.home, "drop_udp_blocked", 2,
          lambda: (i.sendto(b"x", (S1, 7001)), s.sendto(b"x", outside)))
    client, far = tcp_pair(w, w.a, w.s1, 8001)
    transfer(client, far, 100000)
    w.home.set(udp="reject")
    i.connect((S1, 7001))
    i.send(b"x")
    with contextlib.suppress(OSError):
        i.recv(10)
        raise AssertionError("no error from the firewall")


@test
def icmp(w):
    """NAT: echo and errors are translated both ways"""
    code = ("import socket; s = socket.socket(2, 2, 1); s.settimeout(5);"
            f"s.sendto(bytes([8, 0, 0, 0, 0, 0, 0, 1]) + b'ping', ('{S1}', 0));"
            "print(s.recv(100)[-4:].decode())")
    for host in (w.a, w.c):
        answer = host.python(code)
        expect(answer.stdout.strip() == "ping", answer.stderr)
    i, s = w.udp(w.c), w.udp(w.s1, 7001)
    outside = seen(i, s, (S1, 7001))
    i.connect((S1, 7999))
    i.send(b"x")
    with contextlib.suppress(ConnectionRefusedError):
        i.recv(10)
        raise AssertionError("no 'port unreachable' from outside")
    i.close()
    s.connect(outside)
    s.send(b"x")
    with contextlib.suppress(ConnectionRefusedError):
        s.recv(10)
        raise AssertionError("no 'port unreachable' from inside")


@test
def table_full(w):
    """NAT: a full table refuses new flows and serves the old ones"""
    w.home.set(mappings_max=4)
    s = w.udp(w.s1, 7001)
    inside = [w.udp(w.a) for _ in range(5)]
    for i in inside[:4]:
        seen(i, s, (S1, 7001))
    drops(w, w.home, "drop_table_full", 1, lambda: inside[4].sendto(b"x", (S1, 7001)))
    seen(inside[0], s, (S1, 7001))


@test
def pooling(w):
    """NAT: several addresses, paired or arbitrary"""
    pool = [HOME, "198.51.100.17", "198.51.100.27"]
    w.home.set(public=pool)
    s = w.udp(w.s1, 7001)
    addresses = {seen(w.udp(w.a), s, (S1, 7001))[0] for _ in range(20)}
    expect(len(addresses) == 1, f"paired: {addresses}")
    w.home.set(pooling="arbitrary")
    addresses = {seen(w.udp(w.a), s, (S1, 7001))[0] for _ in range(20)}
    expect(addresses == set(pool), f"arbitrary: {addresses}")
    w.home.set(public=HOME)


@test
def fragments(w):
    """NAT: the pieces of a large datagram follow the first one"""
    s, i = w.udp(w.s1, 7001), w.udp(w.c)
    data = os.urandom(5000)
    i.sendto(data, (S1, 7001))
    got, outside = s.recvfrom(9000)
    expect(got == data and outside[0] == CARRIER, "out")
    s.sendto(data, outside)
    expect(i.recv(9000) == data, "and in")


# Ports and tables -------------------------------------------------------------

def ports_of(w, host, count):
    """Outside ports of as many sockets, which stay open."""
    s = w.udp(w.s1)
    return [seen(w.udp(host), s, (S1, s.getsockname()[1]))[1] for _ in range(count)]


@test
def port_step(w):
    """NAT: sequential allocation in steps"""
    for step in (1, 2, 7):
        w.home.set(allocation="sequential", port_step=step)
        used = ports_of(w, w.a, 5)
        steps = {(b - a) % 64512 for a, b in itertools.pairwise(used)}
        expect(steps == {step}, f"step {step}: {used}")
    w.home.set(mapping=RULES[2], port_step=2)
    s11, s12, i = w.udp(w.s1, 7001), w.udp(w.s1, 7002), w.udp(w.a)
    first, second = seen(i, s11, (S1, 7001))[1], seen(i, s12, (S1, 7002))[1]
    expect((second - first) % 64512 == 2, f"by destination: {first} {second}")


@test
def port_block(w):
    """NAT: each inside host has a block of ports and gets them at random"""
    for size in (512, 64):
        w.home.set(allocation="block", port_block=size)
        blocks = []
        for host in (w.a, w.b):
            used = ports_of(w, host, 30)
            blocks.append({(port - 1024) // size for port in used})
            steps = {b - a for a, b in itertools.pairwise(used)}
            expect(len(blocks[-1]) == 1 and len(set(used)) == 30, f"one block: {used}")
            expect(len(steps) > 10, f"at random: {used}")
        expect(blocks[0] != blocks[1], "one for each host")
    before = blocks
    w.home.reboot(keep_ports=True)
    after = [{(port - 1024) // 64 for port in ports_of(w, host, 2)} for host in (w.a, w.b)]
    expect(after != before, f"others after a reboot: {after}")
    w.home.set(port_block=16)
    ports_of(w, w.a, 16)
    drops(w, w.home, "drop_no_port", 1, lambda: w.udp(w.a).sendto(b"x", (S1, 7001)))
    ports_of(w, w.b, 1)


@test
def table_evicts(w):
    """NAT: a full table evicts what was unused the longest, if told so"""
    w.home.set(mappings_max=4, table_full="evict")
    s = w.udp(w.s1, 7001)
    inside = [w.udp(w.a) for _ in range(5)]
    outside = [seen(i, s, (S1, 7001)) for i in inside[:4]]
    seen(inside[0], s, (S1, 7001))
    seen(inside[4], s, (S1, 7001))
    drops(w, w.home, "drop_no_mapping", 1, lambda: s.sendto(b"x", outside[1]))
    for number in (0, 2, 3):
        s.sendto(b"y", outside[number])
        expect(inside[number].recv(10) == b"y", f"{number} is still there")
    c = w.home.counters()
    expect(c["evicted"] == 1 and c["mappings"] == 4, c)


@test
def counted(w):
    """NAT: mappings made, in use, and the most at one time are counted"""
    w.home.set(udp_timeout=0.2)
    before = w.home.counters()
    ports_of(w, w.a, 12)
    c = w.home.counters()
    made = c["created"] - before["created"]
    expect(made == c["created_udp"] - before["created_udp"] == 12, c)
    expect(c["mappings_peak"] >= 12, c)
    w.lab.wait_until(lambda: w.home.counters()["mappings"] == 0, 5, "none in use")
    client, far = tcp_pair(w, w.a, w.s1, 8003)
    c2 = w.home.counters()
    expect(c2["created_udp"] == c["created_udp"] and c2["created"] == c["created"] + 1, c2)
    expect(c2["mappings"] == 1 and c2["mappings_peak"] == c["mappings_peak"], c2)
    before = w.a.link.counters()["out"]["udp_packets"]
    ports_of(w, w.a, 3)
    client.sendall(b"tcp")
    expect(far.recv(10) == b"tcp", "TCP")
    expect(w.a.link.counters()["out"]["udp_packets"] == before + 3, "UDP is counted by itself")


# Hops and refusals ------------------------------------------------------------

IP_RECVERR, IP_RECVTTL, IPV6_RECVERR = 11, 12, 25


def with_ttl(s, ttl, to, text=b"x"):
    """Send one packet with such a TTL and wish to hear of errors."""
    if s.family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        s.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    s.sendto(text, to)


def hears_error(s, number=errno.EHOSTUNREACH):
    """An ICMP error about its packet has come for this socket."""
    try:
        s.recv(10)
    except OSError as error:
        expect(error.errno == number, error)
        return
    raise AssertionError("no ICMP error")


@test
def ttl(w):
    """hops: each router takes one off the TTL, and tells the sender of the last one"""
    s, i = w.udp(w.s1, 7001), w.udp(w.a)
    s.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    for count, where in ((1, w.home), (2, w.lab.internet)):
        drops(w, where, "drop_ttl", 1, lambda n=count: with_ttl(i, n, (S1, 7001)))
        hears_error(i)
    expect(w.home.counters()["mappings"] == 1, "the first one made no mapping")
    for count in (3, 64):
        with_ttl(i, count, (S1, 7001))
        _, control, _, outside = s.recvmsg(10, 100)
        left = int.from_bytes(control[0][2], "little")
        expect(left == count - 2, f"{left} left of {count}")
    known = w.udp(w.s2)
    known.connect(outside)  # so the kernel compares whom the error is about
    drops(w, w.home, "drop_ttl", 1, lambda: with_ttl(known, 2, outside))
    hears_error(known)
    with_ttl(s, 3, outside)
    expect(i.recv(10) == b"x", "in")
    w.lab.internet.set(hops=5)
    drops(w, w.lab.internet, "drop_ttl", 1, lambda: with_ttl(i, 6, (S1, 7001)))
    hears_error(i)
    with_ttl(i, 7, (S1, 7001))
    expect(s.recv(10) == b"x", "far away")
    j = w.udp(w.b)
    with_ttl(i, 1, (w.b.address, j.getsockname()[1]))
    expect(j.recv(10) == b"x", "a neighbour is no hop away")
    client, far = tcp_pair(w, w.c, w.s1, 8004)
    transfer(client, far, 200000)


@test
def ttl6(w):
    """hops: IPv6 hop limits"""
    s, i = w.udp6(w.s1, 7001), w.udp6(w.a)
    for count, where in ((1, w.home), (2, w.lab.internet)):
        drops(w, where, "drop_ttl", 1, lambda n=count: with_ttl(i, n, (S1_6, 7001)))
        hears_error(i)
    with_ttl(i, 3, (S1_6, 7001))
    expect(s.recv(10) == b"x", "arrives")
    drops(w, w.home, "drop_ttl", 1, lambda: with_ttl(s, 2, (A6, i.getsockname()[1])))
    hears_error(s)


@test
def blacklist(w):
    """wall: who knocks uninvited is not heard for a while, longer if it knocks again"""
    w.home.set(filtering=RULES[2], blacklist_s=0.4)
    s11, s12, s21, i = w.udp(w.s1, 7001), w.udp(w.s1, 7002), w.udp(w.s2, 7001), w.udp(w.a)
    outside = seen(i, s11, (S1, 7001))
    end = time.monotonic() + 0.8
    drops(w, w.home, "drop_filtered", 1, lambda: s12.sendto(b"knock", outside))
    while time.monotonic() < end:
        drops(w, w.home, "drop_blacklisted", 1, lambda: s12.sendto(b"again", outside))
    seen(i, s12, (S1, 7002))
    drops(w, w.home, "drop_blacklisted", 1, lambda: s12.sendto(b"invited", outside))
    s11.sendto(b"others", outside)
    expect(i.recv(10) == b"others", "another port of the same address")

    def is_heard():
        s12.sendto(b"invited", outside)
        return select.select([i], [], [], 0.01)[0]
    w.lab.wait_until(is_heard, 5, "it is heard again")
    w.home.set(blacklist_by="address")
    w.home.reboot(keep_ports=True)
    outside = seen(i, s11, (S1, 7001))
    drops(w, w.home, "drop_no_mapping", 1, lambda: s12.sendto(b"x", (HOME, outside[1] ^ 1)))
    drops(w, w.home, "drop_blacklisted", 1, lambda: s11.sendto(b"x", outside))
    seen(i, s21, (S2, 7001))
    s21.sendto(b"elsewhere", outside)
    while i.recv(10) != b"elsewhere":
        pass


@test
def low_ttl(w):
    """wall: two strict routers are passed by first packets that do not reach them"""
    for nat in (w.home, w.office):
        nat.set(filtering=RULES[2], blacklist_s=100)
    w.b.move(behind=w.office)
    w.lab.internet.set(hops=3)
    s = w.udp(w.s1, 7001)

    def pair():
        i, j = w.udp(w.a), w.udp(w.b)
        return i, j, seen(i, s, (S1, 7001)), seen(j, s, (S1, 7001))
    i, j, to_i, to_j = pair()
    drops(w, w.office, "drop_filtered", 1, lambda: i.sendto(b"x", to_j))
    j.sendto(b"x", to_i)
    expect(i.recv(10) == b"x", "one way is open")
    drops(w, w.office, "drop_blacklisted", 1, lambda: i.sendto(b"x", to_j))
    i, j, to_i, to_j = pair()
    i.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 3)
    drops(w, w.lab.internet, "drop_ttl", 1, lambda: i.sendto(b"x", to_j))
    j.sendto(b"x", to_i)
    expect(i.recv(10) == b"x", "one way")
    i.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
    i.sendto(b"y", to_j)
    expect(j.recv(10) == b"y", "both ways")
    w.b.move(behind=w.home)


@test
def udp_partly_blocked(w):
    """wall: UDP blocked in one direction, or to all but some ports"""
    s53, s, i = w.udp(w.s1, 53), w.udp(w.s1, 7001), w.udp(w.a)
    outside = seen(i, s, (S1, 7001))
    w.home.set(udp="drop", udp_direction="in")
    drops(w, w.home, "drop_udp_blocked", 1, lambda: (seen(i, s, (S1, 7001)),
                                                     s.sendto(b"x", outside)))
    w.home.set(udp_direction="out")
    drops(w, w.home, "drop_udp_blocked", 1, lambda: i.sendto(b"x", (S1, 7001)))
    s.sendto(b"in", outside)
    expect(i.recv(10) == b"in", "in")
    w.home.set(udp_direction="both", udp_ports=[123, 53])
    drops(w, w.home, "drop_udp_blocked", 2,
          lambda: (i.sendto(b"x", (S1, 7001)), s.sendto(b"x", outside)))
    s53.sendto(b"answer", seen(i, s53, (S1, 53)))
    expect(i.recv(10) == b"answer", "port 53 passes")
    i6 = w.udp6(w.a)
    drops(w, w.home, "drop_udp_blocked", 1, lambda: i6.sendto(b"x", (S1_6, 7001)))
    w.home.set(udp="reject")
    drops(w, w.home, "drop_udp_blocked", 1, lambda: with_ttl(i6, 64, (S1_6, 7001)))
    hears_error(i6, errno.EACCES)


@test
def udp_dies(w):
    """wall: UDP flows that die after their first packets, while others and TCP live"""
    w.home.set(udp_packets_max=6, udp_timeout=0.5)
    s, other, i = w.udp(w.s1, 7001), w.udp(w.s1, 7002), w.udp(w.a)
    for _ in range(3):
        outside = seen(i, s, (S1, 7001))
        s.sendto(b"answer", outside)
        expect(i.recv(10) == b"answer", "alive")
    drops(w, w.home, "drop_udp_spent", 2,
          lambda: (i.sendto(b"x", (S1, 7001)), s.sendto(b"x", outside)))
    seen(i, other, (S1, 7002))
    client, far = tcp_pair(w, w.a, w.s1, 8005)
    transfer(client, far, 100000)
    s6, i6 = w.udp6(w.s1, 7003), w.udp6(w.a)
    for _ in range(6):
        seen(i6, s6, (S1_6, 7003))
    drops(w, w.home, "drop_udp_spent", 1, lambda: s6.sendto(b"x", (A6, i6.getsockname()[1])))

    def is_new():
        i6.sendto(b"new", (S1_6, 7003))
        return select.select([s6], [], [], 0.6)[0]
    w.lab.wait_until(is_new, 5, "a flow that was silent counts from the beginning")


# IPv6 and neighbours ----------------------------------------------------------

@test
def firewall6(w):
    """IPv6: a firewall lets in what was asked for, by each rule"""
    for rule in RULES:
        w.home.set(filtering6=rule)
        s11, s12, s21, i = (w.udp6(w.s1, 7001), w.udp6(w.s1, 7002), w.udp6(w.s2, 7001),
                            w.udp6(w.a))
        outside = (A6, i.getsockname()[1])
        drops(w, w.home, "drop_filtered", 1, lambda: s11.sendto(b"early", outside))
        expect(seen(i, s11, (S1_6, 7001)) == outside, "untranslated")
        for sender, rules in ((s12, RULES[:2]), (s21, RULES[:1])):
            if rule in rules:
                sender.sendto(b"in", outside)
                expect(i.recvfrom(10)[1][1] == sender.getsockname()[1], "let in")
            else:
                drops(w, w.home, "drop_filtered", 1, lambda s=sender: s.sendto(b"no", outside))
        s11.sendto(b"answer", outside)
        expect(i.recv(10) == b"answer", "the answer comes in, and nothing before it")
        closed = (A6, w.udp6(w.a).getsockname()[1])
        drops(w, w.home, "drop_filtered", 1, lambda to=closed: s11.sendto(b"x", to))
        for s in (s11, s12, s21):
            s.close()


@test
def firewall6_state(w):
    """IPv6: a firewall's holes time out, TCP opens from inside only, errors come through"""
    s, i = w.udp6(w.s1, 7001), w.udp6(w.a)
    i.sendto(bytes(3000), (S1_6, 7001))
    expect(len(s.recv(4000)) == 3000, "fragments, without a firewall")
    w.home.set(filtering6=RULES[2], udp_timeout=0.3)
    drops(w, w.home, "drop_unsupported", 2, lambda: i.sendto(bytes(3000), (S1_6, 7001)))
    outside = seen(i, s, (S1_6, 7001))
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        s.sendto(b"x", outside)
        expect(i.recv(10) == b"x", "kept open from outside")
        select.select([], [], [], 0.05)
    before = w.home.counters()["drop_filtered"]

    def is_shut():
        select.select([], [], [], 0.4)
        s.sendto(b"x", outside)
        return w.home.counters()["drop_filtered"] > before
    w.lab.wait_until(is_shut, 5, "shut")
    client, far = tcp_pair(w, w.a, w.s1, 8006, socket.AF_INET6, S1_6)
    transfer(client, far, 100000)
    transfer(far, client, 100000)
    w.sockets.append(w.a.socket(socket.SOCK_STREAM, family=socket.AF_INET6, bind=("::", 8007)))
    w.sockets[-1].listen()
    stranger = w.s2.socket(socket.SOCK_STREAM, family=socket.AF_INET6, bind=None)
    w.sockets.append(stranger)
    stranger.setblocking(False)
    drops(w, w.home, "drop_filtered", 1, lambda: stranger.connect_ex((A6, 8007)))
    with_ttl(i, 64, (S1_6, 7999))
    hears_error(i, errno.ECONNREFUSED)


@test
def punching6(w):
    """IPv6: between two firewalls both must send first; one of them has no IPv4"""
    for nat in (w.home, w.office):
        nat.set(filtering6=RULES[2])
    i, j = w.udp6(w.a), w.udp6(w.d)
    to_i, to_j = (A6, i.getsockname()[1]), (D6, j.getsockname()[1])
    drops(w, w.office, "drop_filtered", 1, lambda: i.sendto(b"x", to_j))
    j.sendto(b"y", to_i)
    expect(i.recv(10) == b"y", "one way")
    i.sendto(b"z", to_j)
    expect(j.recv(10) == b"z", "both ways")
    addresses = w.d.run(["ip", "-4", "-o", "address"]).stdout.split()
    expect("eth0" not in addresses and w.d.address6 == D6, addresses)
    expect(w.d.python(f"import socket; socket.socket(2, 2).sendto(b'x', ('{S1}', 9))").returncode,
           "no way over IPv4")


@test
def shared_carrier(w):
    """NAT: two homes behind one carrier, which hairpins or not"""
    for flat in (w.flat, w.flat2):
        flat.set(filtering=RULES[2])
    s, i, j = w.udp(w.s1, 7001), w.udp(w.c), w.udp(w.e)
    to_i, to_j = seen(i, s, (S1, 7001)), seen(j, s, (S1, 7001))
    expect(to_i[0] == to_j[0] == CARRIER and to_i != to_j, f"{to_i} {to_j}")
    drops(w, w.carrier, "drop_no_hairpin", 1, lambda: i.sendto(b"x", to_j))
    w.carrier.set(hairpin=True)
    drops(w, w.flat2, "drop_filtered", 1, lambda: i.sendto(b"x", to_j))
    j.sendto(b"y", to_i)
    expect(i.recvfrom(10) == (b"y", to_j), "as seen outside")
    i.sendto(b"z", to_j)
    expect(j.recvfrom(10) == (b"z", to_i), "both ways")
    w.carrier.set(hairpin=False)
    drops(w, w.flat, "drop_filtered", 1, lambda: j.sendto(b"x", (w.flat.address, to_i[1])))
    expect(w.flat.address != w.flat2.address, "neighbours in the carrier's network")
