# SPDX-License-Identifier: MIT
"""transfer - what runs inside the lab's hosts: a web server, a flood, and clients that measure.

    transfer.py files PORT DIRECTORY
    transfer.py flood PORT
    transfer.py [--proxy=HOST:PORT] get HOST:PORT PATH
    transfer.py [--proxy=HOST:PORT] drain HOST:PORT STREAMS SECONDS

The clients print "bytes N" as they go and one JSON object at the end; "stalls" in it are instants
of time.monotonic(), which is the same clock for all of a machine.
"""
import argparse
import functools
import hashlib
import http.server
import json
import selectors
import socket
import socketserver
import sys
import time

import socks

PROGRESS = 256 << 10
STALL_MIN, STALLS_MAX = 0.2, 200  # seconds; how many are told


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def copyfile(self, source, outputfile):
        try:
            self.connection.sendfile(source)
        except OSError:
            self.close_connection = True


class Flood(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while True:
                self.request.sendall(bytes(1 << 16))
        except OSError:
            pass


def serve(make):
    socketserver.TCPServer.allow_reuse_address = True
    socketserver.ThreadingMixIn.daemon_threads = True
    server = make()
    print("listening", flush=True)
    server.serve_forever()


def split(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def connect(options, target):
    s = socket.create_connection(split(options.proxy) if options.proxy else target, 20)
    s.settimeout(90)
    return socks.connect(s, *target) if options.proxy else s


def get(options, target, path):
    """Downloads a file; the head of the answer does not count."""
    begin = time.monotonic()
    digest, count, said = hashlib.sha256(), 0, 0
    out = {"error": None, "first_byte_s": None, "stall_s": 0.0, "stall_at_s": None, "stalls": []}
    try:
        s = connect(options, target)
        out["connected_s"] = time.monotonic() - begin
        s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        stream = b""
        while b"\r\n\r\n" not in stream:
            block = s.recv(1 << 16)
            if not block:
                raise EOFError("end inside the head")
            if out["first_byte_s"] is None:
                out["first_byte_s"] = time.monotonic() - begin
            stream += block
        head, _, block = stream.partition(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0]:
            raise ValueError(head.decode())
        length = next(int(line.split(b":")[1]) for line in head.splitlines()
                      if line.lower().startswith(b"content-length:"))
        last = time.monotonic()
        while True:
            digest.update(block)
            count += len(block)
            if count - said >= PROGRESS:
                said = count
                print(f"bytes {count}", flush=True)
            block = s.recv(1 << 18)
            now = time.monotonic()
            if not block:
                break
            if now - last > out["stall_s"]:
                out["stall_s"], out["stall_at_s"] = now - last, last - begin
            if now - last > STALL_MIN and len(out["stalls"]) < STALLS_MAX:
                out["stalls"].append((last, now))
            last = now
        if count != length:
            raise EOFError(f"end of file after {count} of {length} bytes")
    except (OSError, EOFError, ValueError, AssertionError) as error:
        out["error"] = f"{type(error).__name__}: {error}"
    out.update(bytes=count, sha256=digest.hexdigest(), seconds=time.monotonic() - begin,
               ended_at=time.time())
    print(json.dumps(out), flush=True)


def drain(options, target, streams, seconds):
    """Takes what comes from several streams for a time, after each has brought something."""
    selector = selectors.DefaultSelector()
    for number in range(streams):
        s = connect(options, target)
        s.setblocking(False)
        selector.register(s, selectors.EVENT_READ, number)
    counts = [0] * streams
    started, begin = time.monotonic(), None
    while begin is None or time.monotonic() < begin + seconds:
        if begin is None and all(counts):
            begin, counts = time.monotonic(), [0] * streams
        if begin is None and time.monotonic() > started + 20:
            sys.exit(f"after 20 s a stream has brought nothing: {counts}")
        for key, _ in selector.select(1):
            block = key.fileobj.recv(1 << 18)
            if not block:
                raise EOFError("end of a stream")
            counts[key.data] += len(block)
    print(json.dumps({"counts": counts, "seconds": time.monotonic() - begin}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--proxy")
    parser.add_argument("words", nargs="+")
    options = parser.parse_args()
    command, *args = options.words
    if command == "files":
        handler = functools.partial(Quiet, directory=args[1])
        serve(lambda: http.server.ThreadingHTTPServer(("0.0.0.0", int(args[0])), handler))
    elif command == "flood":
        serve(lambda: socketserver.ThreadingTCPServer(("0.0.0.0", int(args[0])), Flood))
    elif command == "get":
        get(options, split(args[0]), args[1])
    elif command == "drain":
        drain(options, split(args[0]), int(args[1]), float(args[2]))
    else:
        sys.exit(f"{command}?")


main()
