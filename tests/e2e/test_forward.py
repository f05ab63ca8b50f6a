#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`culvert forward`: ssh's grammar on a running agent; what is added works at once, is listed, goes
when it is removed, and outlives a reload."""
import json
import socket

from world import World, main, report

TARGET = 8100


def forward(w, code, *args):
    answer = w.a.ask("forward", *args)
    assert answer.returncode == code, (args, answer.returncode, answer.stdout, answer.stderr)
    return answer.stdout if code == 0 else answer.stderr


def listed(w):
    return {f["listen"]: f for f in json.loads(forward(w, 0, "--list", "--json"))}


def echoes(w, address, family=socket.AF_INET):
    """A client of the forward is the target's client."""
    s = w.a.host.socket(kind=socket.SOCK_STREAM, bind=None, family=family)
    s.settimeout(5)
    try:
        s.connect(address)
        s.sendall(b"ping")
        return s.recv(4) == b"ping"
    except OSError:
        return False
    finally:
        s.close()


def echo_server(w):
    listener = w.listen(TARGET)

    def serve():
        try:
            while True:
                s, _ = listener.accept()
                s.settimeout(10)
                s.sendall(s.recv(64))
                s.close()
        except OSError:
            pass
    w.in_background(serve)
    return listener


def reload(w, code=0, **config):
    w.a.config.update(config)
    w.a.file.write_text(json.dumps(w.a.config) + "\n")
    answer = w.a.ask("reload")
    assert answer.returncode == code, (answer.returncode, answer.stderr)
    return answer.stderr


def story():
    with World(one_way_ms=5) as w:
        w.a.config["forwards"] = [{"listen": "127.0.0.1:2200", "peer": "far",
                                   "to": f"{w.web.address}:{TARGET}"}]
        w.b.config["peers"]["near"]["allow"].append(f"{w.web.address}:8101/udp")
        w.start()
        server = echo_server(w)
        to = f"{w.web.address}:{TARGET}"
        unix = w.a.directory / "local.sock"

        report("each form of the grammar carries")
        table = [
            (f"2201:{to}", ("127.0.0.1", 2201), socket.AF_INET),
            (f"localhost:2202:{to}", ("::1", 2202), socket.AF_INET6),
            (f"127.0.0.1:2203:{to}", ("127.0.0.1", 2203), socket.AF_INET),
            (f"[::1]:2204:{to}", ("::1", 2204), socket.AF_INET6),
            (f"*:2205:{to}", (w.a.host.address, 2205), socket.AF_INET),
            (f":2206:{to}", (w.a.host.address, 2206), socket.AF_INET),
            (f"2207:web.far.lab:{TARGET}", ("127.0.0.1", 2207), socket.AF_INET),
            (f"{unix}:{to}", str(unix), socket.AF_UNIX),
        ]
        for text, address, family in table:
            addresses = forward(w, 0, "far", text).split()
            assert addresses and echoes(w, address, family), text
            assert set(addresses) <= set(listed(w)), (text, listed(w))
        any_port = forward(w, 0, "far", f"127.0.0.1:0:{to}").strip()
        assert echoes(w, ("127.0.0.1", int(any_port.rpartition(":")[2])))
        report("  forms", len(table) + 1)

        report("datagrams")
        udp = w.web.socket(bind=("0.0.0.0", 8101))
        udp.settimeout(10)
        w.in_background(lambda: [udp.sendto(*udp.recvfrom(2048)) for _ in range(2)])
        forward(w, 0, "--udp", "far", f"127.0.0.1:2210:{w.web.address}:8101")
        client = w.a.host.socket(bind=("127.0.0.1", 0))
        client.settimeout(5)

        def answers(word):
            client.sendto(word, ("127.0.0.1", 2210))
            return client.recv(64) == word
        assert answers(b"one")
        reload(w)
        assert answers(b"two")
        assert listed(w)["127.0.0.1:2210"]["protocol"] == "udp"
        assert "no forward was added" in forward(w, 1, "--remove", "127.0.0.1:2210")
        forward(w, 0, "--udp", "--remove", "127.0.0.1:2210")
        assert "127.0.0.1:2210" not in listed(w)
        assert "no unix sockets" in forward(w, 2, "--udp", "far", f"{unix}:1.2.3.4:5")
        udp.close(), client.close()

        report("what cannot be")
        assert "no such peer" in forward(w, 2, "nobody", f"2300:{to}")
        assert "expected" in forward(w, 2, "far", "2300")
        assert "listens on an address" in forward(w, 2, "far", f"host.example:2300:{to}")
        assert "cannot listen" in forward(w, 1, "far", f"127.0.0.1:2201:{to}")
        assert "cannot listen" in forward(w, 1, "far", f"127.0.0.1:1080:{to}")
        assert "cannot listen" in forward(w, 1, "far", f"198.51.100.99:2300:{to}")
        assert "no forward was added" in forward(w, 1, "--remove", "2300")
        assert "in the configuration" in forward(w, 1, "--remove", "127.0.0.1:2200")
        forward(w, 2, "--list", "--remove", "2300")
        forward(w, 2)
        assert "127.0.0.1:2300" not in listed(w)

        report("listed: text, JSON, status")
        assert f"tcp 127.0.0.1:2203 -> far {to} (added)" in forward(w, 0, "--list").splitlines()
        assert f"tcp 127.0.0.1:2200 -> far {to}" in forward(w, 0, "--list").splitlines()
        assert listed(w)["127.0.0.1:2203"] == {
            "listen": "127.0.0.1:2203", "peer": "far", "target": to, "protocol": "tcp",
            "added": True}
        assert {"kind": "forward", "address": "127.0.0.1:2203", "peer": "far"}.items() <= next(
            o for o in w.a.status()["listeners"] if o["address"] == "127.0.0.1:2203").items()

        report("over reloads: it stays, its peer may go and come")
        before = set(listed(w))
        reload(w)
        assert set(listed(w)) == before and echoes(w, ("127.0.0.1", 2203))
        config = dict(w.a.config)
        reload(w, peers={}, proxies=[], forwards=[])
        assert "127.0.0.1:2203" in listed(w) and "127.0.0.1:2200" not in listed(w)
        assert not echoes(w, ("127.0.0.1", 2203))
        reload(w, **{k: config[k] for k in ("peers", "proxies", "forwards")})
        w.a.wait_connected("far")
        assert echoes(w, ("127.0.0.1", 2203)) and echoes(w, ("127.0.0.1", 2200))

        report("a file that wants its address: another forward fails, the same takes it over")
        more = config["forwards"] + [{"listen": "127.0.0.1:2203", "peer": "far",
                                      "to": "127.0.0.1:1"}]
        assert "remove it first" in reload(w, 1, forwards=more)
        more[1]["to"] = to
        reload(w, forwards=more)
        assert not listed(w)["127.0.0.1:2203"]["added"] and echoes(w, ("127.0.0.1", 2203))
        reload(w, forwards=config["forwards"])
        assert not echoes(w, ("127.0.0.1", 2203))

        report("removed")
        for where, address, family in (("2201", ("127.0.0.1", 2201), socket.AF_INET),
                                       ("[::1]:2204", ("::1", 2204), socket.AF_INET6),
                                       ("*:2205", ("127.0.0.1", 2205), socket.AF_INET),
                                       (str(unix), str(unix), socket.AF_UNIX)):
            forward(w, 0, "--remove", where)
            assert not echoes(w, address, family), where
        assert not unix.exists()
        w.a.stop()
        assert "no running agent" in forward(w, 1, "--list")
        server.close()


main(story)
