"""Packets that are redirected to a host behind a router carry that host's address. Checks
the effect on the host's own services, and which sockets get the packets."""
import errno
import signal

import observe
from cases import cases, topology
from lab import PORT, expect, wait_until
from sandbox import without_privilege
from socket_app import (
    BOUND,
    LISTENING,
    SERVICE,
    Between,
    Connection,
    SocketApp,
    move,
    refused,
    start,
)

REUSE = {"SO_REUSEADDR": 2, "SO_REUSEPORT": 15}
V6ONLY = (41, 26, "01000000")
UDP_ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("bound", flush=True)
data, peer = s.recvfrom(100); print("got", data.decode(), flush=True)
"""


def begin(lab):
    start(lab, lab.hostA, lab.hostC)


def own_addresses(host, family):
    """Returns the addresses at which a service of the host would bind to be reached by
    clients of the family."""
    return (
        [("4", host.address), ("4", "0.0.0.0"), ("6", "::")]
        if family == "4"
        else [("6", host.at("6")), ("6", "::")]
    )


def bound_on(host, family, address, *settings):
    """Returns an application's socket that is bound there, or the errno."""
    own = host.app.socket(family)
    for setting in settings:
        own.set(*setting)
    answer = host.app.tries("bind", own.fd, address, PORT)
    if "error" not in answer:
        return own
    own.close()
    return answer["error"]


def served(lab, listener, host, family="4"):
    """Checks that a new client of `host` is answered by the application that has the listener."""
    theirs = lab.client.app.socket(family)
    theirs.do("connect-later", host.at(family), PORT)
    theirs.do("connected", 20_000)
    connection = Between(listener.accept(), theirs)
    connection.both_ways()
    return connection


def expect_taken(host, family):
    for own_family, address in own_addresses(host, family):
        for option in REUSE.values():
            got = bound_on(host, own_family, address, (1, option, "01000000"))
            expect(
                got == errno.EADDRINUSE, f"a socket of the host's own is bound to {address}: {got}"
            )


@topology("routed")
@cases("4", "6")
def test_the_port_of_a_foreign_listener_cannot_be_bound(lab, family):
    begin(lab)
    listener = move(lab.hostA.app.socket(family).listen(), lab.hostC, LISTENING)
    expect_taken(lab.hostC, family)
    served(lab, listener, lab.hostA, family).end()
    lab.hostC.daemon.signal(signal.SIGTERM)
    expect(lab.hostC.daemon.wait() == 0, lab.hostC.daemon.tail)
    lab.start_daemon(lab.hostC)
    expect_taken(lab.hostC, family)
    served(lab, listener, lab.hostA, family).end()
    # It goes home and comes again. When it has ended, the port belongs to the host again.
    lab.hostC.app = SocketApp(lab.hostC, SERVICE)  # the next daemon has it registered
    listener = move(move(listener, lab.hostA, LISTENING), lab.hostC, LISTENING)
    served(lab, listener, lab.hostA, family).end()
    listener.close()
    own = wait_until(
        lambda: not isinstance(got := bound_on(lab.hostC, family, lab.hostC.at(family)), int)
        and got,
        "the port is free",
    )
    own.do("listen", 8)
    served(lab, own, lab.hostC, family).end()


@topology("routed")
@cases("4", "6")
def test_a_foreign_wildcard_socket_listens_on_the_importer(lab, family):
    begin(lab)
    bound = lab.hostA.app.socket(family)
    bound.set(1, REUSE["SO_REUSEADDR"], "01000000")
    bound.do("bind", "0.0.0.0" if family == "4" else "::", PORT)
    moved = move(bound, lab.hostC, BOUND)
    moved.do("listen", 8)
    expect_taken(lab.hostC, "4")
    served(lab, moved, lab.hostA).end()


@topology("routed")
@cases(
    *(
        (state, family, address, how)
        for state in (LISTENING, BOUND)
        for family, address in (("4", None), ("4", "0.0.0.0"), ("6", "::"))
        for how in ("listens", "bound")
    )
)
def test_a_port_in_use_on_the_importer_is_refused(lab, state, family, address, how):
    begin(lab)
    address = address or lab.hostC.address
    own = bound_on(lab.hostC, family, address, (1, REUSE["SO_REUSEADDR"], "01000000"))
    if how == "listens":
        own.do("listen", 8)
    theirs = lab.hostA.app.socket("4").bind()
    if state == LISTENING:
        theirs.do("listen", 8)
    reason = refused(theirs, lab.hostC, state)
    expect("is used by this host" in reason, reason)
    if how == "bound":
        own.do("listen", 8)
    served(lab, own, lab.hostC).end()
    theirs.do("listen", 8)
    served(lab, theirs, lab.hostA).end()


