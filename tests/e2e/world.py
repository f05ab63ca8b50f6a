# SPDX-License-Identifier: MIT
"""world - culvert's own programs in the lab, for tests that read like their story.

    from world import World, main, report

    def story():
        with World() as w:
            w.start()
            w.a.wait_path("far", ["direct"], timeout=5)
            ...
    main(story)

The usual cast: `w.server` on the internet, agent `w.a` (whose peer is called "far") behind the
NAT `w.home`, agent `w.b` (peer "near") behind the NAT `w.office`, and `w.web`, a machine without
culvert in b's network. It ends with every program that still runs being asked to end, which it
must do with exit code 0 and without a sanitizer's report.
"""
import datetime
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lab"))

from lab import Lab, SKIP, main  # noqa: E402,F401 (main is part of this module's face)

SERVER, HOME, OFFICE = "203.0.113.10", "198.51.100.7", "192.0.2.33"
PROXY = ("127.0.0.1", 1080)
STOP_TIMEOUT = 5
BROKEN = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|"
                    r"runtime error:|assertion|Assertion|stack smashing")
CULVERT = os.environ.get("CULVERT") or str(HERE.parents[1] / "build/culvert")


def report(what, value=""):
    """What was measured, for the log of the run."""
    text = f"{value:.3f}" if isinstance(value, float) else f"{value}"
    print(f"  {what}: {text}" if text else f"== {what}", flush=True)


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def culvert(*args, **options):
    """One command of culvert's outside the lab's hosts: all that needs no network."""
    options.setdefault("timeout", 20)
    return subprocess.run([CULVERT, *map(str, args)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, **options)


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"pid {pid} has no resident size")


class Program:
    """An agent or a server in a host: its key, its files, its life."""

    command = None

    def __init__(self, world, name, host):
        self.world, self.name, self.host = world, name, host
        self.directory = world.lab.directory / f"program-{name}"
        self.directory.mkdir()
        self.control = self.directory / "control.sock"
        self.file = self.directory / "culvert.yaml"
        made = culvert("keygen", self.directory / "identity.key")
        assert made.returncode == 0, made.stderr
        self.key = made.stdout.strip()
        self.config = {"identity": "identity.key"}
        self.wrapper = []  # a command that runs it as its own process: strace -D
        self.process = None

    def start(self, **config):
        """Starts it with these keys of the configuration changed; returns once it is ready."""
        self.launch(**config)
        self.world.wait_until(self._is_ready, 5, f"{self.name} is ready")
        return self

    def launch(self, **config):
        """Starts it and waits for nothing."""
        self.config.update(config)
        # Flow style YAML is JSON.
        self.file.write_text(json.dumps(self.config, indent=2) + "\n")
        self.process = self.host.spawn([*self.wrapper, CULVERT, self.command, "-c",
                                        self.file, "--control", self.control])

    def _is_ready(self):
        code = self.process.poll()
        assert code is None, f"{self.name} ended with {code}: {self.process.text()}"
        return " ready " in self.process.text()

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.process.text()

    def stop(self):
        """SIGTERM: it ends within 5 s, exit code 0; returns how long it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs {STOP_TIMEOUT} s after SIGTERM") from None
        assert code == 0, f"{self.name}: exit code {code} after SIGTERM"
        self.check_log()
        return time.monotonic() - begin

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.check_log()

    def check_log(self):
        found = BROKEN.search(self.log())
        assert not found, f"{self.name} printed: {self.log()[max(0, found.start() - 200):]}"

    def ask(self, *args, **options):
        """Another command, told where this one's control socket is; runs in the same host."""
        return self.host.run([CULVERT, *args, "--control", self.control], **options)

    def status(self):
        words = ["--server"] if self.command == "server" else []
        answer = culvert("status", "--json", *words, "--control", self.control)
        assert answer.returncode == 0, f"status of {self.name}: {answer.stderr}"
        return json.loads(answer.stdout)


class Server(Program):
    command = "server"


class Agent(Program):
    command = "run"

    def peer(self, name):
        return next(p for p in self.status()["peers"] if p["name"] == name)

    def path(self, name):
        return self.peer(name)["path"]

    def wait_connected(self, name, timeout=10):
        self.world.wait_until(lambda: self.peer(name)["connected"], timeout,
                              f"{self.name} is connected to {name}")

    def wait_path(self, name, kinds, timeout=10):
        """Waits until the path is of one of these kinds; returns the path."""
        def current():
            path = self.path(name)
            return path if path["kind"] in kinds else None
        return self.world.wait_until(current, timeout, f"{self.name}'s path to {name} is "
                                     f"{' or '.join(kinds)}", interval=0.05)

    def paths(self, name):
        """What the log tells of the path to a peer: [(time, kind)]; time since the epoch."""
        out = []
        for line in self.log().splitlines():
            found = re.match(rf"(\S+) info path peer={name} kind=(\S+)", line)
            if found:
                at = datetime.datetime.fromisoformat(found[1].replace("Z", "+00:00"))
                out.append((at.timestamp(), found[2]))
        return out


