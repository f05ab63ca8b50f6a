# SPDX-License-Identifier: MIT
"""servers - the proxies that are compared, each set up in its own way.

`offers` is what a server promises to do; rows that need anything else are not played with it.
`pids` are its processes, those that connect to targets among them.
"""
import json
import os
import re
import socket
import subprocess

from stage import ENV, PASSWORD, USER, has, wait_until

ALL = frozenset(("socks4", "socks4a", "socks5", "auth5", "http", "authhttp", "bind", "udp", "forward",
                 "forward-udp", "forward-unix", "remote", "nc", "service", "pac"))


BROKEN = re.compile(r"Sanitizer|runtime error:|[Aa]ssertion|stack smashing")


class Missing(Exception):
    """It is not installed, or cannot run here."""


class Server:
    name, offers = None, frozenset()

    def __init__(self, stage, targets):
        self.stage, self.targets = stage, targets
        self.pids = []
        self.socks = self.auth = self.metrics = None
        self.forwards = {}  # name -> port, or path of a unix socket
        self.remote = None  # port where the far side listens for the near one
        self.processes = []

    def _start(self, command):
        process = self.stage.start(command)
        self.processes.append(process)
        self.pids.append(process.pid)
        return process

    def check_alive(self):
        for process in self.processes:
            if process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {process.returncode}: "
                                   f"{process.log.read_text(errors='replace')[-1000:]}")

    def stop(self):
        """Ends it; what is wrong with how it ended, one line each."""
        for process in reversed(self.processes):
            self.stage.end(process)
        return []

    def forward_targets(self):
        """name -> (host, port) or a path; what leads there is in `forwards`."""
        t, ip = self.targets, self.stage.ip4
        wanted = {"http": (ip, t.http), "sum": (ip, t.sum), "dns-tcp": ("127.0.0.1", t.dns)}
        if t.redis:
            wanted.update({"redis": ("127.0.0.1", t.redis)})
        return wanted


class Culvert(Server):
    """Two agents; one knows the other's address."""

    name, offers = "culvert", ALL

    def __init__(self, stage, targets, binary):
        super().__init__(stage, targets)
        self.binary = str(binary)
        self.directory = stage.directory / "culvert"
        self.directory.mkdir()

    def start(self):
        keys = {side: self._keygen(side) for side in ("near", "far")}
        udp = self.stage.port(socket.SOCK_DGRAM)
        far = self._far(udp, keys["near"])
        near = self._near(udp, keys["far"])
        self.control = self.directory / "near.sock"
        self._run("far", far)
        self._run("near", near)
        wait_until(self._is_connected, 15, "the agents have met")

    def _keygen(self, side):
        made = subprocess.run([self.binary, "keygen", self.directory / f"{side}.key"],
                              capture_output=True, text=True, env=ENV)
        if made.returncode != 0:
            raise Missing(f"culvert keygen: {made.stderr.strip()}")
        return made.stdout.strip()

    def _far(self, udp, key):
        self.remote = self.stage.port()
        allow = ["localhost:*", "localhost:*/udp", f"unix:{self.stage.directory}/*"]
        if self.stage.is_own:
            allow += [f"{self.stage.ip4}:*", f"[{self.stage.ip6}]:*", f"{self.stage.ip4}:*/udp",
                      f"[{self.stage.ip6}]:*/udp", "*.conform.test:*", "*.conform.test:*/udp"]
        return {"listen": f"127.0.0.1:{udp}",
                "peers": {"near": {"key": key, "allow": allow,
                                   "allow_listen": [f"127.0.0.1:{self.remote}",
                                                    f"{self.stage.ip4}:20000-20099"]}},
                "services": {"web": {"to": f"{self.stage.ip4}:{self.targets.http}",
                                     "allow": ["near"]}}}

    def _near(self, udp, key):
        self.socks, self.auth, self.metrics = (self.stage.port() for _ in range(3))
        forwards = []
        for name, (host, port) in self.forward_targets().items():
            self.forwards[name] = self.stage.port()
            forwards.append({"listen": f"127.0.0.1:{self.forwards[name]}", "peer": "far",
                             "to": f"{host}:{port}"})
        for name, port in (("dns-udp", self.targets.dns), ("udp-echo", self.targets.udp_echo)):
            host = "127.0.0.1" if name == "dns-udp" else self.stage.ip4
            self.forwards[name] = self.stage.port(socket.SOCK_DGRAM)
            forwards.append({"listen": f"127.0.0.1:{self.forwards[name]}", "peer": "far",
                             "to": f"{host}:{port}", "protocol": "udp"})
        if self.targets.redis:
            self.forwards["redis-unix"] = self.directory / "redis-near.sock"
            forwards.append({"listen": f"unix:{self.forwards['redis-unix']}", "peer": "far",
                             "to": f"unix:{self.targets.redis_socket}"})
        return {"peers": {"far": {"key": key, "address": f"127.0.0.1:{udp}"}},
                "proxies": [{"listen": f"127.0.0.1:{self.socks}", "peer": "far"},
                            {"listen": f"127.0.0.1:{self.auth}", "peer": "far",
                             "users": {USER: PASSWORD}}],
                "forwards": forwards,
                "remote_forwards": [{"listen": f"127.0.0.1:{self.remote}", "peer": "far",
                                     "to": f"{self.stage.ip4}:{self.targets.http}"}],
                "metrics": f"127.0.0.1:{self.metrics}"}

    def _run(self, side, config):
        config.update(identity=f"{side}.key", control=str(self.directory / f"{side}.sock"),
                      portmap=False, log={"level": "info"})
        path = self.directory / f"{side}.yaml"
        path.write_text(json.dumps(config, indent=1))
        path.chmod(0o600)
        process = self._start([self.binary, "run", "-c", path])

        def is_ready():
            if process.poll() is not None:
                raise Missing(f"culvert run: {process.log.read_text(errors='replace')[-1500:]}")
            return " ready " in process.log.read_text(errors="replace")
        wait_until(is_ready, 10, f"culvert's agent {side} is ready")

    def stop(self):
        wrong = []
        for process in reversed(self.processes):
            code = self.stage.end(process)
            if code != 0:
                wrong.append(f"{process.log.name}: exit code {code} after SIGTERM")
            found = BROKEN.search(process.log.read_text(errors="replace"))
            if found:
                text = found.string[max(0, found.start() - 200):found.start() + 2000]
                wrong.append(f"{process.log.name} printed: {text}")
        return wrong

    def _is_connected(self):
        self.check_alive()
        done = subprocess.run([self.binary, "status", "--json", "--control", self.control],
                              capture_output=True, text=True, env=ENV)
        return done.returncode == 0 and json.loads(done.stdout)["peers"][0]["connected"]


