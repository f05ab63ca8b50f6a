#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`path: relay` on one side: the same job through the server, and not a packet between the two."""
import collections
import socket
import threading

import socks
from world import PROXY, SERVER, World, main, report

SIZE = 20_000_000
ETH_P_ALL = 3


class Listener(threading.Thread):
    """Counts the UDP packets that a host exchanges, by the address of the other end."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.own, self.packets = host.address, collections.Counter()
        self._socket = host.socket(kind=socket.SOCK_DGRAM, bind=None, family=socket.AF_PACKET)
        self._socket.bind(("eth0", ETH_P_ALL))
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self.start()

    def run(self):
        while not self._ended.is_set():
            try:
                packet = self._socket.recv(64)
            except TimeoutError:
                continue
            except OSError:  # the device goes down and up again while the host is placed
                continue
            if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_UDP:
                ends = {socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])}
                self.packets.update(ends - {self.own})

    def stop(self):
        self._ended.set()
        self.join()
        self._socket.close()


def hides(w):
    """Not even the address that the far side's own connection has is told."""
    s = w.connect(PROXY)
    socks.greet(s)
    s.sendall(bytes([5, socks.CONNECT, 0]) + socks.address(w.web.address, 80))
    assert socks.read_exactly(s, 10) == b"\x05\0\0\x01" + bytes(6), "an address"
    s.close()


def transfer(w, digest):
    got = w.fetch().result()
    assert got["error"] is None and got["sha256"] == digest, got
    report("Mbit/s on the relay", got["bytes"] * 8 / got["seconds"] / 1e6)
    return got


def story():
    with World() as w:
        digest = w.file(SIZE)
        w.serve_files()
        w.a.config["peers"]["far"]["path"] = "relay"
        listeners = [Listener(w.a.host), Listener(w.b.host)]
        w.start(wait=["relay"])
        transfer(w, digest)
        hides(w)
        for agent, peer in ((w.a, "far"), (w.b, "near")):
            path = agent.path(peer)
            assert path["kind"] == "relay" and path["address"] == f"{SERVER}:28583", path
            assert path["why"], f"{agent.name} does not say why it is not direct"
            report(f"{agent.name} says", path["why"])
            kinds = {kind for _, kind in agent.paths(peer)}
            assert kinds == {"relay"}, f"{agent.name} had paths {kinds}"
        for listener in listeners:
            listener.stop()
            report("UDP packets by far end", dict(listener.packets))
            assert set(listener.packets) == {SERVER}, listener.packets
        relayed = w.server.status()
        assert relayed["relay_rx_bytes"] >= SIZE <= relayed["relay_tx_bytes"], relayed
        assert relayed["channels"] == 1, relayed


main(story)
