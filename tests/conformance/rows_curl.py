# SPDX-License-Identifier: MIT
"""rows_curl - curl through every kind of proxy it knows."""
import json

from checks import Fail, check, last_line
from stage import PASSWORD, USER


def curl(c, *words, **options):
    return c.run(["curl", "-sS", "--noproxy", "", "--max-time", "30", *words], **options)


@check("curl", "SOCKS4", "socks4", "curl", quick=True)
def _(c):
    c.fetched(curl(c, "--socks4", c.proxy, c.url()))


@check("curl", "SOCKS4a, name", "socks4a", "curl", quick=True)
def _(c):
    c.fetched(curl(c, "--socks4a", c.proxy, c.url(host=c.stage.name)))


@check("curl", "SOCKS5", "socks5", "curl", quick=True)
def _(c):
    c.fetched(curl(c, "--socks5", c.proxy, c.url()))


@check("curl", "SOCKS5, name resolved by the proxy", "socks5", "curl", quick=True)
def _(c):
    c.fetched(curl(c, "--socks5-hostname", c.proxy, c.url(host=c.stage.name)))


@check("curl", "SOCKS5, IPv6 literal", "socks5", "curl", quick=True)
def _(c):
    c.fetched(curl(c, "-g", "--socks5", c.proxy, c.url(host=f"[{c.stage.ip6}]")))


@check("curl", "SOCKS5, name with an IPv6 address only", "socks5", "curl", own_stage=True)
def _(c):
    c.fetched(curl(c, "--socks5-hostname", c.proxy, c.url(host=c.stage.name6)))


@check("curl", "SOCKS5, https", "socks5", "curl openssl")
def _(c):
    c.fetched(curl(c, "--cacert", c.targets.ca, "--socks5-hostname", c.proxy,
                   c.url(host=c.stage.name, scheme="https")))


@check("curl", "SOCKS5, 20 downloads at once", "socks5", "curl")
def _(c):
    words = []
    for i in range(20):
        words += ["-o", c.directory / f"{i}", c.url(f"/data?{i}")]
    done = curl(c, "-Z", "--parallel-max", "20", "--socks5", c.proxy, *words)
    c.same(done.returncode, 0, "exit code")
    for i in range(20):
        c.same((c.directory / f"{i}").read_bytes(), c.targets.data, f"file {i}")


@check("curl", "SOCKS5, password right", "auth5", "curl", quick=True)
def _(c):
    c.fetched(curl(c, "--socks5", c.auth_proxy, "--proxy-user", f"{USER}:{PASSWORD}", c.url()))


@check("curl", "SOCKS5, password wrong: refused", "auth5", "curl", quick=True)
def _(c):
    done = curl(c, "--socks5", c.auth_proxy, "--proxy-user", f"{USER}:wrong", c.url())
    c.same(done.returncode, 97, "exit code")
    c.true("rejected" in done.stderr, last_line(done.stderr))


@check("curl", "SOCKS5, no password where one is asked: refused", "auth5", "curl")
def _(c):
    done = curl(c, "--socks5", c.auth_proxy, c.url())
    c.same(done.returncode, 97, "exit code")
    c.true("No authentication method was acceptable" in done.stderr or
           "connection to proxy closed" in done.stderr, last_line(done.stderr))


def refused(c, way, code, said):
    done = curl(c, way, c.proxy, c.url(port=c.targets.closed))
    c.true(f"({code})" in done.stderr and said in done.stderr, last_line(done.stderr))


@check("curl", "SOCKS5, refused port: reply 5", "socks5", "curl", quick=True)
def _(c):
    refused(c, "--socks5", 5, "Can't complete SOCKS5 connection")


@check("curl", "SOCKS4, refused port: reply 91", "socks4", "curl")
def _(c):
    refused(c, "--socks4", 91, "Can't complete SOCKS4 connection")


@check("curl", "SOCKS5, name that does not exist: reply 4", "socks5", "curl", quick=True)
def _(c):
    done = curl(c, "--socks5-hostname", c.proxy, "http://nothing.invalid/")
    c.same(done.returncode, 97, "exit code")
    c.true("(4)" in done.stderr, last_line(done.stderr))


@check("curl", "SOCKS5, FTP passive, both ways", "socks5", "curl")
def _(c):
    base = f"ftp://{c.stage.ip4}:{c.targets.ftp.port}"
    c.fetched(curl(c, "--socks5", c.proxy, f"{base}/data.bin"))
    name = f"up-{c.directory.name}"
    done = curl(c, "--socks5", c.proxy, "-T", c.targets.data_file, f"{base}/{name}")
    c.same(done.returncode, 0, f"upload: {last_line(done.stderr)}")
    c.same(c.targets.ftp.stored.get(name), c.targets.data, "what was stored")


# HTTP proxy, absolute form -------------------------------------------------------

def http(c, *words, **options):
    return curl(c, "--proxy", f"http://{c.proxy}", *words, **options)


@check("curl", "HTTP GET", "http", "curl", quick=True)
def _(c):
    c.fetched(http(c, c.url(host=c.stage.name)))


@check("curl", "HTTP GET, IPv6 literal", "http", "curl")
def _(c):
    c.fetched(http(c, "-g", c.url(host=f"[{c.stage.ip6}]")))


