"""There are routers between the client and the hosts, and between hosts too."""
import socket
import struct

import namespace
from cases import cases, topology
from lab import PORT
from process import expect, run, wait_until
from socket_app import BOUND, LISTENING, Between, Connection, OwnConnection, move, start


def stops(lab, path):
    return [getattr(lab, f"host{letter}") for letter in path]


def travels(lab, kind, path, family):
    start(lab, *lab.hosts)
    connection = kind(lab, family)
    connection.travel(*stops(lab, path))
    connection.end()


@topology("routed")
@topology("routed", asymmetric=True, rp_filter=True)
@cases(("BA", "4"), ("BA", "6"), ("CA", "4"), ("CA", "6"), ("BCA", "4"), ("BCA", "6"), ("CBA", "4"))
def test_a_server_end_moves_across_routers(lab, path, family):
    """hostB is on home's link, hostC behind a router."""
    travels(lab, Connection, path, family)


@topology("routed")
@topology("routed", asymmetric=True, rp_filter=True)
@cases("4", "6")
def test_a_client_end_moves_across_routers(lab, family):
    travels(lab, OwnConnection, "BCA", family)


@topology("bridge", rp_filter=True)
@cases("4", "6")
def test_a_connection_moves_with_strict_reverse_path_filters(lab, family):
    travels(lab, Connection, "BCA", family)


@topology("bridge", mtu=1400)
@topology("routed", mtu=1400)
@cases("4", "6")
def test_the_segment_size_is_kept_after_a_move(lab, family):
    start(lab, *lab.hosts)
    connection = Connection(lab, family)
    connection.both_ways()
    before = connection.ours.info("snd_mss")
    for target in stops(lab, "BC"):
        connection.travel(target)
        expect(
            connection.ours.info("snd_mss") == before < 1400,
            lambda: f"{before}, now {connection.ours.info()}",
        )


def lead_by_router(lab, yes):
    """Routes home's packets to hostB, which is on its link, through the router, or no
    longer. hostB's route to home stays as it is."""
    for flag, address, router in (
        ("-4", lab.hostB.address, "10.77.0.254"),
        ("-6", lab.hostB.at("6"), "fd77::254"),
    ):
        run(
            [
                "ip",
                "-n",
                "hostA",
                flag,
                "route",
                *(["add", address, "via", router] if yes else ["del", address]),
            ]
        )


def stand_still(lab):
    """Switches ICMP redirects off. A router sends them for packets that leave by the
    interface at which they arrived."""
    namespace.sysctl(
        "hostA",
        {
            "net.ipv4.conf.all.accept_redirects": 0,
            "net.ipv4.conf.eth0.accept_redirects": 0,
            "net.ipv6.conf.eth0.accept_redirects": 0,
        },
    )
    namespace.sysctl(
        "router", {"net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.lan.send_redirects": 0}
    )


def forgive(lab):
    """Until hostB has learned that packets arrive with its own address, it answers them
    by RST from that address. This RST does not concern the client."""
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")


@topology("routed")
@cases("4", "6")
def test_redirects_follow_a_holder_behind_a_router_and_back(lab, family):
    stand_still(lab)
    start(lab, lab.hostA, lab.hostB)
    connection = Connection(lab, family)
    connection.move(lab.hostB)
    connection.both_ways()
    for yes in (True, False, True):
        said = len(lab.hostA.daemon.lines)
        lead_by_router(lab, yes)
        lab.hostA.daemon.wait_line(f"the way to {lab.hostB.at(family)}", after=said)
        connection.both_ways()
    connection.move(lab.hostA, lab.hostB)
    connection.both_ways()
    connection.end()
    forgive(lab)


@topology("routed")
@cases("4", "6")
def test_a_holder_that_only_home_reaches_by_a_router_receives_after_each_move(lab, family):
    """hostB's own route to home is direct, so hostB learns from home how packets arrive."""
    stand_still(lab)
    start(lab, lab.hostA, lab.hostB, lab.hostC)
    lead_by_router(lab, True)
    connection = Connection(lab, family)
    for path in ((lab.hostB,), (lab.hostC, lab.hostB)):
        connection.move(*path)
        connection.both_ways()
    connection.end()
    forgive(lab)


@topology("routed")
def test_a_route_by_an_unconfigured_interface_is_reported(lab):
    """Home's rules are about its interfaces only. The connection continues when the route
    is right again."""
    start(lab, lab.hostA, lab.hostB)
    connection = Connection(lab)
    connection.move(lab.hostB)
    connection.both_ways()
    run(["ip", "-n", "hostA", "link", "add", "other", "type", "veth", "peer", "name", "behind"])
    for interface in ("other", "behind"):
        run(["ip", "-n", "hostA", "link", "set", interface, "up"])
    run(["ip", "-n", "hostA", "route", "add", lab.hostB.address, "dev", "other"])
    error = wait_until(lambda: lab.hostA.api("/v1/status")["repairs"]["error"], "hostA says it")
    expect(lab.hostB.address in error and "other" in error, error)
    run(["ip", "-n", "hostA", "link", "del", "other"])
    wait_until(lambda: not lab.hostA.api("/v1/status")["repairs"]["error"], "it is right again")
    connection.both_ways()
    connection.end()


@topology("routed")
@cases(LISTENING, BOUND)
def test_port_redirects_follow_a_holder_behind_a_router(lab, state):
    stand_still(lab)
    start(lab, lab.hostA, lab.hostB)
    ours = lab.hostA.app.socket("4").bind()
    if state == LISTENING:
        ours.do("listen", 8)
    moved = move(ours, lab.hostB, state)
    if state == BOUND:
        moved.do("listen", 8)
    for yes in (True, False):
        lead_by_router(lab, yes)
        theirs = lab.client.app.socket("4")
        theirs.do("connect-later", lab.hostA.address, PORT)
        theirs.do("connected", 20_000)
        connection = Between(moved.accept(), theirs)
        connection.both_ways()
        connection.end()
    forgive(lab)


def tracked(host):
    """Returns how many connections the host's connection tracking has. (The kernel also
    counts expired ones until it comes across them.)"""
    GET, DUMP, DONE = 1 << 8 | 1, 0x301, 3

    def ask():
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:
            netfilter.send(struct.pack("=IHHII", 20, GET, DUMP, 1, 0) + bytes(4))
            found = 0
            while True:
                data = netfilter.recv(1 << 16)
                while data:
                    size, kind = struct.unpack_from("=IH", data)
                    if kind == DONE:
                        return found
                    expect(kind == GET & ~0xFF, f"a message of type {kind}")
                    found += 1
                    data = data[(size + 3) & ~3 :]

    return namespace.within(host, ask)


@topology("bridge")
@topology("routed")
@cases("B", "C")
def test_only_foreign_connections_are_tracked(lab, path):
    """Connection tracking costs time for every packet of the host. So it is not switched
    on at a host that does without it: the only entry is that of the foreign connection,
    which the holder makes in case a firewall asks for it. Otherwise the daemons'
    connections would be tracked, too."""
    start(lab, *lab.hosts, steer={"linger_ms": 200})
    connection = Connection(lab)
    connection.travel(*stops(lab, path))
    wait_until(lambda: sum(map(tracked, lab.hosts)) == 1, "its entry is where it lives")
    connection.end()
    wait_until(lambda: sum(map(tracked, lab.hosts)) == 0, "its entry is gone")
