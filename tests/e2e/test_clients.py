#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The short list of ../conformance: curl, nc, ssh, git, a browser, SOCKS libraries, UDP, BIND,
forwards both ways, services; those that are installed."""
import collections
import json
import pathlib
import subprocess
import sys

from world import CULVERT, report, skip

RUN = pathlib.Path(__file__).resolve().parents[1] / "conformance/run"


def main():
    done = subprocess.run([RUN, "--quick", "--server", "culvert", "--json", "--no-install",
                           "--culvert", CULVERT], stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        return done.returncode or 1
    rows = json.loads(done.stdout)["rows"]
    counts = collections.Counter()
    for row in rows:
        outcome, why = row["results"]["culvert"]
        counts[outcome] += 1
        if outcome != "pass":
            report(f"{row['client']}, {row['feature']}", f"{outcome}: {why}")
    report("rows", dict(counts))
    if not counts["pass"] and not counts["fail"]:
        skip(rows[0]["results"]["culvert"][1])
    return done.returncode


sys.exit(main())
