# SPDX-License-Identifier: MIT
"""try_story - what contrib/try plays once culvert is built; started by it.

A laptop in a cafe wants a page of a machine at home. Two stages for the same story: the lab
(tests/lab) with its routers, or loopback. A stage knows how to start a command on a machine.
"""
import datetime
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import lab as labs

CULVERT = os.environ["CULVERT"]
FILE_SIZE = 32 << 20
PAGE = "<h1>Hello from a machine at home</h1>\n"
LINE_MBIT = 100


class Loopback:
    """All machines are this one; only their files differ."""

    patience = 3  # seconds for a direct path: with no network but loopback there is none

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="culvert-try-"))
        self.started = []
        self.server_address = f"127.0.0.1:{free_udp_pair()}"
        self.socks = f"127.0.0.1:{free_tcp()}"
        self.web = f"127.0.0.1:{free_tcp()}"
        self.allow = self.web
        self.picture = ["server, laptop and desk on loopback: no routers between them"]

    def spawn(self, machine, command):
        log = open(self.directory / f"{machine}-{pathlib.Path(command[0]).name}.log", "wb")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   cwd=self.directory, start_new_session=True)
        log.close()
        process.log = pathlib.Path(log.name)
        self.started.append(process)
        return process

    def run(self, machine, command, timeout=60):
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=timeout, cwd=self.directory)

    def enter_lines(self):
        return []

    def stop(self):
        for process in self.started:
            process.terminate()
        for process in self.started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Routers:
    """Each machine in its namespaces, the two agents behind a home router each."""

    patience = 15

    def __init__(self):
        self.lab = labs.Lab(seed=1)
        self.directory = self.lab.directory
        strict = {"filtering": "address-and-port-dependent", "rate_mbit": LINE_MBIT}
        server = self.lab.host("rv", public="203.0.113.10", delay_ms=5)
        cafe = self.lab.nat("cafe", public="198.51.100.7", lan="10.0.0.0/24", **strict)
        home = self.lab.nat("home", public="192.0.2.80", lan="192.168.1.0/24", **strict)
        self.hosts = {
            "server": server,
            "laptop": self.lab.host("laptop", behind=cafe, delay_ms=10),
            "desk": self.lab.host("desk", behind=home, delay_ms=10),
            "nas": self.lab.host("nas", behind=home),
        }
        self.lab.name("nas.lan", self.hosts["nas"].address)
        self.lab.start()
        self.server_address = "203.0.113.10:28583"
        self.socks = "127.0.0.1:1080"
        self.web = "nas.lan:80"
        self.allow = '"*.lan:80"'
        self.picture = [
            "laptop 10.0.0.10 ----- cafe router 198.51.100.7 --+",
            "                            server 203.0.113.10 --+  lines of 100 Mbit/s; a router",
            "desk 192.168.1.10 --+-- home router 192.0.2.80 ---+  lets in only answers",
            "nas  192.168.1.11 --+",
        ]

    def spawn(self, machine, command):
        return self.hosts[machine].spawn(command, cwd=self.directory)

    def run(self, machine, command, timeout=60):
        return self.hosts[machine].run(command, timeout=timeout, cwd=self.directory, text=False)

    def enter_lines(self):
        user = "" if not in_user_namespace() else \
            "-U --preserve-credentials "
        return [f"a shell on the {name}:  nsenter -t {self.hosts[name].holder} {user}-n -m -u"
                for name in ("laptop", "desk")]

    def stop(self):
        self.lab.stop()


def in_user_namespace():
    return pathlib.Path("/proc/self/uid_map").read_text().split()[2] == "1"


