# SPDX-License-Identifier: MIT
"""rows_tools - programs that connect standard input and output, ssh over them, and downloaders."""
from checks import Fail, Skip, check, last_line
from stage import PASSWORD, USER
from targets import git_env


def sent(c, command, **options):
    """The sum service gets 1 MiB and its end, and answers after that."""
    c.summed(c.run(command, input=c.targets.data, **options))


# netcat, ncat, socat ---------------------------------------------------------------

def nc(c, way, host=None):
    version = c.run(["nc", "-h"])
    if "OpenBSD" not in version.stderr:
        raise Skip("nc is not OpenBSD's")
    return ["nc", "-N", "-X", way, "-x", c.proxy, host or c.stage.ip4, c.targets.sum]


@check("OpenBSD nc", "-X 4", "socks4", "nc")
def _(c):
    sent(c, nc(c, "4"))


@check("OpenBSD nc", "-X 5", "socks5", "nc", quick=True)
def _(c):
    sent(c, nc(c, "5", c.stage.name))


@check("OpenBSD nc", "-X connect", "http", "nc", quick=True)
def _(c):
    sent(c, nc(c, "connect", c.stage.name))


def ncat(c, kind, *words, proxy=None):
    return ["ncat", "--proxy", proxy or c.proxy, "--proxy-type", kind, *words, c.stage.ip4,
            c.targets.sum]


@check("ncat", "--proxy-type socks4", "socks4", "ncat")
def _(c):
    sent(c, ncat(c, "socks4"))


@check("ncat", "--proxy-type socks5", "socks5", "ncat")
def _(c):
    sent(c, ncat(c, "socks5"))


@check("ncat", "--proxy-type socks5, --proxy-auth", "auth5", "ncat")
def _(c):
    sent(c, ncat(c, "socks5", "--proxy-auth", f"{USER}:{PASSWORD}", proxy=c.auth_proxy))


@check("ncat", "--proxy-type http", "http", "ncat")
def _(c):
    sent(c, ncat(c, "http"))


@check("ncat", "--proxy-type http, --proxy-auth", "authhttp", "ncat")
def _(c):
    sent(c, ncat(c, "http", "--proxy-auth", f"{USER}:{PASSWORD}", proxy=c.auth_proxy))


def socat(c, kind, option, *more):
    port = c.server.auth if more else c.server.socks
    options = ",".join([f"{option}={port}", *more])
    return ["socat", "-t", "10", "-", f"{kind}:127.0.0.1:{c.stage.name}:{c.targets.sum},{options}"]


@check("socat", "SOCKS4A", "socks4a", "socat")
def _(c):
    sent(c, socat(c, "SOCKS4A", "socksport"))


@check("socat", "PROXY", "http", "socat")
def _(c):
    sent(c, socat(c, "PROXY", "proxyport"))


@check("socat", "PROXY, proxyauth", "authhttp", "socat")
def _(c):
    sent(c, socat(c, "PROXY", "proxyport", f"proxyauth={USER}\\:{PASSWORD}"))


@check("socat", "SOCKS5", "socks5", "socat")
def _(c):
    if b"SOCKS5" not in c.run(["socat", "-h"]).stdout.upper():
        raise Skip("this socat has no SOCKS5")
    sent(c, ["socat", "-t", "10", "-", f"SOCKS5:127.0.0.1:{c.server.socks}:{c.stage.name}:"
             f"{c.targets.sum}"])


# connect-proxy and corkscrew ---------------------------------------------------------

@check("connect-proxy", "-4 -S", "socks4", "connect-proxy")
def _(c):
    sent(c, ["connect-proxy", "-4", "-S", c.proxy, c.stage.ip4, c.targets.sum])


@check("connect-proxy", "-5 -S", "socks5", "connect-proxy")
def _(c):
    sent(c, ["connect-proxy", "-5", "-R", "remote", "-S", c.proxy, c.stage.name, c.targets.sum])


@check("connect-proxy", "-H", "http", "connect-proxy")
def _(c):
    sent(c, ["connect-proxy", "-H", c.proxy, c.stage.name, c.targets.sum])


# ssh ------------------------------------------------------------------------------

def ssh_words(c, command):
    sshd = c.targets.sshd
    if not sshd:
        raise Skip(c.targets.why_no_sshd)
    return [*sshd.options, "-o", f"ProxyCommand={command}", "-o", f"Port={sshd.port}"], \
        f"{sshd.user}@127.0.0.1"


def ssh(c, command):
    """A command that gets 1 MiB and its end, says its sum, and leaves its exit code."""
    words, where = ssh_words(c, command)
    done = c.run(["ssh", *words, where, "sha256sum; exit 7"], input=c.targets.data, timeout=60)
    if done.returncode == 255:
        raise Fail(last_line(done.stderr))
    c.same((done.returncode, done.stdout.split()[:1]), (7, [c.targets.digest.encode()]),
           "exit code and sum")


def scp(c, command):
    words, where = ssh_words(c, command)
    for source, sink in ((c.targets.data_file, f"{where}:{c.directory}/up"),
                         (f"{where}:{c.directory}/up", c.directory / "down")):
        done = c.run(["scp", "-q", *words, source, sink], timeout=60)
        c.same(done.returncode, 0, f"scp: {last_line(done.stderr)}")
    c.same((c.directory / "down").read_bytes(), c.targets.data, "the file there and back")