@topology("routed")
@cases(*((state, family) for state in (LISTENING, BOUND) for family in "46"))
def test_a_wildcard_port_in_use_on_the_importer_is_refused(lab, state, family):
    """The two sockets look the same."""
    begin(lab)
    wildcard = "0.0.0.0" if family == "4" else "::"
    own = bound_on(lab.hostC, family, wildcard)
    own.do("listen", 8)
    theirs = lab.hostA.app.socket(family)
    theirs.do("bind", wildcard, PORT)
    if state == LISTENING:
        theirs.do("listen", 8)
    reason = refused(theirs, lab.hostC, state)
    expect("is used by this host" in reason, reason)
    served(lab, own, lab.hostC).end()


@topology("routed")
def test_sockets_of_other_families_and_protocols_do_not_block_an_import(lab):
    """Sockets of the other family only, or of UDP, which continue to work."""
    begin(lab)
    six = bound_on(lab.hostC, "6", "::", V6ONLY)
    six.do("listen", 8)
    udp = lab.hostC.popen(
        *without_privilege(),
        "/usr/bin/python3",
        "-c",
        UDP_ECHO,
        lab.hostC.address,
        str(PORT),
        name="udp",
    )
    udp.wait_line("bound")
    listener = move(lab.hostA.app.socket("4").listen(), lab.hostC, LISTENING)
    served(lab, listener, lab.hostA).end()
    served(lab, six, lab.hostC, "6").end()
    lab.client.run(
        "/usr/bin/python3",
        "-c",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'udp', "
        f"('{lab.hostC.address}', {PORT}))",
    )
    udp.wait_line("got udp")


@topology("routed")
def test_the_port_of_the_importers_own_connection_is_refused(lab):
    """The host has connected from that port."""
    begin(lab)
    own = lab.hostC.app.socket("4")
    own.do("bind", lab.hostC.address, PORT)
    theirs = lab.client.app.socket("4").listen(7000)
    connection = Between(own.connect(lab.client, 7000), theirs.accept())
    reason = refused(lab.hostA.app.socket("4").listen(), lab.hostC, LISTENING)
    expect("is used by this host" in reason, reason)
    connection.both_ways()
    connection.end()


@topology("routed")
@cases("4", "6")
def test_the_next_daemon_leaves_a_port_to_a_local_service(lab, family):
    """Then nothing reserves the port. What the foreign listener has accepted continues.
    The daemon reports what the listener has lost, and gives the port back to it when
    possible."""
    begin(lab)
    listener = move(lab.hostA.app.socket(family).listen(), lab.hostC, LISTENING)
    connection = served(lab, listener, lab.hostA, family)
    lab.hostC.daemon.signal(signal.SIGKILL)
    lab.hostC.daemon.wait()
    own = bound_on(lab.hostC, family, lab.hostC.at(family))
    own.do("listen", 8)
    lab.start_daemon(lab.hostC)
    lab.hostC.daemon.wait_line("event=port_taken")
    expect(
        any(
            "no new connections reach" in warning
            for warning in lab.hostC.api("/v1/status")["warnings"]
        ),
        lab.hostC.api("/v1/status"),
    )
    served(lab, own, lab.hostC, family).end()
    connection.both_ways()
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")
    own.close()
    # The last connection of the service is in TIME_WAIT.
    lab.hostC.daemon.wait_line("event=port_freed", timeout=90)
    expect(lab.hostC.api("/v1/status")["warnings"] == [], lab.hostC.api("/v1/status"))
    served(lab, listener, lab.hostA, family).end()
    connection.end()


@topology("routed")
def test_a_colliding_connection_does_not_prevent_the_daemons_start(lab):
    """The connection has the same addresses and ports as a foreign connection whose
    packets come by the router."""
    begin(lab)
    connection = Connection(lab)
    connection.move(lab.hostC)
    connection.both_ways()
    port = connection.theirs.info("local")[1]
    with observe.Dropped(lab.hostC, "out", f"ip saddr {lab.hostC.address} tcp sport {PORT}"):
        own = bound_on(lab.hostC, "4", lab.hostC.address)
        own.do("connect-later", lab.client.address, port)
        lab.hostC.daemon.signal(signal.SIGKILL)
        lab.hostC.daemon.wait()
        lab.start_daemon(lab.hostC)
        connection.both_ways()
        own.close()
    connection.end()
