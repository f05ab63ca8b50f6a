#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An end in the middle of everything: one of each kind of flow, and then an agent stops, dies, or a
reload takes the peer away. (E10, E29, E35)

Whoever lives goes on: nothing is left of the flows, and all of them can be had again. Then 100
reloads that give proxies and peers other places, while an association, a UDP forward and remote
forwards are in use.
"""
import copy
import json
import socket
import subprocess
import threading
import time

import socks
from test_associate import Association, Echo
from world import CULVERT, PROXY, World, main, report

FLOOD, SILENT, ECHO, NOBODY = 9, 9000, 7007, 7999
FORWARD, UDP_FORWARD = 5000, 5001
LISTEN, LISTEN_UDP = 6000, 6001
RELOADS = 100
GONE = 5  # seconds until nothing is left of flows whose peer is gone


class Sink(threading.Thread):
    """Takes connections, and neither reads nor says anything."""

    def __init__(self, host, address, port):
        super().__init__(daemon=True)
        self.conns = []
        self.listener = host.socket(kind=socket.SOCK_STREAM, bind=None)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(64)
        self.listener.settimeout(None)
        self.start()

    def run(self):
        while True:
            self.conns.append(self.listener.accept()[0])


def udp_client(w, host, port):
    s = host.socket(bind=("127.0.0.1", 0))
    s.settimeout(0.5)
    s.connect(("127.0.0.1", port))
    assert is_echoed(s), f"no echo on UDP port {port} of {host.name}"
    return s


def is_echoed(s, tries=10):
    for _ in range(tries):
        try:
            s.send(b"hello")
            return s.recv(100) == b"hello"
        except (TimeoutError, socket.timeout, ConnectionRefusedError):
            pass
    return False


def by_socks(w, host, port, command=socks.CONNECT):
    """Asks and does not wait for the answer."""
    s = w.connect(PROXY)
    socks.greet(s)
    s.sendall(bytes([5, command, 0]) + socks.address(host, port))
    return s


def by_http(w, text):
    s = w.connect(PROXY)
    s.sendall(text.replace("\n", "\r\n").encode())
    return s


def bind(w):
    s = by_socks(w, w.web.address, 0, socks.BIND)
    assert socks.read_reply(s) == socks.OK
    return s


def half_closed(w):
    s = socks.connect(w.connect(PROXY), w.web.address, SILENT)
    s.sendall(b"x" * 100_000)
    s.shutdown(socket.SHUT_WR)
    return s


def download(s):
    assert s.recv(1 << 16)
    return s


def open_all(w):
    """One of each kind, each in the middle of what it does."""
    web = w.web.address
    waiting = w.connect(PROXY)
    waiting.sendall(b"\x05\x01")
    nc = subprocess.Popen(w.a.host._wrap([CULVERT, "nc", "--control", w.a.control, "far",
                                          f"{web}:{SILENT}"], None),
                          stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
    association = Association(w)
    association.expect(b"hello", web)
    association.send(b"x", "slow.nowhere.lab")
    out = [
        waiting, nc, association,
        socks.connect(w.connect(PROXY), web, SILENT),
        download(socks.connect(w.connect(PROXY), web, FLOOD)),
        half_closed(w),
        by_socks(w, w.nobody, 80),  # is dialled for some seconds
        by_socks(w, "slow.nowhere.lab", 80),
        bind(w),
        by_socks(w, "nobody.nowhere.lab", 0, socks.BIND),
        by_socks(w, "0.0.0.0", 0, 3),  # ASSOCIATE
        download(w.connect(("127.0.0.1", FORWARD))),
        udp_client(w, w.a.host, UDP_FORWARD),
        w.connect(("127.0.0.1", LISTEN), host=w.b.host),
        udp_client(w, w.b.host, LISTEN_UDP),
        download(by_http(w, f"GET http://{web}:{FLOOD}/ HTTP/1.1\nHost: {web}\n\n")),
        by_http(w, f"POST http://{web}:{SILENT}/ HTTP/1.1\nHost: {web}\n"
                "Content-Length: 100000\n\nand no more"),
        by_http(w, f"GET http://{w.b.host.address}:{NOBODY}/ HTTP/1.1\nHost: x\n\n"),
    ]
    lingering = by_http(w, "GET http://192.0.2.1:0/ HTTP/1.1\nHost: x\n\n")
    assert lingering.recv(7) == b"HTTP/1."  # refused, and the client does not go
    return out + [lingering]


def close_all(things):
    for thing in things:
        if isinstance(thing, subprocess.Popen):
            thing.kill()
            thing.wait()
        elif isinstance(thing, Association):
            thing.__exit__()
        else:
            thing.close()


def streams(agent, peer):
    return agent.peer(peer)["streams"]


def is_ready(w):
    """Remote forwards are open, so that open_all() finds what it wants."""
    return all(r.get("address") for r in w.a.status()["remote_forwards"])


def await_ready(w):
    w.wait_until(lambda: is_ready(w), 15, "the remote forwards are open")


def nothing_is_left(w, agent, peer, count=0):
    w.wait_until(lambda: streams(agent, peer) <= count, GONE,
                 f"nothing but {count} streams left at {agent.name}")


def it_stops(w, agent, other):
    report(f"{agent.name} is told to stop")
    await_ready(w)
    things = open_all(w)
    report("  seconds it took", agent.stop())
    close_all(things)
    nothing_is_left(w, other, "near" if other is w.b else "far")
    agent.start()


def it_dies(w):
    report("b is killed, and comes back")
    await_ready(w)
    things = open_all(w)
    w.b.kill()
    w.b.start()
    # The new object resets what the old one had; the UDP forward opens flows anew.
    await_ready(w)
    assert is_echoed(udp_client(w, w.a.host, UDP_FORWARD))
    close_all(things)
    assert w.a.is_running and "remote forward open" in w.a.log()


def write(agent, **config):
    agent.config.update(config)
    agent.file.write_text(json.dumps(agent.config, indent=2) + "\n")


def reload(agent, **config):
    write(agent, **config)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(agent.control))
        s.sendall(b'{"command":"reload"}\n')
        answer = json.loads(s.makefile().readline())
    assert answer["ok"], answer


def it_is_removed(w, agent):
    report(f"a reload of {agent.name} removes the peer")
    await_ready(w)
    things = open_all(w)
    config = copy.deepcopy(agent.config)
    without = {"peers": {}, "proxies": [], "forwards": [], "remote_forwards": []}
    reload(agent, **{key: value for key, value in without.items() if key in config})
    if agent is w.a:
        w.wait_until(lambda: streams(w.b, "near") == 0, GONE, "b has nothing left")
    else:
        nothing_is_left(w, w.a, "far")
    close_all(things)
    end = time.monotonic() + 1.2  # until the removed session is gone for good, its number free
    w.wait_until(lambda: agent.status() and time.monotonic() > end, 3, "it is gone")
    reload(agent, **config)
    w.a.wait_connected("far")


def pings_of_the_removed(w):
    """An answer may never come: of a peer that is not there, and then is no peer at all."""
    report("a ping to a peer that a reload removes")
    peers = copy.deepcopy(w.a.config["peers"])
    reload(w.a, peers={**peers, "ghost": {"key": w.ghost_key}})
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(w.a.control))
        s.sendall(b'{"command":"ping","peer":"ghost"}\n')
        reload(w.a, peers=peers)
        answer = json.loads(s.makefile().readline())
    assert answer["ok"] is False, answer
    # Its session is kept for a second; then nothing may ask for it any more.
    end = time.monotonic() + 1.5
    w.wait_until(lambda: w.a.status() and time.monotonic() > end, 3, "the agent lives on")


def a_policy_closes_a_bind(w):
    report("allow_listen without a BIND that listens closes it")
    s = bind(w)
    peers = copy.deepcopy(w.b.config["peers"])
    without = {"near": {**peers["near"], "allow_listen": peers["near"]["allow_listen"][:2]}}
    reload(w.b, peers=without)
    assert socks.read_reply(s) == socks.NOT_ALLOWED
    s.close()
    reload(w.b, peers=peers)


def many_reloads(w):
    report(f"{RELOADS} reloads with an association, a UDP flow and listeners in use")
    await_ready(w)
    second = Association(w, proxy=("127.0.0.1", 1081))
    with Association(w) as first, second, udp_client(w, w.a.host, UDP_FORWARD) as flow, \
            udp_client(w, w.b.host, LISTEN_UDP) as back:
        base = copy.deepcopy(w.a.config)
        proxies, other = base["proxies"], {"key": w.ghost_key}
        for i in range(RELOADS):
            odd, third = i % 2, i % 3
            more = [{"listen": f"127.0.0.1:{1090 + i % 5}", "peer": "far"}] * (third > 0)
            peers = {"far": base["peers"]["far"], "ghost": other}
            if odd:
                peers = dict(reversed(peers.items()))
            if third == 0:
                del peers["ghost"]
            reload(w.a, peers=peers, proxies=more + (proxies[::-1] if odd else proxies),
                   forwards=base["forwards"][::-1] if odd else base["forwards"],
                   remote_forwards=base["remote_forwards"][::-1] if odd
                   else base["remote_forwards"])
            if i % 10 == 0:
                reload(w.b)
                assert is_echoed(flow) and is_echoed(back), i
                first.expect(b"first %d" % i, w.web.address)
                second.expect(b"second %d" % i, w.web.address)
        # Its proxy goes: the association goes on by the peer that it had.
        reload(w.a, **{**base, "proxies": proxies[:1]})
        second.expect(b"without its proxy", w.web.address)
        first.expect(b"with it", w.web.address)
        reload(w.a, **base)
    assert w.a.log().count("peer up peer=far") == w.ups, "the session was another one"


def story():
    with World() as w:
        Echo(w.web, w.web.address, ECHO), Echo(w.a.host, "127.0.0.1", ECHO)
        Sink(w.web, "0.0.0.0", SILENT), Sink(w.a.host, "127.0.0.1", SILENT)
        w.serve_flood()
        w.nobody = w.web.address.rpartition(".")[0] + ".222"
        w.ghost_key = w.program(type(w.b), "ghost", w.b.host).key
        w.a.config["proxies"].append({"listen": "127.0.0.1:1081", "peer": "far"})
        w.a.config["forwards"] = [
            {"listen": f"127.0.0.1:{FORWARD}", "peer": "far", "to": f"{w.web.address}:{FLOOD}"},
            {"listen": f"127.0.0.1:{UDP_FORWARD}", "peer": "far", "protocol": "udp",
             "to": f"{w.web.address}:{ECHO}"}]
        w.a.config["remote_forwards"] = [
            {"listen": f"127.0.0.1:{LISTEN}", "peer": "far", "to": f"127.0.0.1:{SILENT}"},
            {"listen": f"127.0.0.1:{LISTEN_UDP}", "peer": "far", "protocol": "udp",
             "to": f"127.0.0.1:{ECHO}"}]
        near = w.b.config["peers"]["near"]
        near["allow"].append("*:*/udp")
        near["allow_listen"] = ["127.0.0.1:6000-6001", "127.0.0.1:6000-6001/udp",
                                f"{w.b.host.address}:7000-7099"]
        w.start()
        pings_of_the_removed(w)
        a_policy_closes_a_bind(w)
        it_is_removed(w, w.a)
        it_is_removed(w, w.b)
        w.ups = w.a.log().count("peer up peer=far")
        many_reloads(w)
        it_dies(w)
        it_stops(w, w.b, w.a)
        it_stops(w, w.a, w.b)
        await_ready(w)
        close = open_all(w)
        w.finish()
        close_all(close)


main(story)
