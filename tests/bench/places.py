# SPDX-License-Identifier: MIT
"""places - where programs of the bench run: this machine's loopback, or a host of the lab.

Both have the same face, so that a tunnel is set up in one way (tunnels.py) and measured in one way.
"""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from lab import set_priority

ENV = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin", LC_ALL="C")


class Missing(Exception):
    """A program that is not installed; its row is left out by name."""


def has(program):
    return shutil.which(program, path=ENV["PATH"])


def need(*programs):
    for program in programs:
        if not has(program):
            raise Missing(f"no {program}: nothing of it")


def wait_until(condition, timeout, what):
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {timeout} s still not: {what}")
        time.sleep(0.02)
    return value


def pause(seconds):
    """What is measured takes its time; nothing is waited for."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)


class Place:
    """A machine to run programs on. `address` is how the other machine reaches it."""

    address = None
    nice = 0  # of everything that is started

    def __init__(self, directory):
        self.directory = directory
        self.processes = []

    def start(self, command, **options):
        """A process whose output is its `log`; it ends with stop() at the latest."""
        process = self._spawn([str(word) for word in command], **options)
        if self.nice:
            set_priority(process.pid, self.nice)
        self.processes.append(process)
        return process

    def end(self, process):
        if process.stdin:
            process.stdin.close()
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                self.end(process)
        self.processes = []

    def listens(self, port, kind="tcp"):
        """Looks, as a connect would be a connection that the program has to deal with."""
        text = self.run(["cat", f"/proc/net/{kind}", f"/proc/net/{kind}6"]).stdout
        fields = [line.split()[1:4] for line in text.splitlines() if "local_address" not in line]
        return any(local.endswith(f":{port:04X}") and (kind == "udp" or state == "0A")
                   for local, _, state in fields)

    def wait_for_port(self, port, what):
        wait_until(lambda: self.listens(port), 10, f"{what} listens")

    def set_congestion(self, name):
        """Of the TCP connections of this place; by its routes, as the default of a namespace may
        only be one of the machine's list. For namespaces of one's own."""
        self._set_route(["table", "local", "local", "127.0.0.1", "dev", "lo", "proto", "kernel",
                         "scope", "host", "src", "127.0.0.1"], name)

    def _set_route(self, route, congestion):
        done = self.run(["ip", "route", "replace", *route, "congctl", congestion])
        if done.returncode != 0:
            raise RuntimeError(f"ip route: {done.stderr.strip()}")


class Loopback(Place):
    """Here, on 127.0.0.1."""

    address = "127.0.0.1"

    def __init__(self):
        super().__init__(pathlib.Path(tempfile.mkdtemp(prefix="culvert-bench-")))
        self._count = 0

    def _spawn(self, command, **options):
        self._count += 1
        path = self.directory / f"{self._count:02}-{pathlib.Path(command[0]).name}.log"
        options.setdefault("stdin", subprocess.DEVNULL)
        with open(path, "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=ENV,
                                       cwd=self.directory, start_new_session=True, **options)
        process.log = path
        return process

    def run(self, command, timeout=20):
        with subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV,
                              cwd=self.directory, start_new_session=True) as process:
            if self.nice:
                set_priority(process.pid, self.nice)
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def port(self, kind=socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def stop(self):
        super().stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class LabHost(Place):
    """A host of the lab; the lab ends what runs in it."""

    def __init__(self, host, directory):
        super().__init__(directory)
        self.host = host
        self.address = host.address
        self._port = 20000

    def _spawn(self, command, **options):
        return self.host.spawn(command, env=ENV, cwd=self.directory, **options)

    def run(self, command, timeout=20):
        return self.host.run([str(word) for word in command], timeout=timeout, env=ENV,
                             cwd=self.directory)

    def port(self, kind=socket.SOCK_STREAM):
        del kind
        self._port += 1
        return self._port

    def set_congestion(self, name):
        super().set_congestion(name)
        shown = self.run(["ip", "-o", "route", "show", "default"]).stdout.split()
        if "congctl" in shown:
            shown = shown[:shown.index("congctl")]
        self._set_route(shown, name)


def memory_kib(pid, field="Pss"):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError("no memory figures")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of_tree(pid):
    """With all that it started and that still runs."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + sum(cpu_seconds_of_tree(int(child)) for child in children)


def processor_share(pid, seconds):
    """Of one core, over that time."""
    begin = cpu_seconds(pid)
    pause(seconds)
    return (cpu_seconds(pid) - begin) / seconds