class Fetch:
    """A download that runs in a host of its own accord; see transfer.py."""

    def __init__(self, world, host, target, path="/data", proxy=PROXY, **options):
        self.world = world
        words = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
        if proxy:
            words.append(f"--proxy={proxy[0]}:{proxy[1]}")
        self.process = host.spawn([sys.executable, HERE / "transfer.py", *words, "get",
                                   f"{target[0]}:{target[1]}", path])

    def bytes(self):
        lines = re.findall(r"^bytes (\d+)$", self.process.text(), re.M)
        return int(lines[-1]) if lines else 0

    def wait_bytes(self, count, timeout=20):
        def there():
            assert self.process.poll() is None or self.bytes() >= count, self.process.text()
            return self.bytes() >= count
        self.world.wait_until(there, timeout, f"{count} bytes of the transfer")

    def result(self, timeout=60):
        """{"bytes", "sha256", "error", "seconds", "first_byte_s", "stall_s", "ended_at"}"""
        self.process.wait(timeout)
        return json.loads(self.process.text().splitlines()[-1])


class World:
    def __init__(self, seed=1, one_way_ms=25, mapping="endpoint-independent",
                 filtering="address-and-port-dependent", with_server=True, **nat):
        self.lab = lab = Lab(seed=seed)
        self.wait_until = lab.wait_until
        self.programs = []
        self.threads = []
        half = {"delay_ms": one_way_ms / 2}
        rules = {"mapping": mapping, "filtering": filtering, **nat}
        self.home = lab.nat("home", public=HOME, **rules, **half)
        self.office = lab.nat("office", public=OFFICE, **rules, **half)
        self.a = self.agent("a", lab.host("a", behind=self.home))
        self.b = self.agent("b", lab.host("b", behind=self.office))
        self.web = lab.host("web", behind=self.office)
        self.server = None
        if with_server:
            self.server = self.program(Server, "server", lab.host("server", public=SERVER))
            self.server.config["server"] = {"access": "anyone"}
        self.a.config["peers"] = {"far": {"key": self.b.key}}
        self.a.config["proxies"] = [{"listen": f"{PROXY[0]}:{PROXY[1]}", "peer": "far"}]
        self.b.config["peers"] = {"near": {"key": self.a.key,
                                           "allow": [f"{self.office.lan}:*", "localhost:*",
                                                     "*:*"]}}
        lab.start()

    def program(self, kind, name, host):
        program = kind(self, name, host)
        self.programs.append(program)
        return program

    def agent(self, name, host):
        return self.program(Agent, name, host)

    def start(self, wait=("direct",)):
        """Starts the server and both agents, and waits for such a path."""
        self.far_names({"web.far.lab": self.web.address})
        servers = [{"address": f"{SERVER}:28583", "key": self.server.key}]
        self.server.start()
        self.a.config["servers"] = self.b.config["servers"] = servers
        self.a.start()
        self.b.start()
        if wait:
            self.a.wait_path("far", wait)
            self.b.wait_path("near", wait)
        return self

    def far_names(self, names):
        """Names that only b's own /etc/hosts knows."""
        with open(self.b.host.hosts_file, "a") as f:
            f.writelines(f"{address} {name}\n" for name, address in names.items())

    # Targets ------------------------------------------------------------------

    def file(self, size, name="data"):
        """Random bytes for the web server; returns their SHA-256."""
        where = self.lab.directory / "htdocs"
        where.mkdir(exist_ok=True)
        with open(where / name, "wb") as f:
            for at in range(0, size, 1 << 20):
                f.write(os.urandom(min(1 << 20, size - at)))
        return sha256(where / name)

    def serve_files(self, host=None, port=80):
        host = host or self.web
        where = self.lab.directory / "htdocs"
        where.mkdir(exist_ok=True)
        process = host.spawn([sys.executable, HERE / "transfer.py", "files", port, where])
        self._listening(process, f"the web server of {host.name}")
        return process

    def serve_flood(self, host=None, port=9):
        """A service that sends for as long as somebody takes it."""
        process = (host or self.web).spawn([sys.executable, HERE / "transfer.py", "flood", port])
        self._listening(process, "the flood")
        return process

    def _listening(self, process, what):
        def there():
            assert process.poll() is None, process.text()
            return "listening" in process.text()
        self.wait_until(there, 10, what)

    def fetch(self, target=None, path="/data", host=None, **options):
        return Fetch(self, host or self.a.host, target or (self.web.address, 80), path, **options)

    def connect(self, address, host=None, timeout=20):
        """A TCP connection from a host, in the hands of the test."""
        import socket
        s = (host or self.a.host).socket(kind=socket.SOCK_STREAM, bind=None)
        s.settimeout(timeout)
        s.connect(address)
        return s

    def listen(self, port, host=None):
        """A TCP listener in a host, in the hands of the test."""
        import socket
        host = host or self.web
        s = host.socket(kind=socket.SOCK_STREAM, bind=None)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("0.0.0.0", port))
        s.listen(64)
        s.settimeout(20)
        return s

    def in_background(self, function):
        """Runs a function in a thread; the object returned has result(timeout)."""
        task = Task(function)
        self.threads.append(task)
        return task

    # End ----------------------------------------------------------------------

    def finish(self):
        for program in self.programs:
            if program.is_running:
                program.stop()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self.finish()
        except BaseException:
            self.lab.__exit__(*sys.exc_info())
            raise
        self.lab.__exit__(kind, error, trace)


class Task(threading.Thread):
    def __init__(self, function):
        super().__init__(daemon=True)
        self._function, self._value, self._error = function, None, None
        self.start()

    def run(self):
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error

    def result(self, timeout=30):
        self.join(timeout)
        assert not self.is_alive(), f"after {timeout} s still running: {self._function}"
        if self._error:
            raise self._error
        return self._value
