# SPDX-License-Identifier: MIT
"""plain_udp - a program that knows of no proxy: HOST PORT SIZE COUNT; says "N of COUNT" echoed."""
import os
import socket
import sys

host, port, size, count = sys.argv[1], *map(int, sys.argv[2:])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(8)
back = 0
for _ in range(count):
    data = os.urandom(size)
    s.sendto(data, (host, port))
    back += s.recvfrom(65535)[0] == data
print(f"{back} of {count}")
