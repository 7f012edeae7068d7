"""The path to the client is long, and has much data in flight when the connection's end moves."""
import socket

import namespace
from cases import cases, topology
from daemons import records
from lab import PORT
from process import expect, wait_until
from socket_app import LISTENING, Connection, move, start

MEGABYTE = 1 << 20


def allow_buffers(size):
    """Allows buffers of that size, for sockets that are created from now on."""
    for host in ("client", "hostA", "hostB"):
        namespace.sysctl(
            host, {f"net.ipv4.tcp_{kind}": f"4096 {size} {size}" for kind in ("rmem", "wmem")}
        )


def connect(lab, buffers, family="4", **changes):
    allow_buffers(buffers)
    start(lab, **changes)
    return Connection(lab, family)


def in_flight(sender):
    """Returns how many bytes are sent and not acknowledged."""
    unacknowledged, unsent = sender.info("unacknowledged", "unsent")
    return unacknowledged - unsent


@topology("bridge", delay_ms=20)
@topology("routed", delay_ms=20)
@cases("4", "6")
def test_a_download_over_a_long_path_moves(lab, family):
    connection = connect(lab, 32 * MEGABYTE, family)
    received = connection.down.begin_receive(connection.theirs, 16 * MEGABYTE)
    connection.down.send(connection.ours, 16 * MEGABYTE)
    wait_until(lambda: in_flight(connection.ours) > MEGABYTE, "a megabyte is in flight")
    connection.move(lab.hostB)
    received()
    connection.both_ways()


@topology("bridge", delay_ms=20)
@topology("routed", delay_ms=20)
@cases("4", "6")
def test_an_upload_over_a_long_path_moves(lab, family):
    connection = connect(lab, 32 * MEGABYTE, family)
    sent = connection.up.begin_send(connection.theirs, 16 * MEGABYTE)
    for target in (lab.hostB, lab.hostA, lab.hostB):
        connection.up.receive(connection.ours, 4 * MEGABYTE)
        connection.move(target)
    connection.up.receive(connection.ours, 4 * MEGABYTE)
    sent()
    connection.both_ways()


@topology("bridge", delay_ms=25)
def test_a_listener_with_many_accepted_connections_goes_home_over_a_long_path(lab):
    """Home, which is the client here, has to know them before, in 4.5 s. A claim takes 50 ms."""
    start(lab, lab.client, lab.hostB, steer={"freeze_timeout_ms": 10_000})
    listener = move(lab.client.app.socket("4").listen(backlog=256), lab.hostB, LISTENING)
    theirs = []
    for _ in range(200):
        theirs.append(namespace.within(lab.hostC, lambda: socket.socket(socket.AF_INET)))
        theirs[-1].setblocking(False)
        theirs[-1].connect_ex((lab.client.address, PORT))
    ours = [listener.accept() for _ in theirs]
    move(listener, lab.client, LISTENING)
    expect(records(lab.client).count(("moved", "hostB")) == len(ours), records(lab.client))
    for end in theirs:
        end.close()


# 100 MiB in flight at 40 ms would be 20 Gbit/s, which no program reaches. So this path is
# longer.
LONG, FULL, CONTENT = {"delay_ms": 250}, 100 * MEGABYTE, 220 * MEGABYTE
PATIENT = {"freeze_timeout_ms": 30_000}  # with sanitizers an image of that size takes seconds


@topology("bridge", **LONG)
def test_a_download_moves_with_100_megabytes_in_flight(lab):
    connection = connect(lab, 2 * CONTENT, steer=PATIENT)
    received = connection.down.begin_receive(connection.theirs, CONTENT)
    connection.down.send(connection.ours, CONTENT)
    wait_until(lambda: in_flight(connection.ours) > FULL, "the path is full", timeout=60)
    connection.move(lab.hostB)
    received(60)
    connection.both_ways()


@topology("bridge", **LONG)
def test_an_upload_moves_with_100_megabytes_in_flight(lab):
    connection = connect(lab, 2 * CONTENT, steer=PATIENT)
    connection.up.send(connection.theirs, CONTENT)
    while in_flight(connection.theirs) < FULL:
        connection.up.receive(connection.ours, MEGABYTE)
        expect(connection.up.received < CONTENT, "the path never was full")
    # An image of more than 128 MiB is refused, and on a busy machine much is not read yet.
    connection.up.receive(connection.ours, connection.ours.info("unread"))
    connection.move(lab.hostB)
    connection.up.begin_receive(connection.ours, CONTENT - connection.up.received)(60)
    connection.both_ways()
