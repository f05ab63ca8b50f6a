# SPDX-License-Identifier: MIT
"""lab_rows - rows over links that have a rate, a delay, a queue and loss, in the lab.

Every turn has a lab of its own: fresh hosts, fresh programs, nothing learnt before. Data flow from
near to far (QUIC: from far to near; links are the same in both directions).

    near ══ rate, queue, loss, half the round trip, each way ══ internet ── far       links, delay

    a ──┐                                                    ┌── sa
    b ──┤ router ══ rate, queue, half the round trip ══ internet ── sb                fairness
    p ──┘ (NAT)          the bottleneck                      └─ (p pings sa)
"""
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import tempfile

import tunnels
from lab import Lab
from places import LabHost, need, pause, wait_until
from report import SAID_FIRST, attempt

PAYLOAD = 0.955        # of a link's bytes, with packets of 1,500
WARM_UP = 3            # seconds before what counts
WARM_UP_SHARED = 10    # the same where flows have to find their shares
AT_ONCE = 4            # requests beside bulk
TCP_BUFFERS = "4096 131072 67108864"  # what a fast long link needs; the default stops at 4 MiB
START_TIMEOUT = 15
LABNET_NICE = -15      # the wire does not wait for those who use it
LATE_MAX = 0.01        # of a turn's packets: beyond it the machine had no time to be a network


@dataclasses.dataclass
class Wire:
    """A link, each way."""
    name: str
    mbit: int
    rtt_ms: int
    queue_ms: int = 100
    loss: float = 0

    def options(self):
        return {"rate_mbit": self.mbit, "delay_ms": self.rtt_ms / 2, "loss": self.loss,
                "queue_kib": self.mbit * 1e6 / 8 * self.queue_ms / 1000 / 1024}

    def share(self, bytes_per_s):
        """In percent of what the link leaves for payload."""
        return bytes_per_s * 8 / (self.mbit * 1e6 * PAYLOAD) * 100


LINKS = (
    Wire("100 Mbit/s, 50 ms, no loss", 100, 50),
    Wire("100 Mbit/s, 50 ms, 1 % loss", 100, 50, loss=0.01),
    Wire("100 Mbit/s, 50 ms, 5 % loss", 100, 50, loss=0.05),
    Wire("400 Mbit/s, 100 ms, 0.1 % loss", 400, 100, loss=0.001),
)
DELAY_LINK = LINKS[0]
SHARED_LINKS = (Wire("queue of 100 ms", 100, 50), Wire("queue of one BDP (50 ms)", 100, 50, 50))


class Flow:
    """One long transfer, seen where it arrives."""

    def __init__(self, place, port=None, fifo=None, bulk=None):
        self.process = place.start([bulk, "count", fifo] if fifo else [bulk, "sink", port])

    def samples(self):
        """[(seconds, bytes)], from the first byte on. The last line may be half written."""
        lines = self.process.log.read_text().split("\n")[:-1]
        return [(int(at) / 1e6, int(total)) for at, total in (line.split() for line in lines)]

    def begin(self):
        return wait_until(self.samples, START_TIMEOUT, "data arrive")[0][0]

    def total_at(self, instant):
        """Between two samples in proportion; after the last one nothing has come."""
        before = (0.0, 0)
        for at, total in self.samples():
            if at >= instant:
                share = (instant - before[0]) / (at - before[0])
                return before[1] + (total - before[1]) * share
            before = (at, total)
        return before[1]

    def rate(self, begin, end):
        """Bytes per second."""
        return (self.total_at(end) - self.total_at(begin)) / (end - begin)


