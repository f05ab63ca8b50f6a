# SPDX-License-Identifier: MIT
"""nats - two agents behind any two of the usual NATs, and what their first connection is like.

    with Pair("EIM/APDF", "APDM random") as pair:
        got = pair.measure(limit=25)

Used by test_nats.py, and by tests/bench/paths for the whole matrix. All three ways, between the
two agents and from each to the server, take 50 ms there and back and eight routers of the internet
besides the agents' own; two agents in one network reach each other at once.
"""
import collections
import contextlib
import re
import socket
import threading
import time

import socks
from world import HOME, OFFICE, PROXY, SERVER, Agent, Lab, Server, World

RTT_MS, HOPS = 50, 8
ADDRESSES6 = {"server": "2001:db8:1::10", "a": "2001:db8:2::a", "b": "2001:db8:3::b"}
EIM, ADM, APDM = "endpoint-independent", "address-dependent", "address-and-port-dependent"

# What is between an agent and the internet: its router's rules, a second router's after them.
End = collections.namedtuple("End", "routers ipv4 ipv6", defaults=(True, False))
RANDOM = {"mapping": APDM, "filtering": APDM, "allocation": "random"}
ENDS = {
    "public": End([]),
    "EIM/EIF": End([{"filtering": EIM}]),
    "EIM/ADF": End([{"filtering": ADM}]),
    "EIM/APDF": End([{"filtering": APDM}]),
    "APDM sequential": End([{"mapping": APDM, "filtering": APDM, "allocation": "sequential"}]),
    "APDM random": End([RANDOM]),
    "double NAT": End([{"filtering": APDM}, {"filtering": APDM}]),
    "UDP blocked": End([{"filtering": APDM, "udp": "drop"}]),
}
STRICT = End([{"filtering": APDM, "blacklist_s": 10}])
FIREWALL6 = {"filtering6": APDM}
# Beside the matrix: what a and b have, and how it has to become direct.
OTHERS = {
    "EIM/APDF × sequential in steps of 2": (
        ENDS["EIM/APDF"], End([{**ENDS["APDM sequential"].routers[0], "port_step": 2}]),
        "predicted"),
    "EIM/APDF × a carrier's blocks of 512 ports": (
        ENDS["EIM/APDF"], End([{**RANDOM, "allocation": "block"}]), "birthday"),
    "APDM sequential × a carrier's block of 256 ports": (  # half of the attempts meet
        ENDS["APDM sequential"], End([{**RANDOM, "allocation": "block", "port_block": 256}]),
        None),
    "blacklisting routers": (STRICT, STRICT, "cone"),
    "random NATs, IPv6 firewalls": (*[End([{**RANDOM, **FIREWALL6}], ipv6=True)] * 2, "cone"),
    "IPv6 firewalls only": (*[End([FIREWALL6], ipv4=False, ipv6=True)] * 2, "cone"),
    "IPv4 only × IPv6 only": (ENDS["EIM/APDF"], End([FIREWALL6], ipv4=False, ipv6=True), None),
    "UDP to port 53 only": (*[End([{"filtering": APDM, "udp": "drop", "udp_ports": [53]}])] * 2,
                            None),
}
# Both agents behind the same router, or behind two routers of the same carrier.
SHARED = {
    "same NAT, hairpin": ("lan", True),
    "same NAT, no hairpin": ("lan", False),
    "one carrier, hairpin": ("carrier", True),
    "one carrier, no hairpin": ("carrier", False),
}
EASY = ("public", "EIM/EIF", "EIM/ADF")  # a stranger's port does not matter to them
CONES = (*EASY, "EIM/APDF", "double NAT")
DIRECT = ("direct", "lan")


def pairs():
    """[(name, x, y)] of the whole matrix; y is None where x says it all."""
    names = list(ENDS)
    out = [(f"{x} × {y}", x, y) for i, x in enumerate(names) for y in names[i:]]
    return out + [(name, name, None) for name in (*SHARED, *OTHERS)]