def free_tcp():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def free_udp_pair():
    """A port that is free and has a free one above it: a server opens both."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as low, \
             socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as high:
            low.bind(("0.0.0.0", 0))
            port = low.getsockname()[1]
            try:
                high.bind(("0.0.0.0", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def wait_until(condition, timeout, what):
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout} s still not: {what}")
        time.sleep(0.01)
    return value


def lines_of(process):
    """(time, message) of each line of a JSON log."""
    for line in process.log.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        stamp = datetime.datetime.fromisoformat(entry["time"].replace("Z", "+00:00"))
        yield stamp.timestamp(), entry["message"]


def logged(process, pattern):
    """The first line that matches, as (time, match); None while there is none."""
    for when, message in lines_of(process):
        if match := re.search(pattern, message):
            return when, match
    return None


def say(name, text):
    print(f" {name:<10}{text}", flush=True)


def keygen(stage, name):
    made = subprocess.run([CULVERT, "keygen", str(stage.directory / f"{name}.key")],
                          capture_output=True, text=True, check=True)
    return made.stdout.strip()


def write_files(stage):
    """Keys, configurations, page and file: what a user would have typed."""
    keys = {name: keygen(stage, name) for name in ("server", "laptop", "desk")}
    port = stage.server_address.rpartition(":")[2]
    common = "identity: {0}.key\ncontrol: {0}.sock\nlog: {{ format: json }}\n"
    servers = f"servers: [ {{ address: \"{stage.server_address}\", key: {keys['server']} }} ]\n"
    files = {
        "server": f"server: {{ listen: {port}, access: anyone, relay: {{ rate: 1Gbit }} }}\n",
        "laptop": servers + f"peers: {{ desk: {{ key: {keys['desk']} }} }}\n"
                  f"proxies:\n  - {{ listen: {stage.socks}, peer: desk }}\n"
                  f"  - {{ listen: \"unix:{stage.directory}/socks\", peer: desk }}\n",
        "desk": servers + "peers:\n  laptop:\n"
                f"    key: {keys['laptop']}\n    allow: [ {stage.allow} ]\n",
    }
    for name, text in files.items():
        (stage.directory / f"{name}.yaml").write_text(common.format(name) + text)
    web = stage.directory / "web"
    web.mkdir()
    (web / "index.html").write_text(PAGE)
    (web / "file").write_bytes(os.urandom(FILE_SIZE))


def start_agent(stage, name, command="run"):
    process = stage.spawn(name, [CULVERT, command, "-c", f"{name}.yaml"])

    def ready():
        if process.poll() is not None:
            raise AssertionError(f"culvert {command} of the {name} ended")
        return logged(process, r"^ready ")

    return process, wait_until(ready, 10, f"{name} is ready")[0]


def start_web(stage):
    host, port = stage.web.split(":")
    bind = ["--bind", host] if host == "127.0.0.1" else []
    machine = "desk" if bind else "nas"
    stage.spawn(machine, ["python3", "-u", "-m", "http.server", port, *bind, "-d", "web"])
    probe = ["curl", "-sf", "-o", "/dev/null", f"http://{stage.web}/"]
    wait_until(lambda: stage.run("desk", probe).returncode == 0, 10, "the web server answers")


def fetch(stage, path, out):
    """(when it began, curl's own times) of one fetch through the SOCKS port."""
    figures = "%{time_starttransfer} %{time_total} %{size_download}"
    begin = time.time()
    done = stage.run("laptop", ["curl", "-sSf", "-m", "60", "-x", f"socks5h://{stage.socks}",
                                "-o", out, "-w", figures, f"http://{stage.web}/{path}"], 70)
    if done.returncode != 0:
        raise AssertionError(f"curl failed: {done.stderr.decode(errors='replace').strip()}")
    return begin, [float(word) for word in done.stdout.split()]


def status_path(stage):
    done = stage.run("laptop", [CULVERT, "status", "--json", "-c", "laptop.yaml"])
    return json.loads(done.stdout)["peers"][0]["path"]


def tell(stage):
    """The story itself."""
    for number, line in enumerate(stage.picture):
        say("" if number else "world", line)
    write_files(stage)
    start_web(stage)
    start_agent(stage, "server", "server")
    desk, _ = start_agent(stage, "desk")
    wait_until(lambda: logged(desk, r"^server up"), 10, "the desk has met the server")
    say("server", f"culvert server on {stage.server_address}; the desk is registered there")

    laptop, ready = start_agent(stage, "laptop")
    say("laptop", f"culvert run, SOCKS5 on {stage.socks}; times below count from here")
    begin, (first, _, _) = fetch(stage, "", "page")
    if (stage.directory / "page").read_text() != PAGE:
        raise AssertionError("the page is not the page")
    say("page", f"http://{stage.web}/ through the desk: first byte after "
                f"{begin + first - ready:.3f} s")

    relayed = logged(laptop, r"^path .*kind=relay")
    if relayed:
        say("path", f"relay   after {relayed[0] - ready:.3f} s: through the server, which "
                    "cannot read it")
    direct = r"^path .*kind=(direct|lan) address=(\S+)"
    try:
        when, match = wait_until(lambda: logged(laptop, direct), stage.patience, "direct")
        say("", f"{match[1]:<7} after {when - ready:.3f} s: to {match[2]}, past the server")
    except AssertionError:
        say("", f"no direct one within {stage.patience} s: {status_path(stage)['why']}")

    _, (_, total, size) = fetch(stage, "file", "fetched")
    digests = [hashlib.sha256((stage.directory / name).read_bytes()).hexdigest()
               for name in ("web/file", "fetched")]
    if digests[0] != digests[1]:
        raise AssertionError("the file has changed on its way")
    say("file", f"{int(size) >> 20} MiB in {total:.2f} s: {size * 8 / total / 1e6:.0f} Mbit/s, "
                f"SHA-256 {digests[0][:12]}... at both ends")
    pinged = stage.run("laptop", [CULVERT, "ping", "desk", "-n", "3", "-c", "laptop.yaml"])
    for line in pinged.stdout.decode().splitlines()[:1]:
        say("ping", line)
    refused = stage.run("laptop", ["curl", "-s", "-x", f"socks5h://{stage.socks}",
                                   "http://127.0.0.1:22/"])
    if refused.returncode != 97:
        raise AssertionError("what the desk does not allow was not refused")
    say("allowed", f"only {stage.allow.strip(chr(34))}: port 22 of the desk was refused")


def stay_up(stage):
    web, where = stage.web, shlex.quote(str(stage.directory))
    print(f"""
 it stays up until Ctrl-C; from another terminal:
   export CULVERT_CONFIG={where}/laptop.yaml
   {CULVERT} status
   {CULVERT} ping desk
   curl -x socks5h://localhost{where}/socks http://{web}/     # the same proxy, as a file
   printf 'GET / HTTP/1.0\\r\\n\\r\\n' | {CULVERT} nc desk {web}
   {CULVERT} status --server -c {where}/server.yaml""")
    for line in stage.enter_lines():
        print("   " + line)
    print(f"   configurations and logs: {where}", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    print("\n stopped", flush=True)


def why_no_lab():
    """None where namespaces can be. Tried in a child: trying moves a process for good."""
    code = "import lab; lab.main(lab._enter_namespaces)"
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return ([*done.stdout.splitlines(), "the lab does not start"])[0].removeprefix("skipped: ")


def has_sudo():
    return os.geteuid() != 0 and shutil.which("sudo") and \
        subprocess.run(["sudo", "-n", "true"], stdin=subprocess.DEVNULL,
                       capture_output=True).returncode == 0


def make_stage(loopback):
    why = None if loopback else why_no_lab()
    if why and has_sudo():
        names = ("CULVERT", "LABNET", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        kept = [f"{name}={os.environ[name]}" for name in names]
        os.execvp("sudo", ["sudo", "-n", "env", *kept, sys.executable, *sys.argv])
    if why:
        say("note", f"{why}; on loopback instead")
    return Loopback() if why or loopback else Routers()


def main():
    options = sys.argv[1:]
    # Before anything is started: the signals that end it end it in order.
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    for number in signals - {signal.SIGINT}:
        signal.signal(number, lambda *_: sys.exit(1))
    stage = make_stage("--loopback" in options)
    try:
        tell(stage)
        if "--keep" in options:
            signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            stay_up(stage)
        else:
            say("done", "contrib/try --keep stays up to be played with")
    except (AssertionError, subprocess.SubprocessError) as error:
        print(f" failed: {error}", flush=True)
        for log in sorted(stage.directory.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        stage.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
