# SPDX-License-Identifier: MIT
"""stage - where the table is made: namespaces of its own where the machine allows them, else its
loopback; processes, files, ports, and who owns a connection.

On a stage of its own the targets have addresses that are not loopback (Stage.ip4, ip6) and names
that only the stage's name server knows; without, they are 127.0.0.1, ::1 and localhost, and the
rows that need more are skipped.
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lab"))

import lab  # noqa: E402

OWN_IP4, OWN_IP6 = "198.51.100.20", "2001:db8:20::1"
NAME, NAME6 = "web.conform.test", "web6.conform.test"
# The longest name there is: 253 characters; a trailing dot makes 254.
LONG_NAME = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 48, "conform.test"])
ENV = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/games", LC_ALL="C")
for _name in list(ENV):
    # A test's own modules are nobody's libraries.
    if _name.lower().endswith("_proxy") or _name == "PYTHONPATH":
        del ENV[_name]
USER, PASSWORD = "conform", "right-password"


def has(program):
    return shutil.which(program, path=ENV["PATH"])


def wait_until(condition, timeout, what):
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {timeout} s still not: {what}")
        time.sleep(0.02)
    return value


class Stage:
    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="culvert-conformance-"))
        self.directory.chmod(0o755)  # servers that give up root read here
        self.processes = []
        self._count = 0
        self.why_shared = None
        try:
            lab.enter()
        except lab.Unavailable as why:
            self.why_shared = str(why)
        self.is_own = self.why_shared is None
        self.ip4, self.ip6, self.name, self.name6 = "127.0.0.1", "::1", "localhost", "localhost"
        if self.is_own:
            self.ip4, self.ip6, self.name, self.name6 = OWN_IP4, OWN_IP6, NAME, NAME6
            self._furnish()

    def _furnish(self):
        for command in (["ip", "addr", "add", f"{OWN_IP4}/32", "dev", "lo"],
                        ["ip", "-6", "addr", "add", f"{OWN_IP6}/128", "dev", "lo", "nodad"]):
            subprocess.run(command, check=True, env=ENV)
        self._cover("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
        self._cover("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        if os.geteuid() == 0 and has("openssl"):
            self._add_user()

    def _cover(self, path, text, mode=0o644):
        """Another content of a file, for this run alone."""
        ours = self.directory / ("etc" + path.replace("/", "-"))
        ours.write_text(text)
        ours.chmod(mode)
        subprocess.run(["mount", "--bind", ours, os.path.realpath(path)], check=True, env=ENV)

    def _add_user(self):
        """danted asks the system's list of users for passwords."""
        try:
            hashed = subprocess.run(["openssl", "passwd", "-6", PASSWORD], capture_output=True,
                                    text=True, check=True, env=ENV).stdout.strip()
            shadow = pathlib.Path("/etc/shadow").read_text()
            users = pathlib.Path("/etc/passwd").read_text()
            self._cover("/etc/shadow", shadow + f"{USER}:{hashed}:19000:0:99999:7:::\n", 0o600)
            self._cover("/etc/passwd", users + f"{USER}:x:64999:64999::/:/bin/false\n")
        except OSError:
            pass  # mapped root may not read it: the row fails and says why

    # Processes ----------------------------------------------------------------

    def start(self, command, **options):
        """A process whose output is its `log`; it ends with stop() at the latest."""
        self._count += 1
        command = [str(word) for word in command]
        path = self.directory / f"{self._count:03}-{pathlib.Path(command[0]).name}.log"
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("env", ENV)
        with open(path, "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory,
                                       start_new_session=True, **options)
        process.log = path
        self.processes.append(process)
        return process

    def run(self, command, timeout=40, input=b"", env=None):
        """A client, to its end; it and what it started are gone afterwards."""
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=dict(ENV, **(env or {})), cwd=self.directory,
                                   start_new_session=True)
        try:
            out, err = process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired:
            end_group(process, signal.SIGKILL)
            process.communicate()
            raise
        finally:
            end_group(process, signal.SIGKILL)
        return subprocess.CompletedProcess(command, process.returncode, out,
                                           err.decode(errors="replace"))

    def end(self, process):
        """Asks it to end, and sees to it; its exit code."""
        end_group(process, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        end_group(process, signal.SIGKILL)
        if process in self.processes:
            self.processes.remove(process)
        return process.wait()

    def stop(self):
        for process in list(reversed(self.processes)):
            self.end(process)
        shutil.rmtree(self.directory, ignore_errors=True)

    # Ports and connections ----------------------------------------------------

    def port(self, kind=socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def wait_for_port(self, port, process, kind="tcp", timeout=10):
        def there():
            if process.poll() is not None:
                raise RuntimeError(f"{process.log.name}: ended with {process.returncode}: "
                                   f"{process.log.read_text(errors='replace')[-600:]}")
            return any(state in ("0A", "07") for _, _, state, _ in entries(kind, port))
        wait_until(there, timeout, f"{process.log.name} listens on {port}")


def end_group(process, number):
    """What was started, and what that started; its session is its own."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def entries(kind, port):
    """(local address, remote address, state, inode) of the sockets with that local port."""
    out = []
    for name in (kind, kind + "6"):
        try:
            lines = pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            field = line.split()
            if field[1].endswith(f":{port:04X}"):
                out.append((field[1], field[2], field[3], field[9]))
    return out


def descendants(pids):
    """These processes and all that they started."""
    children = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            field = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(field[1]), []).append(int(path.parent.name))
    out, todo = set(), list(pids)
    while todo:
        pid = todo.pop()
        if pid not in out:
            out.add(pid)
            todo.extend(children.get(pid, []))
    return out


def is_held(kind, port, to_port, others):
    """Whether a process of ours that is none of `others` holds the socket with that local port
    that may be connected to `to_port`: a client that talks to a target itself. A proxy's socket
    may be on its way between two of its processes, or closed by now; some proxies take their
    client's port for themselves: only what is sure counts."""
    inodes = {inode for _, remote, _, inode in entries(kind, port)
              if inode != "0" and remote.endswith((f":{to_port:04X}", ":0000"))}
    if len(inodes) != 1:
        return False
    for pid in descendants([os.getpid()]) - descendants(others) - {os.getpid()}:
        try:
            for entry in os.scandir(f"/proc/{pid}/fd"):
                link = os.readlink(entry.path)
                if link.startswith("socket:[") and link[8:-1] in inodes:
                    return True
        except OSError:
            continue
    return False