class Microsocks(Server):
    name, offers = "microsocks", frozenset(("socks5", "auth5"))

    def start(self):
        if not has("microsocks"):
            raise Missing("no microsocks")
        self.socks, self.auth = self.stage.port(), self.stage.port()
        for port, words in ((self.socks, []), (self.auth, ["-u", USER, "-P", PASSWORD])):
            process = self._start(["microsocks", "-i", "127.0.0.1", "-p", port, *words])
            self.stage.wait_for_port(port, process)


class Danted(Server):
    name = "danted"
    offers = frozenset(("socks4", "socks5", "auth5", "bind", "udp"))

    def start(self):
        if not has("danted"):
            raise Missing("no danted")
        if not self.stage.is_own:
            self.offers = self.offers - {"auth5"}  # it asks the system's users for passwords
        self.socks, self.auth = self.stage.port(), self.stage.port()
        for port, method in ((self.socks, "none"), (self.auth, "username")):
            if method == "username" and "auth5" not in self.offers:
                continue
            path = self.stage.directory / f"danted-{method}.conf"
            path.write_text(self._config(port, method))
            process = self._start(["danted", "-f", path, "-p",
                                   self.stage.directory / f"danted-{method}.pid"])
            self.stage.wait_for_port(port, process)

    def _config(self, port, method):
        externals = [self.stage.ip4, self.stage.ip6]
        lines = ["logoutput: stderr", f"internal: 127.0.0.1 port = {port}",
                 *(f"external: {address}" for address in externals),
                 "external.rotation: none", f"socksmethod: {method}", "clientmethod: none"]
        if os.geteuid() == 0:
            lines += ["user.privileged: root", "user.unprivileged: nobody"]
        for family in ("0.0.0.0/0", "::/0"):
            lines.append(f"client pass {{ from: {family} to: {family} }}")
        lines.append("socks pass { from: 0/0 to: 0/0 "
                     "command: bind connect udpassociate bindreply udpreply }")
        return "\n".join(lines) + "\n"


class Ssh(Server):
    """-D, and what goes with it: -L and -R."""

    name = "ssh -D"
    offers = frozenset(("socks4", "socks4a", "socks5", "forward", "forward-unix", "remote"))

    def start(self):
        sshd = self.targets.sshd
        if not sshd:
            raise Missing(self.targets.why_no_sshd)
        self.pids.append(sshd.process.pid)
        self.socks, self.remote = self.stage.port(), self.stage.port()
        words = ["-D", f"127.0.0.1:{self.socks}",
                 "-R", f"127.0.0.1:{self.remote}:{self.stage.ip4}:{self.targets.http}"]
        for name, (host, port) in self.forward_targets().items():
            self.forwards[name] = self.stage.port()
            words += ["-L", f"127.0.0.1:{self.forwards[name]}:{host}:{port}"]
        if self.targets.redis:
            self.forwards["redis-unix"] = self.stage.directory / "ssh-redis.sock"
            words += ["-L", f"{self.forwards['redis-unix']}:{self.targets.redis_socket}"]
        process = self._start(["ssh", *sshd.options, "-p", sshd.port, "-N",
                               "-o", "ExitOnForwardFailure=yes", *words, f"{sshd.user}@127.0.0.1"])
        self.stage.wait_for_port(self.socks, process)
