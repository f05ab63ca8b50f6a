# SPDX-License-Identifier: MIT
"""ftp - a server of RFC 959 and RFC 2428, as much of it as clients use to fetch and put a file.

Passive (PASV, EPSV) and active (PORT, EPRT): in active mode it connects to the address it is told,
which is what SOCKS's BIND is for.
"""
import re
import socket
import threading


class Ftp:
    def __init__(self, targets):
        self.targets = targets
        self.stored = {}
        self.modes = []  # how each transfer's connection was made: "PASV", "EPSV", "PORT", "EPRT"
        self.listener = socket.create_server((targets.stage.ip4, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, peer = self.listener.accept()
            self.targets.note_visitor("tcp", peer, self.port, "FTP")
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(20)
        with connection:
            try:
                _Session(self, connection).serve()
            except (OSError, EOFError):
                pass


class _Session:
    def __init__(self, ftp, connection):
        self.ftp, self.connection = ftp, connection
        self.lines = connection.makefile("rb")
        self.passive, self.active, self.mode = None, None, None

    def say(self, text):
        self.connection.sendall(text.encode() + b"\r\n")

    def serve(self):
        self.say("220 ready")
        while line := self.lines.readline():
            verb, _, argument = line.decode("latin-1").strip().partition(" ")
            verb = verb.upper()
            if verb == "QUIT":
                self.say("221 bye")
                return
            handler = getattr(self, "do_" + verb, None)
            if handler:
                handler(argument)
            else:
                self.say({"USER": "331 password", "PASS": "230 in", "TYPE": "200 yes",
                          "MODE": "200 yes", "STRU": "200 yes", "NOOP": "200 yes",
                          "SYST": "215 UNIX Type: L8", "PWD": '257 "/"', "CWD": "250 yes",
                          }.get(verb, "502 not here"))

    def do_SIZE(self, argument):
        self.say(f"213 {len(self.ftp.targets.data)}")

    def do_PASV(self, argument):
        host, port = self._open_passive("PASV")
        self.say(f"227 Entering Passive Mode ({host.replace('.', ',')},{port >> 8},{port & 255})")

    def do_EPSV(self, argument):
        if argument.upper() == "ALL":
            self.say("200 yes")
            return
        _, port = self._open_passive("EPSV")
        self.say(f"229 Entering Extended Passive Mode (|||{port}|)")

    def _open_passive(self, mode):
        self.mode, self.active = mode, None
        self.passive = socket.create_server((self.connection.getsockname()[0], 0))
        self.passive.settimeout(10)
        return self.passive.getsockname()[:2]

    def do_PORT(self, argument):
        n = [int(word) for word in argument.split(",")]
        self.mode, self.active = "PORT", (".".join(map(str, n[:4])), n[4] << 8 | n[5])
        self.say("200 yes")

    def do_EPRT(self, argument):
        _, _, host, port, _ = re.split(r"\|", argument)
        self.mode, self.active = "EPRT", (host, int(port))
        self.say("200 yes")

    def _data(self):
        self.ftp.modes.append(self.mode)
        if self.active:
            return socket.create_connection(self.active, timeout=10)
        connection, peer = self.passive.accept()
        self.passive.close()
        self.ftp.targets.note_visitor("tcp", peer, connection.getsockname()[1],
                                      "FTP's data")
        return connection

    def _transfer(self, move):
        self.say("150 here it comes")
        try:
            with self._data() as data:
                data.settimeout(15)
                move(data)
        except OSError as error:
            self.say(f"425 {error}")
            return
        self.say("226 done")

    def do_RETR(self, argument):
        self._transfer(lambda s: s.sendall(self.ftp.targets.data))

    def do_STOR(self, argument):
        def take(s):
            blocks = []
            while block := s.recv(1 << 16):
                blocks.append(block)
            self.ftp.stored[argument.strip("/")] = b"".join(blocks)
        self._transfer(take)

    def do_LIST(self, argument):
        self._transfer(lambda s: s.sendall(b"-rw-r--r-- 1 c c 1048576 Jan 1 00:00 data.bin\r\n"))

    do_NLST = do_LIST
