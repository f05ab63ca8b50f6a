# SPDX-License-Identifier: MIT
"""lab - an internet of the project's own, for tests that read like their story.

    from lab import Lab

    with Lab(seed=1) as lab:
        server = lab.host("server", public="203.0.113.10")
        home = lab.nat("home", public="198.51.100.7", mapping="endpoint-independent")
        a = lab.host("a", behind=home, delay_ms=25)
        lab.start()
        a.run(["curl", "http://server.lab/"], timeout=20)
        home.reboot()

The first Lab moves the calling process into namespaces of its own (a user
namespace too when it is not root), for good: make it before any thread starts.
What can be set, and what it means, is in README.md.
"""
import collections
import contextlib
import ctypes
import fcntl
import ipaddress
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

SKIP = 77  # exit code of a test that could not run here

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_LOG_TAIL = 4000  # bytes of each log that are shown when a test fails

_libc = ctypes.CDLL(None, use_errno=True)
_entered = False


class Unavailable(Exception):
    """This machine or user may not make namespaces or TUN devices."""


class LabError(Exception):
    """labnet refused a command: the story asks for something that cannot be."""


def _call(function, *args):
    if function(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _enter_namespaces():
    """Leave the machine's network and mounts; become root of a user namespace if need be."""
    global _entered
    if _entered:
        return
    uid, gid = os.geteuid(), os.getegid()
    try:
        try:
            _call(_libc.unshare, _CLONE_NEWNS | _CLONE_NEWNET)
        except PermissionError:
            _call(_libc.unshare, _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWNET)
            pathlib.Path("/proc/self/setgroups").write_text("deny")
            pathlib.Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            pathlib.Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        _call(_libc.mount, None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        raise Unavailable(f"no namespaces or TUN here: {error}") from error
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
    _entered = True


def enter():
    """Do now what the first Lab does: have namespaces of one's own. Loopback is then one's own too."""
    _enter_namespaces()


def set_priority(pid, nice):
    """Of the leader of a session, and of its group where the kernel shares time by sessions; as
    far as one may."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        pathlib.Path(f"/proc/{pid}/autogroup").write_text(f"{nice}\n")


def _find_labnet():
    root = pathlib.Path(__file__).resolve().parents[2]
    path = os.environ.get("LABNET") or str(root / "build/tests/lab/labnet")
    if not os.access(path, os.X_OK):
        raise LabError(f"{path}: not there; build the target labnet, or set LABNET")
    return path


def _scaled(factor):
    return lambda value: int(round(value * factor))


def _choice(*names):
    return names.index


def _ports(value):
    ports = [value] if isinstance(value, int) else list(value or ())
    if len(ports) > 4:
        raise TypeError(f"{len(ports)} ports: four at most")
    return sum(port << 16 * i for i, port in enumerate(ports))


# Option of a story: (field of labnet, how its value is told to labnet).
_LINK_OPTIONS = {
    "delay_ms": ("delay_ns", _scaled(1e6)),
    "jitter_ms": ("jitter_ns", _scaled(1e6)),
    "jitter_reorders": ("jitter_reorders", int),
    "rate_mbit": ("rate_bps", _scaled(1e6)),
    "queue_kib": ("queue_size", _scaled(1024)),
    "loss": ("loss_ppm", _scaled(1e6)),
    "burst_enter": ("burst_enter_ppm", _scaled(1e6)),
    "burst_leave": ("burst_leave_ppm", _scaled(1e6)),
    "burst_loss": ("burst_loss_ppm", _scaled(1e6)),
    "reorder": ("reorder_ppm", _scaled(1e6)),
    "reorder_ms": ("reorder_ns", _scaled(1e6)),
    "duplicate": ("duplicate_ppm", _scaled(1e6)),
    "corrupt": ("corrupt_ppm", _scaled(1e6)),
    "corrupt_checksum": ("corrupt_checksum_wrong", _choice("fixed", "broken")),
    "mtu": ("mtu_size", int),
    "mtu_icmp": ("mtu_icmp", int),
    "ecn": ("ecn", _choice("pass", "clear", "drop")),
    "ecn_kib": ("mark_size", _scaled(1024)),
}
_NAT_OPTIONS = {
    "mapping": ("mapping", str),
    "filtering": ("filtering", str),
    "allocation": ("allocation", str),
    "port_step": ("port_step", int),
    "port_block": ("port_block", int),
    "udp": ("wall.udp", str),
    "udp_direction": ("wall.udp_direction", str),
    "udp_ports": ("wall.udp_ports", _ports),
    "udp_packets_max": ("wall.udp_packets_max", int),
    "blacklist_s": ("wall.blacklist_ns", _scaled(1e9)),
    "blacklist_by": ("wall.blacklist_by_address", _choice("address-and-port", "address")),
    "filtering6": ("wall.filtering6", str),
    "hairpin": ("hairpin", int),
    "inbound_refresh": ("inbound_refresh", int),
    "pooling": ("pooling_arbitrary", _choice("paired", "arbitrary")),
    "mappings_max": ("mappings_max", int),
    "table_full": ("table_full_evicts", _choice("refuse", "evict")),
    "udp_timeout": ("udp_timeout_ns", _scaled(1e9)),
    "tcp_timeout": ("tcp_timeout_ns", _scaled(1e9)),
    "icmp_timeout": ("icmp_timeout_ns", _scaled(1e9)),
}


def _words(table, options):
    words = []
    for name, value in options.items():
        if name not in table:
            raise TypeError(f"{name}: no such option; there are {', '.join(table)}")
        field, convert = table[name]
        words.append(f"{field}={convert(value)}")
    return words


def _addresses(value):
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def main(story):
    """Run a test; where labs cannot be, say so and exit as skipped."""
    try:
        story()
    except Unavailable as error:
        print(f"skipped: {error}")
        sys.exit(SKIP)


class Link:
    """The wire from a host or NAT to what it is attached to."""

    def __init__(self, node):
        self._node = node
        self._pending = []

    def set(self, direction="both", **options):
        """Change options; direction "in" is towards the host, "out" from it."""
        self._tell(direction, _words(_LINK_OPTIONS, options))

    def down(self, direction="both"):
        """Swallow everything, as a cut or a firewall does: nobody is told."""
        self._tell(direction, ["is_down=1"])

    def up(self, direction="both"):
        self._tell(direction, ["is_down=0"])

    def counters(self):
        """{"in": Counter, "out": Counter} of packets, bytes, drop_*, duplicated, …"""
        out = {"in": collections.Counter(), "out": collections.Counter()}
        for name, value in self._node.counters().items():
            direction, dot, field = name.partition(".")
            if dot:
                out[direction][field] = value
        return out

    def _tell(self, direction, words):
        self._pending.append(["link", self._node.name, direction, *words])
        if self._node.is_placed:
            self._flush()

    def _flush(self):
        for words in self._pending:
            if len(words) > 3:
                self._node.lab.command(*words)
        self._pending = []


class Node:
    """What hosts and NATs have in common: a name, addresses, a place, a link."""

    has_ipv4 = True

    def __init__(self, lab, name, public, public6, behind, link_options):
        self.lab = lab
        self.name = name
        self.is_placed = False
        self.link = Link(self)
        self._address(behind, public, public6)
        self.link.set(**link_options)

    def _address(self, behind, public, public6):
        if behind is None and not public and not public6:
            raise TypeError(f"{self.name}: on the internet it needs an address: public=")
        self.behind = behind
        self.public6 = _addresses(public6)
        self.public = _addresses(public)
        if behind and not self.public and self.has_ipv4:
            self.public = [behind.next_address()]
        if not self.public and not self.public6:
            raise TypeError(f"{self.name}: without IPv4 it needs another address: public6=")

    @property
    def address(self):
        """The first IPv4 address: public, or that in the LAN of the NAT in front."""
        return self.public[0]

    @property
    def address6(self):
        """The first IPv6 address."""
        return self.public6[0]

    def counters(self):
        """Everything labnet counts for this node."""
        return self.lab.counters(self.name)

    def _place(self):
        parent = self.behind.name if self.behind else "internet"
        prefix = self.behind.lan.prefixlen if self.behind else 24
        words = [f"{address}/{prefix}" for address in self.public]
        words += [f"{address}/64" for address in self.public6]
        self.lab.command("place", self.name, parent, ",".join(words))
        self.is_placed = True
        self.link._flush()


class Internet:
    """The core, where all public addresses are."""

    def __init__(self, lab):
        self._lab = lab
        self.hops = 1

    def set(self, hops):
        """How many routers, each one less of a packet's TTL, any two public addresses have
        between them; 1 to begin with."""
        self.hops = hops
        if self._lab._process:
            self._lab.command("set", "internet", f"hops={hops}")

    def counters(self):
        """drop_no_route, drop_malformed, drop_ttl, how many packets are waiting in links; of those that
        waited (carried), how many went on 1 ms late or more, and by how much at worst."""
        return self._lab.counters("internet")


class Nat(Node):
    """A NAT by RFC 4787. Hosts behind it share a LAN and reach each other directly."""

    def __init__(self, lab, name, public, public6, behind, lan, options):
        self.lan = ipaddress.ip_network(lan)
        self._next = 10
        self._options = {k: options.pop(k) for k in list(options) if k in _NAT_OPTIONS}
        super().__init__(lab, name, public, public6, behind, options)

    def next_address(self):
        self._next += 1
        return str(self.lan[self._next - 1])

    def set(self, public=None, **options):
        """Change options; other rules or addresses forget all mappings."""
        if options:
            self.lab.command("set", self.name, *_words(_NAT_OPTIONS, options))
        if public:
            self.public = _addresses(public)
            self._place()

    def reboot(self, keep_ports=False):
        """Forget all mappings; new ones get other ports unless keep_ports."""
        self.lab.command("reboot", self.name, *(["keep_ports"] if keep_ports else []))

    def _create(self):
        self.lab.command("nat", self.name)
        self.set(**self._options)
        self._place()


class Process(subprocess.Popen):
    """A Popen that knows its host and its log. It ends with the lab at the latest."""

    host = None
    log = None

    def text(self):
        """What it has printed so far."""
        return pathlib.Path(self.log).read_text(errors="replace")

    def stop(self, timeout=5):
        """Ask it to end, insist after the timeout; returns its exit code."""
        self.terminate()
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()


class Interface(Node):
    """What a host is plugged in with: a host is its own first one, uplink() gives more."""

    def move(self, behind=None, public=None, public6=None):
        """Plug it in elsewhere: it loses its addresses and gets new ones."""
        self._address(behind, public, public6)
        self._place()
        self.lab._write_names()

    def unplug(self):
        """Take it down, as pulling the cable does; another one takes over where there is one."""
        self.lab.command("unplug", self.name)

    def plug(self):
        """Bring it up where it was, with the same addresses."""
        self._place()


class Uplink(Interface):
    """A further interface of a host, with its own link and place."""

    def __init__(self, lab, name, host, number, public, public6, behind, mtu, metric, options):
        self.has_ipv4 = host.has_ipv4
        super().__init__(lab, name, public, public6, behind, options)
        self.host, self.number, self.mtu, self.metric = host, number, mtu, metric

    def _create(self):
        self.lab.command("uplink", self.name, self.host.name, f"interface={self.number}",
                         f"metric={self.metric}", f"mtu={self.mtu}")
        self._place()


class Host(Interface):
    """A machine: processes run in it with its interface, names and nothing else."""

    def __init__(self, lab, name, public, public6, behind, mtu, ipv4, options):
        self.has_ipv4 = ipv4
        super().__init__(lab, name, public, public6, behind, options)
        self.mtu = mtu
        self._uplinks = 0
        self.holder = None  # pid of the process that holds the namespaces
        self.hosts_file = lab.directory / f"{name}.hosts"
        self.resolv_file = lab.directory / f"{name}.resolv"
        self.resolv_file.write_text("options timeout:1 attempts:1\n")

    def _create(self):
        answer = self.lab.command("host", self.name, f"mtu={self.mtu}",
                                  f"hosts={self.hosts_file}", f"resolv={self.resolv_file}")
        self.holder = answer["pid"]
        self._place()

    def uplink(self, name, public=None, public6=None, behind=None, mtu=1500, metric=None,
               **link_options):
        """One more interface: eth1 and so on. Packets leave by the one with the lowest metric
        that is up, which is eth0 (0) and then the others in their order."""
        self._uplinks += 1
        number = self._uplinks
        return self.lab._add(Uplink(self.lab, name, self, number, public, public6, behind, mtu,
                                    number if metric is None else metric, link_options))

    def _wrap(self, command, cwd):
        # PDEATHSIG follows the thread, so only one that lasts may ask for it.
        is_main = threading.current_thread() is threading.main_thread()
        return [self.lab.labnet, "enter", str(self.holder), str(cwd or os.getcwd()),
                "die" if is_main else "stay", *map(str, command)]

    def spawn(self, command, env=None, cwd=None, stdout=None, stderr=subprocess.STDOUT,
              stdin=subprocess.DEVNULL):
        """Start a command; its output goes to a log that is shown when the test fails."""
        self.lab._spawned += 1
        name = pathlib.Path(str(command[0])).name
        log = pathlib.Path(stdout or
                           self.lab.directory / f"{self.lab._spawned:03}-{self.name}-{name}.log")
        with open(log, "wb") as out:
            process = Process(self._wrap(command, cwd), env=env, stdin=stdin, stdout=out,
                              stderr=stderr, start_new_session=True)
        process.host, process.log = self, log
        self.lab.processes.append(process)
        return process

    def run(self, command, timeout=20, env=None, cwd=None, input=None, check=False, text=True):
        """Run a command to its end; returns a CompletedProcess with its output."""
        source = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(self._wrap(command, cwd), env=env, capture_output=True, text=text,
                              timeout=timeout, check=check, start_new_session=True, **source)

    def python(self, code, *args, **options):
        """Run a piece of Python in the host; options as for run()."""
        return self.run([sys.executable, "-c", code, *args], **options)

    def socket(self, kind=socket.SOCK_DGRAM, bind=("0.0.0.0", 0), family=socket.AF_INET):
        """A socket of this host in the hands of the test itself, with a timeout of 5 s."""
        with open("/proc/thread-self/ns/net", "rb") as here, \
             open(f"/proc/{self.holder}/ns/net", "rb") as there:
            _call(_libc.setns, there.fileno(), _CLONE_NEWNET)
            try:
                s = socket.socket(family, kind)
            finally:
                _call(_libc.setns, here.fileno(), _CLONE_NEWNET)
        s.settimeout(5)
        if bind:
            s.bind(bind)
        return s


class Lab:
    """The internet and all that is in it; a context manager that takes it down again."""

    def __init__(self, seed=1, offload=True, nice=0):
        _enter_namespaces()
        self.labnet = _find_labnet()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="culvert-lab-"))
        self.seed = seed
        self.offload = offload
        self.nice = nice
        self.nodes = []
        self.internet = Internet(self)
        self.names = {}
        self.processes = []
        self._spawned = 0
        self._nats = 0
        self._control = None
        self._reader = None
        self._process = None
        self._lock = threading.Lock()

    # The story's cast -------------------------------------------------------

    def host(self, name, public=None, public6=None, behind=None, mtu=1500, ipv4=True,
             **link_options):
        """A host, on the internet (public=) or in the LAN of a NAT (behind=)."""
        return self._add(Host(self, name, public, public6, behind, mtu, ipv4, link_options))

    def nat(self, name, public=None, public6=None, behind=None, lan=None, **options):
        """A NAT, on the internet or behind another; options of the NAT and of its uplink."""
        self._nats += 1
        lan = lan or f"192.168.{self._nats}.0/24"
        return self._add(Nat(self, name, public, public6, behind, lan, options))

    def name(self, name, address):
        """Let a further name resolve in every host."""
        self.names[name] = address
        self._write_names()

    def _add(self, node):
        self.nodes.append(node)
        if self._process:
            self._write_names()
            node._create()
        return node

    def _write_names(self):
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        for node in self.nodes:
            if isinstance(node, Host):
                addresses = node.public6 + ([] if node.behind else node.public)
                lines += [f"{address} {node.name}.lab {node.name}" for address in addresses]
        lines += [f"{address} {name}" for name, address in self.names.items()]
        for node in self.nodes:
            if isinstance(node, Host):
                # In place: a bind mount follows the file, not its name.
                node.hosts_file.write_text("\n".join(lines) + "\n")

    # Life -------------------------------------------------------------------

    def start(self):
        """Build everything that was declared; later declarations take effect at once."""
        self._control, theirs = socket.socketpair()
        options = ["--seed", str(self.seed)] + ([] if self.offload else ["--no-offload"])
        self._process = subprocess.Popen([self.labnet, *options], stdin=theirs,
                                         start_new_session=True)
        theirs.close()
        if self.nice:
            set_priority(self._process.pid, self.nice)
        self._reader = self._control.makefile("r")
        self._write_names()
        self.internet.set(self.internet.hops)
        for node in self.nodes:
            node._create()
        return self

    def command(self, *words):
        """One command of labnet's line protocol; returns its answer as a dict."""
        with self._lock:
            try:
                self._control.sendall((" ".join(map(str, words)) + "\n").encode())
                line = self._reader.readline().strip()
            except OSError as error:
                raise LabError(f"labnet is gone: {error}") from error
        verdict, _, rest = line.partition(" ")
        if verdict != "ok":
            raise LabError(f"{' '.join(map(str, words))}: {rest or 'labnet is gone'}")
        pairs = (word.partition("=") for word in rest.split())
        return {name: int(value) for name, _, value in pairs}

    def counters(self, name):
        return collections.Counter(self.command("counters", name))

    def wait_until(self, condition, timeout=10, what="the condition", interval=0.01):
        """Poll until the condition holds and return its value; fail by name otherwise."""
        deadline = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() >= deadline:
                raise AssertionError(f"after {timeout} s still not: {what}")
            time.sleep(interval)

    def logs(self):
        """The end of every log, for a person."""
        parts = []
        for process in self.processes:
            try:
                tail = process.text()[-_LOG_TAIL:]
            except OSError:
                continue
            code = process.poll()
            state = "running" if code is None else f"exit {code}"
            parts.append(f"--- {process.log.name} (pid {process.pid}, {state})\n{tail}")
        return "\n".join(parts)

    def stop(self):
        """End all processes, then the internet; nothing is left behind."""
        running = [p for p in self.processes if p.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        for process in running:
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._process:
            self._reader.close()
            self._control.close()
            self._process.wait(20)
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind and self.processes:
            print(self.logs(), file=sys.stderr)
        self.stop()
