# SPDX-License-Identifier: MIT
"""tunnels - what is compared: each program set up between two places, in its own way.

Every function returns a Tunnel. `to` is the port at the far place that the forward leads to; a
program that is not installed raises Missing.
"""
import dataclasses
import json
import os
import socket
import subprocess

from places import has, need, wait_until

# Files that gtlsserver serves are sparse: they cost their name and, while they are read, cache.
QUIC_FILE_SIZE = 16 << 30


@dataclasses.dataclass
class Tunnel:
    """What a measurement needs of a program that is up."""
    name: str
    tcp: int = 0      # port at the near place that leads to `to` at the far place
    socks: int = 0    # SOCKS port at the near place
    pids: tuple = ()  # near first
    processes: tuple = ()

    def report_ended(self, sink):
        """A process that is gone explains a turn that failed."""
        for process in self.processes:
            if process.poll() is not None:
                sink(f"{self.name} ended with {process.returncode}:\n"
                     f"{process.log.read_text(errors='replace')[-2000:]}")


def _tunnel(name, processes, **ports):
    return Tunnel(name=name, processes=tuple(processes), pids=tuple(p.pid for p in processes),
                  **ports)


def keygen(culvert, directory, name):
    return subprocess.run([culvert, "keygen", str(directory / f"{name}.key")],
                          capture_output=True, text=True, check=True).stdout.strip()


def start_culvert(near, far, to, culvert, name="culvert", congestion=None):
    """Two agents, one of which knows the other's address: no server in between. Without
    `congestion` they use what culvert uses by itself."""
    tag = name.replace(",", "").replace(" ", "-")
    keys = {side: keygen(culvert, near.directory, f"{tag}-{side}") for side in ("near", "far")}
    udp, socks, forward = far.port(socket.SOCK_DGRAM), near.port(), near.port()
    common = "log: { level: warn }\nportmap: false\n" + (f"tunnel: {{ congestion: {congestion} }}\n"
                                         if congestion else "")
    near_yaml, far_yaml = f"{tag}-near.yaml", f"{tag}-far.yaml"
    (far.directory / far_yaml).write_text(
        f"identity: {tag}-far.key\nlisten: {udp}\ncontrol: {tag}-far.sock\n{common}"
        f"peers:\n  near: {{ key: {keys['near']}, allow: [ 127.0.0.1:* ] }}\n")
    (near.directory / near_yaml).write_text(
        f"identity: {tag}-near.key\ncontrol: {tag}-near.sock\n{common}"
        f"peers:\n  far: {{ key: {keys['far']}, address: \"{far.address}:{udp}\" }}\n"
        f"proxies: [ {{ listen: \"127.0.0.1:{socks}\", peer: far }} ]\n"
        f"forwards: [ {{ listen: \"127.0.0.1:{forward}\", peer: far, to: \"127.0.0.1:{to}\" }} ]\n")
    # The listening one first: an attempt that is refused would be repeated seconds later.
    agents = [far.start([culvert, "run", "-c", far_yaml])]
    wait_until((far.directory / f"{tag}-far.sock").exists, 10, f"{name} listens")
    agents.insert(0, near.start([culvert, "run", "-c", near_yaml]))

    def is_up():
        ended = [agent for agent in agents if agent.poll() is not None]
        if ended:
            raise RuntimeError(f"{name}: {ended[0].log.read_text(errors='replace')[-2000:]}")
        done = near.run([culvert, "status", "--json", "-c", near_yaml])
        return done.returncode == 0 and json.loads(done.stdout)["peers"][0]["connected"]

    wait_until(is_up, 20, "the agents have met")
    return _tunnel(name, agents, tcp=forward, socks=socks)