class LabBench:
    """What the groups share: options, where programs are, and the making of labs."""

    def __init__(self, options, table, progress):
        os.environ.setdefault("LABNET", str(options.build / "tests/lab/labnet"))
        self.table, self.progress = table, progress
        self.runs, self.seconds = options.lab_runs, options.seconds
        self.culvert = str(options.build / "culvert")
        self.bulk = str(options.build / "tests/bench/bench_bulk")
        self.rps = str(options.build / "tests/bench/bench_rps")
        self.buffers = options.build / "tests/bench/bench_buffers.so"
        self.lateness = []  # of each turn: share of packets that were late, the worst in ms

    @contextlib.contextmanager
    def lab(self, turn):
        """An internet, and a directory for what its programs need."""
        directory = pathlib.Path(tempfile.mkdtemp(prefix="culvert-bench-"))
        try:
            with Lab(seed=turn + 1, nice=LABNET_NICE) as lab:
                yield lab, directory
                counts = lab.internet.counters()
                self.lateness.append((counts["late"] / max(counts["carried"], 1),
                                      counts["late_max_ns"] / 1e6))
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def two_hosts(self, turn, wire):
        with self.lab(turn) as (lab, directory):
            far = lab.host("far", public="203.0.113.10")
            near = lab.host("near", public="198.51.100.7", **wire.options())
            lab.start()
            yield self.place(near, directory), self.place(far, directory)

    def place(self, host, directory):
        place = LabHost(host, directory)
        for name in ("tcp_rmem", "tcp_wmem"):
            done = place.run(["sh", "-c", f'echo "{TCP_BUFFERS}" > /proc/sys/net/ipv4/{name}'])
            if done.returncode != 0:
                self.table.note("lab: TCP buffers are the machine's own")
        place.set_congestion("cubic")
        return place

    def note_lateness(self):
        """Whether the figures are those of the programs or of a busy machine."""
        late = [one for one in self.lateness if one[0] > LATE_MAX]
        if self.lateness:
            share, worst = max(self.lateness)
            self.table.note(
                f"lab: in {len(late)} of {len(self.lateness)} turns more than "
                f"{LATE_MAX * 100:.0f} % of packets were late by 1 ms or more; "
                f"the worst turn had {share * 100:.1f} %, up to {worst:.0f} ms")

    # Flows: (near, far) -> Flow, under way soon --------------------------------

    def send(self, place, address, port):
        place.start([self.bulk, "send", address, port])

    def tcp(self, congestion):
        def start(near, far):
            port = far.port()
            flow = Flow(far, port=port, bulk=self.bulk)
            far.wait_for_port(port, "the sink")
            near.set_congestion(congestion)
            self.send(near, far.address, port)
            return flow
        return start

    def through(self, starter, *args, over=None):
        """A transfer through the forward of a tunnel; `over`: what its own TCP uses."""
        def start(near, far):
            port = far.port()
            flow = Flow(far, port=port, bulk=self.bulk)
            far.wait_for_port(port, "the sink")
            if over:
                for place in (near, far):
                    place.set_congestion(over)
            tunnel = starter(near, far, port, *args)
            self.send(near, "127.0.0.1", tunnel.tcp)
            return flow
        return start

    def agents(self, name, congestion=None):
        return self.through(tunnels.start_culvert, self.culvert, name, congestion)

    def quic(self, congestion):
        def start(near, far):
            server = tunnels.Quic(near, far, self.buffers, congestion)
            name = server.make_file(tunnels.QUIC_FILE_SIZE)
            folder = near.directory / "fetched"
            folder.mkdir()
            os.mkfifo(folder / name)
            flow = Flow(near, fifo=folder / name, bulk=self.bulk)
            near.start(server.command([name], f"--download={folder}"))
            return flow
        return start

    def programs(self):
        return {
            "culvert": self.agents("culvert"),
            "culvert, cubic": self.agents("culvert, cubic", "cubic"),
            "TCP, bbr": self.tcp("bbr"),
            "TCP, cubic": self.tcp("cubic"),
            "ssh over cubic": self.through(tunnels.start_ssh),
            "ssh over bbr": self.through(tunnels.start_ssh, over="bbr"),
            "kcptun": self.through(tunnels.start_kcptun, "kcptun", tunnels.KCPTUN_LARGE),
            "ngtcp2, cubic": self.quic("cubic"),
            "ngtcp2, bbr": self.quic("bbr"),
        }


# ---- Groups ----

def links(bench):
    """Goodput of one transfer, in percent of what the link leaves for payload."""
    programs = bench.programs()
    seen = {wire.name: {name: [] for name in programs} for wire in LINKS}

    def one(turn, wire, start):
        with bench.two_hosts(turn, wire) as (near, far):
            flow = start(near, far)
            begin = flow.begin() + WARM_UP
            pause(WARM_UP + bench.seconds + 0.3)
            return wire.share(flow.rate(begin, begin + bench.seconds))

    for turn in range(bench.runs):
        for wire in LINKS:
            for name, start in programs.items():
                share = attempt(bench.table, f"{wire.name}: {name}", one, turn, wire, start)
                if share is not None:
                    seen[wire.name][name].append(share)
                bench.progress(f"{wire.name}: {name}: "
                               f"{'-' if share is None else f'{share:.1f} %'}")
    for name, values in seen.items():
        bench.table.add("links", name, "% of the link", values, 1)


def ping_ms(place, address, seconds, interval=0.02):
    need("ping")
    done = place.run(["ping", "-n", "-i", interval, "-w", seconds, address], timeout=seconds + 10)
    times = [float(line.partition("time=")[2].split()[0])
             for line in done.stdout.splitlines() if "time=" in line]
    if not times:
        raise RuntimeError(f"ping: {done.stdout[-300:]}{done.stderr[-300:]}")
    return times


