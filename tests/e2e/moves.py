# SPDX-License-Identifier: MIT
"""moves - one transfer while something happens to its network, and what it noticed.

    for case in CASES:
        result = run(case, Options(size=60_000_000, rate_mbit=40, sleep_s=12))

A case makes its own World, starts a download through it, does what its name says, and waits for
the end. The data are compared by SHA-256. Measured are the longest stall that followed the
disturbance (time in which a stopped agent was stopped does not count) and the seconds until both
sides were direct again, at each other's new addresses, with data flowing.
"""
import dataclasses
import json
import pathlib
import signal
import socket
import tempfile
import threading
import time

from world import HOME, OFFICE, SERVER, Server, World, sha256

SERVER_2 = "203.0.113.11"
OTHER_HOME, OTHER_OFFICE, CAFE = "198.51.100.99", "192.0.2.99", "198.51.100.150"
NEVER = float("inf")
DIRECT = ("direct", "lan")
SAMPLE_S = 0.1


@dataclasses.dataclass
class Options:
    size: int = 1_000_000_000
    rate_mbit: int = 200
    sleep_s: float = 30
    verbose: bool = False


@dataclasses.dataclass
class Case:
    name: str
    what: str
    stall_max: float  # seconds; the goal
    direct_max: float  # seconds until direct again; None: it stays, or may not become so
    story: object
    world: dict = dataclasses.field(default_factory=dict)


class Data:
    """The file that all transfers fetch, made once."""

    def __init__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="culvert-moves-")
        self.path = pathlib.Path(self._directory.name) / "data"
        self.size, self.digest = 0, None

    def make(self, size):
        if self.size != size:
            with open("/dev/urandom", "rb") as source, open(self.path, "wb") as out:
                for at in range(0, size, 1 << 20):
                    out.write(source.read(min(1 << 20, size - at)))
            self.size, self.digest = size, sha256(self.path)
        return self.digest


DATA = Data()


def lasts(seconds):
    """How long a fault lasts is part of it: nothing is waited for here."""
    threading.Event().wait(seconds)


class Watcher(threading.Thread):
    """Asks both agents for their paths, ten times a second: [(at, path of a, path of b)]."""

    def __init__(self, w):
        super().__init__(daemon=True)
        self._agents = ((w.a, "far"), (w.b, "near"))
        self.samples = []
        self._ended = threading.Event()
        self.start()

    def run(self):
        while not self._ended.wait(SAMPLE_S):
            at = time.monotonic()
            self.samples.append((at, *(self._path(*pair) for pair in self._agents)))

    @staticmethod
    def _path(agent, peer):
        nothing = {"kind": "unknown", "address": None}
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(0.5)
            try:
                s.connect(str(agent.control))
                s.sendall(b'{"command":"status"}\n')
                line = b""
                while not line.endswith(b"\n"):
                    block = s.recv(1 << 16)
                    if not block:
                        return nothing
                    line += block
            except OSError:
                return nothing  # stopped by the story
        peers = json.loads(line)["status"]["peers"]
        return next(p["path"] for p in peers if p["name"] == peer)

    def stop(self):
        self._ended.set()
        self.join()


