#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The pages of `metrics`: Prometheus' text, the PAC file as a browser runs it, the page for people;
who may ask, and how (T72)."""
import json
import re
import socket
import subprocess
import time

from world import PROXY, World, main, report, skip

# Debian's python, which has Debian's module, whatever python runs this.
PAC_RUNNER = ["/usr/bin/python3", "-c", """
import pacparser, sys
pacparser.init()
pacparser.parse_pac_string(sys.stdin.read())
for host in sys.argv[1:]:
    print(pacparser.find_proxy("http://" + host + "/", host))
"""]
if subprocess.run([PAC_RUNNER[0], "-c", "import pacparser"], capture_output=True).returncode:
    skip("pacparser is missing (package python3-pacparser)")

PORT = 9464
LINE = re.compile(r'^[a-z_]+(\{([a-z_]+="([^"\\\n]|\\.)*",?)*\})? -?[0-9.e+-]+$')


def ask(w, path, host=f"127.0.0.1:{PORT}", method="GET", address=("127.0.0.1", PORT),
        family=socket.AF_INET):
    """(code, headers, body) of one raw request."""
    s = w.a.host.socket(kind=socket.SOCK_STREAM, bind=None, family=family)
    s.settimeout(5)
    s.connect(address)
    head = f"{method} {path} HTTP/1.1\r\n" + (f"Host: {host}\r\n" if host else "") + "\r\n"
    s.sendall(head.encode())
    data = b""
    while block := s.recv(1 << 16):
        data += block
    s.close()
    head, _, body = data.decode().partition("\r\n\r\n")
    lines = head.split("\r\n")
    headers = {k.lower(): v for k, v in (o.split(": ", 1) for o in lines[1:])}
    return int(lines[0].split()[1]), headers, body


def run_pac(text, *hosts):
    """What a browser does for each host."""
    got = subprocess.run([*PAC_RUNNER, *hosts], input=text, capture_output=True, text=True,
                         timeout=20)
    assert got.returncode == 0, got.stderr
    return got.stdout.splitlines()


def prometheus(w):
    report("Prometheus' text")
    code, headers, body = ask(w, "/metrics")
    assert code == 200 and headers["content-type"].startswith("text/plain; version=0.0.4"), headers
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", body, re.M))
    samples = {}
    for line in body.splitlines():
        if line.startswith("#"):
            continue
        assert LINE.match(line), line
        name = re.match(r"[a-z_]+", line)[0]
        assert name in types, f"{name} has no TYPE"
        assert name.endswith("_total") == (types[name] == "counter"), name
        samples[line.rpartition(" ")[0]] = float(line.rpartition(" ")[2])
    assert samples['culvert_peer_connected{peer="far"}'] == 1
    assert 0 < samples['culvert_peer_rtt_seconds{peer="far"}'] < 2
    assert samples['culvert_peer_path_info{peer="far",kind="direct"}'] == 1
    assert samples["culvert_uptime_seconds"] > 0
    assert f'culvert_listener_info{{kind="metrics",address="127.0.0.1:{PORT}",peer=""}}' in samples
    got = w.a.host.run(["curl", "-sS", "--fail", "--socks5-hostname", f"{PROXY[0]}:{PROXY[1]}",
                        "-o", "/dev/null", "http://web.far.lab/data"], timeout=30)
    assert got.returncode == 0, got.stderr
    name = 'culvert_peer_receive_bytes_total{peer="far"} '
    after = ask(w, "/metrics")[2].partition(name)[2].split("\n")[0]
    assert float(after) >= samples[name.strip()] + 1_000_000, after
    report("  samples", len(samples))


def pac(w):
    report("the PAC file, as its parser runs it")
    code, headers, body = ask(w, "/proxy.pac")
    assert code == 200, body
    assert headers["content-type"] == "application/x-ns-proxy-autoconfig", headers
    used = f"PROXY {PROXY[0]}:{PROXY[1]}; SOCKS5 {PROXY[0]}:{PROXY[1]}"
    table = {
            "web.far.culvert": used, "WEB.FAR.CULVERT": used, "web.far.culvert.": used,
            "a.office.example": used, "exact.example": used, "culvert": "DIRECT",
            "notculvert": "DIRECT", "office.example": "DIRECT", "x.exact.example": "DIRECT",
            "www.example.org": "DIRECT", "10.1.2.3": "DIRECT", "[::1]": "DIRECT"}
    got = dict(zip(table, run_pac(body, *table)))
    assert got == table, got
    w.a.config["proxies"][0].update(listen="0.0.0.0:1080", open=True)
    w.a.file.write_text(json.dumps(w.a.config))
    answer = w.a.ask("reload")
    # The address that is there already is in the way of every address: nothing changed.
    assert answer.returncode == 1, answer.stderr
    w.a.stop()
    w.a.start()
    body = ask(w, "/proxy.pac", host=f"127.0.0.2:{PORT}")[2]
    assert run_pac(body, "a.culvert") == ["PROXY 127.0.0.2:1080; SOCKS5 127.0.0.2:1080"], body


def who_may_ask(w):
    report("who may ask, and how")
    for host in ("localhost", f"localhost:{PORT}", "127.0.0.1", f"[::1]:{PORT}", "192.0.2.1:1"):
        assert ask(w, "/metrics", host=host)[0] == 200, host
    for host in ("evil.example", f"evil.example:{PORT}", "localhost.evil.example", "2130706433",
                 "9464", ""):
        code = ask(w, "/metrics", host=host)[0]
        assert code in (400, 403), (host, code)
    for method, code in {"HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 405,
                         "TRACE": 405}.items():
        got = ask(w, "/metrics", method=method)
        assert got[0] == code, (method, got)
        assert method != "HEAD" or got[2] == ""
    assert ask(w, "/other")[0] == 404
    assert ask(w, "/../etc/passwd")[0] == 404
    code, headers, body = ask(w, "/")
    assert code == 200 and "far" in body and "default-src 'none'" in str(headers), body
    assert ask(w, "/" + "x" * 40000)[0] in (400, 414)


def bounds(w):
    report("bounded: silent clients cost the others nothing for long")
    silent = [w.connect(("127.0.0.1", PORT)) for _ in range(40)]
    begin = time.monotonic()

    def answers():
        try:
            return ask(w, "/metrics")[0] == 200
        except (OSError, IndexError):
            return False
    w.wait_until(answers, 15, "a client is answered beside silent ones")
    report("  seconds until then", time.monotonic() - begin)
    for s in silent:
        s.close()
    assert w.a.status()["peers"][0]["connected"]


def unix(w):
    report("a unix socket; taken away by a reload")
    path = w.a.directory / "metrics.sock"
    for metrics, works in ((f"unix:{path}", True), (None, False)):
        w.a.config.pop("metrics")
        w.a.config.update({"metrics": metrics} if metrics else {})
        w.a.file.write_text(json.dumps(w.a.config))
        assert w.a.ask("reload").returncode == 0
        w.a.config.setdefault("metrics", None)
        if works:
            got = ask(w, "/metrics", host="anything", address=str(path), family=socket.AF_UNIX)
            assert got[0] == 200, got
        assert path.exists() == works
        try:
            ask(w, "/metrics")
            raise AssertionError("the old address still answers")
        except ConnectionRefusedError:
            pass
    del w.a.config["metrics"]


def server_too(w):
    report("a server's")
    s = w.server.host.socket(kind=socket.SOCK_STREAM, bind=None)
    s.settimeout(5)
    s.connect(("127.0.0.1", PORT))
    s.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
    data = b""
    while block := s.recv(1 << 16):
        data += block
    assert b"\nculvert_agents 2\n" in data and b'role="server"' in data, data
    assert b'\nculvert_drops_total{reason="forged"} 0\n' in data, data
    assert {"kind": "metrics", "address": f"127.0.0.1:{PORT}", "peer": None} in \
        w.server.status()["listeners"]


def story():
    with World(one_way_ms=10) as w:
        w.a.config["metrics"] = f"127.0.0.1:{PORT}"
        w.a.config["proxies"][0]["routes"] = [
            {"to": "*.office.example", "peer": "far"}, {"to": "exact.example", "peer": "far"},
            {"to": "10.0.0.0/8", "peer": "far"}]
        w.file(1_000_000)
        w.serve_files()
        w.server.config["server"]["metrics"] = f"127.0.0.1:{PORT}"
        w.start()
        server_too(w)
        prometheus(w)
        who_may_ask(w)
        pac(w)
        bounds(w)
        unix(w)


main(story)
