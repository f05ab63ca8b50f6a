#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Remote forwards: the peer listens, this agent connects. (E01, T82)

What the peer's allow_listen does not name is not opened; the listener lives as long as the agent
that asked for it is there; connections end as they would without culvert; nobody gets more than he
was granted.
"""
import hashlib
import json
import os
import socket
import stat
import threading
import time

from world import World, culvert, main, report

SIZE = 2 << 20


class Echo:
    """A service in host a that answers each connection with what it sent, and its end with an end."""

    def __init__(self, w, address):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.listener = w.a.host.socket(family=family, kind=socket.SOCK_STREAM, bind=None)
        if family == socket.AF_INET:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.listener.listen(64)
        self.listener.settimeout(None)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    @staticmethod
    def serve(s):
        with s:
            try:
                while block := s.recv(1 << 16):
                    s.sendall(block)
            except OSError:
                pass


def echo_udp(w, port):
    """A UDP service in host a that answers what it got."""
    s = w.a.host.socket(bind=("127.0.0.1", port))
    s.settimeout(None)

    def run():
        while True:
            data, who = s.recvfrom(65535)
            s.sendto(data, who)
    threading.Thread(target=run, daemon=True).start()


def ask_udp(w, port, data, tries=20):
    """Each client of a UDP port is a flow of its own; its answer, or None."""
    s = w.b.host.socket(bind=("127.0.0.1", 0))
    s.settimeout(0.25)
    s.connect(("127.0.0.1", port))
    for _ in range(tries):
        try:
            s.send(data)
            return s.recv(65535)
        except (TimeoutError, ConnectionRefusedError):
            pass
    return None


def check_echo(s, size=1000):
    """Sends, ends, and must get the same back with an end."""
    data = os.urandom(size)
    got = hashlib.sha256()

    def send():
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    s.settimeout(20)
    while block := s.recv(1 << 16):
        got.update(block)
    sender.join()
    s.close()
    assert got.hexdigest() == hashlib.sha256(data).hexdigest()


def unix_client(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(str(path))
    return s


def listeners(agent, kind="remote_forward"):
    return sorted(li["address"] for li in agent.status()["listeners"] if li["kind"] == kind)


def remote(agent, listen):
    return next(r for r in agent.status()["remote_forwards"] if r["listen"] == listen)


def is_refused(w, address):
    try:
        w.connect(address, host=w.b.host, timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def is_reset(s):
    s.settimeout(20)
    try:
        s.recv(1)
    except ConnectionResetError:
        return True
    return False


def configure(w):
    app = w.b.directory / "app"
    app.mkdir()
    w.a.config["remote_forwards"] = [
        {"listen": "127.0.0.1:8080", "peer": "far", "to": "127.0.0.1:3000"},
        {"listen": "localhost:8081", "peer": "far", "to": 3000},
        {"listen": "127.0.0.1:0", "peer": "far", "to": "127.0.0.1:3000"},
        {"listen": f"unix:{app}/x.sock", "peer": "far", "to": f"unix:{w.a.directory}/s.sock"},
        {"listen": "127.0.0.1:8085", "peer": "far", "to": "127.0.0.1:3999"},
        {"listen": "127.0.0.1:9999", "peer": "far", "to": "127.0.0.1:3000"},
        {"listen": "0.0.0.0:8080", "peer": "far", "to": "127.0.0.1:3000"},
        {"listen": f"unix:{w.b.directory}/not.sock", "peer": "far", "to": "127.0.0.1:3000"},
        {"listen": "127.0.0.1:8090", "peer": "far", "to": "127.0.0.1:3000"},
        {"listen": "127.0.0.1:8053", "peer": "far", "to": "127.0.0.1:3053", "protocol": "udp"},
        {"listen": "127.0.0.1:8054", "peer": "far", "to": "127.0.0.1:3053", "protocol": "udp"}]
    w.b.config["peers"]["near"].update(
        allow=["*:*", "127.0.0.1:1-65535", f"unix:{app}/*"],
        allow_listen=["127.0.0.1:8080-8099", "localhost:8081", f"unix:{app}/*",
                      "127.0.0.1:8053/udp"])
    # One that is asked for there is another program's already.
    taken = w.b.host.socket(kind=socket.SOCK_STREAM, bind=None)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", 8090))
    taken.listen(1)
    return app, taken


def what_is_opened(w, app):
    w.wait_until(lambda: len(listeners(w.b)) == 7, 10, "seven listeners")
    assert listeners(w.b) == sorted([
        "127.0.0.1:8080", "127.0.0.1:8081", "[::1]:8081", "127.0.0.1:8082", f"unix:{app}/x.sock",
        "127.0.0.1:8085", "127.0.0.1:8053"]), listeners(w.b)
    assert remote(w.a, "127.0.0.1:0")["address"] == "127.0.0.1:8082"  # the lowest that is free
    for listen in ("127.0.0.1:9999", "127.0.0.1:8054", "0.0.0.0:8080", f"unix:{w.b.directory}/not.sock"):
        r = remote(w.a, listen)
        assert r["address"] is None and "allow_listen" in r["why"], r
        assert is_refused(w, ("127.0.0.1", 9999))
    assert "in use" in remote(w.a, "127.0.0.1:8090")["why"]
    assert not os.path.exists(f"{w.b.directory}/not.sock")
    info = os.stat(f"{app}/x.sock")
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600, oct(info.st_mode)
    text = culvert("status", "--control", w.a.control).stdout
    assert "REMOTE FORWARD" in text and "allow_listen" in text, text
    report("what is granted is open, the rest says why", "as it should be")


def what_is_carried(w, app):
    check_echo(w.connect(("127.0.0.1", 8080), host=w.b.host), SIZE)
    check_echo(w.connect(("127.0.0.1", 8082), host=w.b.host))
    check_echo(unix_client(f"{app}/x.sock"), SIZE)
    v6 = w.b.host.socket(family=socket.AF_INET6, kind=socket.SOCK_STREAM, bind=None)
    v6.connect(("::1", 8081))
    check_echo(v6)
    report("bytes there and back, an end as an end", "equal")
    # Nobody listens at the target: the client sees a reset.
    with w.connect(("127.0.0.1", 8085), host=w.b.host) as s:
        assert is_reset(s)
    for size in 1, 1200, 30000:
        data = os.urandom(size)
        assert ask_udp(w, 8053, data) == data, f"{size} bytes by UDP"
    report("UDP there and back", "equal")
    many = [w.connect(("127.0.0.1", 8080), host=w.b.host) for _ in range(50)]
    for s in many:
        check_echo(s, 10000)
    report("50 connections at once", "equal")


def nobody_reaches_it_through_us(w, app):
    """The listener is b's own: a pattern has to name it by address and port."""
    for target in "127.0.0.1:8080", f"unix:{app}/x.sock":
        nc = w.a.ask("nc", "far", target, timeout=10)
        assert nc.returncode == 4, nc
        assert f"target={target} cause=\"the far side does not allow this target\"" in w.b.log()


