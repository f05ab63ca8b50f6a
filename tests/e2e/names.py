# SPDX-License-Identifier: MIT
"""names - a name server that answers as it is told, over UDP and TCP, in a host of the lab."""
import collections
import ipaddress
import socket
import struct
import threading
import time

A, AAAA = 1, 28
NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5
UDP_MAX = 512


class Answer:
    """Addresses of either family; `turns`: lists of addresses, one after the other.

    delay: seconds until it comes; rcode: instead of addresses; silent: nothing comes.
    """

    def __init__(self, *addresses, turns=None, delay=0.0, rcode=0, silent=False):
        self.turns = turns or [addresses]
        self.delay, self.rcode, self.silent = delay, rcode, silent
        self._asked = collections.Counter()

    def take(self, kind):
        turn = self.turns[self._asked[kind] % len(self.turns)]
        self._asked[kind] += 1
        version = {A: 4, AAAA: 6}.get(kind)
        found = [ipaddress.ip_address(text) for text in turn]
        return [ip for ip in found if ip.version == version]


class NameServer:
    """Knows `names` (name -> Answer); says NXDOMAIN to others. `asked` counts questions."""

    def __init__(self, host, names):
        self.names, self.asked = names, collections.Counter()
        self._udp = host.socket(bind=("0.0.0.0", 53))
        self._udp.settimeout(None)
        self._tcp = host.socket(kind=socket.SOCK_STREAM, bind=None)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind(("0.0.0.0", 53))
        self._tcp.listen(64)
        self._tcp.settimeout(None)
        for loop in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=loop, daemon=True).start()

    def _answer(self, query):
        """(seconds, message), or None."""
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, question = ".".join(labels).lower(), query[12:at + 5]
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        self.asked[name] += 1
        answer = self.names.get(name, Answer(rcode=NXDOMAIN))
        if answer.silent:
            return None
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(ip.packed)) + ip.packed
            for ip in answer.take(kind))
        count = len(records) // (16 if kind == A else 28)
        head = query[:2] + struct.pack("!HHHHH", 0x8180 | answer.rcode, 1, count, 0, 0)
        return answer.delay, head + question + records

    def _serve_udp(self):
        while True:
            query, who = self._udp.recvfrom(1500)
            answer = self._answer(query)
            if not answer:
                continue
            delay, message = answer
            if len(message) > UDP_MAX:  # truncated: it is asked again over TCP
                end = message.index(b"\0", 12) + 5
                message = message[:2] + struct.pack("!HHHHH", 0x8380, 1, 0, 0, 0) + message[12:end]
            if delay:
                threading.Timer(delay, self._udp.sendto, (message, who)).start()
            else:
                self._udp.sendto(message, who)

    def _serve_tcp(self):
        while True:
            conn, _ = self._tcp.accept()
            threading.Thread(target=self._serve_conn, args=(conn,), daemon=True).start()

    def _serve_conn(self, conn):
        conn.settimeout(20)
        with conn, conn.makefile("rb") as reader:
            while len(size := reader.read(2)) == 2:
                answer = self._answer(reader.read(struct.unpack("!H", size)[0]))
                if answer:
                    time.sleep(answer[0])
                    conn.sendall(struct.pack("!H", len(answer[1])) + answer[1])
