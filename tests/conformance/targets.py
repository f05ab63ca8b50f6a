# SPDX-License-Identifier: MIT
"""targets - what the clients want to reach: web servers, echoes, a name server, FTP, redis.

All of it runs in threads of this process but for redis and sshd. A target notes each visitor whose
socket is a client's own: one that went round the proxy proves nothing.
"""
import hashlib
import http.server
import json
import os
import socket
import ssl
import struct
import subprocess
import threading

import stage as stages
import sshd
from ftp import Ftp

SIZE = 1 << 20
HALF_UP, HALF_DOWN = 8 << 20, 1 << 20
PAGE = b"""<!DOCTYPE html><title>far</title><p id=text>waiting</p>
<script src=script.js></script>"""
SCRIPT = b"""document.getElementById("text").textContent = "made by " + location.host;"""


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Targets:
    def __init__(self, stage):
        self.stage = stage
        self.data = os.urandom(SIZE)
        self.down = os.urandom(HALF_DOWN)
        self.data_file = stage.directory / "data.bin"
        self.data_file.write_bytes(self.data)
        self.digest = sha(self.data)
        self.proxy_pids = ()
        self.strays = []
        self.requests = []  # what the web server was asked: (method, path, headers)
        self.resets = threading.Semaphore(0)
        self.http = self._web()
        self.https, self.ca = None, None
        if stages.has("openssl"):
            self._certify()
        self.sum = self._tcp(self._serve_sum)
        self.half = self._tcp(self._serve_half)
        self.echo = self._tcp(self._serve_echo)
        self.reset = self._tcp(self._serve_reset)
        self.sees_reset = self._tcp(self._serve_sees_reset)
        self.closed = self._closed_port()
        self.udp_echo = self._udp()
        self.dns = self._dns()
        self.ftp = Ftp(self)
        self.git = self._repository()
        self.sshd, self.why_no_sshd = sshd.start(stage)
        self.redis, self.redis_socket = None, stage.directory / "redis.sock"
        if stages.has("redis-server"):
            self._redis()

    # Visitors -----------------------------------------------------------------

    def note_visitor(self, kind, peer, port, what):
        """Of a guarded target: its socket must not be a client's."""
        if self.proxy_pids and stages.is_held(kind, peer[1], port, self.proxy_pids):
            self.strays.append(what)

    # TCP ----------------------------------------------------------------------

    def _listeners(self):
        """One port on the IPv4 and the IPv6 address."""
        while True:
            four = socket.create_server((self.stage.ip4, 0), backlog=256)
            try:
                six = socket.create_server((self.stage.ip6, four.getsockname()[1]),
                                           family=socket.AF_INET6, backlog=256)
                return four, six
            except OSError:
                four.close()

    def _tcp(self, serve):
        pair = self._listeners()
        for listener in pair:
            _thread(self._accept, listener, serve)
        return pair[0].getsockname()[1]

    def _accept(self, listener, serve):
        while True:
            connection, peer = listener.accept()
            _thread(self._visit, connection, peer, serve)

    def _visit(self, connection, peer, serve):
        self.note_visitor("tcp", peer, connection.getsockname()[1], serve.__name__)
        with connection:
            connection.settimeout(30)
            try:
                serve(connection)
            except OSError:
                pass

    def _closed_port(self):
        """Taken, and nobody listens: a connect is refused."""
        self._holders = []
        while True:
            four = socket.socket()
            four.bind((self.stage.ip4, 0))
            six = socket.socket(socket.AF_INET6)
            try:
                six.bind((self.stage.ip6, four.getsockname()[1]))
            except OSError:
                four.close()
                continue
            self._holders = [four, six]
            return four.getsockname()[1]

    def _serve_sum(self, s):
        """The SHA-256 of all that came, once its end has come."""
        h = hashlib.sha256()
        while block := s.recv(1 << 16):
            h.update(block)
        s.sendall(h.hexdigest().encode() + b"\n")

    def _serve_half(self, s):
        h = hashlib.sha256()
        while block := s.recv(1 << 16):
            h.update(block)
        s.sendall(h.digest() + self.down)

    def _serve_echo(self, s):
        while block := s.recv(1 << 16):
            s.sendall(block)

    def _serve_reset(self, s):
        """One byte in, some out, and an abort."""
        s.recv(1)
        s.sendall(b"before")
        s.recv(1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _serve_sees_reset(self, s):
        s.sendall(b"!")
        try:
            while s.recv(1 << 16):
                pass
        except ConnectionResetError:
            self.resets.release()

    # UDP ----------------------------------------------------------------------

    def _udp(self):
        while True:
            four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            four.bind((self.stage.ip4, 0))
            try:
                six.bind((self.stage.ip6, four.getsockname()[1]))
                break
            except OSError:
                four.close()
                six.close()
        for s in (four, six):
            _thread(self._echo_datagrams, s)
        return four.getsockname()[1]

    def _echo_datagrams(self, s):
        known = set()
        while True:
            data, peer = s.recvfrom(65535)
            if peer not in known:
                known.add(peer)
                self.note_visitor("udp", peer, s.getsockname()[1], "datagrams")
            s.sendto(data, peer)

    # Names --------------------------------------------------------------------

    def _dns(self):
        own = self.stage.is_own
        names = {stages.NAME: self.stage.ip4, stages.NAME6: self.stage.ip6,
                 stages.LONG_NAME: self.stage.ip4}
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 53 if own else 0))
        port = udp.getsockname()[1]
        tcp = socket.create_server(("127.0.0.1", port))
        _thread(self._answer_datagrams, udp, names)
        _thread(self._accept_plain, tcp, names)
        return port

    def _answer_datagrams(self, s, names):
        while True:
            query, peer = s.recvfrom(4096)
            answer = dns_answer(query, names)
            if answer:
                s.sendto(answer, peer)

    def _accept_plain(self, listener, names):
        while True:
            connection, _ = listener.accept()
            _thread(self._answer_stream, connection, names)

    def _answer_stream(self, s, names):
        with s, s.makefile("rb") as stream:
            while len(head := stream.read(2)) == 2:
                answer = dns_answer(stream.read(int.from_bytes(head, "big")), names)
                s.sendall(struct.pack("!H", len(answer)) + answer)

    # The web ------------------------------------------------------------------

    def _web(self, context=None):
        pair = self._listeners()
        for listener in pair:
            server = _WebServer(self, listener, context)
            _thread(server.serve_forever)
        return pair[0].getsockname()[1]

    def _certify(self):
        """An authority of our own, and a certificate for all names of the targets."""
        d = self.stage.directory
        self.ca = d / "ca.pem"
        names = f"DNS:{self.stage.name},DNS:localhost,IP:{self.stage.ip4},IP:{self.stage.ip6}"
        made = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", d / "key.pem", "-out", self.ca, "-days", "2", "-subj",
             "/CN=conformance", "-addext", f"subjectAltName={names}"],
            capture_output=True, text=True, env=stages.ENV)
        if made.returncode != 0:
            raise RuntimeError(f"openssl: {made.stderr}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, d / "key.pem")
        self.https = self._web(context)

    def _repository(self):
        """A bare repository with one commit; its path."""
        if not stages.has("git"):
            return None
        bare, work = self.stage.directory / "git/project.git", self.stage.directory / "git-work"
        run = dict(check=True, env=git_env(), capture_output=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", bare], **run)
        subprocess.run(["git", "init", "-q", "-b", "main", work], **run)
        (work / "data.bin").write_bytes(self.data)
        for words in (["add", "."], ["commit", "-q", "-m", "data"],
                      ["push", "-q", str(bare), "main"]):
            subprocess.run(["git", "-C", work, *words], **run)
        subprocess.run(["git", "-C", bare, "config", "http.receivepack", "true"], **run)
        return bare

    def _redis(self):
        self.redis = self.stage.port()
        process = self.stage.start(["redis-server", "--port", self.redis, "--bind", "127.0.0.1",
                                    "--unixsocket", self.redis_socket, "--save", "",
                                    "--daemonize", "no"])
        self.stage.wait_for_port(self.redis, process)


def git_env():
    return dict(stages.ENV, GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null",
                GIT_TERMINAL_PROMPT="0", GIT_AUTHOR_NAME="c", GIT_AUTHOR_EMAIL="c@example.org",
                GIT_COMMITTER_NAME="c", GIT_COMMITTER_EMAIL="c@example.org")


def _thread(function, *args):
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def dns_answer(query, names):
    """An answer to one question: A and AAAA of our names, a long TXT, else NXDOMAIN."""
    if len(query) < 17:
        return None
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1").lower())
        at += 1 + query[at]
    kind = int.from_bytes(query[at + 1:at + 3], "big")
    question, name = query[12:at + 5], ".".join(labels)
    records = []
    if name in names:
        address = names[name]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if kind == (28 if ":" in address else 1):
            records = [(kind, socket.inet_pton(family, address))]
    if name == "txt.conform.test" and kind == 16:
        records = [(16, b"".join(b"\xc8" + b"x" * 200 for _ in range(20)))]
    known = name in names or name == "txt.conform.test"
    rcode = 0 if known else 3
    head = query[:2] + struct.pack("!HHHHH", 0x8180 | rcode, 1, len(records), 0, 0)
    body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", k, 1, 60, len(d)) + d for k, d in records)
    return head + question + body


class _WebServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, targets, listener, context):
        self.address_family = listener.family
        super().__init__(listener.getsockname()[:2], _Web, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_port = listener.getsockname()[1]
        self.targets, self.context = targets, context

    def finish_request(self, request, client_address):
        self.targets.note_visitor("tcp", client_address, self.server_port, "the web server")
        request.settimeout(30)
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        if self.context:
            request.close()

    def handle_error(self, request, client_address):
        pass  # clients that go are part of the play


class _Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            out = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                out += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return out
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, body, kind="application/octet-stream", status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        targets = self.server.targets
        targets.requests.append((self.command, self.path, dict(self.headers.items())))
        path = self.path.split("?")[0]
        if path.startswith("/project.git/"):
            self._git(b"")
        elif path == "/data":
            self._answer(targets.data)
        elif path == "/request":
            text = {"line": self.requestline, "headers": dict(self.headers.items())}
            self._answer(json.dumps(text).encode(), "application/json")
        elif path == "/page/":
            self._answer(PAGE, "text/html")
        elif path == "/page/script.js":
            self._answer(SCRIPT, "text/javascript")
        else:
            self._answer(b"not here\n", "text/plain", 404)

    do_HEAD = do_GET

    def do_POST(self):
        body = self._body()
        self.server.targets.requests.append((self.command, self.path,
                                             dict(self.headers.items())))
        if self.path.startswith("/project.git/"):
            self._git(body)
        else:
            self._answer(sha(body).encode() + b"\n", "text/plain")

    do_PUT = do_POST

    def _git(self, body):
        path, _, query = self.path.partition("?")
        env = dict(git_env(), GIT_PROJECT_ROOT=str(self.server.targets.git.parent),
                   GIT_HTTP_EXPORT_ALL="1", PATH_INFO=path, QUERY_STRING=query,
                   REQUEST_METHOD=self.command, REMOTE_USER="c", REMOTE_ADDR="127.0.0.1",
                   CONTENT_TYPE=self.headers.get("Content-Type", ""),
                   CONTENT_LENGTH=str(len(body)))
        if self.headers.get("Content-Encoding"):
            env["HTTP_CONTENT_ENCODING"] = self.headers["Content-Encoding"]
        if self.headers.get("Git-Protocol"):
            env["GIT_PROTOCOL"] = self.headers["Git-Protocol"]
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=env)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = [line.partition(b": ")[::2] for line in head.split(b"\r\n")]
        status = next((int(v.split()[0]) for k, v in fields if k == b"Status"), 200)
        self.send_response(status)
        for key, value in fields:
            if key and key != b"Status":
                self.send_header(key.decode(), value.decode())
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