@check("OpenSSH", "ProxyCommand nc -X 5: command", "socks5", "ssh nc", quick=True)
def _(c):
    ssh(c, f"nc -X 5 -x {c.proxy} %h %p")


@check("OpenSSH", "ProxyCommand nc -X 5: scp both ways", "socks5", "ssh nc")
def _(c):
    scp(c, f"nc -X 5 -x {c.proxy} %h %p")


@check("OpenSSH", "ProxyCommand nc -X connect", "http", "ssh nc")
def _(c):
    ssh(c, f"nc -X connect -x {c.proxy} %h %p")


@check("OpenSSH", "ProxyCommand ncat, SOCKS5", "socks5", "ssh ncat")
def _(c):
    ssh(c, f"ncat --proxy {c.proxy} --proxy-type socks5 %h %p")


@check("OpenSSH", "ProxyCommand connect-proxy, SOCKS5", "socks5", "ssh connect-proxy")
def _(c):
    ssh(c, f"connect-proxy -5 -S {c.proxy} %h %p")


@check("OpenSSH", "ProxyCommand corkscrew", "http", "ssh corkscrew")
def _(c):
    ssh(c, f"corkscrew 127.0.0.1 {c.server.socks} %h %p")


@check("OpenSSH", "ProxyCommand culvert nc: command", "nc", "ssh", quick=True)
def _(c):
    ssh(c, f"{c.server.binary} nc --control {c.server.control} far %h:%p")


@check("OpenSSH", "ProxyCommand culvert nc: scp both ways", "nc", "ssh scp")
def _(c):
    scp(c, f"{c.server.binary} nc --control {c.server.control} far %h:%p")


@check("culvert nc", "standard input and its end", "nc", quick=True)
def _(c):
    sent(c, [c.server.binary, "nc", "--control", c.server.control, "far",
             f"{c.stage.ip4}:{c.targets.sum}"])


# git ------------------------------------------------------------------------------

def git(c, proxy):
    """A clone, and a commit pushed back to a branch of its own."""
    work, run = c.directory / "work", dict(env=git_env(), timeout=60)
    git = ["git", "-c", f"http.proxy={proxy}", "-c", "user.name=c", "-c", "user.email=c@c"]
    url = c.url("/project.git", host=c.stage.name)
    done = c.run([*git, "clone", "-q", url, work], **run)
    c.same(done.returncode, 0, f"clone: {last_line(done.stderr)}")
    c.same((work / "data.bin").read_bytes(), c.targets.data, "the file cloned")
    (work / "more").write_text(str(work))
    branch = c.directory.name
    for words in (["checkout", "-q", "-b", branch], ["add", "."], ["commit", "-q", "-m", "more"],
                  ["push", "-q", "origin", branch]):
        done = c.run([*git, "-C", work, *words], **run)
        c.same(done.returncode, 0, f"{words[0]}: {last_line(done.stderr)}")
    heads = [c.run(["git", "-C", where, "rev-parse", branch], **run).stdout
             for where in (work, c.targets.git)]
    c.same(heads[1], heads[0], "the commit pushed")


@check("git", "clone and push, socks5h", "socks5", "git")
def _(c):
    git(c, f"socks5h://{c.proxy}")


@check("git", "clone and push, http proxy", "http", "git", quick=True)
def _(c):
    git(c, f"http://{c.proxy}")


# wget, aria2 ------------------------------------------------------------------------

def wget(c, url, *words):
    proxy = f"http://{c.proxy}"
    return c.run(["wget", "-q", "-t", "1", "-T", "30", "-O", "-", *words, url],
                 env={"http_proxy": proxy, "https_proxy": proxy})


@check("wget", "http proxy", "http", "wget")
def _(c):
    c.fetched(wget(c, c.url(host=c.stage.name)))


@check("wget", "http proxy, https", "http", "wget openssl")
def _(c):
    c.fetched(wget(c, c.url(host=c.stage.name, scheme="https"),
                   f"--ca-certificate={c.targets.ca}"))


@check("wget", "http proxy, password", "authhttp", "wget")
def _(c):
    c.fetched(c.run(["wget", "-q", "-t", "1", "-T", "30", "-O", "-", f"--proxy-user={USER}",
                     f"--proxy-password={PASSWORD}", c.url()],
                    env={"http_proxy": f"http://{c.auth_proxy}"}))


def aria2(c, url, *words):
    done = c.run(["aria2c", "-q", "--no-conf", f"--all-proxy=http://{c.proxy}", "-d", c.directory,
                  "-o", "got", "--max-tries=1", "--connect-timeout=30", *words, url])
    c.same(done.returncode, 0, f"exit code {last_line(done.stdout.decode() + done.stderr)}".strip())
    c.same((c.directory / "got").read_bytes(), c.targets.data, "the file")


@check("aria2", "http proxy", "http", "aria2c")
def _(c):
    aria2(c, c.url(host=c.stage.name))


@check("aria2", "http proxy, https", "http", "aria2c openssl")
def _(c):
    aria2(c, c.url(host=c.stage.name, scheme="https"), f"--ca-certificate={c.targets.ca}")
