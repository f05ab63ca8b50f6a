#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What scripts rely on: exit codes, outputs, the shape of `status --json`, an end in time. (E27, E35)"""
import base64
import json
import os
import re
import signal
import stat
import subprocess
import time

import socks
from world import CULVERT, PROXY, World, culvert, main, report

KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
LIMIT_S = 5


def expect(code, *args, out=None, err=None, **options):
    got = culvert(*args, **options)
    words = " ".join(map(str, args))
    assert got.returncode == code, f"{words}: exit code {got.returncode}, not {code}: {got.stderr}"
    if out is not None:
        assert re.search(out, got.stdout), f"{words}: {got.stdout!r} does not say {out!r}"
    if err is not None:
        assert re.search(err, got.stderr), f"{words}: {got.stderr!r} does not say {err!r}"
    return got


def without_a_network(w):
    report("help, version, wrong usage")
    expect(0, "--version", out=r"^culvert \d+\.\d+\.\d+")
    expect(0, "--help", out="usage: culvert")
    for name in ("keygen", "pubkey", "run", "server", "check", "status", "ping", "nc"):
        expect(0, name, "--help", out=f"usage: culvert {name}")
    for words in ((), ("nonsense",), ("run", "--nonsense"), ("ping",), ("nc", "far"),
                  ("ping", "far", "-n", "0"), ("ping", "far", "-n", "x"), ("status", "too", "many"),
                  ("run", "-c"), ("nc", "far", "host:99999")):
        expect(2, *words, err=".")

    report("keys")
    directory = w.lab.directory / "keys"
    directory.mkdir()
    file = directory / "k"
    public = expect(0, "keygen", file).stdout.strip()
    assert KEY.fullmatch(public) and len(base64.b64decode(public)) == 32
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    secret = file.read_text()
    assert KEY.fullmatch(secret.rstrip("\n")) and len(secret) <= 45
    assert expect(0, "pubkey", file).stdout.strip() == public
    got = subprocess.run([CULVERT, "pubkey", "-"], input=secret, capture_output=True, text=True,
                         timeout=10)
    assert (got.returncode, got.stdout.strip()) == (0, public)
    expect(1, "keygen", file, err=str(file))
    assert file.read_text() == secret, "an existing key was overwritten"
    expect(0, "keygen", "--psk", directory / "psk")
    assert KEY.fullmatch((directory / "psk").read_text().rstrip("\n"))
    expect(1, "keygen", directory / "none" / "k", err=".")
    (directory / "bad").write_text("not a key\n")
    os.chmod(directory / "bad", 0o600)
    for bad in ("none", "bad"):
        got = culvert("pubkey", directory / bad)
        assert got.returncode in (1, 2) and got.stderr, got

    report("configurations")
    good = f"identity: {file}\npeers:\n  home: {{ key: {w.b.key}, address: 192.0.2.1 }}\n"
    config = directory / "c.yaml"
    for what, text, place, words in (
            ("good", good, None, None),
            ("unknown key", good + "forwrads: []\n", "4:1", "did you mean 'forwards'"),
            ("duplicate key", good + "listen: 0\nlisten: 0\n", r"5:\d+", "listen"),
            ("wrong type", good + "listen: { a: 1 }\n", r"4:\d+", "listen|expected"),
            ("port 65536", good + "listen: 65536\n", "4:9", "65536"),
            ("no such peer", good + "proxies: [ { listen: 1080, peer: hoem } ]\n", r"4:\d+",
             "hoem"),
            ("bad key", good.replace(w.b.key, "AAAA"), r"3:\d+", "key"),
            ("bad pattern", good.replace("address: 192.0.2.1", 'allow: [ "10.0.0.0/33:22" ]'),
             r"3:\d+", "."),
            ("open proxy", good + "proxies: [ { listen: 0.0.0.0:1080, peer: home } ]\n", r"4:\d+",
             "open"),
            ("tab", good + "log:\n\tlevel: info\n", r"5:\d+", "."),
            ("not closed", good + "log: { level: info\n", r"\d+:\d+", "."),
            ("empty", "", None, "."),
            ("anchors", good + "log: &a { level: info }\n", r"4:\d+", ".")):
        config.write_text(text)
        os.chmod(config, 0o600)
        code = 0 if what == "good" else 2
        got = expect(code, "check", "-c", config, err=words)
        if place:
            assert re.search(rf"c\.yaml:{place}: ", got.stderr), f"{what}: {got.stderr}"
        if code:
            run = culvert("run", "-c", config, "--control", directory / "s")
            assert run.returncode == 2, f"run with {what}: {run.returncode} {run.stderr}"
            assert not (directory / "s").exists()
    config.write_text(good + "forwrads: []\nlisten: 65536\n")
    both = culvert("check", "-c", config).stderr
    assert "forwrads" in both and "65536" in both, f"not all errors in one go: {both}"
    expect(2, "check", "-c", directory / "none.yaml", err="none.yaml")
    config.write_text(good)
    os.chmod(file, 0o644)
    got = culvert("run", "-c", config, "--control", directory / "s")
    assert got.returncode in (1, 2) and str(file) in got.stderr, f"a key that all can read: {got}"

    report("no running agent")
    gone = directory / "gone.sock"
    for words in (("status",), ("status", "--json"), ("status", "--server"), ("ping", "far"),
                  ("nc", "far", "localhost:22")):
        expect(1, *words, "--control", gone, err="no running")


