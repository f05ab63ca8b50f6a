#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Other programs' STUN clients agree with our servers about every kind of NAT. (T44)

Debian's `stun` (RFC 3489) and coturn's turnutils_stunclient and turnutils_natdiscovery (RFC 8489,
RFC 5780) ask a server with two addresses, which can tell all, and one with one address, of which
each client can learn what its questions allow. Unless it is told to answer anything, a server
sends nobody more than it got.
"""
import os
import re
import shutil
import socket
import struct

from world import Agent, Lab, Server, World, main, report, skip

TOOLS = ("stun", "turnutils_stunclient", "turnutils_natdiscovery")
TWO, ONE, PADDED = ("203.0.113.10", "203.0.113.11"), "203.0.113.20", "203.0.113.30"
PORT = 28583
E, A, P = "endpoint-independent", "address-dependent", "address-and-port-dependent"
# The kinds: mapping, filtering, and what `stun` calls them with two addresses, and with one. That
# it then cannot tell mappings apart, nor an address from any, is its own: it asks the same port
# again where it expected another address.
KINDS = (
    (E, E, "Independent Mapping, Independent Filter",
     "Independent Mapping, Address Dependent Filter"),
    (E, A, "Independent Mapping, Address Dependent Filter",
     "Independent Mapping, Address Dependent Filter"),
    (E, P, "Independent Mapping, Port Dependent Filter",
     "Independent Mapping, Port Dependent Filter"),
    (A, P, "Dependent Mapping", "Independent Mapping, Port Dependent Filter"),
    (P, P, "Dependent Mapping", "Independent Mapping, Port Dependent Filter"),
)
WORDS = {E: "Endpoint Independent", A: "Address Dependent", P: "Address and Port Dependent"}


class Net(World):
    def __init__(self):
        lab = self.lab = Lab(seed=1)
        self.wait_until, self.programs, self.threads = lab.wait_until, [], []
        self.two = self.server("two", TWO, [f"{a}:{PORT}" for a in TWO], "any")
        self.one = self.server("one", ONE, PORT, "any")
        self.padded = self.server("padded", PADDED, PORT, None)
        self.clients = []
        for i, (mapping, filtering, *_) in enumerate(KINDS):
            nat = lab.nat(f"nat{i}", public=f"198.51.100.{i + 1}", mapping=mapping,
                          filtering=filtering, hairpin=i == 0)
            self.clients.append(lab.host(f"c{i}", behind=nat, delay_ms=5))
        self.public = lab.host("public", public="192.0.2.9")
        lab.start()
        for program in self.programs:
            program.start()

    def server(self, name, addresses, listen, stun):
        program = self.program(Server, name, self.lab.host(name, public=addresses))
        program.config["server"] = {"access": "anyone", "listen": listen}
        if stun:
            program.config["server"]["stun"] = stun
        return program

    def all_run(self, *command, timeout=30):
        """What the command prints in each client's host, at the same time."""
        running = [c.spawn(command) for c in self.clients]
        for process in running:
            process.wait(timeout)
        return [process.text() for process in running]


def debians_stun(w):
    report("Debian's stun")
    for address, column in ((TWO[0], 2), (ONE, 3)):
        for kind, text in zip(KINDS, w.all_run("stun", f"{address}:{PORT}")):
            said = re.search(r"Primary: (.*)", text)[1].strip()
            report(f"  {kind[0]}, {kind[1]}, {4 - column} address(es)", said)
            hairpin = "will hairpin" if kind is KINDS[0] else "no hairpin"
            assert said == f"{kind[column]}, preserves ports, {hairpin}", text
    said = w.public.run(["stun", f"{TWO[0]}:{PORT}"], timeout=30).stdout
    assert "Primary: Open" in said, said


def coturns_discovery(w):
    report("coturn's natdiscovery")
    for what, letter, column in (("Mapping", "-m", 0), ("Filtering", "-f", 1)):
        texts = w.all_run("turnutils_natdiscovery", letter, "-p", str(PORT), TWO[0])
        for kind, text in zip(KINDS, texts):
            said = re.search(rf"NAT with (.*) {what}!", text)
            report(f"  {what} is {kind[column]}", said and said[1])
            words = WORDS[kind[column]]
            if (what, kind[0]) == ("Mapping", A):
                # It asks its third question where the second answer's OTHER-ADDRESS points: back
                # at the first address.
                words = WORDS[P]
            assert said and said[1] == words, text


