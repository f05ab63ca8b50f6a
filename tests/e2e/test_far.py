#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The far side: what it connects to, how it finds a name, and what it says when it cannot.
(E14, E15, E26, S42, S43, T80, T81, T83)

P3: each fault has its own answer, to SOCKS and to HTTP, in its time; printed as a table. P11: what
is denied is never connected to, in whatever form it is asked for: the system calls are looked at. A
peer whose names are not answered holds up nobody else. Two address families are raced.
"""
import concurrent.futures
import re
import shutil
import socket
import statistics
import threading
import time

import socks
from names import SERVFAIL, Answer, NameServer
from world import PROXY, Agent, World, main, report

OWN_PROXY, TUNNEL_PORT = 1090, 40001
LISTENED, REFUSING, BROKEN, MUTE = 80, 81, 82, 83
V6_DEAD, V6_LIVE = "2001:db8:dead::2", "2001:db8:dead::1"
UNREACHABLE = "198.18.0.1"
METADATA = "169.254.169.254"
LOOKUP_S, CONNECT_S, PEER_S, PEER_DOWN_S = 5.5, 12, 10, 1
STAGGER_S = 0.3
LOOKUPS_MAX, DIALS_MAX = 64, 256
NAMES = {0: "success", 1: "general failure", 2: "not allowed", 3: "network unreachable",
         4: "host unreachable", 5: "refused", 6: "TTL expired"}


# Asking -----------------------------------------------------------------------------


def ask_socks(w, host, port, agent=None, timeout=20):
    """(code, seconds, socket); the caller closes it."""
    s = w.connect(PROXY, host=(agent or w.a).host, timeout=timeout)
    socks.greet(s)
    begin = time.monotonic()
    code = socks.request(s, host, port)
    return code, time.monotonic() - begin, s


def ask_http(w, host, port, agent=None):
    """(status, seconds, socket); the caller closes it."""
    s = w.connect(PROXY, host=(agent or w.a).host)
    name = f"[{host}]" if ":" in host else host
    begin = time.monotonic()
    s.sendall(f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        block = s.recv(4096)
        if not block:
            break
        head += block
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    assert found, head
    return int(found[1]), time.monotonic() - begin, s


def ask_both(w, what, within, agent=None):
    """A target's fault that has nothing to do with the target, as a row of the table."""
    got = []
    for ask in (ask_socks, ask_http):
        code, seconds, s = ask(w, w.dead.address, LISTENED, agent)
        s.close()
        got += [code, seconds]
        assert seconds < within, (what, got)
    print(f"| {what} | {got[0]} {NAMES.get(got[0], '')} | {got[1]:.2f} | {got[2]} | {got[3]:.2f} |",
          flush=True)
    assert (got[0], got[2]) == (1, 503), (what, got)


class Row:
    def __init__(self, what, host, port, code, status, within, at_least=0.0):
        self.what, self.host, self.port = what, host, port
        self.code, self.status, self.within, self.at_least = code, status, within, at_least
        self.got = {}

    def run(self, w, how):
        code, seconds, s = (ask_http if how == "HTTP" else ask_socks)(w, self.host, self.port)
        s.close()
        self.got[how] = code, seconds
        expected = self.status if how == "HTTP" else self.code
        wrong = [] if code in (expected if isinstance(expected, tuple) else (expected,)) \
            else [f"{how} {code}"]
        if not self.at_least <= seconds < self.within:
            wrong.append(f"{how}: {seconds:.2f} s")
        return [f"{self.what}: {text}" for text in wrong]

    def text(self):
        (code, seconds), (status, http_seconds) = self.got["SOCKS"], self.got["HTTP"]
        return (f"| {self.what} | {code} {NAMES.get(code, '')} | {seconds:.2f} | {status} "
                f"| {http_seconds:.2f} |")


