# SPDX-License-Identifier: MIT
"""rows_more - a browser; forwards, remote forwards and services with clients that use them."""
import re

from checks import Skip, check, last_line
from rows_curl import curl
from stage import has


# Chromium -------------------------------------------------------------------------

def chromium(c, host, way):
    browser = has("chromium") or has("google-chrome")
    if not browser:
        raise Skip("no chromium")
    done = c.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                  "--no-first-run", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
                  "--proxy-bypass-list=<-loopback>", f"--user-data-dir={c.directory}/profile",
                  f"--crash-dumps-dir={c.directory}", way,
                  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE "
                  f"{c.stage.ip4}",
                  "--virtual-time-budget=10000", "--timeout=30000", "--dump-dom",
                  c.url("/page/", host=host)],
                 timeout=60, env={"HOME": str(c.directory)})
    text = done.stdout.decode(errors="replace")
    want = f"made by {host}:{c.targets.http}<"
    said = re.findall(r"net::ERR_\w+", done.stderr + text)
    c.true(want in text, f"the page does not say it was {want[:-1]}: "
           f"{said[-1] if said else last_line(text)}")


@check("Chromium", "--proxy-server=socks5://, name", "socks5")
def _(c):
    chromium(c, c.stage.name, f"--proxy-server=socks5://{c.proxy}")


@check("Chromium", "--proxy-server=socks5://, address", "socks5")
def _(c):
    chromium(c, c.stage.ip4, f"--proxy-server=socks5://{c.proxy}")


@check("Chromium", "--proxy-server=socks4://, address", "socks4")
def _(c):
    chromium(c, c.stage.ip4, f"--proxy-server=socks4://{c.proxy}")


@check("Chromium", "--proxy-server=http://, name", "http", quick=True)
def _(c):
    chromium(c, c.stage.name, f"--proxy-server=http://{c.proxy}")


@check("Chromium", "PAC file, a service's name", "pac service")
def _(c):
    chromium(c, "web.far.culvert",
             f"--proxy-pac-url=http://127.0.0.1:{c.server.metrics}/proxy.pac")


# Forwards ---------------------------------------------------------------------------

@check("curl", "a forward (-L)", "forward", "curl", quick=True)
def _(c):
    c.fetched(curl(c, c.url(host="127.0.0.1", port=c.server.forwards["http"])))


@check("OpenBSD nc", "a forward: its end, then an answer", "forward", "nc")
def _(c):
    c.summed(c.run(["nc", "-N", "127.0.0.1", c.server.forwards["sum"]], input=c.targets.data))


@check("redis-cli", "a forward", "forward", "redis-cli redis-server")
def _(c):
    redis(c, "-p", c.server.forwards["redis"])


@check("redis-cli", "unix socket to unix socket", "forward-unix", "redis-cli redis-server",
       quick=True)
def _(c):
    redis(c, "-s", c.server.forwards["redis-unix"])


def redis(c, *where):
    done = c.run(["redis-cli", *where, "-x", "set", c.directory.name], input=c.targets.data)
    c.same(done.stdout.strip(), b"OK", f"set: {last_line(done.stderr)}")
    done = c.run(["redis-cli", *where, "--raw", "get", c.directory.name])
    c.same(done.stdout[:-1], c.targets.data, "what was set")


@check("dig", "a forward, TCP", "forward", "dig")
def _(c):
    done = c.run(["dig", "@127.0.0.1", "-p", c.server.forwards["dns-tcp"], "+tcp", "+tries=1",
                  "+short", "txt.conform.test", "TXT"])
    c.same(done.stdout.count(b"x" * 200), 20, "strings of an answer of 4 KB")


@check("dig", "a UDP forward", "forward-udp", "dig", quick=True)
def _(c):
    for _ in range(5):
        done = c.run(["dig", "@127.0.0.1", "-p", c.server.forwards["dns-udp"], "+tries=1",
                      "+time=8", "+short", "web.conform.test"])
        c.same(done.stdout, b"198.51.100.20\n" if c.stage.is_own else b"127.0.0.1\n",
               f"answer ({last_line(done.stdout.decode())})")


@check("curl", "a remote forward (-R)", "remote", "curl", quick=True)
def _(c):
    c.fetched(curl(c, c.url(host="127.0.0.1", port=c.server.remote)))


@check("curl", "SOCKS5, a service's name", "service", "curl", quick=True)
def _(c):
    c.fetched(curl(c, "--socks5-hostname", c.proxy, "http://web.far.culvert/data"))


@check("curl", "HTTP, a service's name", "service http", "curl")
def _(c):
    c.fetched(curl(c, "--proxy", f"http://{c.proxy}", "http://web.far.culvert/data"))
