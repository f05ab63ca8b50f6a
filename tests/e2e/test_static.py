#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""No server at all: a peer with an address. Whoever starts first keeps trying."""
import time

from world import PROXY, World, main, report, sha256

PUBLIC, PORT = "203.0.113.77", 28583
FIRST_S, LATER_S = 2, 8  # to be connected: both there; the address was silent for a while


def curl(host, proxy, url, out):
    got = host.run(["curl", "-sS", "--fail", "--socks5-hostname", proxy, "-o", out, url],
                   timeout=30)
    assert got.returncode == 0, got.stderr
    return sha256(out)


def story():
    with World(with_server=False) as w:
        digest = w.file(5_000_000)
        w.far = w.agent("far", w.lab.host("far", public=PUBLIC))
        w.serve_files(w.far.host, 80)
        w.serve_files(w.a.host, 8080)
        w.a.config["peers"] = {"far": {"key": w.far.key, "address": PUBLIC,
                                       "allow": [f"{w.a.host.address}:8080"]}}
        w.far.config.update(listen=PORT, peers={"near": {
            "key": w.a.key, "allow": [f"{PUBLIC}:80"]}},
            proxies=[{"listen": "127.0.0.1:1080", "peer": "near"}])
        proxy = f"{PROXY[0]}:{PROXY[1]}"

        report("the agent starts before its peer")
        w.a.start()
        w.wait_until(lambda: w.a.path("far")["why"], 20, "a says why it is not connected")
        w.wait_until(lambda: "next try" in (w.a.path("far")["why"] or ""), 20,
                     "a's first attempt has ended")
        report("  a says", w.a.path("far")["why"])
        begin = time.monotonic()
        w.far.start()
        w.a.wait_connected("far", LATER_S)
        report("  seconds to be connected", time.monotonic() - begin)
        w.far.wait_connected("near")
        path = w.a.path("far")
        assert path["kind"] == "direct" and path["address"] == f"{PUBLIC}:{PORT}", path
        out = w.lab.directory / "out"
        assert curl(w.a.host, proxy, f"http://{PUBLIC}/data", out) == digest
        out.unlink()
        url = f"http://{w.a.host.address}:8080/data"
        assert curl(w.far.host, proxy, url, out) == digest
        report("  both directions", "equal")

        report("both again, the peer first")
        w.a.stop()
        w.wait_until(lambda: not w.far.peer("near")["connected"], 10, "far knows")
        begin = time.monotonic()
        w.a.start()
        w.a.wait_connected("far", FIRST_S)
        report("  seconds to be connected", time.monotonic() - begin)
        out.unlink()
        assert curl(w.a.host, proxy, f"http://{PUBLIC}/data", out) == digest


main(story)
