# SPDX-License-Identifier: MIT
"""loopback - rows where nothing is between the agents: speed, requests, latency, memory, scale."""
import base64
import json
import subprocess
import time

import tunnels
from places import Loopback, memory_kib, need, pause, cpu_seconds_of_tree, processor_share, \
    wait_until
from report import EIGHT, NEW, ONE, attempt, measure

SECONDS = 2
AT_ONCE = 50
IDLE_STREAMS = 10000
AGENTS = 10000
KEEPALIVE = 22.5  # seconds, of an agent to its server: each once
QUIC_BYTES = 768 << 20
PIPE_SIZES = (1472, 65507)
OVERLONG_BULK = 60


class Rig:
    """The programs on loopback, and one turn of each kind of measurement."""

    def __init__(self, build, table):
        self.place = Loopback()
        self.table = table
        self.culvert = str(build / "culvert")
        self.programs = build / "tests/bench"
        self.rps = str(self.programs / "bench_rps")
        self.tcp = {}    # program -> port that leads to iperf3
        self.socks = {}  # program -> SOCKS port
        self.pids = {}
        self.tunnels = []
        self.quic = None

    def stop(self):
        for tunnel in self.tunnels:
            tunnel.report_ended(self.table.note)
        self.place.stop()

    def start(self, is_isolated):
        place = self.place
        if is_isolated:  # else it is everyone's loopback
            attempt(self.table, "TCP over loopback uses cubic", place.set_congestion, "cubic")
        self.echo_port, self.greet_port, self.iperf_port = (place.port() for _ in range(3))
        place.start([self.rps, "serve", self.echo_port, self.greet_port])
        place.wait_for_port(self.greet_port, "the echo")
        attempt(self.table, "iperf3", self.start_iperf)
        self.socks["nothing"] = 0
        to = self.iperf_port
        self.add(tunnels.start_culvert, place, place, to, self.culvert)
        for size in PIPE_SIZES:
            self.add(tunnels.start_pipe, place, to, self.programs / "bench_pipe", size)
        self.add(tunnels.start_ssh, place, place, to)
        self.add(tunnels.start_kcptun, place, place, to)
        self.add(tunnels.start_kcptun, place, place, to, "kcptun, no cipher", tunnels.KCPTUN_PLAIN)
        self.add(tunnels.start_microsocks, place)
        self.quic = attempt(self.table, "ngtcp2", tunnels.Quic, place, place,
                            self.programs / "bench_buffers.so")

    def start_iperf(self):
        need("iperf3")
        self.place.start(["iperf3", "-s", "-p", self.iperf_port])
        self.place.wait_for_port(self.iperf_port, "iperf3")
        self.tcp["nothing"] = self.iperf_port

    def add(self, starter, *args):
        tunnel = attempt(self.table, starter.__name__, starter, *args)
        if not tunnel:
            return
        self.tunnels.append(tunnel)
        self.pids[tunnel.name] = tunnel.pids
        if tunnel.tcp and "nothing" in self.tcp:
            self.tcp[tunnel.name] = tunnel.tcp
        if tunnel.socks:
            self.socks[tunnel.name] = tunnel.socks

    def tunnel(self, name):
        return next(t for t in self.tunnels if t.name == name)

    def iperf(self, program, streams, seconds=SECONDS):
        """Gbit/s at the receiver."""
        done = self.place.run(["iperf3", "-c", "127.0.0.1", "-p", self.tcp[program], "-t", seconds,
                               "-O", "1", "-P", streams, "-J"], timeout=seconds + 20)
        result = json.loads(done.stdout)
        if "error" in result:
            raise RuntimeError(f"iperf3: {result['error']}")
        return result["end"]["sum_received"]["bits_per_second"] / 1e9

    def cpu(self, program):
        return sum(cpu_seconds_of_tree(pid) for pid in self.pids[program])

    def iperf_and_cpu(self, program, costs):
        """As iperf(); adds to `costs` what a gigabyte cost the tunnel's processes, in seconds."""
        used = self.cpu(program)
        rate = self.iperf(program, 1)
        gigabytes = rate / 8 * (SECONDS + 1)  # the second that iperf3 omits costs as well
        costs[program].append((self.cpu(program) - used) / gigabytes)
        return rate

    def fetch(self, streams):
        """Gbit/s of so many files at once over QUIC, thrown away as they come."""
        name = self.quic.make_file(QUIC_BYTES // streams)
        begin = time.monotonic()
        done = self.place.run(self.quic.command([name] * streams), timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"gtlsclient: {done.stderr[-300:]}")
        return QUIC_BYTES * 8 / (time.monotonic() - begin) / 1e9

    def load(self, program, at_once, how, seconds=1.5):
        target = self.greet_port if how == "greet" else self.echo_port
        done = self.place.run([self.rps, "load", target, self.socks[program], at_once,
                               int(seconds * 1000), how], timeout=seconds + 20)
        return json.loads(done.stdout)

    def load_beside_bulk(self, program, seconds=3):
        bulk = self.place.start(["iperf3", "-c", "127.0.0.1", "-p", self.tcp[program],
                                 "-t", seconds + 2, "-i", "1", "--forceflush"])
        try:
            wait_until(lambda: "bits/sec" in bulk.log.read_text(), 10, "a transfer under way")
            return self.load(program, 1, "keep", seconds)
        finally:
            bulk.wait(OVERLONG_BULK)


def choose(names, among, turn):
    """Turns of those that are there, in that order."""
    return {name: (lambda name=name: turn(name)) for name in names if name in among}


def throughput(rig, table, runs):
    names = ("culvert", *(f"pipe, {size}" for size in PIPE_SIZES), "ssh", "kcptun",
             "kcptun, no cipher")
    costs = {name: [] for name in names if name in rig.tcp}
    turns = choose(names, rig.tcp, lambda name: rig.iperf_and_cpu(name, costs))
    if rig.quic:
        turns["ngtcp2"] = lambda: rig.fetch(1)
    turns.update(choose(["nothing"], rig.tcp, lambda name: rig.iperf(name, 1)))
    measure(table, runs, "throughput", ONE, "Gbit/s", 2, turns)
    table.add("throughput", "processor time for a gigabyte, both ends", "s", costs, 2)
    turns = choose(names, rig.tcp, lambda name: rig.iperf(name, 8))
    if rig.quic:
        turns["ngtcp2"] = lambda: rig.fetch(8)
    turns.update(choose(["nothing"], rig.tcp, lambda name: rig.iperf(name, 8)))
    measure(table, runs, "throughput", EIGHT, "Gbit/s", 2, turns)


def requests(rig, table, runs):
    names = ("culvert", "ssh", "microsocks", "nothing")
    for what, unit, digits, turn in (
            (NEW, "requests/s", 0, lambda name: rig.load(name, AT_ONCE, "new")["per_s"]),
            (f"kept connections, {AT_ONCE} at once", "requests/s", 0,
             lambda name: rig.load(name, AT_ONCE, "keep")["per_s"]),
            ("SOCKS connect to first byte, one at a time, p50", "ms", 3,
             lambda name: rig.load(name, 1, "new", 1)["p50_ms"]),
            ("SOCKS connect to the server's first byte, p50", "ms", 3,
             lambda name: rig.load(name, 1, "greet", 1)["p50_ms"])):
        measure(table, runs, "requests", what, unit, digits, choose(names, rig.socks, turn))


def latency(rig, table, runs):
    order = [name for name in ("culvert", "ssh") if name in rig.socks and name in rig.tcp]
    turns = {"alone": lambda name: rig.load(name, 1, "keep", 1),
             "beside a bulk transfer": rig.load_beside_bulk}
    for where, turn in turns.items():
        seen = {name: [] for name in order}
        for _ in range(runs):
            for name in order:
                one = attempt(table, f"request {where}: {name}", turn, name)
                if one:
                    seen[name].append(one)
        for field in ("p50", "p99"):
            table.add("latency", f"64-byte request {where}, {field}", "ms",
                      {name: [one[f"{field}_ms"] for one in ones] for name, ones in seen.items()},
                      3)


def memory(rig, table, runs):
    """After a warm-up, so that what the first streams bring once is not counted."""
    del runs
    near, far = rig.tunnel("culvert").pids
    sides = (("agent with the proxy", near), ("agent that connects", far))
    rig.load("culvert", AT_ONCE, "new", 0.5)
    before = {pid: memory_kib(pid) for _, pid in sides}
    holder = rig.place.start([rig.rps, "idle", rig.echo_port, rig.socks["culvert"], IDLE_STREAMS],
                             stdin=subprocess.PIPE)
    said = wait_until(lambda: holder.log.read_text().split(), 60, "all streams are open")
    count = int(said[1])
    if count < IDLE_STREAMS:
        table.note(f"idle streams: {count} of {IDLE_STREAMS} (is RLIMIT_NOFILE too low?)")
    pause(0.5)
    after = {pid: memory_kib(pid) for _, pid in sides}
    for where, pid in sides:
        table.add("memory", f"an idle stream of {count}, {where}", "bytes",
                  {"culvert": [(after[pid] - before[pid]) * 1024 / max(count, 1)]}, 0)
        table.add("memory", f"processor with them, {where}", "% of a core",
                  {"culvert": [processor_share(pid, 2) * 100]}, 1)
    rig.place.end(holder)


def agents(rig, table, runs):
    del runs
    place = rig.place
    key = base64.b64decode(tunnels.keygen(rig.culvert, place.directory, "server")).hex()
    port = place.port()
    (place.directory / "server.yaml").write_text(
        f"identity: server.key\nserver: {{ listen: \"127.0.0.1:{port}\", access: anyone,"
        " control: server.sock }\nlog: { level: warn }\n")
    server = place.start([rig.culvert, "server", "-c", "server.yaml"])
    wait_until((place.directory / "server.sock").exists, 5, "the server is up")
    before = memory_kib(server.pid)
    swarm = place.start([rig.programs / "bench_agents", port, key, AGENTS], stdin=subprocess.PIPE)
    _, count, seconds = wait_until(lambda: swarm.log.read_text().split(), 120, "the swarm is up")
    after = memory_kib(server.pid)
    used = processor_share(server.pid, KEEPALIVE)
    table.add("agents", f"a registered agent of {int(count)}, server", "bytes",
              {"culvert": [(after - before) * 1024 / max(int(count), 1)]}, 0)
    table.add("agents", "processor with registered agents, server", "% of a core",
              {"culvert": [used * 100]}, 1)
    table.add("agents", "registrations, paced by the swarm at 700", "per s",
              {"culvert": [int(count) / float(seconds)]}, 0)
    place.end(swarm)
    place.end(server)


GROUPS = (throughput, requests, latency, memory, agents)