def expected(x, y):
    """How it has to become direct: "cone", "predicted", "birthday"; None: it need not."""
    if x in OTHERS:
        return OTHERS[x][2]
    if x in SHARED:
        return None if x == "one carrier, no hairpin" else "cone"
    if "UDP blocked" in (x, y):
        return None
    hard = [end for end in (x, y) if end not in CONES]
    if not hard or x in EASY or y in EASY:
        return "cone"
    if "APDM random" in hard:
        return "birthday" if len(hard) == 1 else None
    return "predicted"


# Seconds from the start of both agents, at most.
DIRECT_MAX = {"cone": 1.0, "predicted": 3.0, "birthday": 20.0}


class Pair(World):
    """Agents a and b; who is behind what is said by the names above."""

    def __init__(self, x, y=None, seed=1):
        self.lab = lab = Lab(seed=seed)
        self.wait_until = lab.wait_until
        self.programs, self.threads = [], []
        self._one_way = {"delay_ms": RTT_MS / 4}
        lab.internet.set(hops=HOPS)
        if x in SHARED:
            host_a, host_b = self._shared(*SHARED[x])
        else:
            end_a, end_b = (ENDS[x], ENDS[y]) if y else OTHERS[x][:2]
            host_a, self.routers_a = self._end("a", HOME, end_a)
            host_b, self.routers_b = self._end("b", OFFICE, end_b)
        self.a, self.b = self.agent("a", host_a), self.agent("b", host_b)
        self.server = self.program(Server, "server",
                                   lab.host("server", public=SERVER,
                                            public6=ADDRESSES6["server"], **self._one_way))
        self.server.config["server"] = {"access": "anyone"}
        self.a.config["peers"] = {"far": {"key": self.b.key}}
        self.a.config["proxies"] = [{"listen": f"{PROXY[0]}:{PROXY[1]}", "peer": "far"}]
        self.b.config["peers"] = {"near": {"key": self.a.key, "allow": ["localhost:*"]}}
        for agent in (self.a, self.b):
            address = SERVER if agent.host.has_ipv4 else f"[{ADDRESSES6['server']}]"
            agent.config["servers"] = [{"address": f"{address}:28583", "key": self.server.key}]
        lab.start()

    def _end(self, name, public, end):
        """The host, and the routers in front of it from the inside out."""
        if not end.routers:
            return self.lab.host(name, public=public, **self._one_way), []
        routers, outer = [], None
        for level, rule in reversed(list(enumerate(end.routers))):
            place = {"behind": outer} if outer else {"public": public, **self._one_way}
            if level:
                place["lan"] = "100.64.0.0/24"
            outer = self.lab.nat(f"{name}-nat{level}", **place, **rule)
            routers.insert(0, outer)
        public6 = ADDRESSES6[name] if end.ipv6 else None
        return self.lab.host(name, behind=outer, public6=public6, ipv4=end.ipv4), routers

    def _shared(self, what, hairpin):
        lan = {"lan": "100.64.0.0/24"} if what == "carrier" else {}
        outer = self.lab.nat("shared", public=HOME, filtering=APDM, hairpin=hairpin, **lan,
                             **self._one_way)
        if what == "lan":
            self.routers_a = self.routers_b = [outer]
            return self.lab.host("a", behind=outer), self.lab.host("b", behind=outer)
        inner = [self.lab.nat(f"{name}-nat0", behind=outer, filtering=APDM) for name in "ab"]
        self.routers_a, self.routers_b = [inner[0], outer], [inner[1], outer]
        return tuple(self.lab.host(name, behind=nat) for name, nat in zip("ab", inner))

    # The measurement ----------------------------------------------------------

    def measure(self, limit, settle=1.0):
        """Starts both agents and one stream; returns what came of it within so many seconds.

        {"connected", "first_byte_s", "kind", "direct_s", "packets": [a, b],
         "mappings": [[a's routers], [b's routers]], "why", "late_ms"}; seconds since both were
        started. Once both paths are direct, counts go on for settle seconds, for what was still
        under way. Where late_ms is large, the machine was too busy to be a network.
        """
        self.server.start()
        self.a.host.socket().close()  # the first socket in a host is slower
        greeter = self._greet()
        before = self._costs()
        begin = time.time()
        self.b.launch()
        self.a.launch()
        stream = FirstByte(self.a.host, greeter.getsockname()[1], begin, limit)
        direct_s = self._direct_since(begin, limit)
        first_s = stream.result(max(begin + limit - time.time(), 0) + 5)
        if direct_s is not None:
            left = settle - (time.time() - begin - direct_s)
            with contextlib.suppress(AssertionError):
                self.wait_until(lambda: False, max(left, 0), "the rest of the attempt")
        packets, mappings = self._costs(before)
        kind, why = self._kind()
        return {"connected": first_s is not None, "first_byte_s": first_s, "kind": kind,
                "direct_s": direct_s, "packets": packets, "mappings": mappings, "why": why,
                "late_ms": self._late_ms()}

    def _greet(self):
        """A service on b's loopback that says one byte to everyone."""
        listener = self.b.host.socket(kind=socket.SOCK_STREAM, bind=("127.0.0.1", 0))
        listener.listen(16)
        listener.settimeout(None)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    s = listener.accept()[0]
                    s.sendall(b"!")
                    self._greeted.append(s)
        self._greeted = [listener]
        threading.Thread(target=serve, daemon=True).start()
        return listener

    def _costs(self, before=None):
        """UDP packets sent by each agent's host, UDP mappings made by each router."""
        packets = [agent.host.link.counters()["out"]["udp_packets"] for agent in (self.a, self.b)]
        mappings = [[nat.counters()["created_udp"] for nat in routers]
                    for routers in (self.routers_a, self.routers_b)]
        if before:
            packets = [now - then for now, then in zip(packets, before[0])]
            mappings = [[now - then for now, then in zip(*two)]
                        for two in zip(mappings, before[1])]
        return packets, mappings

    def first_direct(self, agent, peer):
        """When its log first tells of a direct path; the log costs the agent nothing to read."""
        return next((at for at, kind in agent.paths(peer) if kind in DIRECT), None)

    def _direct_since(self, begin, limit):
        def both():
            for agent in (self.a, self.b):
                assert agent.is_running, f"{agent.name} ended: {agent.log()}"
            times = [self.first_direct(self.a, "far"), self.first_direct(self.b, "near")]
            return times if None not in times else None
        with contextlib.suppress(AssertionError):
            return max(self.wait_until(both, limit, "both paths are direct", 0.02)) - begin
        return None

    def _kind(self):
        """Of both ends' paths the worse kind, and what it says about itself."""
        paths = [self.a.path("far"), self.b.path("near")]
        order = ("lan", "direct")
        worst = max(paths, key=lambda p: order.index(p["kind"]) if p["kind"] in order else 9)
        return worst["kind"], worst["why"]

    def _late_ms(self):
        """By how much labnet was late at worst with a packet."""
        return self.lab.internet.counters()["late_max_ns"] / 1e6


