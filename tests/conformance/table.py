# SPDX-License-Identifier: MIT
"""table - the outcomes as a reader wants them."""
import re

MARK = {"pass": "✓", "fail": "✗", "na": "–", "skip": "?"}


def data(items, results):
    rows = [{"client": item.client, "feature": item.feature,
             "results": {name: list(outcomes[item]) for name, outcomes in results.items()}}
            for item in items]
    return {"rows": rows, "servers": list(results)}


def markdown(items, results):
    """Features of a client that fared alike with every server share a row."""
    names = list(results)
    rows = {}
    for item in items:
        outcome = tuple(results[name][item][0] for name in names)
        rows.setdefault(item.client, {}).setdefault(outcome, []).append(item.feature)
    lines = ["| client | what | " + " | ".join(names) + " |",
             "| --- | --- |" + " --- |" * len(names)]
    for client, groups in rows.items():
        for outcome, features in groups.items():
            cells = " | ".join(MARK[one] for one in outcome)
            lines.append(f"| {client} | {'; '.join(features)} | {cells} |")
            client = ""
    lines += ["", *_reasons(items, results)]
    return "\n".join(lines).rstrip()


def _reasons(items, results):
    """Why each cell failed or was not played: a line for each server and reason."""
    lines = {}
    for name, outcomes in results.items():
        for item in items:
            outcome, reason = outcomes[item]
            if outcome not in ("fail", "skip"):
                continue
            who = f"✗ {name}" if outcome == "fail" else "? not played"
            rows = lines.setdefault((who, _plain(reason)), [])
            row = f"{item.client} {item.feature}"
            if row not in rows:
                rows.append(row)
    return [f"* {who}: *{reason}*: {'; '.join(rows)}" for (who, reason), rows in lines.items()]


def _plain(reason):
    """Without what differs from run to run."""
    reason = re.sub(r"^exit code \d+: (?=\w+: )", "", reason)
    return re.sub(r"(?<=[\d\w]):\d{5}\b", "", reason).replace("|", "/")


def counts(results):
    words = []
    for name, outcomes in results.items():
        count = {kind: sum(o == kind for o, _ in outcomes.values()) for kind in MARK}
        words.append(f"{name}: {count['pass']} passed, {count['fail']} failed, "
                     f"{count['skip']} skipped")
    return "; ".join(words)
