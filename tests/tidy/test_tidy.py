#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_tidy - each rule of tidy.py finds what it is for, and lets pass what looks like it."""
import sys

import tidy

LONG = "int f(void)\n{\n" + "\tx++;\n" * 71 + "}\n"
# Built from halves, so that tidy.py lets this file pass.
UNFINISHED = "TO" + "DO"
SLEEP = "time" + ".sleep(1)"
# what, file, text, part of the finding (None: clean)
ROWS = [
    ("layer upwards", "tunnel/a.c", '#include "net/clock.h"\n', "must not include net/"),
    ("layer sideways", "proxy/a.c", '#include "tunnel/session.h"\n', "must not include tunnel/"),
    ("layer downwards", "tunnel/a.c", '#include "base/rd.h"\n', None),
    ("no folder", "tunnel/a.c", '#include "rd.h"\n', "write the folder"),
    ("POSIX in the core", "tunnel/a.c", "#include <unistd.h>\n", "must not include <unistd.h>"),
    ("stdio in the core", "proxy/a.h", "#include <stdio.h>\n", "must not include <stdio.h>"),
    ("sodium in a header", "tunnel/a.h", "#include <sodium.h>\n", "must not include <sodium.h>"),
    ("sodium in a source", "tunnel/a.c", "#include <sodium.h>\n", None),
    ("a file's own exception", "src/base/addr.c", "#include <arpa/inet.h>\n", None),
    ("an include in a comment", "tunnel/a.c", "/*\n#include <unistd.h>\n*/\n", None),
    ("banned call", "src/a.c", "\tstrcpy(a, b);\n", "strcpy() is banned"),
    ("a longer name", "src/a.c", "\tcv_strcpy(a, b);\n", None),
    ("a member", "tunnel/a.c", "\tops->time(x);\n", None),
    ("a call in a comment", "tunnel/a.c", "/* malloc(3) */\n", None),
    ("a call in a text", "src/net/a.c", '\tlog("free(x)");\n', None),
    ("the heap", "config/a.c", "\tfree(x);\n", "bypasses base/alloc"),
    ("the heap, where it is reached", "src/base/alloc.c", "\tfree(x);\n", None),
    ("a clock in the core", "tunnel/a.c", "\tx = time(NULL);\n", "no place in the core"),
    ("a clock in the shell", "src/net/a.c", "\tclock_gettime(c, &t);\n", None),
    ("sleep in a unit test", "tests/unit/test_a.c", "\tusleep(5);\n", "in a test"),
    ("secret in a log", "src/a.c", '\tlog_info("%s",\n\t         me->psk);\n', "is given psk"),
    ("a question about a secret", "src/a.c", '\tlog_error("%s", a->sk ? why : "none");\n', None),
    ("a public key in a log", "src/a.c", '\tlog_info("%s", me->pk);\n', None),
    ("named secret in a log", "src/a.c", '\tlog_info("%s",\n\t         me->static_sk);\n',
     "is given static_sk"),
    ("secret in a trace", "tunnel/a.c", "\ttrace_emit(t, now, X, load(a->mac2_secret), 0);\n",
     "is given mac2_secret"),
    ("long function", "tunnel/a.c", LONG, "71 lines, at most 70"),
    ("long file", "tunnel/a.c", "int x;\n" * 801, "lines, at most 800"),
    ("empty comment", "tunnel/a.h", "/** */\nint f(void);\n", "empty comment"),
    ("empty first line", "tunnel/a.h", "/**\n *\n * @x: y\n */\n", "without a first line"),
    ("unfinished", "tests/lab/a.py", f"# {UNFINISHED}: later\n", "does not merge"),
    ("a template of mktemp", "tests/a.sh", "mktemp -d /tmp/x.XXXXXX\n", None),
    ("bare sleep, Python", "tests/e2e/a.py", f"def f():\n    {SLEEP}\n", "bare sleep"),
    ("pause of a poll, Python", "tests/e2e/a.py",
     f"def f():\n    while not ready():\n        {SLEEP}\n", None),
    ("bare sleep, shell", "tests/a.sh", "run &\nsleep 2\n", "bare sleep"),
    ("pause of a poll, shell", "tests/a.sh", "until ready; do\n\tsleep 0.1\ndone\n", None),
]


def main():
    bad = 0
    for what, name, text, expected in ROWS:
        spdx = ("/* %s */\n" if name.endswith((".c", ".h")) else "# %s\n") % tidy.SPDX
        found = list(tidy.check_text(name, spdx + text))
        good = not found if expected is None else any(expected in f for f in found)
        if not good:
            bad += 1
            print(f"{what}: expected {expected!r}, found {found}")
    if not any("SPDX" in f for f in tidy.check_text("tunnel/a.c", "int x;\n")):
        bad += 1
        print("a file without SPDX line passes")
    print(f"{len(ROWS) + 1} rows, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