class FirstByte(threading.Thread):
    """A client that wants one byte from b, from the first moment at which a listens."""

    def __init__(self, host, port, begin, limit):
        super().__init__(daemon=True)
        self._host, self._port, self._begin, self._limit = host, port, begin, limit
        self._seconds = None
        self.start()

    def run(self):
        deadline = self._begin + self._limit
        while time.time() < deadline and self._seconds is None:
            s = self._host.socket(kind=socket.SOCK_STREAM, bind=None)
            s.settimeout(max(deadline - time.time(), 0.01))
            with s, contextlib.suppress(OSError, EOFError, AssertionError):
                s.connect(PROXY)
                socks.connect(s, "127.0.0.1", self._port)
                if s.recv(1):
                    self._seconds = time.time() - self._begin
                    return
            time.sleep(0.005)

    def result(self, timeout):
        self.join(timeout)
        return self._seconds


def matches(pair, pattern):
    """Whether a pair is meant by "X x Y", in either order, each a part of a name; or by one part."""
    name, x, y = pair
    words = re.split(r"\s+[x×]\s+", pattern.lower())
    if len(words) == 1:
        return words[0] in name.lower()
    ends = [end.lower() for end in (x, y) if end]
    return len(ends) == 2 and any(words[0] in one and words[1] in other
                                  for one, other in (ends, ends[::-1]))
