"""Where the hosts are, and how packets get from one to another.

bridge     client, hostA, hostB and hostC on one link.

routed     client ── near ──┐         ┌── lan ────── hostA, hostB
                            ├─ router ┤
                            └─ (back) └── far ────── hostC

In "routed" every packet between client and hosts, and between hostC and the others, crosses
the router, a host that only forwards. With `asymmetric` there is a second router, "back":
what hostB and hostC send to other links goes through it. What is sent to them, and all
packets of hostA, go through "router".

The options of a topology:
    asymmetric    see above (routed)
    rp_filter     the hosts drop what arrives by an interface that the answer would not leave
                  by (strict reverse path filter)
    mtu           of the client's link, and so of the client's own interface
    firewall      "nftables" or "iptables": see firewall.py
    delay_ms      of the client's link, one way, and its rate_mbit: a delay_box is between the
                  client and its bridge; all links then keep the order of packets
"""
import contextlib
import dataclasses
import pathlib

import firewall
import namespace
from process import run

NUMBERS = {"client": 100, "hostA": 1, "hostB": 2, "hostC": 3, "router": 254, "back": 253}
HOSTS = ["client", "hostA", "hostB", "hostC"]
SERVERS = HOSTS[1:]


@dataclasses.dataclass(frozen=True)
class Link:
    """A bridge. A host's port there has the host's number in 10.77.NET.0/24 and in
    fd77:0:0:NET::/64 (fe80::/64 too)."""

    name: str
    net: int
    members: list

    def address(self, host):
        return f"10.77.{self.net}.{NUMBERS[host]}"

    def address6(self, host):
        return (
            f"fd77::{NUMBERS[host]}" if self.net == 0 else f"fd77:0:0:{self.net}::{NUMBERS[host]}"
        )

    def networks(self):
        return (
            f"10.77.{self.net}.0/24",
            "fd77::/64" if self.net == 0 else f"fd77:0:0:{self.net}::/64",
        )


@dataclasses.dataclass(frozen=True)
class Port:
    """A host's interface and its other end, which is in the bridge. Hosts have one,
    "eth0"; those of a router are named after their bridges."""

    host: str
    link: Link

    @property
    def name(self):
        return "eth0" if self.host in HOSTS else self.link.name

    @property
    def outer(self):
        return self.host if self.host in HOSTS else f"{self.host}.{self.link.name}"


def links(kind, asymmetric):
    if kind == "bridge":
        return [Link("lan", 0, HOSTS)]
    routers = ["router", "back"] if asymmetric else ["router"]
    return [
        Link("near", 9, ["client", *routers]),
        Link("lan", 0, ["hostA", "hostB", *routers]),
        Link("far", 3, ["hostC", *routers]),
    ]


class InOrder:
    """What arrives by links that are made meanwhile is processed by one processor, in the
    order in which it was sent. Otherwise each processor has a queue of its own for what
    it sends, and on a busy machine a segment arrives milliseconds after later ones: the
    peer takes it for lost. (Linux 6.3 and later.)"""

    MASK = pathlib.Path("/proc/sys/net/core/rps_default_mask")

    def _set(self, mask):
        if self.MASK.exists():
            self.MASK.write_text(mask)

    def __enter__(self):
        self._set("1")

    def __exit__(self, *_):
        self._set("0")


