"""Both ends of one connection move: one after the other, and at the same time.

    server end    hostA → hostB
    client end    hostC → the client's host, which here runs a sockmid too
"""
from cases import cases
from lab import PORT
from socket_app import Connection, Stream, begin_export, imported, move, start


class TwoEnds(Connection):
    """`theirs` moves too."""

    def __init__(self, lab, family):
        start(lab, lab.hostA, lab.hostB, lab.hostC, lab.client)
        listener = lab.hostA.app.socket(family).listen()
        self.theirs = lab.hostC.app.socket(family).connect(lab.hostA, PORT)
        self.ours = listener.accept()
        self.up, self.down = Stream("up"), Stream("down")

    def move_both(self, ours, theirs):
        exports = [begin_export(self.ours, ours), begin_export(self.theirs, theirs)]
        for finish in exports:
            finish()
        self.ours, self.theirs = imported(ours, self.ours.family), imported(theirs, self.theirs.family)


@cases("4", "6")
def test_one_after_the_other(lab, family):
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
def test_at_the_same_time(lab, family):
    connection = TwoEnds(lab, family)
    for ours, theirs in [(lab.hostB, lab.client), (lab.hostA, lab.hostC), (lab.hostB, lab.client)]:
        connection.both_ways()
        connection.move_both(ours, theirs)
    connection.both_ways()
    connection.end()


@cases("4", "6")
def test_at_the_same_time_with_both_queues_full(lab, family):
    connection = TwoEnds(lab, family)
    connection.up.fill(connection.theirs)
    connection.down.fill(connection.ours)
    connection.move_both(lab.hostB, lab.client)
    connection.up.receive(connection.ours)
    connection.down.receive(connection.theirs)
    connection.end()
