# SPDX-License-Identifier: MIT
"""sshd - an OpenSSH server of our own on 127.0.0.1: target of ssh's rows, and far end of ssh -D."""
import getpass
import os
import pathlib
import subprocess

from stage import ENV, has


class Sshd:
    def __init__(self, stage):
        d = self.directory = stage.directory / "ssh"
        d.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d / name],
                           check=True, env=ENV, stdin=subprocess.DEVNULL)
        self.port = stage.port()
        self.user = "root" if os.geteuid() == 0 else getpass.getuser()
        (d / "config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {d}/host\n"
            f"AuthorizedKeysFile {d}/user.pub\nPidFile none\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n")
        public = " ".join((d / "host.pub").read_text().split()[:2])
        (d / "known").write_text(f"conform {public}\n")
        self.options = ["-F", "none", "-i", d / "user", "-o", "BatchMode=yes",
                        "-o", f"UserKnownHostsFile={d}/known", "-o", "HostKeyAlias=conform",
                        "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes",
                        "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR"]
        if self.user == "root":
            os.makedirs("/run/sshd", 0o755, exist_ok=True)
        self.process = stage.start([has("sshd"), "-D", "-e", "-f", d / "config"])
        stage.wait_for_port(self.port, self.process)


def start(stage):
    """(Sshd or None, why not)"""
    for tool in ("sshd", "ssh", "ssh-keygen", "scp"):
        if not has(tool):
            return None, f"no {tool}"
    uids = pathlib.Path("/proc/self/uid_map").read_text().split()
    if os.geteuid() == 0 and uids[2] == "1":
        return None, "sshd needs more users than a user namespace has"
    return Sshd(stage), None
