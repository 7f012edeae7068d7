"""Measures how long a peer that our full receive queue has blocked stands still, from the
application's first read until the first byte arrives that was not in the queue: after a
move, and without one."""
import statistics

from lab import PORT, Lab, expect
from socket_app import Connection, start

ROUNDS = 10


def stall(lab, port, *targets):
    """Returns milliseconds."""
    connection = Connection(lab, port=port)
    sent = connection.up.fill(connection.theirs)
    unread = connection.ours.info("unread")
    expect(
        0 < unread < sent,
        f"{sent} bytes were sent, {unread} wait to be read: the peer is not blocked",
    )
    connection.move(*targets)
    microseconds = connection.ours.do("sink", unread + 1)["us"]
    connection.ours.do("sink", sent - unread - 1)
    for end in (connection.theirs, connection.ours, connection.listener):
        end.close()
    return microseconds / 1000


def stalls(build):
    moved, unmoved = [], []
    with Lab(build) as lab:
        start(lab)
        for i in range(ROUNDS):
            moved.append(stall(lab, PORT + 2 * i, lab.hostB))
            unmoved.append(stall(lab, PORT + 2 * i + 1))
        lab.assert_clean()
    return {
        "stall_full_queue_ms": statistics.median(moved),
        "stall_full_queue_unmoved_ms": statistics.median(unmoved),
    }
