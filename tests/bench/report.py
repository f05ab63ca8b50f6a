# SPDX-License-Identifier: MIT
"""report - the rows of a run, the goals they are held against, and how both are printed."""
import dataclasses
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import typing

from places import Missing


class Table:
    """Rows of the report: one measurement of several programs. A row is found by its name."""

    def __init__(self):
        self.rows = []
        self.notes = []

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def add(self, group, what, unit, values, digits):
        medians = {name: statistics.median(v) for name, v in values.items() if v}
        mine = medians.get("culvert")
        ratios = {name: mine / value for name, value in medians.items()
                  if mine and value and name != "culvert"}
        self.rows.append({"group": group, "what": what, "unit": unit, "digits": digits,
                          "medians": medians, "ratios": ratios, "all": values})

    def value(self, what, program="culvert"):
        """The median, or None where it was not measured."""
        for row in self.rows:
            if row["what"] == what:
                return row["medians"].get(program)
        return None

    def text(self):
        lines = ["| what | program | median | lowest - highest | culvert is × |",
                 "| --- | --- | --- | --- | --- |"]
        for row in self.rows:
            label, digits = f"{row['what']}, {row['unit']}", row["digits"]
            for name, value in row["medians"].items():
                turns = row["all"][name]
                spread = f"{min(turns):.{digits}f} - {max(turns):.{digits}f}" \
                    if len(turns) > 1 else ""
                ratio = row["ratios"].get(name)
                lines.append(f"| {label} | {name} | {value:.{digits}f} | {spread} | "
                             f"{'' if ratio is None else f'{ratio:.2f}'} |")
                label = ""
        return "\n".join(lines)


def measure(table, runs, group, what, unit, digits, turns):
    """`turns` is {program: function of one turn}, called in turns so that what the machine does
    meanwhile is shared; one that fails is left out of that turn."""
    values = {name: [] for name in turns}
    for _ in range(runs):
        for name, turn in turns.items():
            value = attempt(table, f"{what}: {name}", turn)
            if value is not None:
                values[name].append(value)
    table.add(group, what, unit, values, digits)


def attempt(table, what, function, *args):
    """What it returns, or None when the program is missing or fails; either is said."""
    try:
        return function(*args)
    except Missing as missing:
        table.note(str(missing))
    except (RuntimeError, OSError, AssertionError, subprocess.SubprocessError, ValueError,
            KeyError) as error:
        print(f"{what}: {type(error).__name__}: {error}", file=sys.stderr)
        table.note(f"{what}: a turn failed")
    return None


# ---- Goals ----

@dataclasses.dataclass
class Goal:
    """`measured` is a function of the table, or None where a part of it was not measured."""
    what: str
    unit: str
    at_least: bool
    limit: typing.Callable
    measured: typing.Callable
    digits: int = 2


def ratio(what, program, other, of="culvert"):
    def measured(table):
        mine, theirs = table.value(what, of), table.value(other or what, program)
        return mine / theirs if mine and theirs else None
    return measured


def value(what, program="culvert"):
    return lambda table: table.value(what, program)


def fixed(number):
    return lambda table: number


def above(what, program, extra):
    """What another row says, and so much more."""
    def limit(table):
        base = table.value(what, program)
        return None if base is None else base + extra
    return limit


