#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tidy - the house rules that no compiler checks. Run by ctest; takes under a second.

    tests/tidy/tidy.py             every rule below, on the whole tree
    tests/tidy/tidy.py --format    clang-format on the tracked C files (exit 77 without version 14)

A finding is one line "file:line: what is wrong"; the exit code is 1 if there is one. There is no
list of exceptions on purpose: a rule that needs one is the wrong rule, or the code is.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# ---- the include table of src/README.md ----

PURE = {"errno.h", "inttypes.h", "limits.h", "stdalign.h", "stdbool.h", "stddef.h", "stdint.h",
        "string.h"}
# folder -> (our folders it may include, system headers it may include; None = any)
LAYERS = {
    "src/base": ({"base"}, PURE | {"stdarg.h", "stdio.h", "stdlib.h"}),
    "tunnel": ({"base", "tunnel"}, PURE),
    "proxy": ({"base", "proxy"}, PURE),
    "config": ({"base", "config"}, PURE | {"stdarg.h", "stdio.h", "stdlib.h", "yaml.h"}),
    "src/net": ({"base", "net", "tunnel", "proxy"}, None),
    "src/flows": ({"base", "net", "tunnel", "proxy", "config", "flows"}, None),
    "src": ({"base", "net", "tunnel", "proxy", "config", "flows"}, None),
}
# The few files whose reason to exist is such a header.
MAY_ALSO = {
    "src/base/addr.c": {"arpa/inet.h"},
    "config/keyfile.c": {"fcntl.h", "sys/stat.h", "unistd.h"},
    "tunnel/libcrypto.c": {"openssl/crypto.h", "openssl/evp.h"},
}

# ---- calls ----

HEAP = "malloc|calloc|realloc|reallocarray|free|strdup|strndup"
# Nobody, tests included: no bound, no error, or a shell in between.
UNSAFE = re.compile(r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|strtok|gets|atoi|atol|atoll|atof"
                    r"|alloca|system|popen|tmpnam|mktemp|setjmp|longjmp)\s*\(")
# The heap is reached through base/alloc, which counts and fails on request.
HEAP_CALL = re.compile(rf"(?<![\w.>])({HEAP})\s*\(")
# The core has no clock, no randomness of its own, no environment and no way out.
IMPURE = re.compile(r"(?<![\w.>])(rand|random|srand|time|gettimeofday|clock_gettime|clock|getenv"
                    r"|randombytes\w*|printf|fprintf|puts|exit|abort|socket|select|poll|usleep"
                    r"|nanosleep|sleep)\s*\(")
CORE = ("src/base", "tunnel", "proxy")
SECRET_CALL = re.compile(r"\b(log_(?:error|warn|info|debug|write)|trace_emit)\s*\(")
SECRET_NAME = re.compile(r"\b(?:\w*_)?(?:sk|psk|secret)\b(?!\s*\?)")  # "sk ? …" asks for it
C_SLEEP = re.compile(r"(?<![\w.>])(sleep|usleep|nanosleep|uv_sleep)\s*\(")

# ---- sizes and words ----

FILE_LINES_MAX, FUNCTION_LINES_MAX = 800, 70
# Built from halves, so that this file obeys itself.
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
SPDX = "SPDX-License-" + "Identifier: MIT"
EMPTY_COMMENT = re.compile(r"/\*[*\s]*\*/")
EMPTY_FIRST_LINE = re.compile(r"/\*\*[ \t]*\n[ \t]*\*[ \t]*\n")
INCLUDE = re.compile(r'^#[ \t]*include[ \t]+(?:"([^"\n]+)"|<([^>\n]+)>)', re.MULTILINE)

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def without_comments(text):
    """The same text with comments and the insides of literals blanked, line for line. The name
    in an include directive is no literal and stays."""
    def blank(match):
        token, begin = match[0], match.start()
        if token[0] == '"' and text[text.rfind("\n", 0, begin) + 1:begin].startswith("#include"):
            return token
        return token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1]
    return TOKEN.sub(blank, text)


def place(name, text, match):
    return f"{name}:{text.count(chr(10), 0, match.start()) + 1}"


def layer_of(name):
    """The row of LAYERS that a file belongs to, or None for tests and the like."""
    parent = str(pathlib.PurePosixPath(name).parent)
    return parent if parent in LAYERS else None


def call_arguments(code, begin):
    """What stands between the parenthesis before @begin and its partner."""
    depth, end = 1, begin
    while end < len(code) and depth:
        depth += (code[end] == "(") - (code[end] == ")")
        end += 1
    return code[begin:end]


def check_includes(name, code):
    layer = layer_of(name)
    if not layer:
        return
    dirs, system = LAYERS[layer]
    if system is not None:
        system = system | MAY_ALSO.get(name, set())
        if layer == "tunnel" and name.endswith(".c"):
            system = system | {"sodium.h"}  # headers of the core stand without it
    for m in INCLUDE.finditer(code):
        where = place(name, code, m)
        first, _, rest = (m[1] or "").partition("/")
        if m[2] and system is not None and m[2] not in system:
            yield f"{where}: {layer} must not include <{m[2]}>"
        if rest and first not in dirs:
            yield f"{where}: {layer} must not include {first}/"
        if m[1] and not rest and layer != "src":
            yield f'{where}: write the folder: "{layer.split("/")[-1]}/{first}"'


