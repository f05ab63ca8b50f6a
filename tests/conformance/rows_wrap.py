# SPDX-License-Identifier: MIT
"""rows_wrap - programs that know of no proxy, in wrappers that put one under them; libraries."""
import pathlib
import subprocess
import sys

from checks import Fail, Skip, check, last_line
from stage import ENV, PASSWORD, USER

HERE = pathlib.Path(__file__).resolve().parent
CURL = ["curl", "-sS", "--noproxy", "*", "--max-time", "30"]


# proxychains --------------------------------------------------------------------

def proxychains(c, line):
    path = c.directory / "proxychains.conf"
    path.write_text("strict_chain\nproxy_dns\nremote_dns_subnet 224\ntcp_read_time_out 10000\n"
                    f"tcp_connect_time_out 10000\n[ProxyList]\n{line}\n")
    c.fetched(c.run(["proxychains4", "-q", "-f", path, *CURL, c.url(host=c.stage.name)]))


@check("proxychains4", "curl, socks4", "socks4a", "proxychains4 curl", own_stage=True)
def _(c):
    proxychains(c, f"socks4 127.0.0.1 {c.server.socks}")


@check("proxychains4", "curl, socks5", "socks5", "proxychains4 curl", own_stage=True)
def _(c):
    proxychains(c, f"socks5 127.0.0.1 {c.server.socks}")


@check("proxychains4", "curl, socks5, password", "auth5", "proxychains4 curl", own_stage=True)
def _(c):
    proxychains(c, f"socks5 127.0.0.1 {c.server.auth} {USER} {PASSWORD}")


@check("proxychains4", "curl, http", "http", "proxychains4 curl", own_stage=True)
def _(c):
    proxychains(c, f"http 127.0.0.1 {c.server.socks}")


# torsocks -----------------------------------------------------------------------

def torsocks(c, host):
    path = c.directory / "torsocks.conf"
    path.write_text(f"TorAddress 127.0.0.1\nTorPort {c.server.socks}\n")
    c.fetched(c.run(["torsocks", *CURL, c.url(host=host)],
                    env={"TORSOCKS_CONF_FILE": str(path), "TORSOCKS_LOG_LEVEL": "1"}))


@check("torsocks", "curl, address", "socks5", "torsocks curl", own_stage=True)
def _(c):
    torsocks(c, c.stage.ip4)


@check("torsocks", "curl, name (by Tor's own command)", "tor", "torsocks curl", own_stage=True)
def _(c):
    torsocks(c, c.stage.name)


# socksify ------------------------------------------------------------------------

def socksify(c, words, version=5, **options):
    path = c.directory / "socks.conf"
    path.write_text("resolveprotocol: fake\nroute {\n  from: 0.0.0.0/0 to: 0.0.0.0/0 "
                    f"via: 127.0.0.1 port = {c.server.socks}\n  proxyprotocol: socks_v{version}\n"
                    f"  command: {'bind connect udpassociate' if version == 5 else 'connect'}\n"
                    f"  protocol: {'tcp udp' if version == 5 else 'tcp'}\n  method: none\n}}\n")
    # Or it would go to this machine's own addresses, as the targets' are, without the proxy.
    env = {"SOCKS_CONF": str(path), "SOCKS_AUTOADD_LANROUTES": "no"}
    return c.run(["socksify", *words], env=env, **options)


@check("dante's socksify", "curl, SOCKS5, name", "socks5", "socksify curl", own_stage=True)
def _(c):
    c.fetched(socksify(c, [*CURL, c.url(host=c.stage.name)]))


@check("dante's socksify", "curl, SOCKS4", "socks4", "socksify curl", own_stage=True)
def _(c):
    c.fetched(socksify(c, [*CURL, c.url()], version=4))


@check("dante's socksify", "UDP (ASSOCIATE), 1,400 bytes", "udp", "socksify", own_stage=True)
def _(c):
    done = socksify(c, [sys.executable, HERE / "plain_udp.py", c.stage.ip4, c.targets.udp_echo,
                        1400, 20])
    c.same(done.stdout, b"20 of 20\n", f"datagrams back ({last_line(done.stderr)})")


