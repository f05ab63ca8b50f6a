# SPDX-License-Identifier: MIT
"""gateway - a router as it stands in homes: the kernel's own NAT by nftables, and miniupnpd.

    router = Gateway(world.lab, "router", public="88.77.66.55")
    host = router.host("inside")
    router.start_daemon(natpmp=True, upnp=False)

A lab host has one device, a TUN. The router's is its uplink; its LAN is a pair of veth devices, one
of which is moved into the host, whose own TUN is switched off. The NAT gives every flow another,
random port and lets in only what was asked for, port by port: as hard as they come.

miniupnpd refuses to map ports of addresses that are reserved for documentation, so the router's
address outside is another one; it never leaves the lab.
"""
import contextlib
import shutil

from lab import Unavailable

LAN, ROUTER, INSIDE = "192.168.50.0/24", "192.168.50.1", "192.168.50.2"
ROUTER6, INSIDE6 = "2a00:1:2:3::1", "2a00:1:2:3::5"
TOOLS = ("miniupnpd", "nft", "ip")

RULES = """
table inet filter {
	chain input {
		type filter hook input priority 0; policy accept;
		iifname "lan0" udp dport 5351 counter name asked
		jump refused
	}
	chain refused { }
	counter asked { }
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		iifname "lan0" accept
		jump miniupnpd
	}
	chain miniupnpd { }
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		jump prerouting_miniupnpd
	}
	chain prerouting_miniupnpd { }
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		jump postrouting_miniupnpd
		oifname "eth0" masquerade fully-random
	}
	chain postrouting_miniupnpd { }
}
"""

# Of a request, the first byte behind the UDP header is the version: 2 is PCP.
DROP_PCP = "add rule inet filter refused udp dport 5351 @th,64,8 2 drop"

CONFIG = """
ext_ifname=eth0
listening_ip=lan0
enable_natpmp={natpmp}
enable_upnp={upnp}
secure_mode=yes
http_port=0
uuid=00000000-0000-4000-8000-000000000001
allow 1024-65535 {lan} 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


def missing_tools():
    """What this machine lacks for a Gateway."""
    return [tool for tool in TOOLS if not (shutil.which(tool) or shutil.which(f"/usr/sbin/{tool}"))]


class Gateway:
    def __init__(self, lab, name, public):
        self.lab, self.public = lab, public
        self.router = lab.host(name, public=public)
        self.daemon = None
        self._configs = 0

    def _run(self, host, *words, **options):
        done = host.run(words, **options)
        if done.returncode != 0:
            raise Unavailable(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def host(self, name, public):
        """A host in the LAN. Its TUN needs an address until it is switched off: @public."""
        inside = self.lab.host(name, public=public)
        self._run(self.router, "ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
        self._run(self.router, "ip", "link", "set", "lan1", "netns", str(inside.holder))
        self._run(self.router, "ip", "addr", "add", f"{ROUTER}/24", "dev", "lan0")
        self._run(self.router, "ip", "link", "set", "lan0", "up")
        self._run(self.router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self._run(self.router, "nft", "-f", "-", input=RULES)
        self._run(inside, "ip", "link", "set", "eth0", "down")
        self._run(inside, "ip", "addr", "flush", "dev", "eth0")
        self._run(inside, "ip", "addr", "add", f"{INSIDE}/24", "dev", "lan1")
        self._run(inside, "ip", "link", "set", "lan1", "up")
        self._run(inside, "ip", "route", "add", "default", "via", ROUTER)
        return inside

    def give_ipv6(self, inside):
        """A public address too, behind the router's firewall; the route leads to its link-local
        address, as router advertisements have it."""
        self._run(self.router, "ip", "addr", "add", f"{ROUTER6}/64", "dev", "lan0", "nodad")
        self._run(inside, "ip", "addr", "add", f"{INSIDE6}/64", "dev", "lan1", "nodad")
        via = self.lab.wait_until(self._link_local, 10, "the router's link-local address")
        self._run(inside, "ip", "-6", "route", "add", "default", "via", via, "dev", "lan1")

    def _link_local(self):
        text = self._run(self.router, "ip", "-6", "addr", "show", "dev", "lan0", "scope", "link")
        return None if "tentative" in text or "inet6" not in text else \
            text.split("inet6")[1].split("/")[0].strip()

    def pinholes(self):
        """Openings of the IPv6 firewall; nft shows miniupnpd's rules as raw bytes."""
        text = self.nft("list chain inet filter miniupnpd")
        return [line.strip() for line in text.splitlines() if "@nh,192,128 0x2a00" in line]

    def nft(self, command):
        return self._run(self.router, "nft", command)

    def refuse_pcp(self, is_refused):
        """Drop PCP's requests, as routers do that know only NAT-PMP."""
        self.nft(DROP_PCP if is_refused else "flush chain inet filter refused")

    def asked(self):
        """Datagrams that came to the port of PCP and NAT-PMP."""
        text = self.nft("list counter inet filter asked")
        return int(text.split("packets")[1].split()[0])

    def mappings(self):
        """What is forwarded now, as nft lists it."""
        text = self.nft("list chain inet filter prerouting_miniupnpd")
        return [line.strip() for line in text.splitlines() if "dnat" in line]

    def start_daemon(self, natpmp=True, upnp=True):
        """miniupnpd with these protocols; PCP and NAT-PMP are one switch in it."""
        words = {True: "yes", False: "no"}
        self._configs += 1
        config = self.lab.directory / f"miniupnpd-{self._configs}.conf"
        config.write_text(CONFIG.format(natpmp=words[natpmp], upnp=words[upnp], lan=LAN))
        self.daemon = self.router.spawn(["miniupnpd", "-d", "-f", config, "-P",
                                         f"{config}.pid"])
        self.lab.wait_until(lambda: self._is_ready(natpmp, upnp), 10, "miniupnpd is ready")

    def _is_ready(self, natpmp, upnp):
        text = self.daemon.text()
        assert self.daemon.poll() is None, text
        return (not natpmp or "traffic on port 5351" in text) and \
            (not upnp or "HTTP listening" in text)

    def stop_daemon(self):
        """It ends, and with it whatever it had forwarded; flows of before pass on."""
        if self.daemon:
            with contextlib.suppress(ProcessLookupError):
                self.daemon.stop()
        self.daemon = None
        self.nft("flush chain inet filter prerouting_miniupnpd")
        self.nft("flush chain inet filter miniupnpd")
