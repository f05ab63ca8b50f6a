#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two agents behind port-restricted NATs: 100 MB by curl, from the relay to the direct path. (E01)

P1, P3: the data are equal at both ends; the reply to every request came in time.
"""
import json
import time

from world import PROXY, SERVER, World, main, report, sha256

SIZE = 100_000_000
DIRECT_WITHIN = 5


def curl(w, url, *options, timeout=60):
    out = w.lab.directory / "fetched"
    got = w.a.host.run(["curl", "-sS", "--fail", *options, "-o", out, "-w", "%{json}", url],
                       timeout=timeout)
    assert got.returncode == 0, f"curl {url}: {got.returncode} {got.stderr}"
    return out, json.loads(got.stdout)


def story():
    with World() as w:
        digest = w.file(SIZE)
        w.serve_files()
        w.far_names({"web.far.lab": w.web.address})
        w.start(wait=None)
        proxy = f"{PROXY[0]}:{PROXY[1]}"

        # At once: the request waits for the tunnel, not the user.
        begin = time.time()
        out, times = curl(w, "http://web.far.lab/data", "--socks5-hostname", proxy)
        assert sha256(out) == digest, "100 MB through --socks5-hostname differ"
        kinds = w.a.paths("far")
        report("paths of a", " ".join(kind for _, kind in kinds))
        assert kinds[0][1] == "relay", f"the first path was {kinds[0][1]}"
        assert kinds[-1][1] == "direct", f"the last path was {kinds[-1][1]}"
        for agent, peer in ((w.a, "far"), (w.b, "near")):
            path = agent.path(peer)
            assert path["kind"] == "direct" and path["why"] is None, path
            assert 45 <= path["rtt_ms"] <= 150, f"rtt_ms {path['rtt_ms']}: it is 50"
        direct_s = next(at for at, kind in kinds if kind == "direct") - begin
        report("seconds to first byte, agents started with it", times["time_starttransfer"])
        report("seconds to direct", direct_s)
        assert direct_s < DIRECT_WITHIN
        report("Mbit/s over all", times["speed_download"] * 8 / 1e6)

        out, times = curl(w, f"http://{w.web.address}/data", "--socks5", proxy)
        assert sha256(out) == digest, "100 MB through --socks5 differ"
        report("seconds to first byte on the direct path", times["time_starttransfer"])
        report("Mbit/s direct", times["speed_download"] * 8 / 1e6)

        # --socks5 resolves here: a name that here knows as well.
        w.lab.name("web.both", w.web.address)
        w.far_names({"web.far.lab": w.web.address})
        small = w.file(32769, "small")
        empty = w.file(0, "empty")
        for url, option, expected in (("http://web.both/small", "--socks5", small),
                                      ("http://web.far.lab/small", "--socks5-hostname", small),
                                      (f"http://{w.web.address}/empty", "--socks5", empty)):
            out, _ = curl(w, url, option, proxy)
            size = out.stat().st_size if out.exists() else 0
            assert size == 0 if expected == empty else sha256(out) == expected, url

        # The server saw the beginning only.
        relayed = w.server.status()["relay_rx_bytes"]
        report("bytes through the relay", relayed)
        assert relayed < SIZE / 2, f"{SERVER} relayed {relayed} bytes"


main(story)
