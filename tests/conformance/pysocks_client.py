# SPDX-License-Identifier: MIT
"""pysocks_client - PySocks at work: sum | error | udp, KIND[-rdns], proxy port, host, port, ..."""
import os
import socket
import sys

import socks

what, kind, proxy, host, port = sys.argv[1:6]
kind, _, rdns = kind.partition("-")
user, password = sys.argv[7:9] if len(sys.argv) > 8 else (None, None)


def proxied(type=socket.SOCK_STREAM):
    s = socks.socksocket(socket.AF_INET, type)
    s.set_proxy(getattr(socks, kind.upper()), "127.0.0.1", int(proxy), rdns=bool(rdns),
                username=user, password=password)
    s.settimeout(30)
    return s


if what == "sum":
    s = proxied()
    s.connect((host, int(port)))
    with open(sys.argv[6], "rb") as f:
        s.sendall(f.read())
    s.shutdown(socket.SHUT_WR)
    print(s.recv(100).decode())
elif what == "error":
    try:
        proxied().connect((host, int(port)))
        print("connected")
    except socks.ProxyError as error:
        print(error)
else:
    s = proxied(socket.SOCK_DGRAM)
    back = 0
    for i in range(20):
        data = os.urandom(1 + 70 * i)
        s.sendto(data, (host, int(port)))
        back += s.recvfrom(65535)[0] == data
    print(f"{back} of 20")
