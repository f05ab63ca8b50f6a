# SPDX-License-Identifier: MIT
"""socks - a client of RFC 1928 and RFC 1929 that says exactly what it was answered."""
import ipaddress
import socket
import struct

CONNECT, BIND = 1, 2
OK, FAILED, NOT_ALLOWED, HOST_UNREACHABLE, REFUSED = 0, 1, 2, 4, 5
TTL_EXPIRED, BAD_COMMAND, BAD_ATYP = 6, 7, 8


def read_exactly(s, size):
    out = b""
    while len(out) < size:
        block = s.recv(size - len(out))
        if not block:
            raise EOFError(f"end after {len(out)} of {size} bytes")
        out += block
    return out


def greet(s, user=None, password=None):
    """Agrees on a method; returns the status of RFC 1929, 0 where no password was asked."""
    s.sendall(b"\x05\x01" + (b"\x02" if user is not None else b"\x00"))
    version, method = read_exactly(s, 2)
    assert version == 5, version
    if method == 0xFF:
        raise PermissionError("no acceptable method")
    if method == 2:
        name, word = user.encode(), password.encode()
        s.sendall(bytes([1, len(name)]) + name + bytes([len(word)]) + word)
        version, status = read_exactly(s, 2)
        assert version == 1, version
        return status
    return 0


def address(host, port):
    """The address of a request: a literal as itself, anything else as a name."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode()
        return bytes([3, len(name)]) + name + struct.pack("!H", port)
    return (b"\x01" if ip.version == 4 else b"\x04") + ip.packed + struct.pack("!H", port)


def read_reply(s):
    """The code of a reply, which must be whole."""
    version, code, reserved, atyp = read_exactly(s, 4)
    assert (version, reserved) == (5, 0), (version, reserved)
    read_exactly(s, {1: 4, 4: 16}[atyp] + 2)
    return code


def request(s, host, port, command=CONNECT, raw=None):
    """Sends a request and returns the code of its reply."""
    s.sendall(bytes([5, command, 0]) + (raw or address(host, port)))
    return read_reply(s)


def connect(s, host, port):
    """Greets, connects, and insists on success."""
    greet(s)
    code = request(s, host, port)
    assert code == OK, f"SOCKS reply {code} for {host}:{port}"
    return s


def reset(s):
    """Closes with RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
