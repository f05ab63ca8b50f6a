#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""ssh and scp through a forward, and with `culvert nc` as their ProxyCommand. (E01)"""
import os
import shutil
import subprocess
import time

from world import CULVERT, World, main, report, sha256, skip

SIZE = 20_000_000


def keygen(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def start_sshd(w, directory):
    keygen(directory / "host")
    keygen(directory / "user")
    (directory / "authorized").write_text((directory / "user.pub").read_text())
    config = directory / "sshd_config"
    config.write_text(f"""Port 2022
HostKey {directory}/host
AuthorizedKeysFile {directory}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
""")
    sshd = w.b.host.spawn([shutil.which("sshd"), "-D", "-e", "-f", config])
    def there():
        assert sshd.poll() is None, sshd.text()
        return "Server listening on" in sshd.text()
    w.wait_until(there, 10, "sshd listens")
    public = (directory / "host.pub").read_text().split()[:2]
    (directory / "known").write_text(f"far {' '.join(public)}\n")


def story():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for tool in ("ssh", "scp", "sshd", "ssh-keygen"):
        if not shutil.which(tool):
            skip(f"no {tool}")
    if os.geteuid() != 0:
        skip("sshd needs root")
    os.makedirs("/run/sshd", exist_ok=True)
    with World() as w:
        w.a.config["forwards"] = [{"listen": "127.0.0.1:2222", "peer": "far",
                                   "to": "127.0.0.1:2022"}]
        directory = w.lab.directory / "ssh"
        directory.mkdir(mode=0o700)
        start_sshd(w, directory)
        w.start()
        common = ["-F", "none", "-i", directory / "user", "-o", "BatchMode=yes",
                  "-o", f"UserKnownHostsFile={directory}/known", "-o", "HostKeyAlias=far",
                  "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"]
        ways = {
            "forward": ["-o", "Port=2222", "-o", "HostName=127.0.0.1"],
            "nc": ["-o", f"ProxyCommand={CULVERT} nc --control {w.a.control} %h 2022"],
        }
        data = directory / "data"
        data.write_bytes(os.urandom(SIZE))
        for name, way in ways.items():
            report(f"ssh through {name}")
            begin = time.monotonic()
            got = w.a.host.run(["ssh", *common, *way, "root@far", "cat; echo from $0; exit 7"],
                               input="said to it\n", timeout=30)
            assert got.stdout.startswith("said to it\nfrom ") and got.returncode == 7, got
            report("seconds for a command", time.monotonic() - begin)
            for what, source, sink in (("up", data, f"root@far:{directory}/up-{name}"),
                                       ("down", f"root@far:{data}", directory / f"down-{name}")):
                begin = time.monotonic()
                got = w.a.host.run(["scp", "-q", *common, *way, source, sink], timeout=60)
                assert got.returncode == 0, got.stderr
                assert sha256(directory / f"{what}-{name}") == sha256(data), what
                report(f"seconds for scp of {SIZE} bytes {what}", time.monotonic() - begin)


main(story)
