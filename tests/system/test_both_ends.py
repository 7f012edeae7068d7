"""Both ends of one connection move: one after the other, and at the same time.

    server end    hostA → hostB
    client end    hostC → the client's host, which here runs a sockmid too
"""
import errno

from cases import cases
from lab import PORT
from process import expect
from socket_app import Between, begin_export, export_together, imported, move, start


class TwoEnds(Between):
    """A connection whose other end, `theirs`, moves too."""

    def __init__(self, lab, family):
        start(lab, lab.hostA, lab.hostB, lab.hostC, lab.client)
        listener = lab.hostA.app.socket(family).listen()
        theirs = lab.hostC.app.socket(family).connect(lab.hostA, PORT)
        super().__init__(listener.accept(), theirs)

    def move_both(self, ours, theirs):
        exports = [begin_export(self.ours, ours), begin_export(self.theirs, theirs)]
        for finish in exports:
            finish()
        self.ours, self.theirs = imported(ours, self.ours.family), imported(
            theirs, self.theirs.family
        )


@cases("4", "6")
def test_both_ends_move_in_turn(lab, family):
    connection = TwoEnds(lab, family)
    connection.both_ways()
    connection.move(lab.hostB)
    connection.both_ways()
    connection.theirs = move(connection.theirs, lab.client)
    connection.both_ways()
    connection.move(lab.hostA)
    connection.theirs = move(connection.theirs, lab.hostC)
    connection.both_ways()
    connection.end()


@cases("4", "6")
def test_both_ends_move_at_the_same_time(lab, family):
    connection = TwoEnds(lab, family)
    for ours, theirs in [(lab.hostB, lab.client), (lab.hostA, lab.hostC), (lab.hostB, lab.client)]:
        connection.both_ways()
        connection.move_both(ours, theirs)
    connection.both_ways()
    connection.end()


@cases("4", "6")
def test_both_ends_move_at_the_same_time_with_full_queues(lab, family):
    connection = TwoEnds(lab, family)
    connection.up.fill(connection.theirs)
    connection.down.fill(connection.ours)
    connection.move_both(lab.hostB, lab.client)
    connection.up.receive(connection.ours)
    connection.down.receive(connection.theirs)
    connection.end()


def test_a_refused_connection_does_not_stop_others_of_its_call(lab):
    """hostB cannot get the end of a connection whose other end is its own."""
    start(lab)
    listener = lab.hostA.app.socket("4").listen()
    ends = [
        (host.app.socket("4").connect(lab.hostA, PORT), listener.accept())
        for host in (lab.hostB, lab.client)
    ]
    refused, other = (Between(ours, theirs) for theirs, ours in ends)
    expect(
        export_together([refused.ours, other.ours], lab.hostB) == [errno.ENOTSUP, 0],
        lab.hostA.last_error,
    )
    other.ours = imported(lab.hostB, "4")
    for connection in (refused, other):
        connection.both_ways()