class Topology:
    def __init__(
        self,
        kind="bridge",
        *,
        asymmetric=False,
        rp_filter=False,
        mtu=None,
        firewall=None,
        delay_ms=0,
        rate_mbit=0,
    ):
        self.kind, self._asymmetric, self._rp_filter, self._mtu, self._firewall = (
            kind,
            asymmetric,
            rp_filter,
            mtu,
            firewall,
        )
        self._delay = (
            ["--delay-ms", str(delay_ms)] + (["--rate-mbit", str(rate_mbit)] if rate_mbit else [])
            if delay_ms
            else []
        )
        self.links = links(kind, asymmetric)
        self.ports = [Port(host, link) for link in self.links for host in link.members]
        self.hosts = list(dict.fromkeys(port.host for port in self.ports))

    @property
    def routed(self):
        return self.kind == "routed"

    def link_of(self, host):
        return next(port.link for port in self.ports if port.host == host)

    def make(self):
        with InOrder() if self._delay else contextlib.nullcontext():
            self._make_links()
        for host in self.hosts:
            self._configure(host)

    def delay_box(self, program):
        """Returns the command that makes the client's link a long wire, if it is one."""
        return [program, "client", "leg", *self._delay] if self._delay else None

    def remove(self):
        """Removes the interfaces. Namespaces remove their interfaces and these their
        other ends, but only after some time, and the names are needed again."""
        interfaces = [
            *(port.outer for port in self.ports),
            *(link.name for link in self.links),
            *(["leg"] if self._delay else []),
        ]
        batch = [
            *(f"link del {name}" for name in interfaces),
            *(f"netns del {host}" for host in self.hosts),
        ]
        run(["ip", "-force", "-batch", "-"], stdin="\n".join(batch).encode(), check=False)

    def _master(self, port):
        return "" if self._delay and port.host == "client" else f"master {port.link.name}"

    def _make_links(self):
        batch = [f"netns add {host}" for host in self.hosts]
        for link in self.links:
            batch += [
                f"link add {link.name} type bridge mcast_snooping 0",
                f"link set {link.name} addrgenmode none up",
            ]
        for port in self.ports:
            mtu = (
                f"mtu {self._mtu}"
                if self._mtu
                and port.link is self.link_of("client")
                and (port.host == "client" or self.routed)
                else ""
            )
            batch += [
                f"link add {port.outer} {mtu} type veth peer name {port.name} netns "
                f"{port.host} {mtu}",
                f"link set {port.outer} addrgenmode none {self._master(port)} up",
            ]
        if self._delay:
            batch += [
                "link add leg type veth peer name leg.bridge",
                "link set leg addrgenmode none up",
                f"link set leg.bridge addrgenmode none master {self.link_of('client').name} up",
            ]
        run(["ip", "-batch", "-"], stdin="\n".join(batch).encode())

    def _configure(self, host):
        # Without duplicate address detection, whose two tests would take time. So
        # link-local addresses are set by hand, too.
        batch = ["link set lo up"]
        for port in self.ports:
            if port.host == host:
                batch += [
                    f"link set {port.name} addrgenmode none up",
                    f"addr add {port.link.address(host)}/24 dev {port.name}",
                    f"addr add {port.link.address6(host)}/64 dev {port.name} nodad",
                    f"addr add fe80::{NUMBERS[host]}/64 dev {port.name} nodad",
                ]
        if self.routed and host in HOSTS:
            link, router = (
                self.link_of(host),
                "back" if self._asymmetric and host in ("hostB", "hostC") else "router",
            )
            batch += [
                f"route add default via {link.address(router)}",
                f"route add default via {link.address6(router)}",
            ]
        run(["ip", "-n", host, "-batch", "-"], stdin="\n".join(batch).encode())
        if host not in HOSTS:
            namespace.sysctl(
                host,
                {
                    "net.ipv4.ip_forward": 1,
                    "net.ipv6.conf.all.forwarding": 1,
                    "net.ipv4.conf.all.rp_filter": 0,
                    **{
                        f"net.ipv4.conf.{port.name}.rp_filter": 0
                        for port in self.ports
                        if port.host == host
                    },
                },
            )
        elif host in SERVERS:
            if self._rp_filter:
                namespace.sysctl(
                    host, {"net.ipv4.conf.all.rp_filter": 1, "net.ipv4.conf.eth0.rp_filter": 1}
                )
            if self._firewall:
                firewall.install(host, self._firewall)


def addresses(kind):
    """Returns the hosts' IPv4 addresses."""
    topology = Topology(kind)
    return {host: topology.link_of(host).address(host) for host in HOSTS}