class Move:
    """A transfer, in the hands of a case's story."""

    def __init__(self, w, options):
        self.w, self.options = w, options
        self.fetch = self.watcher = None
        self.happened_at = self.from_at = None
        self.before = (None, None)
        self.moved = ()  # whose address others see anew: "a", "b"
        self.stopped = []  # (from, to): time that does not count
        self.notes = []
        self.is_direct_wanted = True

    def begin(self, share=0.1):
        """The transfer starts; returns when this share of it has come."""
        self.watcher = Watcher(self.w)
        self.fetch = self.w.fetch()
        self.fetch.wait_bytes(int(self.options.size * share), timeout=60)

    def now(self, *moved):
        """The disturbance comes now."""
        self.happened_at = self.from_at = time.monotonic()
        self.moved = moved
        self.before = self.watcher.samples[-1][1:]

    def ends(self):
        """From now on a direct path is possible again."""
        self.from_at = time.monotonic()

    def flows(self, count=2 << 20):
        """The transfer goes on, whatever was done to it."""
        want = min(self.fetch.bytes() + count, self.options.size)
        self.fetch.wait_bytes(want, timeout=60)

    def sleep(self, *agents):
        begin = time.monotonic()
        for agent in agents:
            agent.process.send_signal(signal.SIGSTOP)
        lasts(self.options.sleep_s)
        for agent in agents:
            agent.process.send_signal(signal.SIGCONT)
        self.from_at = time.monotonic()
        self.stopped.append((begin, self.from_at))

    def note(self, text):
        self.notes.append(text)

    # What was seen ---------------------------------------------------------

    def stall(self, stalls):
        """The longest after the disturbance, less the time in which somebody was stopped."""
        longest = 0.0
        for begin, end in stalls:
            if end < self.happened_at:
                continue
            asleep = sum(max(0.0, min(end, b) - max(begin, a)) for a, b in self.stopped)
            longest = max(longest, end - begin - asleep)
        return longest

    def _is_direct(self, sample):
        _, a, b = sample
        if a["kind"] not in DIRECT or b["kind"] not in DIRECT:
            return False
        # b's path leads to where a is, and the other way round.
        if "a" in self.moved and b["address"] == self.before[1]["address"]:
            return False
        return "b" not in self.moved or a["address"] != self.before[0]["address"]

    def direct_s(self, stalls, ended_at):
        """Seconds from when it was possible until it was so, for good."""
        since = None
        for sample in self.watcher.samples:
            if sample[0] < self.from_at or sample[0] > ended_at:
                continue
            if not self._is_direct(sample):
                since = None
            elif since is None:
                since = sample[0]
        if since is None:
            return NEVER
        for begin, end in stalls:
            if begin < since < end:
                since = end
        return since - self.from_at


def run(case, options):
    """{"name", "what", "error", "seconds", "stall_s", "direct_s", "goals": …}"""
    digest = DATA.make(options.size)
    out = {"name": case.name, "what": case.what, "stall_max_s": case.stall_max,
           "direct_max_s": case.direct_max, "stall_s": None, "direct_s": None, "notes": []}
    with World(**case.world) as w:
        htdocs = w.lab.directory / "htdocs"
        htdocs.mkdir()
        (htdocs / "data").symlink_to(DATA.path)
        w.serve_files()
        w.b.host.link.set("out", rate_mbit=options.rate_mbit,
                          queue_kib=max(256, options.rate_mbit * 6))
        w.server.config["server"]["relay"] = {"rate": "10Gbit"}
        move = Move(w, options)
        try:
            case.story(move)
            got = move.fetch.result(300)
        finally:
            if move.watcher:
                move.watcher.stop()
        ended_at = move.watcher.samples[-1][0]
        out["error"] = got["error"] or (None if got["sha256"] == digest else "SHA-256 differs")
        out["seconds"] = got["seconds"]
        out["stall_s"] = round(move.stall(got["stalls"]), 3)
        if move.is_direct_wanted:
            seconds = move.direct_s(got["stalls"], ended_at)
            out["direct_s"] = None if seconds == NEVER else round(seconds, 3)
            if seconds == NEVER:
                move.note("not direct again before the end")
        out["notes"] = move.notes
        if options.verbose:
            out["paths"] = paths(move)
    out["is_met"] = is_met(out)
    return out


def paths(move):
    """What the two sides said of their paths, when it changed."""
    said, before = [], None
    for at, a, b in move.watcher.samples:
        now = (a["kind"], a["address"], b["kind"], b["address"])
        if now != before:
            said.append((round(at - move.happened_at, 2), *now))
        before = now
    return said