@check("dante's socksify", "active FTP (BIND)", "bind", "socksify tnftp", own_stage=True)
def _(c):
    out = c.directory / "got"
    script = f"user anonymous me\nbinary\nget data.bin {out}\nquit\n"
    before = len(c.targets.ftp.modes)
    done = socksify(c, ["tnftp", "-A", "-n", "-v", c.stage.ip4, c.targets.ftp.port],
                    input=script.encode())
    said = last_line(done.stdout.decode(errors="replace") + done.stderr)
    c.true(out.exists(), f"no file: {said}")
    c.same(out.read_bytes(), c.targets.data, "the file")
    c.true(c.targets.ftp.modes[before:] in (["PORT"], ["EPRT"]), "it was not active")


# PySocks --------------------------------------------------------------------------

def pysocks(c, *words):
    """By the Python that has it."""
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        found = subprocess.run([python, "-c", "import socks"], capture_output=True, env=ENV)
        if found.returncode == 0:
            break
    else:
        raise Skip("no PySocks")
    done = c.run([python, HERE / "pysocks_client.py", *words])
    if done.returncode != 0:
        raise Fail(last_line(done.stderr))
    return done.stdout.decode().strip()


def pysocks_sum(c, kind, host, port, *auth):
    got = pysocks(c, "sum", kind, port, host, c.targets.sum, c.targets.data_file, *auth)
    c.answered(got)


@check("PySocks", "SOCKS4", "socks4")
def _(c):
    pysocks_sum(c, "socks4", c.stage.ip4, c.server.socks)


@check("PySocks", "SOCKS4a, name", "socks4a")
def _(c):
    pysocks_sum(c, "socks4-rdns", c.stage.name, c.server.socks)


@check("PySocks", "SOCKS5", "socks5")
def _(c):
    pysocks_sum(c, "socks5", c.stage.ip4, c.server.socks)


@check("PySocks", "SOCKS5, name resolved by the proxy", "socks5", quick=True)
def _(c):
    pysocks_sum(c, "socks5-rdns", c.stage.name, c.server.socks)


@check("PySocks", "SOCKS5, password", "auth5")
def _(c):
    pysocks_sum(c, "socks5-rdns", c.stage.name, c.server.auth, USER, PASSWORD)


@check("PySocks", "HTTP CONNECT", "http")
def _(c):
    pysocks_sum(c, "http-rdns", c.stage.name, c.server.socks)


@check("PySocks", "SOCKS5, refused port: its text", "socks5")
def _(c):
    got = pysocks(c, "error", "socks5-rdns", c.server.socks, c.stage.ip4, c.targets.closed)
    c.true("0x05: Connection refused" in got, got)


@check("PySocks", "UDP ASSOCIATE, address", "udp", quick=True)
def _(c):
    got = pysocks(c, "udp", "socks5", c.server.socks, c.stage.ip4, c.targets.udp_echo)
    c.same(got, "20 of 20", "datagrams back")


@check("PySocks", "UDP ASSOCIATE, name", "udp", own_stage=True)
def _(c):
    got = pysocks(c, "udp", "socks5-rdns", c.server.socks, c.stage.name, c.targets.udp_echo)
    c.same(got, "20 of 20", "datagrams back")


# socks of npm ------------------------------------------------------------------------

def npm(c, *words):
    env = {"NODE_PATH": "/usr/share/nodejs"}
    if c.run(["node", "-e", "require('socks')"], env=env).returncode != 0:
        raise Skip("no socks for node")
    done = c.run(["node", HERE / "npm_socks_client.js", c.server.socks, *words], env=env)
    if done.returncode != 0:
        raise Fail(last_line(done.stderr))
    return done.stdout.decode().strip()


@check("npm socks", "SOCKS4", "socks4", "node")
def _(c):
    c.answered(npm(c, "sum", 4, c.stage.ip4, c.targets.sum, c.targets.data_file))


@check("npm socks", "SOCKS5 CONNECT, name", "socks5", "node", quick=True)
def _(c):
    c.answered(npm(c, "sum", 5, c.stage.name, c.targets.sum, c.targets.data_file))


@check("npm socks", "BIND", "bind", "node", quick=True)
def _(c):
    c.same(npm(c, "bind", 5, c.stage.ip4, 0, c.targets.data_file), c.targets.digest,
           "what came by the accepted connection")


@check("npm socks", "ASSOCIATE", "udp", "node", quick=True)
def _(c):
    c.same(npm(c, "associate", 5, c.stage.ip4, c.targets.udp_echo, "-"), "20 of 20",
           "datagrams back")
