"""A socket moves in whatever state it is."""
import socket
import threading

import namespace
from cases import cases
from lab import PORT
from observe import Counter, Dropped
from process import expect, wait_until
from socket_app import (
    BOUND,
    CONNECTED,
    LISTENING,
    SERVICE,
    Connection,
    Socket,
    Stream,
    imported,
    move,
    plain,
    refused,
    start,
)

FAMILIES = ["4", "6", "mapped"]
BOTH = ["4", "6"]


def wait_state(sock, *states):
    return wait_until(
        lambda: (found := sock.state()) in states and found,
        f"{sock.host.name}'s socket is {' or '.join(states)}",
    )


def accepts(lab, listener):
    """Checks that a client of hostA reaches the listener, wherever it is."""
    theirs = lab.client.app.socket(plain(listener.family)).connect(lab.hostA)
    ours, stream = listener.accept(), Stream("later")
    stream.send(theirs, 1000)
    stream.receive(ours)


def moves_in(connection, target, state):
    """Moves the connection as soon as our end is in this state, in which it stays."""
    wait_state(connection.ours, state)
    connection.move(target)
    expect(connection.ours.state() == state, connection.ours.info)


@cases(*FAMILIES)
def test_a_bound_socket_moves_and_listens_there(lab, family):
    """The socket listens later, on the host where it lives, and clients reach it there."""
    start(lab)
    bound = lab.hostA.app.socket(family).bind()
    moved = move(bound, lab.hostB, BOUND)
    expect(moved.info("state", "local") == ["CLOSE", [lab.hostA.at(family), PORT]], moved.info())
    moved.do("listen", 8)
    accepts(lab, moved)


class Waiting:
    """A listener on hostA whose accept queue has connections: each client has already
    sent something."""

    def __init__(self, lab, family, clients, backlog=37):
        self.listener = lab.hostA.app.socket(family).listen(backlog=backlog)
        self.clients = [
            lab.client.app.socket(plain(family)).connect(lab.hostA) for _ in range(clients)
        ]
        self.streams = {}
        for client in self.clients:
            stream = Stream(f"client{client.info('local')[1]}")
            stream.send(client, 5000)
            self.streams[client.info("local")[1]] = stream
        wait_until(lambda: self.listener.info("waiting") == clients, "all wait")

    def served_by(self, ours):
        """Checks that what the client sent arrives at our end."""
        self.streams.pop(ours.info("peer")[1]).receive(ours)


@cases(*FAMILIES)
def test_a_listener_moves_with_its_waiting_connections(lab, family):
    start(lab)
    waiting = Waiting(lab, family, clients=12)
    moved = move(waiting.listener, lab.hostB, LISTENING)
    expect(
        moved.info("state", "local", "backlog") == ["LISTEN", [lab.hostA.at(family), PORT], 37],
        moved.info(),
    )
    for _ in range(12):
        waiting.served_by(imported(lab.hostB, family))
    accepts(lab, moved)


@cases(*BOTH)
def test_a_listener_returns_home(lab, family):
    start(lab)
    waiting = Waiting(lab, family, clients=3)
    home = move(move(waiting.listener, lab.hostB, LISTENING), lab.hostA, LISTENING)
    for _ in range(3):
        waiting.served_by(imported(lab.hostB, family))  # they were accepted there
    accepts(lab, home)


class Caller(threading.Thread):
    """A client that connects, sends a byte and waits for its echo, that many times."""

    def __init__(self, lab, family, times):
        super().__init__(daemon=True)
        self._lab, self._family, self._times, self.served, self.error = (
            lab,
            plain(family),
            times,
            0,
            None,
        )
        self.start()

    def run(self):
        kind = socket.AF_INET6 if self._family == "6" else socket.AF_INET
        try:
            for self.served in range(self._times):
                with namespace.within(self._lab.client, lambda: socket.socket(kind)) as caller:
                    caller.settimeout(20)
                    caller.connect((self._lab.hostA.at(self._family), PORT))
                    caller.sendall(b"?")
                    expect(caller.recv(1) == b"?", "no answer")
        except Exception as error:  # reported by finished()
            self.error = error

    def finished(self):
        self.join(30)
        expect(
            not self.error and not self.is_alive(),
            f"after {self.served} connections a client failed: {self.error}",
        )


@cases(*BOTH)
def test_no_client_is_refused_while_the_listener_moves(lab, family):
    start(lab)
    listener = lab.hostA.app.socket(family).listen()
    callers = [Caller(lab, family, 15) for _ in range(3)]
    for _ in range(12):
        echo(listener.accept())
    listener = move(listener, lab.hostB, LISTENING)
    while any(caller.is_alive() for caller in callers):
        # Those that waited, and new ones.
        for command in [("import", CONNECTED, SERVICE, 0), ("accept", listener.fd, 20)]:
            if "fd" in (got := lab.hostB.app.tries(*command)):
                echo(Socket(lab.hostB.app, got["fd"], family))
    for caller in callers:
        caller.finished()


def echo(ours):
    ours.do("echo", 1, 1)
    ours.close()


@cases(*FAMILIES)
def test_a_connection_moves_before_any_byte(lab, family):
    start(lab)
    connection = Connection(lab, family)
    connection.move(lab.hostB)
    connection.both_ways()
    connection.end()


