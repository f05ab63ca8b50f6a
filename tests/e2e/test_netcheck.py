#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`culvert netcheck` says of each kind of router what the lab made it.

Every mapping with every filtering, ports in all orders, routers that do and do not send back to
their own hosts; double NAT, no NAT, IPv6, narrow links, losses; and what cannot be known is not
claimed.
"""
import itertools
import json
import time

from gateway import Gateway, missing_tools
from world import CULVERT, Lab, Server, World, main, report

TWO, ONE, WEB = ("203.0.113.10", "203.0.113.11"), "203.0.113.20", "203.0.113.30"
TWO6 = "2001:db8:1::10"
PORT = 28583
E, A, P = "endpoint-independent", "address-dependent", "address-and-port-dependent"
PORTS = {"preserving": "preserved", "sequential": "regular", "random": "random"}


class Net(World):
    def __init__(self):
        lab = self.lab = Lab(seed=1)
        self.wait_until, self.programs, self.threads = lab.wait_until, [], []
        self.two = self.program(Server, "two", lab.host("two", public=TWO, public6=TWO6))
        self.two.config["server"] = {"access": "anyone", "tcp": [], "listen": [
            *(f"{a}:{PORT}" for a in TWO), f"[{TWO6}]:{PORT}"]}
        self.one = self.program(Server, "one", lab.host("one", public=ONE))
        self.one.config["server"] = {"access": "anyone", "tcp": [], "stun": "any"}
        self.kinds = {}
        allocations = itertools.cycle(PORTS)
        for i, (mapping, filtering) in enumerate(itertools.product((E, A, P), repeat=2)):
            truth = {"mapping": mapping, "filtering": filtering, "hairpin": i % 2 == 0,
                     "allocation": next(allocations)}
            if mapping == E and i == 1:
                truth["allocation"] = "random"
            nat = lab.nat(f"nat{i}", public=f"198.51.100.{i + 1}", **truth)
            self.kinds[lab.host(f"c{i}", behind=nat, delay_ms=10)] = nat, truth
        # Whose TCP is where the web is; and who has no IPv4.
        self.web = self.program(Server, "web", lab.host("web", public=WEB))
        self.web.config["server"] = {"access": "anyone", "tcp": [443]}
        self.six = lab.host("six", public6="2001:db8:6::9", ipv4=False, delay_ms=10)
        self.satellite = lab.host("satellite", public="192.0.2.12", delay_ms=300)
        self.public = lab.host("public", public="192.0.2.9", public6="2001:db8:2::9")
        outer = lab.nat("outer", public="198.51.100.50", mapping=P, filtering=P,
                        allocation="random")
        inner = lab.nat("inner", behind=outer, mapping=E, filtering=E)
        self.double = lab.host("double", behind=inner, delay_ms=10)
        blocking = lab.nat("blocking", public="198.51.100.60", udp="drop")
        self.silent = lab.host("silent", behind=blocking)
        self.narrow = lab.host("narrow", public="192.0.2.10", delay_ms=10)
        self.lossy = lab.host("lossy", public="192.0.2.11", delay_ms=10, loss=0.05)
        lab.start()
        self.narrow.link.set("out", mtu=1400)
        for program in self.programs:
            program.start()
        servers = [{"address": f"{a}:{PORT}", "key": p.key}
                   for a, p in (("two.lab", self.two), (ONE, self.one))]
        self.both = self.configure("both", servers=servers)
        self.only_one = self.configure("one", servers=servers[1:])
        self.mapped = self.configure("mapped", servers=servers, portmap=True)
        self.foreign = self.configure("foreign", stun=[f"{ONE}:{PORT}"])

    def configure(self, name, **config):
        file = self.lab.directory / f"{name}.yaml"
        file.write_text(json.dumps({"portmap": False, **config}))
        return file

    def start(self, host, config, *options):
        return host.spawn([CULVERT, "netcheck", "--json", "-c", config, *options])

    def ask(self, host, config, code=0):
        process = self.start(host, config)
        return result(process, code)


def result(process, code=0):
    assert process.wait(30) == code, process.text()
    text = process.text()
    assert "assert" not in text and "Sanitizer" not in text, text
    return json.loads(text[text.index("{"):])


def listen(w, host, port, address=""):
    family = "AF_INET6" if ":" in address else "AF_INET"
    listener = host.spawn(["python3", "-c", "import socket, time\n"
                           f"s = socket.create_server(('{address}', {port}), "
                           f"family=socket.{family})\n"
                           "print('listening', flush=True)\ntime.sleep(60)"])
    w.wait_until(lambda: "listening" in listener.text(), 10, "a TCP port")
    return listener


def every_kind(w):
    report("every kind")
    begin = time.monotonic()
    running = [(w.start(host, w.both), nat, truth) for host, (nat, truth) in w.kinds.items()]
    for i, (process, nat, truth) in enumerate(running):
        got = result(process)
        said = got["nat"]
        report(f"  {truth}", f"{said['mapping']}, {said['filtering']}, ports {said['ports']}, "
               f"hairpin {said['hairpin']}")
        assert said["mapping"] == truth["mapping"], got
        assert said["filtering"] == truth["filtering"], got
        assert said["filters_ports"] == (truth["filtering"] == P), got
        assert said["ports"] == PORTS[truth["allocation"]], got
        # An address that changes with who asks names nobody.
        assert said["hairpin"] == (truth["hairpin"] if truth["mapping"] == E else None), got
        assert got["public_addresses"]["ipv4"].startswith(f"198.51.100.{i + 1}:"), got
        for row in got["servers"]:
            assert row["answered"] and row["mtu"] == 1472, row
            assert 19 <= row["rtt_ms"] < 200, row
    report("  seconds for nine at a time", time.monotonic() - begin)


def what_one_server_can_tell(w):
    report("one server with one address")
    for host, (_, truth) in w.kinds.items():
        said = w.ask(host, w.only_one)["nat"]
        expected = truth["mapping"] if truth["mapping"] == P else "unknown"
        assert said["mapping"] == expected, (truth, said)
        assert said["filtering"] == (P if truth["filtering"] == P else "unknown"), (truth, said)
        # Whose address may be another one for himself cannot tell whether it leads back.
        assert said["hairpin"] in ((True, None) if truth["hairpin"] else (None,)), (truth, said)
    got = w.ask(w.public, w.foreign)
    assert got["servers"][0]["kind"] == "stun" and got["servers"][0]["mtu"] is None, got
    assert got["nat"]["mapping"] == "none" and got["nat"]["filtering"] == "unknown", got


def other_places(w):
    report("double NAT")
    said = w.ask(w.double, w.both)["nat"]
    assert (said["mapping"], said["filtering"], said["ports"]) == (P, P, "random"), said
    report("no NAT, IPv6")
    got = w.ask(w.public, w.both)
    assert got["nat"]["mapping"] == "none" and got["nat"]["filtering"] == E, got
    assert got["public_addresses"]["ipv4"].startswith("192.0.2.9:"), got
    assert got["public_addresses"]["ipv6"].startswith("[2001:db8:2::9]:"), got
    assert got["nat"]["mapping_ipv6"] == "none", got
    six = [r for r in got["servers"] if r["address"].startswith("[")]
    assert [r["mtu"] for r in six] == [1452], got
    report("a link of 1,400 bytes")
    got = w.ask(w.narrow, w.both)
    report("  largest payloads", [r["mtu"] for r in got["servers"]])
    assert {r["mtu"] for r in got["servers"] if r["answered"]} == {1372}, got
    report("a host without IPv4")
    got = w.ask(w.six, w.both)
    rows = [r for r in got["servers"] if r["address"]]
    assert [(r["address"], r["answered"], r["tcp"]) for r in rows] == [
        (f"[{TWO6}]:{PORT}", True, False)], got
    assert "IPv4 address only" in got["servers"][1]["why"], got
    assert got["nat"]["mapping_ipv6"] == "none" and got["nat"]["mapping"] == "unknown", got
    assert "Over IPv6 there is no NAT" in " ".join(got["summary"]), got
    listener = listen(w, w.two.host, PORT, "::")
    rows = [r for r in w.ask(w.six, w.both)["servers"] if r["address"]]
    assert [r["tcp"] for r in rows] == [True], rows
    listener.stop()
    report("0.6 s to the server")
    got = w.ask(w.satellite, w.only_one)
    assert 590 <= got["servers"][0]["rtt_ms"] < 900, got
    assert got["servers"][0]["mtu"] == 1472, got
    report("5 % lost each way")
    said = w.ask(w.lossy, w.both)["nat"]
    assert said["mapping"] == "none", said


def without_udp(w):
    report("UDP blocked")
    got = w.ask(w.silent, w.both, code=3)
    assert not got["udp"] and got["nat"]["mapping"] == "unknown", got
    assert all(r["why"] == "no answer" for r in got["servers"]), got
    listener = listen(w, w.one.host, PORT)
    got = w.ask(w.silent, w.both)
    assert [r["tcp"] for r in got["servers"]] == [False, True], got
    assert "TCP" in got["summary"][0], got
    listener.stop()
    report("TCP where an agent looks for it: 443, or as configured")
    for port, code in ((None, 0), (443, 0), (PORT, 3)):
        server = {"address": WEB, "key": w.web.key, **({"tcp": port} if port else {})}
        begin = time.monotonic()
        got = w.ask(w.silent, w.configure("web", servers=[server]), code)
        report(f"  {port}, seconds", time.monotonic() - begin)
        assert [r["tcp"] for r in got["servers"]] == [code == 0], got


def without_anything(w):
    report("no network")
    w.lossy.unplug()
    got = w.ask(w.lossy, w.both, code=3)
    assert got["summary"][0] == "There is no network: this host has no address.", got
    assert {r["why"] for r in got["servers"] if r["address"] is None} == {
        "this host has no address"}, got


def gateways(w):
    report("port mappings")
    begin = time.monotonic()
    got = w.ask(w.double, w.mapped)
    report("  of a router that gives none, seconds", time.monotonic() - begin)
    report("  it says", got["portmap"]["why"])
    assert got["portmap"]["why"] and got["portmap"]["pcp"] is None, got
    assert w.ask(w.double, w.both)["portmap"] is None
    if missing_tools():
        report("  no miniupnpd here", missing_tools())
        return
    router = Gateway(w.lab, "router", public="88.77.66.55")
    inside = router.host("inside", public="88.77.66.56")
    for options, speaks in (({}, [True, True, True]), ({"natpmp": False}, [False, False, True]),
                            ({"upnp": False}, [True, True, False])):
        router.start_daemon(**options)
        begin = time.monotonic()
        got = w.ask(inside, w.mapped)
        report(f"  PCP, NAT-PMP, UPnP: {speaks}, seconds", time.monotonic() - begin)
        assert [got["portmap"][k] for k in ("pcp", "nat_pmp", "upnp")] == speaks, got
        assert got["portmap"]["address"] == "88.77.66.55", got
        assert got["portmap"]["gateway"] == "192.168.50.1", got
        # The kernel's NAT, as it is by itself.
        said = got["nat"]
        assert (said["mapping"], said["filtering"], said["ports"]) == (P, P, "random"), got
        assert "maps ports on request" in " ".join(got["summary"]), got
        assert not router.mappings(), router.mappings()
        router.stop_daemon()


def other_ends(w):
    report("exit codes and words")
    run = w.public.run
    nobody = run([CULVERT, "netcheck", "-c", w.configure("nobody", listen=0)])
    assert nobody.returncode == 3 and "Nobody to ask" in nobody.stdout, nobody
    missing = run([CULVERT, "netcheck", "-c", w.lab.directory / "none.yaml"])
    assert missing.returncode == 2 and not missing.stdout, missing
    name = w.configure("name", stun=["no-such-name.lab"])
    got = run([CULVERT, "netcheck", "-c", name])
    assert got.returncode == 3 and "resolved" in got.stdout, got
    text = run([CULVERT, "netcheck", "-c", w.both]).stdout
    for line in ("mapping         none", "public IPv6     [2001:db8:2::9]", "There is no NAT"):
        assert line in text, text


def story():
    with Net() as w:
        every_kind(w)
        what_one_server_can_tell(w)
        other_places(w)
        gateways(w)
        without_udp(w)
        other_ends(w)
        without_anything(w)
        report("requests that servers thought too many",
               [p.status()["drops"]["stun_limited"] for p in w.programs])


main(story)