def delay(bench):
    """Small requests over a 50 ms link: alone, beside a transfer in the same tunnel, and new."""
    starters = {
        "culvert": (tunnels.start_culvert, bench.culvert),
        "culvert, cubic": (tunnels.start_culvert, bench.culvert, "culvert, cubic", "cubic"),
        "ssh over cubic": (tunnels.start_ssh,),
    }
    seen = {}

    def put(what, name, number):
        seen.setdefault(what, {}).setdefault(name, []).append(number)

    def load(near, tunnel, port, how, at_once, seconds):
        done = near.run([bench.rps, "load", port, tunnel.socks, at_once, int(seconds * 1000), how],
                        timeout=seconds + 30)
        return json.loads(done.stdout)

    def one(turn, name, starter, *args):
        with bench.two_hosts(turn, DELAY_LINK) as (near, far):
            echo, greet, sink = (far.port() for _ in range(3))
            far.start([bench.rps, "serve", echo, greet])
            flow = Flow(far, port=sink, bulk=bench.bulk)
            far.wait_for_port(sink, "the sink")
            tunnel = starter(near, far, sink, *args)
            put("round trip of that link", "ping",
                min(ping_ms(near, far.address, 1)))
            base = load(near, tunnel, echo, "keep", AT_ONCE, bench.seconds)
            first = load(near, tunnel, greet, "greet", 1, 3)
            new = load(near, tunnel, echo, "new", 1, 3)
            bench.send(near, "127.0.0.1", tunnel.tcp)
            begin = flow.begin() + WARM_UP
            pause(WARM_UP)
            beside = load(near, tunnel, echo, "keep", AT_ONCE, bench.seconds)
            share = DELAY_LINK.share(flow.rate(begin, begin + bench.seconds))
            for what, result in (("alone", base), ("beside bulk", beside)):
                for field in ("p50", "p99"):
                    put(f"request {what}, 100 Mbit/s, 50 ms, {field}", name,
                        result[f"{field}_ms"])
            put(SAID_FIRST, name, first["p50_ms"])
            put("SOCKS connect to the answer of a first request, 50 ms tunnel, p50", name,
                new["p50_ms"])
            put("bulk beside those requests", name, share)
            return beside["p99_ms"]

    for turn in range(bench.runs):
        for name, (starter, *args) in starters.items():
            p99 = attempt(bench.table, f"delay: {name}", one, turn, name, starter, *args)
            bench.progress(f"request beside bulk: {name}: {'-' if p99 is None else f'{p99} ms'}")
    for what, values in seen.items():
        is_share = what.startswith("bulk")
        bench.table.add("delay", what, "% of the link" if is_share else "ms", values, 1)


def jain(rates):
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


def fairness(bench):
    """Two transfers through one bottleneck; what each gets, and how long the queue is."""
    pairs = (("culvert", "culvert, second"), ("culvert", "TCP, cubic"), ("culvert", "TCP, bbr"),
             ("TCP, bbr", "TCP, cubic"))
    starters = {"culvert": bench.agents("culvert"),
                "culvert, second": bench.agents("culvert, second"),
                "TCP, cubic": bench.tcp("cubic"), "TCP, bbr": bench.tcp("bbr")}

    def one(turn, wire, names):
        with bench.lab(turn) as (lab, directory):
            servers = [lab.host(name, public=f"203.0.113.{10 + i}")
                       for i, name in enumerate(("sa", "sb"))]
            router = lab.nat("router", public="198.51.100.7", **wire.options())
            clients = [lab.host(name, behind=router) for name in ("a", "b", "p")]
            lab.start()
            places = [bench.place(host, directory) for host in servers + clients]
            near, far, pinger = places[2:4], places[:2], places[4]
            base = min(ping_ms(pinger, far[0].address, 1))
            flows = [starters[name](near[i], far[i]) for i, name in enumerate(names)]
            begin = max(flow.begin() for flow in flows) + WARM_UP_SHARED
            pause(WARM_UP_SHARED)
            queue = [time - base for time in ping_ms(pinger, far[0].address, bench.seconds)]
            pause(0.3)
            rates = [flow.rate(begin, begin + bench.seconds) for flow in flows]
            return [wire.share(rate) for rate in rates], queue

    for wire in SHARED_LINKS:
        for names in pairs:
            what = f"{names[0]} beside {names[1]}, {wire.name}"
            shares, index, median, high = {name: [] for name in names}, [], [], []
            for turn in range(bench.runs):
                result = attempt(bench.table, what, one, turn, wire, names)
                if not result:
                    continue
                for name, share in zip(names, result[0]):
                    shares[name].append(share)
                index.append(jain(result[0]))
                queue = sorted(result[1])
                median.append(statistics.median(queue))
                high.append(queue[int(len(queue) * 0.95)])
                bench.progress(f"{what}: " + ", ".join(f"{share:.0f} %" for share in result[0]))
            bench.table.add("fairness", what, "% of the link", shares, 1)
            bench.table.add("fairness", f"{what}: Jain index", "1 is even", {"both": index}, 3)
            bench.table.add("fairness", f"{what}: queue delay", "ms",
                            {"p50": median, "p95": high}, 1)


GROUPS = (links, delay, fairness)