def start_ssh(near, far, to, name="ssh"):
    """An own sshd, and -L and -D through one connection."""
    need("ssh", "sshd")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", 0o755, exist_ok=True)
    for key in ("host", "user"):
        if not (near.directory / key).exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                            str(near.directory / key)], check=True, stdin=subprocess.DEVNULL)
    port, forward, socks = far.port(), near.port(), near.port()
    (far.directory / "sshd_config").write_text(
        f"ListenAddress {far.address}\nPort {port}\nHostKey {far.directory}/host\n"
        f"AuthorizedKeysFile {far.directory}/user.pub\nPidFile none\nStrictModes no\n"
        "UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n")
    server = far.start([has("sshd"), "-D", "-e", "-f", far.directory / "sshd_config"])
    far.wait_for_port(port, "sshd")
    client = near.start(
        ["ssh", "-F", "none", "-N", "-i", near.directory / "user", "-p", port, "-o",
         "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
         "-o", "IdentityAgent=none", "-c", "aes128-gcm@openssh.com",
         "-L", f"127.0.0.1:{forward}:127.0.0.1:{to}", "-D", f"127.0.0.1:{socks}", far.address])
    near.wait_for_port(socks, "ssh")
    return _tunnel(name, [client, server], tcp=forward, socks=socks)


KCPTUN_PLAIN = ["--crypt", "none", "--nocomp", "--sndwnd", "4096", "--rcvwnd", "4096",
                "--sockbuf", "16777217", "--smuxbuf", "16777217"]
KCPTUN_LARGE = ["--mode", "fast2", "--nocomp", "--sndwnd", "2048", "--rcvwnd", "2048",
                "--sockbuf", "16777217", "--smuxbuf", "16777217", "--streambuf", "16777217"]


def start_kcptun(near, far, to, name="kcptun", options=()):
    need("kcptun-server", "kcptun-client")
    udp, tcp = far.port(socket.SOCK_DGRAM), near.port()
    server = far.start(["kcptun-server", "-t", f"127.0.0.1:{to}", "-l", f"{far.address}:{udp}",
                        "--quiet", *options])
    client = near.start(["kcptun-client", "-r", f"{far.address}:{udp}", "-l", f"127.0.0.1:{tcp}",
                         "--quiet", *options])
    near.wait_for_port(tcp, "kcptun")
    return _tunnel(name, [client, server], tcp=tcp)


def start_pipe(place, to, pipe, size):
    """Two sessions, as two agents are: Linux shares the cores by sessions. Loopback only."""
    tcp, near_udp, far_udp = place.port(), *(place.port(socket.SOCK_DGRAM) for _ in range(2))
    far = place.start([pipe, "far", to, far_udp, near_udp, size])
    wait_until(lambda: place.listens(far_udp, "udp"), 5, "the far pipe listens")
    near = place.start([pipe, "near", tcp, near_udp, far_udp, size])
    place.wait_for_port(tcp, "the pipe")
    return _tunnel(f"pipe, {size}", [near, far], tcp=tcp)


def start_microsocks(place):
    need("microsocks")
    socks = place.port()
    process = place.start(["microsocks", "-i", "127.0.0.1", "-p", socks])
    place.wait_for_port(socks, "microsocks")
    return _tunnel("microsocks", [process], socks=socks)


class Quic:
    """ngtcp2's example server of Debian, and its client fetching from it: no TCP at either end."""

    def __init__(self, near, far, buffers, congestion="cubic"):
        need("gtlsserver", "gtlsclient", "openssl")
        self.preload = ["env", f"LD_PRELOAD={buffers}"]
        self.near, self.port = near, far.port(socket.SOCK_DGRAM)
        self.far = far
        self.congestion = congestion
        web = far.directory / "web"
        web.mkdir(exist_ok=True)
        self.files = web
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-keyout", str(far.directory / "quic.key"), "-out",
                        str(far.directory / "quic.crt")], check=True, capture_output=True)
        self.server = far.start([*self.preload, "gtlsserver", "-q", "-d", web, f"--cc={congestion}",
                                 far.address, self.port, far.directory / "quic.key",
                                 far.directory / "quic.crt"])

        def is_up():
            if self.server.poll() is not None:
                raise RuntimeError(self.server.log.read_text(errors="replace")[-500:])
            return far.listens(self.port, "udp")

        wait_until(is_up, 5, "gtlsserver listens")

    def make_file(self, size):
        name = f"{size}.bin"
        with open(self.files / name, "wb") as f:
            f.truncate(size)
        return name

    def command(self, names, *options):
        urls = [f"https://localhost:{self.port}/{name}" for name in names]
        return [*self.preload, "gtlsclient", "-q", "--no-quic-dump", "--no-http-dump",
                "--exit-on-all-streams-close", "--max-data=64M",
                "--max-stream-data-bidi-local=32M", *options, self.far.address, self.port, *urls]
