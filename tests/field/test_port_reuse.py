"""What happens after a moved connection, and next to it: a redirect is for one
connection, not for all that look like it."""
import socket
import struct

import observe
from cases import cases, topology
from namespace import within
from process import expect, wait_until
from socket_app import CONNECTED, LISTENING, Between, Connection, refused, start

REUSE = (1, 2)  # SOL_SOCKET, SO_REUSEADDR
LINGER = (1, 13)
SOURCE = 45_000


def number(value):
    return value.to_bytes(4, "little", signed=True).hex()


def from_one_port(lab, to=None, family="4"):
    """Makes a connection of the client from the port SOURCE, which has moved to the host `to`."""

    def prepare(_, theirs):
        theirs.set(*REUSE, number(1))
        theirs.bind(SOURCE)

    connection = Connection(lab, family, prepare=prepare)
    connection.both_ways()
    if to:
        connection.move(to)
        connection.both_ways()
    return connection


def finished(lab, connection):
    """Both ends have ended it in order; the one on the server's side is in TIME_WAIT."""
    connection.ours.shutdown()
    connection.down.receive_end(connection.theirs)
    connection.theirs.shutdown()
    connection.up.receive_end(connection.ours)
    connection.ours.close()
    connection.theirs.close()


def reset(lab, connection):
    """The client has reset it; the application keeps its descriptor."""
    connection.theirs.set(*LINGER, number(1) + number(0))
    connection.theirs.close()


def forgotten(lab, connection):
    """The client's kernel does not have it any more, as after a reboot; the application
    has not noticed."""
    with observe.Dropped(lab.client, "out", f"tcp sport {SOURCE}"):
        reset(lab, connection)


ENDS = {function.__name__: function for function in (finished, reset, forgotten)}


def connect_again(lab, connection):
    """Makes a new connection between the same addresses and ports, as soon as the client's kernel
    does. Returns it, and how many SYNs that took."""
    again = lab.client.app.socket(connection.theirs.family)
    again.set(*REUSE, number(1))
    again.bind(SOURCE)
    syns = observe.Counter(lab.client, "out", f"tcp sport {SOURCE} tcp flags & (syn | ack) == syn")
    again.do("connect-later", lab.hostA.at(again.family), 8443)
    again.do("connected", 12_000)
    return Between(connection.listener.accept(3000), again), syns.packets()


@cases(*((how, moves) for how in ENDS for moves in (False, True)))
def test_the_ports_of_an_ended_connection_are_free_as_soon_as_without_a_move(lab, how, moves):
    start(lab, steer={"linger_ms": 60_000})
    connection = from_one_port(lab, lab.hostB if moves else None)
    ENDS[how](lab, connection)
    if how != "forgotten":
        wait_until(
            lambda: not lab.hostA.api("/v1/connections")["connections"],
            "home knows that it has ended",
        )
    new, syns = connect_again(lab, connection)
    # The first SYN of a client that has lost the connection meets the old one. The second may come
    # before home knows that this one has ended.
    expect(syns <= (3 if how == "forgotten" else 1), f"it took {syns} SYNs")
    new.both_ways()
    wait_until(lambda: not observe.redirects(lab.hostA), "no redirect is left for it")
    # The kernel of a client that has lost the connection resets it.
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")


@topology("bridge")
@topology("routed")
@cases("4", "6")
def test_the_ports_of_an_ended_connection_are_free_in_each_family_and_behind_a_router(lab, family):
    start(lab, lab.hostA, lab.hostC, steer={"linger_ms": 60_000})
    connection = from_one_port(lab, lab.hostC, family)
    finished(lab, connection)
    wait_until(
        lambda: not lab.hostA.api("/v1/connections")["connections"], "home knows that it has ended"
    )
    expect(observe.redirects(lab.hostA), "the last packets are not sent on")
    new, syns = connect_again(lab, connection)
    expect(syns == 1, f"it took {syns} SYNs")
    new.both_ways()


def test_a_forged_syn_does_not_take_over_a_moved_connection(lab):
    """The connection's holder answers it, not home's listener."""
    start(lab)
    connection = from_one_port(lab, lab.hostB)
    challenges = observe.kernel_counter(lab.hostB, "TcpExtTCPSYNChallenge")
    forge_syn(lab.client, lab.hostA.address)
    wait_until(
        lambda: observe.kernel_counter(lab.hostB, "TcpExtTCPSYNChallenge") > challenges,
        "the holder challenges it",
    )
    connection.both_ways()
    expect(observe.redirects(lab.hostA), "the redirect has gone")


@topology("routed")
def test_a_listener_is_refused_if_the_importer_uses_its_port(lab):
    """What home redirects to a host behind a router carries that host's address."""
    start(lab, lab.hostA, lab.hostC)
    own = lab.hostC.app.socket("4").listen()
    reason = refused(lab.hostA.app.socket("4").listen(), lab.hostC, LISTENING)
    expect("is used by this host" in reason, reason)
    theirs = lab.client.app.socket("4").connect(lab.hostC)
    Between(own.accept(), theirs).both_ways()


@topology("routed")
@cases(CONNECTED, LISTENING)
def test_a_port_is_released_after_the_importing_daemon_died(lab, state):
    """The daemon dies with what it has prepared. The next daemon must not keep the rules
    that rewrite the packets of that port to home's address."""
    start(lab, lab.hostA, lab.hostC, steer={"linger_ms": 200})
    if state == CONNECTED:
        moving = Connection(lab).ours
    else:
        moving = lab.hostA.app.socket("4").listen()
    lab.hostC.arm("prepared-reply=kill")
    refused(moving, lab.hostC, state)
    lab.hostC.daemon.wait()
    lab.start_daemon(lab.hostC, steer={"linger_ms": 200})
    wait_until(
        lambda: "elements" not in lab.hostC.run("nft", "list", "table", "inet", "sockmi"),
        "nothing is left for it",
    )


def forge_syn(host, to):
    """Sends a SYN from the port of the connection, as a host does that has no such connection."""

    def send():
        source, target = socket.inet_aton(host.address), socket.inet_aton(to)
        head = struct.pack("!HHIIBBHHH", SOURCE, 8443, 12345, 0, 5 << 4, 2, 1000, 0, 0)
        pseudo = source + target + struct.pack("!BBH", 0, 6, len(head)) + head
        total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
            raw.sendto(head[:16] + struct.pack("!H", ~total & 0xFFFF) + head[18:], (to, 0))

    within(host, send)
