# SPDX-License-Identifier: MIT
"""checks - what a row is, and what the functions that play rows share.

    @check("curl", "SOCKS5, IPv6 literal", needs="socks5", tools="curl")
    def _(c):
        c.same(c.run([...]).stdout, c.targets.data, "the page")

A row passes when its function returns. `needs` is what the server must offer (servers.ALL),
`tools` the programs; `quick` rows are those that the end-to-end test plays.
"""
import dataclasses
import subprocess
import tempfile
import pathlib

import stage as stages
from targets import sha

CHECKS = []


class Fail(Exception):
    """What the reader is told of a row that failed: one line."""


class Skip(Exception):
    """What is missing on this machine, or here."""


@dataclasses.dataclass(eq=False)
class Check:
    client: str
    feature: str
    needs: tuple
    tools: tuple
    quick: bool
    own_stage: bool
    function: object


def check(client, feature, needs, tools="", quick=False, own_stage=False):
    def add(function):
        CHECKS.append(Check(client, feature, tuple(needs.split()), tuple(tools.split()), quick,
                            own_stage, function))
        return function
    return add


class Context:
    """One row being played with one server."""

    def __init__(self, stage, targets, server):
        self.stage, self.targets, self.server = stage, targets, server
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="row-", dir=stage.directory))
        self.host, self.port = "127.0.0.1", server.socks

    def run(self, command, **options):
        try:
            return self.stage.run(command, **options)
        except subprocess.TimeoutExpired as late:
            raise Fail(f"no end after {late.timeout:.0f} s") from None

    @property
    def proxy(self):
        return f"127.0.0.1:{self.server.socks}"

    @property
    def auth_proxy(self):
        return f"127.0.0.1:{self.server.auth}"

    def url(self, path="/data", host=None, scheme="http", port=None):
        port = port or (self.targets.https if scheme == "https" else self.targets.http)
        return f"{scheme}://{host or self.stage.ip4}:{port}{path}"

    def fetched(self, done, what="the file"):
        """It ended well and brought the file whole."""
        if done.returncode != 0:
            raise Fail(f"exit code {done.returncode}: {last_line(done.stderr)}")
        self.same(done.stdout, self.targets.data, what)

    def same(self, got, want, what):
        if got == want:
            return
        if isinstance(want, bytes) and len(want) > 200:
            got, want = (f"{len(x)} bytes {sha(x)[:8]}" for x in (got, want))
        raise Fail(f"{what}: {got!r} instead of {want!r}")

    def true(self, holds, what):
        if not holds:
            raise Fail(what)

    def summed(self, done):
        """The sum service said what it was sent, so all came and the end too."""
        self.answered(done.stdout.decode(errors="replace").strip(), last_line(done.stderr))

    def answered(self, got, said=""):
        """What the sum service was sent, by its answer, which comes after our end only."""
        if not got:
            raise Fail(said or "no answer came back after our end")
        self.same(got, self.targets.digest, "what the target got")


def last_line(text):
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:160] if lines else ""


def play(item, stage, targets, server):
    """("pass" | "fail" | "na" | "skip", reason)"""
    if not set(item.needs) <= server.offers:
        return "na", ""
    missing = [tool for tool in item.tools if not stages.has(tool)]
    if missing:
        return "skip", f"no {', '.join(missing)}"
    if item.own_stage and not stage.is_own:
        return "skip", f"no namespaces: {stage.why_shared}"
    targets.strays.clear()
    try:
        item.function(Context(stage, targets, server))
        server.check_alive()
        if targets.strays:
            raise Fail(f"went round the proxy to {targets.strays[0]}")
    except Skip as why:
        return "skip", str(why)
    except Fail as why:
        return "fail", str(why)
    except Exception as error:  # whatever a client did: the row failed, the others go on
        return "fail", f"{type(error).__name__}: {last_line(str(error))}"
    return "pass", ""