def is_met(result):
    if result["error"] or result["stall_s"] > result["stall_max_s"]:
        return False
    limit = result["direct_max_s"]
    return limit is None or (result["direct_s"] is not None and result["direct_s"] <= limit)


# The stories ------------------------------------------------------------------


def cut(w, is_cut):
    """Packets between the two NATs vanish in their hosts; the server stays reachable."""
    for agent, other in ((w.a, OFFICE), (w.b, HOME)):
        verb = "add" if is_cut else "del"
        got = agent.host.run(["ip", "route", verb, f"{other}/32", "dev", "lo"])
        assert got.returncode == 0, got.stderr


def start(move):
    w = move.w
    w.start(wait=())
    w.a.wait_connected("far")
    move.watcher = Watcher(w)
    move.happened_at = move.from_at = time.monotonic()
    move.fetch = w.fetch()
    move.flows()


def relay_to_direct(move):
    w = move.w
    cut(w, True)
    w.start(wait=("relay",))
    move.begin(0.2)
    move.now()
    cut(w, False)


def black_hole(move):
    w = move.w
    w.start()
    move.begin()
    move.now()
    cut(w, True)
    w.a.wait_path("far", ["relay"], 20)
    w.b.wait_path("near", ["relay"], 20)
    move.note(f"on the relay after {time.monotonic() - move.happened_at:.2f} s")
    move.flows(move.options.size // 10)
    move.ends()
    cut(w, False)


def reboot(*sides):
    def story(move):
        w = move.w
        w.start()
        move.begin()
        move.now(*sides)
        for side in sides:
            (w.home if side == "a" else w.office).reboot()
    return story


def renumber(*sides):
    def story(move):
        w = move.w
        w.start()
        move.begin()
        move.now(*sides)
        if "a" in sides:
            w.home.set(public=OTHER_HOME)
        if "b" in sides:
            w.office.set(public=OTHER_OFFICE)
    return story


def change_network(side):
    def story(move):
        w = move.w
        cafe = w.lab.nat("cafe", public=CAFE, filtering="address-and-port-dependent",
                         delay_ms=12.5)
        w.start()
        move.begin()
        move.now(side)
        if side == "a":
            w.a.host.move(behind=cafe)
        else:
            # The files are in the network that it left.
            w.web.move(behind=cafe)
            w.b.host.move(behind=cafe)
    return story


def ip(host, *words):
    got = host.run(["ip", *words])
    assert got.returncode == 0, (words, got.stderr)


def swap_address(move):
    """netlink: one address goes, half a second later another one is there."""
    w = move.w
    old, new = (str(w.home.lan[n]) for n in (20, 21))
    w.a.host.move(behind=w.home, public=[old, new])
    ip(w.a.host, "addr", "del", f"{new}/24", "dev", "eth0")
    w.start()
    move.begin()
    move.now("a")
    ip(w.a.host, "addr", "del", f"{old}/24", "dev", "eth0")
    lasts(0.5)
    ip(w.a.host, "addr", "add", f"{new}/24", "dev", "eth0")
    ip(w.a.host, "route", "replace", "default", "dev", "eth0")


def interface_down(move):
    """Three seconds without a device; the same address afterwards."""
    w = move.w
    w.start()
    move.begin()
    move.now()
    begin = time.monotonic()
    ip(w.a.host, "link", "set", "eth0", "down")
    lasts(3)
    ip(w.a.host, "link", "set", "eth0", "up")
    ip(w.a.host, "route", "replace", "default", "dev", "eth0")
    move.ends()
    move.stopped.append((begin, move.from_at))


def server_restart(end, is_relayed):
    def story(move):
        w = move.w
        if is_relayed:
            w.a.config["peers"]["far"]["path"] = "relay"
            move.is_direct_wanted = False
        w.start(wait=("relay",) if is_relayed else ("direct",))
        move.begin()
        move.now()
        getattr(w.server, end)()
        w.server.start()
        move.flows()
        for agent in (w.a, w.b):
            w.wait_until(lambda: agent.status()["servers"][0]["connected"], 30,
                         f"{agent.name} is with the server again", interval=0.1)
        move.note(f"both with the server after {time.monotonic() - move.happened_at:.2f} s")
    return story


def server_gone(move):
    w = move.w
    w.start()
    move.begin()
    move.now()
    w.server.kill()


def one_of_two_servers(move):
    """Both relay; the one in use dies for ever. Rule 2.7."""
    w = move.w
    move.is_direct_wanted = False
    w.server_2 = w.program(Server, "server2", w.lab.host("server2", public=SERVER_2))
    w.server_2.start(server={"access": "anyone", "relay": {"rate": "10Gbit"}})
    w.far_names({"web.far.lab": w.web.address})
    w.server.start()
    servers = [{"address": f"{SERVER}:28583", "key": w.server.key},
               {"address": f"{SERVER_2}:28583", "key": w.server_2.key}]
    w.a.config["servers"] = w.b.config["servers"] = servers
    w.a.config["peers"]["far"]["path"] = "relay"
    w.a.start()
    w.b.start()
    w.a.wait_path("far", ["relay"])
    move.begin()
    used = w.b.path("near")["address"]
    move.note(f"sent through {used}")
    move.now()
    (w.server if used.startswith(f"{SERVER}:") else w.server_2).kill()
    move.flows()
    other = w.b.path("near")["address"]
    assert other and other != used, f"still through {other}"
    move.note(f"then through {other}")


def sleep(*sides):
    def story(move):
        w = move.w
        w.start()
        move.begin()
        move.now(*sides)
        move.sleep(*(w.a if side == "a" else w.b for side in sides))
    return story


# The mapping of who sleeps is gone before he wakes up, whatever the other sends; and the next one
# has another port.
SLEEPY = {"udp_timeout": 8, "inbound_refresh": False, "allocation": "random"}

CASES = [
    Case("start", "the transfer starts with the agents", 2, 5, start),
    Case("relay-to-direct", "starts on the relay; then direct is possible", 2, None,
         relay_to_direct),
    Case("black-hole", "direct dies, relay, direct again", 2, None, black_hole),
    Case("nat-receiver", "the receiver's NAT restarts", 2, 5, reboot("a")),
    Case("nat-sender", "the sender's NAT restarts", 2, 5, reboot("b")),
    Case("nat-both", "both NATs restart", 7, 7, reboot("a", "b")),
    Case("address-receiver", "another public address for the receiver", 2, 5, renumber("a")),
    Case("address-sender", "another public address for the sender", 2, 5, renumber("b")),
    Case("address-both", "other public addresses for both", 7, 7, renumber("a", "b")),
    Case("move-receiver", "the receiver moves to another network", 5, 5, change_network("a")),
    Case("swap", "one address goes, another comes (netlink)", 5, 5, swap_address),
    Case("interface", "the interface is down for 3 s (not counted)", 5, 5, interface_down),
    Case("server-restart", "SIGTERM to the server, and start", 1, 1,
         server_restart("stop", False)),
    Case("server-killed", "kill -9 of the server, and start", 1, 1, server_restart("kill", False)),
    Case("relay-restart", "the same while it relays, SIGTERM", 10, None,
         server_restart("stop", True)),
    Case("relay-killed", "the same while it relays, kill -9", 10, None,
         server_restart("kill", True)),
    Case("server-gone", "the server ends for ever", 1, 1, server_gone),
    Case("two-servers", "two relays, the one in use dies for ever", 7, None, one_of_two_servers),
    Case("sleep-receiver", "SIGSTOP of the receiving agent (not counted)", 5, 5, sleep("a"),
         SLEEPY),
    Case("sleep-sender", "SIGSTOP of the sending agent (not counted)", 5, 5, sleep("b"), SLEEPY),
    Case("sleep-both", "SIGSTOP of both (not counted)", 5, 5, sleep("a", "b"), SLEEPY),
]