ONE, EIGHT = "one TCP stream", "eight TCP streams"
NEW = "new connections, 50 at once"
SAID_FIRST = "SOCKS connect to the server's first byte, 50 ms tunnel, p50"
GOALS = [
    Goal("one TCP stream, loopback, × the bare pipe (1,472)", "×", True, fixed(0.8),
         ratio(ONE, "pipe, 1472", None)),
    Goal("one TCP stream, loopback, × the bare pipe (65,507)", "×", True, fixed(0.8),
         ratio(ONE, "pipe, 65507", None)),
    Goal("one TCP stream, loopback, × raw QUIC (ngtcp2)", "×", True, fixed(1.0),
         ratio(ONE, "ngtcp2", None)),
    Goal("one TCP stream, loopback, × kcptun", "×", True, fixed(5.0), ratio(ONE, "kcptun", None)),
    Goal("one TCP stream, loopback, × ssh -L", "×", True, fixed(1.0), ratio(ONE, "ssh", None)),
    Goal("eight streams, loopback, × one stream", "×", True, fixed(1.0),
         ratio(EIGHT, "culvert", ONE)),
    Goal("100 Mbit/s, 50 ms, no loss", "%", True, fixed(95.0),
         value("100 Mbit/s, 50 ms, no loss"), 1),
    Goal("100 Mbit/s, 50 ms, 1 % loss each way", "%", True, fixed(92.0),
         value("100 Mbit/s, 50 ms, 1 % loss"), 1),
    Goal("100 Mbit/s, 50 ms, 5 % loss each way", "%", True, fixed(85.0),
         value("100 Mbit/s, 50 ms, 5 % loss"), 1),
    Goal("400 Mbit/s, 100 ms, 0.1 % loss", "%", True, fixed(90.0),
         value("400 Mbit/s, 100 ms, 0.1 % loss"), 1),
    Goal("request beside bulk, 100 Mbit/s, 50 ms: p99 ≤ base + 15 ms", "ms", False,
         above("request alone, 100 Mbit/s, 50 ms, p50", "culvert", 15.0),
         value("request beside bulk, 100 Mbit/s, 50 ms, p99"), 1),
    Goal("request beside bulk, loopback, both cores full: p99 ≤ base + 15 ms", "ms", False,
         above("64-byte request alone, p50", "culvert", 15.0),
         value("64-byte request beside a bulk transfer, p99"), 1),
    Goal("SOCKS connect to first byte, 50 ms tunnel: ≤ round trip + 2 ms", "ms", False,
         above("round trip of that link", "ping", 2.0), value(SAID_FIRST), 1),
    Goal("new streams a second, × ssh -D", "×", True, fixed(1.0), ratio(NEW, "ssh", None)),
    Goal("an idle stream of 10,000, agent with the proxy", "bytes", False, fixed(1024),
         value("an idle stream of 10000, agent with the proxy"), 0),
    Goal("an idle stream of 10,000, agent that connects", "bytes", False, fixed(1024),
         value("an idle stream of 10000, agent that connects"), 0),
    Goal("processor with 10,000 idle streams, the busier agent", "% of a core", False, fixed(0.5),
         lambda table: busier(table), 1),
    Goal("a registered agent, server", "bytes", False, fixed(2048),
         value("a registered agent of 10000, server"), 0),
]


def busier(table):
    shares = [table.value(f"processor with them, {where}")
              for where in ("agent with the proxy", "agent that connects")]
    return None if None in shares else max(shares)


def judge(table):
    """The goals as rows of data; those of which a part was not measured say so."""
    rows = []
    for goal in GOALS:
        measured, limit = goal.measured(table), goal.limit(table)
        verdict = "not measured"
        if measured is not None and limit is not None:
            is_met = measured >= limit if goal.at_least else measured <= limit
            verdict = "met" if is_met else "NOT MET"
        rows.append({"goal": goal.what, "unit": goal.unit, "limit": limit, "measured": measured,
                     "at_least": goal.at_least, "verdict": verdict, "digits": goal.digits})
    return rows


def goals_text(rows):
    lines = ["| goal | wanted | measured | measured ÷ wanted | |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        digits, limit, measured = row["digits"], row["limit"], row["measured"]
        sign = "≥" if row["at_least"] else "≤"
        wanted = "" if limit is None else f"{sign} {limit:.{digits}f} {row['unit']}"
        share = f"{measured / limit:.2f}" if measured is not None and limit else ""
        lines.append(f"| {row['goal']} | {wanted} | "
                     f"{'' if measured is None else f'{measured:.{digits}f}'} | {share} | "
                     f"{row['verdict']} |")
    return "\n".join(lines)


def machine():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release().split('-')[0]}"