def check_calls(name, code):
    layer = layer_of(name)
    rules = [(UNSAFE, "is banned everywhere")]
    # Commands own what libraries give them (jansson's texts); nobody below them does.
    if layer not in (None, "src") and name != "src/base/alloc.c":
        rules.append((HEAP_CALL, "bypasses base/alloc"))
    if layer in CORE and name != "src/base/compiler.c":
        rules.append((IMPURE, "has no place in the core"))
    if name.startswith(("tests/unit/", "tests/sim/", "tests/fuzz/")):
        rules.append((C_SLEEP, "in a test: wait for a condition, or use virtual time"))
    for rule, why in rules:
        for m in rule.finditer(code):
            yield f"{place(name, code, m)}: {m[1]}() {why}"
    for m in SECRET_CALL.finditer(code):
        if s := SECRET_NAME.search(call_arguments(code, m.end())):
            yield f"{place(name, code, m)}: {m[1]}() is given {s[0]}"


def check_functions(name, lines):
    """Only a function has its opening brace alone in the first column."""
    opened = 0
    for number, line in enumerate(lines, 1):
        if line == "{":
            opened = number
        elif line == "}" and opened:
            if number - opened - 1 > FUNCTION_LINES_MAX:
                yield (f"{name}:{opened}: function body of {number - opened - 1} lines, "
                       f"at most {FUNCTION_LINES_MAX}")
            opened = 0


def check_c(name, text):
    code = without_comments(text)
    yield from check_includes(name, code)
    yield from check_calls(name, code)
    yield from check_functions(name, code.splitlines())
    for m in EMPTY_COMMENT.finditer(text):
        yield f"{place(name, text, m)}: empty comment"
    for m in EMPTY_FIRST_LINE.finditer(text):
        yield f"{place(name, text, m)}: doc comment without a first line"


def in_loop(lines, index, opens):
    """True when a line less indented than lines[index] above it, up to the next less indented
    non-loop definition, opens a loop: a sleep there is the pause of a poll, not a wait."""
    indent = len(lines[index]) - len(lines[index].lstrip())
    for line in reversed(lines[:index]):
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth < indent:
            indent = depth
            if re.match(opens, line.strip()):
                return True
    return False


def check_script(name, text):
    is_shell = name.endswith(".sh") or re.match(r"#!.*\b(ba|da)?sh\b", text)
    sleep = re.compile(r"(^|[;&|]\s*|\bdo\s+)sleep\s" if is_shell else r"\btime\.sleep\(")
    opens = r"(while|until|for)\b.*" if is_shell else r"(while|for)\b.*:"
    lines = text.splitlines()
    if not name.startswith("tests/"):
        return
    for i, line in enumerate(lines):
        if line.lstrip().startswith("#") or not sleep.search(line.strip()):
            continue
        if not (in_loop(lines, i, opens) or re.match(opens, line.strip())):
            yield f"{name}:{i + 1}: bare sleep: wait for a condition"


def check_text(name, text):
    """All rules on one file, @name relative to the root."""
    lines = text.splitlines()
    if not any(SPDX in line for line in lines[:3]):
        yield f"{name}:1: no SPDX line among the first three"
    if len(lines) > FILE_LINES_MAX:
        yield f"{name}:{len(lines)}: {len(lines)} lines, at most {FILE_LINES_MAX}"
    for m in UNFINISHED.finditer(text):
        yield f"{place(name, text, m)}: {m[1]} does not merge"
    yield from (check_c if name.endswith((".c", ".h")) else check_script)(name, text)


def is_script(path):
    if path.suffix in (".py", ".sh"):
        return True
    if path.suffix or not path.stat().st_mode & 0o100:
        return False
    with path.open("rb") as f:
        return f.read(2) == b"#!"


def sources():
    """Every source of the tree, tracked or not yet."""
    for folder in ("src", "tunnel", "proxy", "config", "tests", "contrib", ".ci"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_symlink() or not path.is_file() or "corpus" in path.parts:
                continue
            if path.suffix in (".c", ".h") or is_script(path):
                yield path


def check_format():
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    version = subprocess.run([tool, "--version"], capture_output=True, text=True,
                             check=True).stdout if tool else ""
    if " 14." not in version:
        print("clang-format 14 is not here: skipped (another version formats differently)")
        return 77
    if not shutil.which("git"):
        print("git is not here: skipped")
        return 77
    listed = subprocess.run(["git", "ls-files", "-z", "--", "*.c", "*.h"], cwd=ROOT, check=False,
                            capture_output=True, text=True)
    names = [n for n in listed.stdout.split("\0") if n and (ROOT / n).is_file()]
    if not names:
        print(f"no tracked files ({listed.stderr.strip() or 'not a checkout'}): skipped")
        return 77
    done = subprocess.run([tool, "--dry-run", "-Werror", "--ferror-limit=1", *names], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    print("\n".join(line for line in done.stderr.splitlines() if ": error:" in line))
    return 1 if done.returncode else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", action="store_true", help="run clang-format instead")
    if parser.parse_args().format:
        return check_format()
    errors = [e for path in sources() for e in
              check_text(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))]
    print("\n".join(errors))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