@cases(*FAMILIES)
def test_an_established_connection_moves_there_and_back(lab, family):
    start(lab)
    connection = Connection(lab, family)
    connection.both_ways()
    connection.move(lab.hostB)
    connection.both_ways()
    connection.move(lab.hostA)
    connection.both_ways()
    connection.end()


@cases(*BOTH)
def test_a_syn_sent_socket_moves(lab, family):
    """The server receives the first SYN from the host where the socket lives."""
    start(lab)
    listener = lab.client.app.socket(family).listen()
    ours = lab.hostA.app.socket(family)
    with Dropped(lab.client, "in", f"tcp dport {PORT}"):
        ours.do("connect-later", lab.client.at(family), PORT)
        wait_state(ours, "SYN_SENT")
        moved = move(ours, lab.hostB)
        expect(moved.state() == "SYN_SENT", moved.info)
    moved.do("connected", 20_000)
    theirs, stream = listener.accept(), Stream("s")
    expect(theirs.info("peer")[0] == lab.hostA.at(family), theirs.info)
    stream.send(moved, 5000)
    stream.receive(theirs)


@cases(*FAMILIES)
def test_close_wait_moves_with_unread_data(lab, family):
    start(lab)
    connection = Connection(lab, family)
    connection.up.send(connection.theirs, 50_000)
    connection.theirs.shutdown()
    moves_in(connection, lab.hostB, "CLOSE_WAIT")
    connection.down.send(connection.ours, 300_000)
    connection.end()


@cases(*BOTH)
def test_fin_wait1_moves(lab, family):
    """Our data and our FIN are not acknowledged when it moves."""
    start(lab)
    connection = Connection(lab, family)
    with Dropped(lab.client, "out", f"tcp dport {PORT}"):
        connection.down.send(connection.ours, 30_000)
        connection.ours.shutdown()
        moves_in(connection, lab.hostB, "FIN_WAIT1")
    connection.up.send(connection.theirs, 3000)
    ends(connection)


@cases(*BOTH)
def test_fin_wait2_moves(lab, family):
    """Our FIN is acknowledged; the peer continues to send, before and after the move."""
    start(lab)
    connection = Connection(lab, family)
    connection.down.send(connection.ours, 1000)
    connection.ours.shutdown()
    wait_state(connection.ours, "FIN_WAIT2")
    connection.up.send(connection.theirs, 2000)
    wait_until(lambda: connection.ours.info("unread") == 2000, "it comes")
    moves_in(connection, lab.hostB, "FIN_WAIT2")
    connection.up.send(connection.theirs, 3000)
    ends(connection)


@cases(*BOTH)
def test_closing_moves(lab, family):
    """Both ends have sent a FIN, and the peer has not received ours."""
    start(lab)
    connection = Connection(lab, family)
    with Dropped(lab.client, "in", f"tcp sport {PORT}"):
        connection.down.send(connection.ours, 5000)
        connection.ours.shutdown()
        connection.up.send(connection.theirs, 777)
        connection.theirs.shutdown()
        moves_in(connection, lab.hostB, "CLOSING")
    ends(connection, finished=True)


@cases(*BOTH)
def test_last_ack_moves_with_unsent_data(lab, family):
    """The peer has finished and does not read. We have finished too, but our last bytes
    and our FIN wait for its window."""
    start(lab)
    connection = Connection(lab, family)
    connection.up.send(connection.theirs, 777)
    connection.theirs.shutdown()
    wait_state(connection.ours, "CLOSE_WAIT")
    connection.down.fill(connection.ours)
    connection.ours.shutdown()
    expect(
        connection.ours.state() == "LAST_ACK" and connection.ours.info("unsent") > 0,
        connection.ours.info,
    )
    moves_in(connection, lab.hostB, "LAST_ACK")
    ends(connection, finished=True)


def ends(connection, finished=False):
    """Checks that both ends get everything and the other's end; then ours is closed.
    `finished`: the peer's FIN was sent before."""
    if not finished:
        connection.theirs.shutdown()
    connection.down.receive_end(connection.theirs)
    connection.up.receive_end(connection.ours)
    wait_state(connection.ours, "CLOSE")


@cases(*BOTH)
def test_a_closed_socket_is_refused(lab, family):
    start(lab)
    reason = refused(lab.hostA.app.socket(family), lab.hostB)
    expect("not connected" in reason, reason)


@cases(*BOTH)
def test_a_time_wait_socket_is_refused(lab, family):
    """For its application such a socket is closed: only the kernel still has it."""
    start(lab)
    connection = Connection(lab, family)
    connection.ours.shutdown()
    connection.down.receive_end(connection.theirs)
    connection.theirs.shutdown()
    wait_state(connection.ours, "CLOSE")
    port = connection.theirs.info("local")[1]
    expect("TIME-WAIT" in lab.hostA.run("ss", "-Htan", f"dport = :{port}"), "there is no TIME_WAIT")
    reason = refused(connection.ours, lab.hostB)
    expect("not connected" in reason, reason)


@cases(*BOTH)
def test_home_sends_nothing_after_a_move(lab, family):
    """Home sends nothing when its socket is destroyed, nor to anything that the peer
    sends later."""
    start(lab)
    connection = Connection(lab, family)
    connection.both_ways()
    said = Counter(lab.hostA, "out", f"tcp sport {PORT}")
    connection.move(lab.hostB)
    connection.both_ways()
    expect(said.packets() == 0, lambda: f"hostA sent {said.packets()} packets")
    connection.end()
