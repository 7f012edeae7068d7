"""An endpoint moves on while the notice to home of its previous move is still under way. Home, and
the host that it left before, do not take it back until home has that notice."""
from cases import cases
from socket_app import LISTENING, Between, Connection, move, start

# The notice leaves 300 ms late (20 + 40 + 80 + 160).
LATE = ("moved-notice", 4)


@cases("hostA", "hostB")
def test_a_connection_moves_again_at_once(lab, to):
    start(lab, *lab.hosts)
    connection = Connection(lab)
    connection.move(lab.hostB)
    lab.hostB.arm(*LATE)
    connection.move(lab.hostC, getattr(lab, to))
    connection.both_ways()
    connection.end()


@cases("hostA", "hostB")
def test_a_listener_moves_again_at_once(lab, to):
    start(lab, *lab.hosts)
    listener = move(lab.hostA.app.socket("4").listen(), lab.hostB, LISTENING)
    lab.hostB.arm(*LATE)
    listener = move(listener, lab.hostC, LISTENING)
    listener = move(listener, getattr(lab, to), LISTENING)
    theirs = lab.client.app.socket("4").connect(lab.hostA)
    Between(listener.accept(), theirs).both_ways()