def a_port_becomes_free(w, taken):
    taken.close()
    w.wait_until(lambda: remote(w.a, "127.0.0.1:8090")["address"] == "127.0.0.1:8090", 35,
                 "the port that became free")
    check_echo(w.connect(("127.0.0.1", 8090), host=w.b.host))
    said = w.a.log().count("listen=127.0.0.1:8090 cause=\"the address is in use")
    assert said == 1, f"logged {said} times"


def a_reload_takes_and_gives(w):
    """One is gone, one leads elsewhere, one is no longer allowed; what runs goes on."""
    running = w.connect(("127.0.0.1", 8080), host=w.b.host)
    running.sendall(b"before")
    assert running.recv(100) == b"before"
    w.a.config["remote_forwards"] = [r for r in w.a.config["remote_forwards"]
                                     if r["listen"] != "127.0.0.1:8080"]
    for r in w.a.config["remote_forwards"]:
        if r["listen"] == "127.0.0.1:8090":
            r["to"] = "127.0.0.1:3999"
    reload(w.a)
    w.wait_until(lambda: is_refused(w, ("127.0.0.1", 8080)), 5, "the listener closes")
    with w.connect(("127.0.0.1", 8090), host=w.b.host) as s:
        assert is_reset(s)
    running.sendall(b"after")
    assert running.recv(100) == b"after"
    check_echo(running)
    assert ask_udp(w, 8053, b"still") == b"still"
    w.b.config["peers"]["near"]["allow_listen"] = ["127.0.0.1:8082"]
    reload(w.b)
    w.wait_until(lambda: listeners(w.b) == ["127.0.0.1:8082"], 5, "only what is allowed now")
    assert ask_udp(w, 8053, b"gone", tries=2) is None
    assert "allow_listen" in remote(w.a, "127.0.0.1:8085")["why"]
    report("reloads at both sides", "as they say")


def reload(agent):
    agent.file.write_text(json.dumps(agent.config) + "\n")
    done = agent.ask("reload")
    assert done.returncode == 0, done


def each_side_ends_and_returns(w, app):
    running = w.connect(("127.0.0.1", 8082), host=w.b.host)
    running.sendall(b"x")
    assert running.recv(1) == b"x"
    w.a.stop()
    assert is_reset(running)
    w.wait_until(lambda: is_refused(w, ("127.0.0.1", 8082)), 5, "the listener goes with its asker")
    assert listeners(w.b) == []
    begin = time.monotonic()
    w.a.start()
    w.wait_until(lambda: "127.0.0.1:8082" in listeners(w.b), 10, "the asker is back")
    check_echo(w.connect(("127.0.0.1", 8082), host=w.b.host))
    report("open again after a restart, seconds", time.monotonic() - begin)
    # What a killed listening side left behind is taken over; what another program holds is not.
    w.b.kill()
    assert os.path.exists(f"{app}/x.sock")
    w.b.start()
    w.wait_until(lambda: f"unix:{app}/x.sock" in listeners(w.b), 15, "the left-over is taken over")
    check_echo(unix_client(f"{app}/x.sock"))
    w.a.kill()
    w.a.start()
    w.wait_until(lambda: remote(w.a, "127.0.0.1:0")["address"] == "127.0.0.1:8082", 10,
                 "back after it was killed")
    check_echo(w.connect(("127.0.0.1", 8082), host=w.b.host))


def story():
    with World(one_way_ms=5) as w:
        app, taken = configure(w)
        Echo(w, ("127.0.0.1", 3000))
        Echo(w, f"{w.a.directory}/s.sock")
        echo_udp(w, 3053)
        w.start()
        what_is_opened(w, app)
        what_is_carried(w, app)
        nobody_reaches_it_through_us(w, app)
        a_port_becomes_free(w, taken)
        each_side_ends_and_returns(w, app)
        a_reload_takes_and_gives(w)


main(story)