def coturns_client(w):
    report("coturn's stunclient")
    texts = w.all_run("turnutils_stunclient", "-p", str(PORT), ONE)
    for i, text in enumerate(texts):
        assert f"UDP reflexive addr: 198.51.100.{i + 1}:" in text, text
        assert "RFC 5780" not in text, text
    # Its second question has the answer sent to another port, which no NAT lets through.
    text = w.public.run(["turnutils_stunclient", "-p", str(PORT), TWO[0]], timeout=20).stdout
    assert text.count("UDP reflexive addr: 192.0.2.9:") == 3, text
    assert f"Other addr: : {TWO[1]}:{PORT + 1}" in text, text
    assert f"Response origin: : {TWO[1]}:{PORT + 1}" in text, text


def request(size, change=None):
    body = b"" if change is None else struct.pack(">HHI", 3, 4, change)
    fill = size - 20 - len(body) - 4
    if fill >= 0:
        body += struct.pack(">HH", 0x26, fill) + bytes(fill)
    return struct.pack(">HHI", 1, len(body), 0x2112A442) + os.urandom(12) + body


# Runs in a host: IPv4 packets that claim to come from elsewhere; UDP without a checksum. At a pace
# that does not fill the queues of the lab: all are to arrive.
FORGE = """
import os, socket, struct, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for i in range({count}):
    size, change = (140, 64, 20)[i % 3], (None, 2, 4)[i % 5 % 3]
    body = b"" if change is None else struct.pack(">HHI", 3, 4, change)
    fill = size - 20 - len(body) - 4
    if fill >= 0:
        body += struct.pack(">HH", 0x26, fill) + bytes(fill)
    stun = struct.pack(">HHI", 1, len(body), 0x2112A442) + os.urandom(12) + body
    udp = struct.pack(">HHHH", 53, {port}, 8 + len(stun), 0) + stun
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                     socket.inet_aton(f"192.0.2.{{10 + i % 40}}"), socket.inet_aton("{to}"))
    raw.sendto(ip + udp, ("{to}", 0))
    if i % 50 == 49:
        time.sleep(0.005)
"""


def no_amplifier(w):
    report("a server as it is by default")
    s = w.public.socket()
    s.settimeout(0.5)
    for size, change in ((140, None), (32, None), (140, 2)):
        s.sendto(request(size, change), (PADDED, PORT))
        answer, source = s.recvfrom(2000)
        report(f"  request of {size}, answer of", len(answer))
        assert len(answer) <= size and source == (PADDED, PORT + (change == 2))
    for size in (20, 24):
        s.sendto(request(size), (PADDED, PORT))
        try:
            raise AssertionError(f"answered: {s.recv(2000)}")
        except socket.timeout:
            pass
    before = w.padded.host.link.counters()
    sent = w.public.python(FORGE.format(count=10_000, port=PORT, to=PADDED))
    assert sent.returncode == 0, sent.stderr

    def counted():
        return w.padded.status()["stun_answers"] + sum(w.padded.status()["drops"].values())
    w.wait_until(lambda: counted() >= 9_000, 20, "the server has had them")
    after = w.padded.host.link.counters()
    came, went = (after[d]["bytes"] - before[d]["bytes"] for d in ("in", "out"))
    report("  10,000 forged requests: bytes in", came)
    report("  bytes out", went)
    assert 0 < went <= came
    drops = w.padded.status()["drops"]
    assert drops["stun_limited"] > 0 and drops["stun_silent"] > 0, drops


def agents_list(w):
    """An agent asks the foreign servers of its configuration, by name and by address."""
    report("an agent's list")
    before = [p.status()["stun_answers"] for p in (w.one, w.two)]
    agent = w.program(Agent, "agent", w.clients[0])
    agent.config.update(stun=[f"one.lab:{PORT}", f"{TWO[0]}:{PORT}"],
                        peers={"nobody": {"key": w.one.key}})
    agent.start()
    for program, count in zip((w.one, w.two), before):
        w.wait_until(lambda p=program, n=count: p.status()["stun_answers"] > n, 10,
                     f"the agent asks {program.name}")


def story():
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        skip(f"no {', '.join(missing)} (packages stun-client and coturn)")
    with Net() as w:
        debians_stun(w)
        coturns_client(w)
        coturns_discovery(w)
        agents_list(w)
        no_amplifier(w)
        report("answers of the three", [p.status()["stun_answers"] for p in w.programs[:3]])


main(story)
