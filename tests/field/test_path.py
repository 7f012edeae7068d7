"""Connections whose packets on the wire differ from what their socket says, or that have
no usable path to the importer: they are refused with the reason, and continue where they
are. If the importer can adapt itself to a foreign connection, it does."""
import struct
import socket as sockets

import observe
from cases import cases, topology
from namespace import sysctl
from process import expect, run
from socket_app import LISTENING, Between, Connection, OwnConnection, SocketApp, refused, start

PORT = 8443


def stays(connection, target, *words):
    """Checks that it does not move to `target`, for this reason, and continues."""
    reason = refused(connection.ours, target)
    for word in words:
        expect(word in reason, f"the reason is: {reason}")
    connection.both_ways(20_000)


def nft(host, text):
    host.run("nft", "-f", "-", stdin=text.encode())


def accepted(host, theirs, port):
    """Returns a connection of a socket `theirs` to the host's port, which arrives at its
    port 8443."""
    listener = host.app.socket("4").listen(PORT)
    theirs.connect(host, port)
    return Between(listener.accept(), theirs)


# --- the peer is on the exporting host, or on the importing one ---


@cases("10.77.0.1", "127.0.0.1", "10.77.0.51")
def test_a_peer_on_the_exporting_host_is_refused(lab, address):
    run(["ip", "-n", "hostA", "addr", "add", "10.77.0.51/24", "dev", "eth0"])
    start(lab)
    listener = lab.hostA.app.socket("4")
    listener.do("bind", "0.0.0.0", PORT)
    listener.do("listen", 8)
    theirs = SocketApp(lab.hostA).socket("4")
    theirs.do("connect", address, PORT)
    c = Between(listener.accept(), theirs)
    stays(c, lab.hostB, "is on this host")
    c.end()


@cases("10.77.0.2", "10.77.0.52")
def test_a_peer_on_the_importing_host_is_refused(lab, address):
    """By any of its addresses."""
    run(["ip", "-n", "hostB", "addr", "add", "10.77.0.52/24", "dev", "eth0"])
    start(lab)
    listener = lab.hostA.app.socket("4").listen()
    theirs = SocketApp(lab.hostB).socket("4")
    theirs.do("bind", address, 45000)
    theirs.connect(lab.hostA)
    c = Between(listener.accept(), theirs)
    stays(c, lab.hostB, "is hostB itself")
    c.end()


# --- translation at the exporting host ---


@cases("nft", "iptables-legacy", "iptables-nft")
def test_a_connection_to_a_redirected_port_is_refused(lab, tool):
    start(lab)
    if tool == "nft":
        nft(
            lab.hostA,
            "table ip x {\n chain p {\n type nat hook prerouting priority dstnat\n"
            " tcp dport 80 redirect to :8443\n }\n}",
        )
    else:
        lab.hostA.run(
            tool,
            "-t",
            "nat",
            "-A",
            "PREROUTING",
            "-p",
            "tcp",
            "--dport",
            "80",
            "-j",
            "REDIRECT",
            "--to-ports",
            "8443",
        )
    c = accepted(lab.hostA, lab.client.app.socket("4"), 80)
    stays(c, lab.hostB, "translates")
    c.end()


def test_a_masqueraded_own_connection_is_refused(lab):
    """What the host sends has another source port on the wire."""
    start(lab)
    nft(
        lab.hostA,
        "table ip x {\n chain p {\n type nat hook postrouting priority srcnat\n"
        " tcp dport 8443 masquerade to :50000-50010\n }\n}",
    )
    c = OwnConnection(lab)
    stays(c, lab.hostB, "translates")
    c.end()


# --- a host that masquerades accepts foreign connections ---