SCHEMA = {
    "version": str, "role": str, "public_key": str, "uptime_s": float, "servers": list,
    "nat": dict, "peers": list, "listeners": list}
SERVER = {"address": str, "connected": bool, "rtt_ms": float, "public_address": str}
PEER = {"name": str, "public_key": str, "connected": bool, "path": dict, "streams": int,
        "tx_bytes": int, "rx_bytes": int, "tx_bps": float, "rx_bps": float}
PATH = {"kind": str, "address": str, "rtt_ms": float, "mtu": int, "loss": float, "why": str}
LISTENER = {"kind": str, "address": str, "peer": str}
OF_SERVER = {"version": str, "role": str, "public_key": str, "uptime_s": float,
             "listeners": list, "agents": int, "channels": int, "relay_rx_bytes": int,
             "relay_tx_bytes": int, "drops": dict}


def matches(value, schema, what, may_be_null=()):
    for key, kind in schema.items():
        assert key in value, f"{what}: no {key}"
        if value[key] is None:
            assert key in may_be_null, f"{what}: {key} is null"
        else:
            kinds = (int, float) if kind is float else (kind,)
            assert isinstance(value[key], kinds), f"{what}: {key} is {value[key]!r}"


def with_agents(w):
    report("status")
    status = w.a.status()
    matches(status, SCHEMA, "status")
    assert status["role"] == "agent" and status["public_key"] == w.a.key
    server, = status["servers"]
    matches(server, SERVER, "a server")
    assert server["address"] == "203.0.113.10:28583" and server["connected"], server
    assert server["public_address"].startswith("198.51.100.7:"), server
    assert set(status["nat"]) >= {"mapping", "filtering"}
    report("  nat", status["nat"])
    peer, = status["peers"]
    matches(peer, PEER, "a peer", ("tx_bps", "rx_bps"))
    matches(peer["path"], PATH, "a path", ("why", "loss", "mtu"))
    assert peer["name"] == "far" and peer["public_key"] == w.b.key and peer["connected"]
    assert {"kind": "proxy", "address": f"{PROXY[0]}:{PROXY[1]}", "peer": "far"} in \
        status["listeners"]
    for listener in status["listeners"]:
        matches(listener, LISTENER, "a listener")
    matches(w.server.status(), OF_SERVER, "a server's status")
    assert w.server.status()["role"] == "server" and w.server.status()["agents"] == 2
    assert "far" in w.a.ask("status").stdout

    report("ping")
    got = w.a.ask("ping", "far", "-n", "2")
    assert got.returncode == 0, got
    assert re.search(r"reply from far: \d+\.\d ms via direct 192\.0\.2\.33:\d+", got.stdout), got
    assert "2 sent, 2 received" in got.stdout, got
    assert w.a.ask("ping", "nobody", "-n", "1").returncode == 2
    w.lone.start()
    got = w.lone.ask("ping", "gone", "-n", "1")
    assert got.returncode == 3, got

    report("nc")
    cases = (("far", f"{w.web.address}:80", 0), ("nobody", "x:1", 2),
             ("far", f"{w.web.address}:1", 4), ("far", "127.0.0.1:9", 4))
    for peer, target, code in cases:
        got = w.a.ask("nc", peer, target, input="GET /hello HTTP/1.0\r\n\r\n")
        assert got.returncode == code, f"nc {peer} {target}: {got}"
        assert code or got.stdout.endswith("\n\nhello"), got
    begin = time.monotonic()
    got = w.lone.ask("nc", "gone", "localhost:22")
    assert got.returncode == 3 and time.monotonic() - begin < 12, got
    report("  exit codes", [code for _, _, code in cases] + [3])

    # Several listeners, one that cannot be bound: exit code 1, the place is named.
    taken = w.listen(1080, w.lone.host)
    w.lone.stop()
    w.lone.config["proxies"] = [{"listen": "127.0.0.1:1080", "peer": "gone"}]
    w.lone.file.write_text(json.dumps(w.lone.config, indent=2))
    got = w.lone.host.run([CULVERT, "run", "-c", w.lone.file, "--control", w.lone.control])
    assert got.returncode == 1 and "1080" in got.stderr, got
    taken.close()


def under_load(w):
    report("the end")
    streams = [socks.connect(w.connect(PROXY), w.web.address, 9) for _ in range(8)]
    w.in_background(lambda: [s.recv(1 << 16) for s in streams for _ in range(2000)])
    w.wait_until(lambda: w.a.peer("far")["rx_bytes"] > 5e6, 20, "load")
    report("  seconds from SIGTERM to the end, under load", w.a.stop())
    for program in (w.b, w.server):
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(LIMIT_S) == 0, program.name
        program.check_log()
    report("  exit codes after SIGTERM and SIGINT", 0)


def story():
    with World() as w:
        without_a_network(w)
        w.file(0, "empty")
        (w.lab.directory / "htdocs" / "hello").write_text("hello")
        w.serve_files()
        w.serve_flood()
        w.lone = w.agent("lone", w.lab.host("lone", public="203.0.113.50"))
        w.lone.config["peers"] = {"gone": {"key": w.server.key, "address": "203.0.113.51"}}
        w.start()
        with_agents(w)
        under_load(w)


main(story)
