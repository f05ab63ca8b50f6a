# SPDX-License-Identifier: MIT
"""selftest_world - the cast of the self-test, and what its tests share."""
import hashlib
import os
import socket
import struct
import threading

from lab import Lab

S1, S2, HOME, OFFICE, CARRIER = ("203.0.113.10", "203.0.113.20", "198.51.100.7", "192.0.2.33",
                                 "192.0.2.99")
S1_6, S2_6, A6, D6 = "2001:db8:1::10", "2001:db8:1::20", "2001:db8:2::a", "2001:db8:3::d"
RULES = ("endpoint-independent", "address-dependent", "address-and-port-dependent")

tests = []


def test(function):
    tests.append(function)
    return function


class World:
    """Two servers, a home with two hosts, an office with one that has no IPv4, and a carrier with
    two homes behind it."""

    def __init__(self, seed=7):
        self.lab = Lab(seed=seed)
        lab = self.lab
        self.s1 = lab.host("s1", public=S1, public6=S1_6)
        self.s2 = lab.host("s2", public=S2, public6=S2_6)
        self.home = lab.nat("home", public=HOME)
        self.office = lab.nat("office", public=OFFICE)
        self.carrier = lab.nat("carrier", public=CARRIER, lan="100.64.0.0/24")
        self.flat = lab.nat("flat", behind=self.carrier)
        self.flat2 = lab.nat("flat2", behind=self.carrier)
        self.a = lab.host("a", behind=self.home, public6=A6)
        self.b = lab.host("b", behind=self.home)
        self.c = lab.host("c", behind=self.flat)
        self.d = lab.host("d", behind=self.office, public6=D6, ipv4=False)
        self.e = lab.host("e", behind=self.flat2)
        self.sockets = []
        lab.start()

    def udp(self, host, port=0, **options):
        s = host.socket(bind=("0.0.0.0", port), **options)
        self.sockets.append(s)
        return s

    def udp6(self, host, port=0):
        s = host.socket(bind=("::", port), family=socket.AF_INET6)
        self.sockets.append(s)
        return s

    def fresh(self):
        """Undo what a test has changed."""
        for s in self.sockets:
            s.close()
        self.sockets.clear()
        for _ in range(2):  # what closing them has sent is through before the routers forget
            self.lab.internet.counters()
        for node in self.lab.nodes:
            node.link.up()
            node.link.set(delay_ms=0, jitter_ms=0, jitter_reorders=False, rate_mbit=0,
                          queue_kib=256, loss=0, burst_enter=0, burst_leave=0, burst_loss=1,
                          reorder=0, reorder_ms=0, duplicate=0, corrupt=0,
                          corrupt_checksum="fixed", mtu=0, mtu_icmp=False,
                          ecn="pass", ecn_kib=0)
        self.lab.internet.set(hops=1)
        for nat in (self.home, self.office, self.carrier, self.flat, self.flat2):
            nat.set(mapping=RULES[0], filtering=RULES[0], allocation="preserving", port_step=1,
                    port_block=512, udp="pass", udp_direction="both", udp_ports=(),
                    udp_packets_max=0, blacklist_s=0, blacklist_by="address-and-port",
                    filtering6="none", hairpin=False, pooling="paired", mappings_max=1000,
                    table_full="refuse", udp_timeout=120)
            nat.reboot(keep_ports=True)


def seen(inside, server, to, text=b"x"):
    """Send from inside and return the endpoint that the server sees."""
    inside.sendto(text, to)
    data, endpoint = server.recvfrom(2000)
    assert data == text, data
    return endpoint[:2]


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def drops(w, nat, counter, count, send):
    """What send() sends is dropped for this reason."""
    before = nat.counters()[counter]
    send()
    w.lab.wait_until(lambda: nat.counters()[counter] >= before + count, 5, counter)


def tcp_pair(w, inside, server, port, family=socket.AF_INET, address=S1):
    listener = server.socket(socket.SOCK_STREAM, family=family,
                             bind=("0.0.0.0" if family == socket.AF_INET else "::", port))
    client = inside.socket(socket.SOCK_STREAM, family=family, bind=None)
    listener.listen()
    client.connect((address, port))
    far = listener.accept()[0]
    far.settimeout(20)
    for end in (client, far):  # closing it leaves nothing that is sent again later
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    w.sockets += [listener, client, far]
    return client, far


def transfer(source, sink, size):
    data = os.urandom(size)
    sender = threading.Thread(target=lambda: (source.sendall(data),
                                              source.shutdown(socket.SHUT_WR)))
    sender.start()
    digest = hashlib.sha256()
    while part := sink.recv(1 << 16):
        digest.update(part)
    sender.join()
    expect(digest.digest() == hashlib.sha256(data).digest(), "the same bytes")