@cases(("nft", "down"), ("nft", "up"), ("iptables-legacy", "down"), ("iptables-nft", "down"))
def test_a_masquerading_importer_keeps_the_connections_address(lab, tool, first):
    if tool == "nft":
        nft(
            lab.hostB,
            "table ip n {\n chain p {\n type nat hook postrouting priority srcnat\n"
            " oif eth0 masquerade\n }\n}",
        )
    else:
        lab.hostB.run(tool, "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
    start(lab)
    c = Connection(lab)
    c.both_ways()
    seen = observe.Counter(
        lab.client, "in", "ip saddr 10.77.0.2 tcp sport != 7078 tcp dport != 7078"
    )
    c.move(lab.hostB)
    if first == "down":
        c.down.send(c.ours, 20_000)
        c.down.receive(c.theirs)
    c.both_ways()
    expect(
        seen.packets() == 0,
        f"the client's kernel saw {seen.packets()} packets with the importer's address",
    )
    c.move(lab.hostA)
    c.both_ways()
    c.end()


@cases("4", "6")
def test_a_connection_passes_a_firewall_without_loose_tracking(lab, family):
    """With tcp_loose=0 an importer's firewall accepts a connection as known only if it
    has seen its beginning. A foreign connection is known nevertheless."""
    import firewall

    for host in ("hostA", "hostB"):
        firewall.install(host, "nftables")
        sysctl(host, {"net.netfilter.nf_conntrack_tcp_loose": 0})
    start(lab)
    c = OwnConnection(lab, family)
    c.both_ways()
    c.move(lab.hostB, lab.hostA)
    c.both_ways()
    c.end()


# --- the path to the importer ---


def narrow(lab, what):
    if what == "importer":
        for where, dev in (("router", "far"), ("hostC", "eth0")):
            run(["ip", "-n", where, "link", "set", dev, "mtu", "1300"])
    else:  # only the router has this limit
        run(["ip", "-n", "router", "link", "set", "far", "mtu", "1300"])


@topology("routed")
@cases(("4", "importer"), ("6", "importer"), ("4", "router"))
def test_a_too_narrow_path_to_the_importer_is_refused(lab, family, what):
    start(lab, *lab.hosts)
    c = Connection(lab, family)
    c.both_ways()
    narrow(lab, what)
    stays(c, lab.hostC, "packets of 1300 bytes")
    c.both_ways(300_000)
    c.move(lab.hostB)
    c.both_ways(300_000)
    c.end()


def test_an_importer_without_jumbo_frames_is_refused(lab):
    for name in ("client", "hostA"):
        run(["ip", "link", "set", name, "mtu", "9000"])
        run(["ip", "-n", name, "link", "set", "eth0", "mtu", "9000", "gso_max_segs", "1"])
    run(["ip", "link", "set", "lan", "mtu", "9000"])
    start(lab)
    c = Connection(lab)
    c.both_ways()
    stays(c, lab.hostB, "packets of 1500 bytes")
    c.end()


@topology("bridge", mtu=1400)
def test_a_narrow_path_suffices_for_a_client_with_small_packets(lab):
    """The path to the importer is as narrow as the path to the client, so no packet is
    too large."""
    start(lab)
    run(["ip", "-n", "hostB", "link", "set", "eth0", "mtu", "1400"])
    run(["ip", "link", "set", "hostB", "mtu", "1400"])
    c = Connection(lab)
    c.both_ways()
    c.move(lab.hostB)
    c.both_ways(300_000)
    c.end()


# --- signatures ---


def md5_key(family, address, key=b"secret"):
    if family == "4":
        whose = struct.pack(
            "<HH4s", sockets.AF_INET, 0, sockets.inet_pton(sockets.AF_INET, address)
        )
    else:
        whose = struct.pack(
            "<HHI16s", sockets.AF_INET6, 0, 0, sockets.inet_pton(sockets.AF_INET6, address)
        )
    return (
        whose.ljust(128, b"\0") + struct.pack("<BBHi", 0, 0, len(key), 0) + key.ljust(80, b"\0")
    ).hex()


@cases("4", "6")
def test_a_connection_with_md5_signatures_is_refused(lab, family):
    start(lab)

    def prepare(ours, theirs):
        ours.set(6, 14, md5_key(family, lab.client.at(family)))
        theirs.set(6, 14, md5_key(family, lab.hostA.at(family)))

    c = Connection(lab, family, prepare)
    c.both_ways()
    stays(c, lab.hostB, "TCP-MD5")
    c.end()


@cases("4", "6")
def test_a_listener_with_md5_signatures_is_refused(lab, family):
    start(lab)
    listener = lab.hostA.app.socket(family)
    listener.set(6, 14, md5_key(family, lab.client.at(family)))
    listener.listen()
    reason = refused(listener, lab.hostB, LISTENING)
    expect("TCP-MD5" in reason, f"the reason is: {reason}")


# --- interfaces, IPsec, hops ---


def test_a_peer_behind_an_unconfigured_interface_is_refused(lab):
    """hostA has a second link to the client, which `interfaces` does not name."""
    run(
        [
            "ip",
            "link",
            "add",
            "side0",
            "netns",
            "hostA",
            "type",
            "veth",
            "peer",
            "name",
            "side1",
            "netns",
            "client",
        ]
    )
    for name, dev, address in (("hostA", "side0", "10.99.0.1"), ("client", "side1", "10.99.0.2")):
        run(["ip", "-n", name, "addr", "add", f"{address}/24", "dev", dev])
        run(["ip", "-n", name, "link", "set", dev, "up"])
    start(lab)
    listener = lab.hostA.app.socket("4")
    listener.do("bind", "10.99.0.1", PORT)
    listener.do("listen", 8)
    theirs = lab.client.app.socket("4")
    theirs.do("connect", "10.99.0.1", PORT)
    c = Between(listener.accept(), theirs)
    stays(c, lab.hostB, "side0", "interfaces")
    c.end()


def test_a_connection_under_ipsec_is_refused(lab):
    """hostA and the client encrypt their packets, once they have keys (this kernel has no
    cipher for it)."""
    start(lab)
    for name, own, other in (
        ("hostA", "10.77.0.1", "10.77.0.100"),
        ("client", "10.77.0.100", "10.77.0.1"),
    ):
        for direction, source, target in (("out", own, other), ("in", other, own)):
            run(
                [
                    "ip",
                    "-n",
                    name,
                    "xfrm",
                    "policy",
                    "add",
                    "src",
                    source,
                    "dst",
                    target,
                    "dir",
                    direction,
                    "tmpl",
                    "src",
                    source,
                    "dst",
                    target,
                    "proto",
                    "esp",
                    "mode",
                    "transport",
                    "level",
                    "use",
                ]
            )
    c = Connection(lab)
    c.both_ways()
    stays(c, lab.hostB, "IPsec")
    c.end()


@cases(("4", 0, 21), ("6", 41, 73))
def test_a_socket_with_a_minimum_hop_count_is_refused(lab, family, level, least_hops):
    """RFC 5082: both ends send with a hop limit of 255 and accept no less; what home
    redirects has one less."""
    start(lab)
    number = (255).to_bytes(4, "little").hex()

    def prepare(ours, theirs):
        for end in (ours, theirs):
            end.set(level, 2 if family == "4" else 16, number)
            end.set(level, least_hops, number)

    c = Connection(lab, family, prepare)
    c.both_ways()
    stays(c, lab.hostB, "hops")
    c.end()