@check("curl", "HTTP, what the target sees", "http", "curl")
def _(c):
    done = http(c, "-H", "X-Kept: yes", "-H", "Connection: X-Gone", "-H", "X-Gone: yes",
                c.url("/request?a=b"))
    c.same(done.returncode, 0, last_line(done.stderr))
    seen = json.loads(done.stdout)
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    c.same(seen["line"], "GET /request?a=b HTTP/1.1", "request line")
    c.same(headers.get("host"), f"{c.stage.ip4}:{c.targets.http}", "Host")
    c.same(headers.get("x-kept"), "yes", "a field of the client")
    for name in ("proxy-connection", "x-gone", "proxy-authorization"):
        c.true(name not in headers, f"{name} was passed on")


@check("curl", "HTTP HEAD", "http", "curl")
def _(c):
    done = http(c, "-I", c.url())
    c.same(done.returncode, 0, last_line(done.stderr))
    c.true(b"content-length: 1048576" in done.stdout.lower(), "no Content-Length")


@check("curl", "HTTP, two requests of one command", "http", "curl")
def _(c):
    done = http(c, c.url("/data?1"), c.url("/data?2"))
    c.same(done.returncode, 0, last_line(done.stderr))
    c.same(done.stdout, c.targets.data * 2, "two files")


def posted(c, done):
    c.same(done.returncode, 0, f"exit code: {last_line(done.stderr)}")
    c.same(done.stdout.decode().strip(), c.targets.digest, "what the target got")


@check("curl", "HTTP POST, 1 MiB with Expect: 100-continue", "http", "curl", quick=True)
def _(c):
    posted(c, http(c, "-H", "Expect: 100-continue", "--data-binary", f"@{c.targets.data_file}",
                   c.url("/sum")))


@check("curl", "HTTP POST, 1 MiB without Expect", "http", "curl")
def _(c):
    posted(c, http(c, "-H", "Expect:", "--data-binary", f"@{c.targets.data_file}",
                   c.url("/sum")))


@check("curl", "HTTP PUT, chunked", "http", "curl", quick=True)
def _(c):
    posted(c, http(c, "-T", "-", c.url("/sum"), input=c.targets.data))


@check("curl", "HTTP, password right", "authhttp", "curl", quick=True)
def _(c):
    done = curl(c, "--proxy", f"http://{c.auth_proxy}", "--proxy-user", f"{USER}:{PASSWORD}",
                c.url())
    c.fetched(done)


@check("curl", "HTTP, password wrong or none: 407", "authhttp", "curl", quick=True)
def _(c):
    for words in (["--proxy-user", f"{USER}:wrong"], []):
        done = curl(c, "--proxy", f"http://{c.auth_proxy}", *words, "-o", "/dev/null", "-w",
                    "%{http_code}", c.url())
        c.same((done.returncode, done.stdout), (0, b"407"), "exit code and status")


@check("curl", "HTTP, password asked for (--proxy-anyauth)", "authhttp", "curl")
def _(c):
    c.fetched(curl(c, "--proxy", f"http://{c.auth_proxy}", "--proxy-anyauth", "--proxy-user",
                   f"{USER}:{PASSWORD}", c.url()))


@check("curl", "HTTP, refused port and no such name: 502 that says why", "http", "curl", quick=True)
def _(c):
    for url, word in ((c.url(port=c.targets.closed), "refused"),
                      ("http://nothing.invalid/", "nothing.invalid")):
        done = http(c, "-w", "\n%{http_code}", url)
        c.same((done.returncode, done.stdout[-3:]), (0, b"502"), "exit code and status")
        if word.encode() not in done.stdout:
            raise Fail(f"the body does not say {word!r}: {last_line(done.stdout.decode())}")


# CONNECT ------------------------------------------------------------------------

@check("curl", "CONNECT, https", "http", "curl openssl", quick=True)
def _(c):
    c.fetched(http(c, "--cacert", c.targets.ca, c.url(host=c.stage.name, scheme="https")))


@check("curl", "CONNECT, plain http (-p)", "http", "curl")
def _(c):
    c.fetched(http(c, "-p", c.url()))


@check("curl", "CONNECT, IPv6 literal", "http", "curl")
def _(c):
    c.fetched(http(c, "-g", "-p", c.url(host=f"[{c.stage.ip6}]")))


@check("curl", "CONNECT, password right, and wrong: 407", "authhttp", "curl")
def _(c):
    proxy = ["-p", "--proxy", f"http://{c.auth_proxy}"]
    c.fetched(curl(c, *proxy, "--proxy-user", f"{USER}:{PASSWORD}", c.url()))
    done = curl(c, *proxy, "--proxy-user", f"{USER}:wrong", "-w", "%{http_connect}", c.url())
    c.same((done.returncode, done.stdout), (56, b"407"), "exit code and status")


@check("curl", "CONNECT, refused port: 502", "http", "curl")
def _(c):
    done = http(c, "-p", "-w", "%{http_connect}", c.url(port=c.targets.closed))
    c.same((done.returncode, done.stdout), (56, b"502"), "exit code and status")
