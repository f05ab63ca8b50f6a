# SPDX-License-Identifier: MIT
"""table - the outcomes as a reader wants them."""
MARK = {"pass": "✓", "fail": "✗", "na": "–", "skip": "?"}


def data(items, results):
    rows = [{"client": item.client, "feature": item.feature,
             "results": {name: list(outcomes[item]) for name, outcomes in results.items()}}
            for item in items]
    return {"rows": rows, "servers": list(results)}


def markdown(items, results):
    names = list(results)
    lines = ["| client | what | " + " | ".join(names) + " |",
             "| --- | --- |" + " --- |" * len(names)]
    before = None
    for item in items:
        cells = [MARK[results[name][item][0]] for name in names]
        client = item.client if item.client != before else ""
        before = item.client
        lines.append(f"| {client} | {item.feature} | " + " | ".join(cells) + " |")
    lines += ["", *_reasons(items, results)]
    return "\n".join(lines).rstrip()


def _reasons(items, results):
    """One line for each cell that failed or was not played."""
    lines = []
    for name, outcomes in results.items():
        for item in items:
            outcome, reason = outcomes[item]
            if outcome in ("fail", "skip"):
                word = "" if outcome == "fail" else "not played: "
                lines.append(f"* {name}, {item.client} {item.feature}: {word}{reason}")
    return lines


def counts(results):
    words = []
    for name, outcomes in results.items():
        count = {kind: sum(o == kind for o, _ in outcomes.values()) for kind in MARK}
        words.append(f"{name}: {count['pass']} passed, {count['fail']} failed, "
                     f"{count['skip']} skipped")
    return "; ".join(words)