def table(w, rows):
    """All rows at the same time; what they must not do to each other is part of it."""
    runs = [(row, how) for row in rows for how in ("SOCKS", "HTTP")]
    with concurrent.futures.ThreadPoolExecutor(len(runs)) as pool:
        wrong = sum(pool.map(lambda run: run[0].run(w, run[1]), runs), [])
    print("| what happened | SOCKS5 | s | HTTP | s |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(row.text(), flush=True)
    assert not wrong, "\n".join(wrong)


def faults(w):
    limit = Dials(w)
    web = w.web.address
    table(w, [
        Row("a target", web, LISTENED, 0, 200, 3),
        Row("a name", "known.example", LISTENED, 0, 200, 3),
        Row("a name with 1,000 addresses", "many.example", LISTENED, 0, 200, 4),
        Row("a name after 4 s", "late.example", LISTENED, 0, 200, LOOKUP_S, 3.9),
        Row("a name after 4.6 s", "latest.example", LISTENED, 0, 200, LOOKUP_S, 4.5),
        Row("a name after 8 s", "too-late.example", LISTENED, 4, 504, LOOKUP_S, 4.2),
        Row("no such name", "nothing.example", LISTENED, 4, 502, 3),
        Row("a name without addresses", "empty.example", LISTENED, 4, 502, 3),
        Row("the name server fails (SERVFAIL)", "broken.example", LISTENED, 4, 504, LOOKUP_S),
        Row("the name server is silent", "silent.example", LISTENED, 4, 504, LOOKUP_S, 4.2),
        Row("connection refused", web, REFUSING, 5, 502, 2),
        Row("packets dropped", w.dead.address, LISTENED, 6, 504, CONNECT_S, 9),
        Row("host unreachable", UNREACHABLE, LISTENED, 4, 502, 2),
        Row("network unreachable (no IPv6 there)", "2001:db8:1::1", LISTENED, 3, 502, 2),
        Row("only an IPv6 address, no IPv6", "six.example", LISTENED, 3, 502, 3),
        # Whether the reset is seen while connecting or just after it, is chance.
        Row("reset at once after accept", web, BROKEN, (0, 1, 5), (200, 502, 503), 2),
        Row("accepted, and silent", web, MUTE, 0, 200, 2),
        Row("not allowed", "127.0.0.1", LISTENED, 2, 403, 2),
        Row("not allowed by name", "loop.example", LISTENED, 2, 403, 3),
        Row("no such service", "nothing.far.culvert", LISTENED, 4, 502, 2),
    ])
    limit.check()


# What is never connected to -----------------------------------------------------------


def forms(v4):
    """An IPv4 address, and the IPv6 forms of it."""
    a, b, c, d = (int(part) for part in v4.split("."))
    hexed = f"{a:02x}{b:02x}:{c:02x}{d:02x}"
    out = [v4, f"::ffff:{v4}", f"2002:{hexed}::", f"2002:{hexed}:7::1", f"64:ff9b::{hexed}",
           f"64:ff9b:1::{hexed}"]
    if v4 != "0.0.0.0":  # of these two that is another address
        out += [f"::{hexed}", f"64:ff9b:1:abcd:ef:0:{hexed}"]
    return out


DENIED4 = ("127.0.0.1", "127.1.2.3", "127.255.255.254", "0.0.0.0", "0.1.2.3", METADATA,
           "169.254.1.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255")
DENIED6 = ("::", "::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "fd00:ec2::254")
# As text these are no addresses: names that nobody has, malformed ones, or localhost.
DISGUISES = ("0x7f.1", "2130706433", "127.1", "0177.0.0.1", "0x7f000001", "127.0.0.1.",
             "localhost", "localhost.", "a.localhost", "LOCALHOST")


def denied(w):
    """Through `*:*`, both whole families as networks and names: none of that includes these."""
    literals = [form for v4 in DENIED4 for form in forms(v4)] + list(DENIED6)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        def one(host):
            code, _, s = ask_socks(w, host, w.guard_port)
            s.close()
            return code
        codes = dict(zip(literals, pool.map(one, literals)))
        named = {f"n{i}.denied.example": text for i, text in enumerate(literals)}
        named = {name: text for name, text in named.items()
                 if ":" in text or text in DENIED4}
        w.names.names.update({name: Answer(text) for name, text in named.items()})
        codes.update(zip(named, pool.map(one, named)))
        disguised = dict(zip(DISGUISES, pool.map(one, DISGUISES)))
    wrong = {host: code for host, code in codes.items() if code != 2}
    report(f"{len(literals)} addresses and {len(named)} names for them: refused with 2",
           len(codes) - len(wrong))
    report("in disguise", disguised)
    assert not wrong, {host: (named.get(host), code) for host, code in wrong.items()}
    assert all(code in (1, 2, 4) for code in disguised.values()), disguised


def own_ports(w):
    """`*:*` includes the far host's own addresses, and 127.0.0.0/8 was named for the other peer: but
    neither includes the agent's listeners."""
    rows = ((w.a, w.b.host.address, OWN_PROXY, 2), (w.a, w.b.host.address, OWN_PROXY + 1, 5),
            (w.c, "127.0.0.1", OWN_PROXY, 2), (w.c, "127.3.4.5", OWN_PROXY, 2),
            (w.c, "localhost", OWN_PROXY, 5),  # ::1 has no such listener
            (w.c, "127.0.0.1", w.guard_port, 0),
            (w.c, "127.0.0.1", w.tunnel_port, 2))
    for agent, host, port, expected in rows:
        code, _, s = ask_socks(w, host, port, agent)
        s.close()
        report(f"{agent.name} asks for {host}:{port}", code)
        assert code == expected, (agent.name, host, port, code)
    w.guard.accept()[0].close()


def rebinding(w):
    """A name that is public first and loopback then, or both at once."""
    codes = []
    for _ in range(12):
        code, _, s = ask_socks(w, "rebind.example", w.guard_port)
        s.close()
        codes.append(code)
    report("a name that alternates between a good address and loopback", codes)
    assert set(codes) <= {0, 2, 5} and 2 in codes, codes
    for name in ("both.example", "both-other.example"):
        code, _, s = ask_socks(w, name, LISTENED)
        with s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            said = s.recv(100)
        report(f"{name}: good address and loopback in one answer", code)
        assert code == 0 and said.startswith(b"HTTP/"), (code, said)


def nobody_came(w):
    """The listeners on b's loopback saw nobody, and b has called connect() for no such address."""
    w.guard.setblocking(False)
    try:
        w.guard.accept()
        raise AssertionError("a denied destination was connected to")
    except BlockingIOError:
        pass
    if not w.trace:
        return report("system calls", "not looked at: no strace")
    called = [line for line in w.trace.read_text(errors="replace").splitlines()
              if re.search(r"connect\(\d+<TCP", line)]
    # The other peer may go to loopback, and did: the guard's port, and ::1 beside an own port.
    bad = [line for line in called
           if re.search(r'"(127\.|0\.|169\.254|22[4-9]\.|2[3-5]\d\.|::1"|::"|fe[89a-f]|ff|'
                        r'fd00:ec2|::ffff:|2002:|64:ff9b)', line)
           and not re.search(rf'htons\(({w.guard_port}\), .*"127.0.0.1"|{OWN_PROXY}\), .*"::1")',
                             line)]
    report("connect() of TCP sockets on b; of these to what is denied", f"{len(called)} {len(bad)}")
    assert called, "strace saw nothing"
    assert not bad, bad


# Names of one peer, and the others ------------------------------------------------------


def isolation(w):
    """One peer's silent names fill its share of lookups; all else goes on as before."""
    count = LOOKUPS_MAX + 8
    gate = threading.Barrier(count + 1)

    def stuck(i):
        gate.wait(20)
        code, seconds, s = ask_socks(w, stuck_names[i], LISTENED)
        s.close()
        return code, seconds

    stuck_names = [f"s{i}.silent.example" for i in range(count)]
    w.names.names.update({name: Answer(silent=True) for name in stuck_names})
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        tasks = [pool.submit(stuck, i) for i in range(count)]
        gate.wait(20)
        w.wait_until(lambda: sum(name in w.names.asked for name in stuck_names) >= LOOKUPS_MAX,
                     3, "its lookups are under way")
        for what, agent, host in (("its literals", w.a, w.web.address),
                                  ("another peer's literals", w.c, w.web.address),
                                  ("another peer's names", w.c, "known.example")):
            code, seconds, s = ask_socks(w, host, LISTENED, agent)
            s.close()
            report(f"while {count} names of a peer are not answered: {what}",
                   f"{code} {seconds:.2f}")
            assert code == 0 and seconds < 1.5, (what, code, seconds)
        results = [task.result() for task in tasks]
    limited = [seconds for code, seconds in results if code == 1]
    silent = [seconds for code, seconds in results if code == 4]
    report("at the limit: reply 1, slowest s", f"{len(limited)} {max(limited):.2f}")
    report("silent: reply 4, slowest s", f"{len(silent)} {max(silent):.2f}")
    assert len(silent) == LOOKUPS_MAX and max(silent) < LOOKUP_S, sorted(silent)
    assert len(limited) == count - LOOKUPS_MAX and max(limited) < 3, sorted(limited)
    code, seconds, s = ask_socks(w, "known.example", LISTENED)
    s.close()
    assert code == 0 and seconds < 1.5, ("after it", code, seconds)


class Dials:
    """So many connects at once for the other peer that it is at its limit, which it is told at once;
    the others wait for the rest of the table's time."""

    COUNT = DIALS_MAX + 20

    def __init__(self, w):
        self._pool = concurrent.futures.ThreadPoolExecutor(self.COUNT)

        def one():
            code, seconds, s = ask_socks(w, w.dead.address, LISTENED, w.c)
            s.close()
            return code, seconds
        self._tasks = [self._pool.submit(one) for _ in range(self.COUNT)]
        w.wait_until(lambda: sum(task.done() for task in self._tasks) >= self.COUNT - DIALS_MAX,
                     5, "the limit was told")
        ask_both(w, f"{DIALS_MAX} connects of this peer are under way", 2, w.c)

    def check(self):
        results = [task.result() for task in self._tasks]
        self._pool.shutdown()
        limited = [seconds for code, seconds in results if code == 1]
        report(f"{self.COUNT} dials that are dropped: reply 1, slowest s",
               f"{len(limited)} {max(limited, default=0):.2f}")
        assert len(limited) == self.COUNT - DIALS_MAX and max(limited) < 4, results
        assert all(code in (1, 6) and seconds < CONNECT_S for code, seconds in results), results


# Two families -----------------------------------------------------------------------------


def give_ipv6(w):
    """b gets IPv6: one address of its own, and a neighbour that takes packets and says nothing."""
    for words in ("link add eyes0 type veth peer name eyes1", "link set eyes0 up",
                  "link set eyes1 up", f"-6 addr add {V6_LIVE}/64 dev eyes0 nodad",
                  f"-6 neigh replace {V6_DEAD} lladdr 02:00:00:00:00:07 dev eyes0 nud permanent"):
        done = w.b.host.run(["ip", *words.split()])
        if done.returncode != 0:
            report("no IPv6 for b", done.stderr.strip())
            return False
    return True


def eyeballs(w):
    """RFC 8305: IPv6 first, IPv4 250 ms later, or at once when IPv6 has failed."""
    if not give_ipv6(w):
        return
    listener = w.b.host.socket(kind=socket.SOCK_STREAM, bind=None, family=socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((V6_LIVE, LISTENED))
    listener.listen(16)
    web = w.web.address
    w.names.names.update({"v4.example": Answer(web), "v6-dead.example": Answer(V6_DEAD, web),
                          "v6-refuses.example": Answer(V6_LIVE, web),
                          "v6-live.example": Answer(V6_LIVE, web)})

    def median(name, port):
        times = []
        for _ in range(5):
            code, seconds, s = ask_socks(w, name, port)
            s.close()
            assert code == 0, (name, code)
            times.append(seconds)
        return statistics.median(times)

    plain = median("v4.example", LISTENED)
    report("a name with IPv4 only, s", plain)
    for name, port, least, most in (("v6-dead.example", LISTENED, 0.2, STAGGER_S),
                                    ("v6-refuses.example", MUTE, -1, 0.15),
                                    ("v6-live.example", LISTENED, -1, 0.15)):
        more = median(name, port) - plain
        report(f"{name}: s more", more)
        assert least <= more < most, (name, more)
    listener.settimeout(5)
    for _ in range(5):
        listener.accept()[0].close()
    listener.close()


# The peer --------------------------------------------------------------------------------


def peer_down(w):
    w.b.kill()
    begin = time.monotonic()
    ask_both(w, "the peer died just now", PEER_S)
    w.wait_until(lambda: not w.a.peer("far")["connected"], 30, "a knows")
    w.wait_until(lambda: w.a.log().count("peer down"), 30, "a says so")
    report("known after s", time.monotonic() - begin)
    ask_both(w, "the peer is known to be down", PEER_DOWN_S)


# Targets ----------------------------------------------------------------------------------


def answer(listener, what):
    """Serves a port of the web host for as long as the test runs."""
    kept = []

    def serve():
        listener.settimeout(None)
        while True:
            conn, _ = listener.accept()
            if what == "broken":
                socks.reset(conn)
            else:
                kept.append(conn)
    threading.Thread(target=serve, daemon=True).start()


def build(w):
    w.c = w.program(Agent, "c", w.lab.host("c", public="203.0.113.77"))
    w.dead = w.lab.host("dead", behind=w.office)
    w.dead.link.down()
    w.serve_files()
    answer(w.listen(BROKEN), "broken")
    answer(w.listen(MUTE), "mute")
    web = w.web.address
    many = [web] + [f"198.51.{i // 200}.{i % 200 + 1}" for i in range(999)]
    w.names = NameServer(w.web, {
        "known.example": Answer(web), "loop.example": Answer("127.0.0.1"),
        "many.example": Answer(*many), "late.example": Answer(web, delay=4),
        "latest.example": Answer(web, delay=4.6), "too-late.example": Answer(web, delay=8),
        "empty.example": Answer(), "broken.example": Answer(rcode=SERVFAIL),
        "silent.example": Answer(silent=True), "six.example": Answer("2001:db8:1::1"),
        "rebind.example": Answer(turns=[[web], ["127.0.0.1"]]),
        "both.example": Answer("127.0.0.1", web), "both-other.example": Answer(web, "::1"),
    })
    w.b.host.resolv_file.write_text(f"nameserver {web}\n")
    w.guard = w.listen(0, w.b.host)  # any connection that reaches b itself ends here
    w.guard_port = w.guard.getsockname()[1]
    w.b.host.run(["ip", "route", "add", "unreachable", UNREACHABLE])
    peers = w.b.config["peers"]
    peers["near"]["allow"] = ["*:*", "0.0.0.0/0:*", '[::/0]:*', "*.example:*"]
    peers["other"] = {"key": w.c.key, "allow": ["127.0.0.0/8:*", "localhost:1000-65535",
                                                f"{w.office.lan}:*", "known.example:*"]}
    w.b.config["proxies"] = [{"listen": f"0.0.0.0:{OWN_PROXY}", "open": True, "peer": "near"}]
    w.c.config["peers"] = {"far": {"key": w.b.key}}
    w.c.config["proxies"] = [{"listen": f"{PROXY[0]}:{PROXY[1]}", "peer": "far"}]
    w.b.config["listen"] = w.tunnel_port = TUNNEL_PORT
    if shutil.which("strace"):
        w.trace = w.b.directory / "connects"
        w.b.wrapper = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-yy", "-e", "trace=connect",
                       "-o", w.trace]


def story():
    with World() as w:
        w.trace = None
        build(w)
        w.start(wait=None)
        w.c.config["servers"] = w.a.config["servers"]
        w.c.start()
        for agent, peer in ((w.a, "far"), (w.c, "far"), (w.b, "near"), (w.b, "other")):
            agent.wait_path(peer, ["direct"])
        for part in (faults, denied, own_ports, rebinding, isolation, eyeballs, nobody_came,
                     peer_down):
            begin = time.monotonic()
            part(w)
            report(f"{part.__name__}, s", time.monotonic() - begin)


main(story)
