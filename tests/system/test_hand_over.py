"""Hand-over: sockets go from one process of a host to another one of the same service. The
peer notices nothing."""
import errno
import hashlib
import signal
import threading

import observe
import pytest
import socket_app
from cases import cases
from lab import PORT
from process import expect, wait_until
from sandbox import one_user, without_privilege
from socket_app import CONNECTED, LISTENING, SERVICE, Between, Connection, Socket, SocketApp
from test_commit import LATER, dies
from tls_client import TlsClient
from transfer import random_bytes

HERE = "here"
OTHER_USER = 4242


def begin(lab, prepare=lambda ours, theirs: None):
    """Returns a connection of the client with an application on hostA, which another one
    is to take over."""
    socket_app.start(lab, lab.hostA, **LATER)
    lab.hostA.next = SocketApp(lab.hostA, SERVICE)
    connection = Connection(lab, prepare=prepare)
    connection.both_ways()
    return connection


def begin_hand_over(socket, state=CONNECTED, milliseconds=20_000):
    return socket.app.begin("export", socket.fd, state, SERVICE, HERE, milliseconds)


def take(app, state=CONNECTED):
    got = app.do("import", state, SERVICE, 20_000)
    return Socket(app, got["fd"])


def hand_over(socket, app, state=CONNECTED):
    answer = begin_hand_over(socket, state)
    taken = take(app, state)
    expect("error" not in answer(), answer)
    socket.close()
    return taken


def went_unnoticed(counters):
    for counter in counters:
        expect(counter.packets() == 0, f"{counter.packets()} packets")


def no_slot_is_left(host):
    wait_until(
        lambda: host.api("/v1/status")["lists"]["connected"]["used"] == 0, "all slots are free"
    )


def test_a_connection_goes_from_process_to_process(lab):
    connection = begin(lab)
    apps = [lab.hostA.next, lab.hostA.app]
    packets = observe.Counter(lab.client, "in", f"tcp sport {PORT}", "all")
    before = packets.packets()
    for turn in range(4):
        connection.ours = hand_over(connection.ours, apps[turn % 2])
    expect(packets.packets() == before, "the client has received packets of the hand-over")
    connection.both_ways()
    expect(lab.hostA.api("/v1/status")["migrations"]["handed_over"] == 4, "it was not counted")
    no_slot_is_left(lab.hostA)
    connection.end()


def test_bytes_in_both_queues_stay_in_order(lab):
    connection = begin(lab)
    connection.up.send(connection.theirs, 50_000)
    connection.down.send(connection.ours, 50_000)
    connection.ours = hand_over(connection.ours, lab.hostA.next)
    connection.up.receive(connection.ours)
    connection.down.receive(connection.theirs)
    connection.both_ways()
    connection.end()


def test_a_listener_goes_with_the_connections_that_wait_in_it(lab):
    socket_app.start(lab, lab.hostA, **LATER)
    lab.hostA.next = SocketApp(lab.hostA, SERVICE)
    listener = lab.hostA.app.socket("4").listen()
    waiting = lab.client.app.socket("4").connect(lab.hostA)
    listener = hand_over(listener, lab.hostA.next, LISTENING)
    later = lab.client.app.socket("4").connect(lab.hostA)
    for theirs in (waiting, later):
        connection = Between(listener.accept(), theirs)
        connection.both_ways()
        connection.end()


def test_a_group_goes_as_a_whole(lab):
    first = begin(lab)
    second = Between(None, lab.client.app.socket("4").connect(lab.hostA))
    second.ours = first.listener.accept()
    second.both_ways()
    legs = [first, second]
    words = [word for leg in legs for word in (leg.ours.fd, CONNECTED, 1)]
    answer = lab.hostA.app.begin("export-groups", SERVICE, HERE, *words)
    half = lab.hostA.next.do("import-groups", 1, SERVICE, 300)
    expect(half["fds"] == [], f"half a group came: {half}")
    got = lab.hostA.next.do("import-groups", 2, SERVICE, 20_000)
    expect(answer()["errors"] == [0, 0], answer)
    peers = {tuple(leg.theirs.info("local")): leg for leg in legs}
    for leg in legs:
        leg.ours.close()
    for fd in got["fds"]:
        one = Socket(lab.hostA.next, fd)
        peers.pop(tuple(one.info("peer"))).ours = one
    for leg in legs:
        leg.both_ways()
        leg.end()
    no_slot_is_left(lab.hostA)


def test_no_other_process_means_no_hand_over(lab):
    socket_app.start(lab, lab.hostA, **LATER)
    connection = Connection(lab)
    answer = begin_hand_over(connection.ours)()
    expect(answer.get("error") == errno.ESRCH, answer)
    connection.both_ways()
    connection.end()


def test_a_process_that_does_not_take_it_gives_it_back_in_time(lab):
    connection = begin(lab)
    answer = begin_hand_over(connection.ours, milliseconds=500)()
    expect(answer.get("error") == errno.ETIMEDOUT, answer)
    connection.both_ways()
    no_slot_is_left(lab.hostA)
    connection.end()


def test_a_process_that_dies_gives_it_back(lab):
    connection = begin(lab)
    answer = begin_hand_over(connection.ours)
    lab.hostA.next.process.kill()
    expect(answer().get("error") == errno.ESRCH, answer)
    connection.both_ways()
    no_slot_is_left(lab.hostA)
    connection.end()


def test_a_socket_of_a_dead_process_still_goes_to_the_next(lab):
    connection = begin(lab)
    begin_hand_over(connection.ours)
    wait_until(
        lambda: lab.hostA.api("/v1/status")["lists"]["connected"]["ready"] == 1, "it is offered"
    )
    lab.hostA.app.process.kill()
    connection.ours = take(lab.hostA.next)
    connection.both_ways()
    connection.end()


def test_a_daemon_that_dies_before_anybody_has_it_leaves_it(lab):
    connection = begin(lab)
    lab.hostA.arm("offer=kill")
    answer = begin_hand_over(connection.ours)
    dies(lab.hostA)
    expect(answer().get("error") == errno.ECONNRESET, answer)
    connection.both_ways()
    lab.start_daemon(lab.hostA, **LATER)
    connection.end()


def test_a_daemon_that_dies_when_it_is_taken_has_handed_it_over(lab):
    connection = begin(lab)
    lab.hostA.arm("taken=kill")
    answer = begin_hand_over(connection.ours)
    connection.ours = take(lab.hostA.next)
    dies(lab.hostA)
    expect("error" not in answer(), answer)
    connection.both_ways()
    lab.start_daemon(lab.hostA, **LATER)
    connection.end()


def test_a_daemon_that_stops_gives_it_back(lab):
    connection = begin(lab)
    answer = begin_hand_over(connection.ours)
    wait_until(
        lambda: lab.hostA.api("/v1/status")["lists"]["connected"]["ready"] == 1, "it is offered"
    )
    lab.hostA.daemon.signal(signal.SIGTERM)
    expect(answer().get("error") == errno.EHOSTDOWN, answer)
    lab.hostA.daemon.wait()
    connection.both_ways()
    lab.start_daemon(lab.hostA, **LATER)
    connection.end()


def test_another_user_gets_nothing(lab):
    """Another user waits for the same service, which names no users that import it."""
    if one_user():
        pytest.skip("there is only one user")
    own = "own"
    lab.start_daemon(lab.hostA, service__own={"export": ["*"]}, **LATER)
    lab.hostA.app, lab.client.app = SocketApp(lab.hostA, own), SocketApp(lab.client)
    other = SocketApp(lab.hostA, own, user=OTHER_USER)
    connection = Connection(lab)
    answer = connection.ours.app.tries("export", connection.ours.fd, CONNECTED, own, HERE)
    expect(answer.get("error") == errno.ESRCH, f"another user makes the host willing: {answer}")
    successor = SocketApp(lab.hostA, own)
    answer = connection.ours.app.begin("export", connection.ours.fd, CONNECTED, own, HERE)
    wait_until(
        lambda: lab.hostA.api("/v1/status")["lists"]["connected"]["ready"] == 1, "it is offered"
    )
    got = other.tries("import", CONNECTED, own, 300)
    expect(got.get("error") == errno.ETIMEDOUT, f"another user has got {got}")
    taken = Socket(successor, successor.do("import", CONNECTED, own, 20_000)["fd"])
    expect("error" not in answer(), answer)
    connection.ours = taken
    connection.both_ways()
    connection.end()


# --- a TLS server that is replaced while it serves ---


def start_server(lab, address):
    certificate, key = lab.certificate()
    server = lab.hostA.popen(
        *without_privilege(),
        lab.program("tests/system/app/tls_echo"),
        SERVICE,
        address,
        PORT,
        certificate,
        key,
        name="tls_echo",
    )
    server.wait_line("tls_echo ready")
    return server


class Talker:
    """A client that sends pieces and reads their echo, until it is told to finish."""

    def __init__(self, lab, tls, seed):
        self._client, self._seed = TlsClient(lab, (lab.hostA.address, PORT), tls), seed
        self._client.handshake()
        self.rounds, self._finish, self._failure = 0, threading.Event(), None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            sent, came = hashlib.sha256(), hashlib.sha256()
            while not self._finish.is_set() or self.rounds < 3:
                piece = random_bytes(40_000, self._seed + self.rounds)
                self._client.send(piece)
                sent.update(piece)
                came.update(self._client.read_exactly(len(piece)))
                expect(sent.digest() == came.digest(), f"round {self.rounds}: another echo")
                self.rounds += 1
            self._client.close()
        except Exception as failure:  # pylint: disable=broad-exception-caught
            self._failure = failure

    def goes_on(self):
        start = self.rounds
        wait_until(lambda: self._failure or self.rounds > start + 1, "the transfer goes on")
        expect(not self._failure, f"{self._failure}")

    def finish(self):
        self._finish.set()
        self._thread.join(30)
        expect(not self._thread.is_alive() and not self._failure, f"{self._failure}")


def silent_counters(lab):
    return [
        observe.Counter(lab.client, "in", f"tcp sport {PORT} tcp window 0", "window"),
        observe.Counter(lab.client, "in", f"tcp sport {PORT} tcp flags rst", "rst"),
    ]


@cases("1.2", "1.3")
def test_a_tls_server_is_replaced_during_transfers(lab, tls):
    lab.start_daemon(lab.hostA, **LATER)
    old = start_server(lab, lab.hostA.address)
    counters = silent_counters(lab)
    talkers = [Talker(lab, tls, 1000 * i) for i in range(6)]
    for _ in range(3):
        for talker in talkers:
            talker.goes_on()
        new = start_server(lab, "-")
        old.signal(signal.SIGHUP)
        old.wait_line(f"handed over {len(talkers) + 1} of {len(talkers) + 1}")
        expect(old.wait() == 0, old.tail())
        old = new
        talkers.append(Talker(lab, tls, 1000 * len(talkers)))
    for talker in talkers:
        talker.goes_on()
        talker.finish()
    went_unnoticed(counters)
    no_slot_is_left(lab.hostA)


@cases("offer", "taken")
def test_a_tls_server_goes_on_when_the_daemon_dies(lab, point):
    """Each connection is at one of the two processes, and none has ended."""
    lab.start_daemon(lab.hostA, **LATER)
    old = start_server(lab, lab.hostA.address)
    counters = silent_counters(lab)
    talkers = [Talker(lab, "1.3", 1000 * i) for i in range(4)]
    for talker in talkers:
        talker.goes_on()
    new = start_server(lab, "-")
    lab.hostA.arm(point + "=kill")
    old.signal(signal.SIGHUP)
    old.wait_line("handed over ")
    dies(lab.hostA)
    for talker in talkers:
        talker.goes_on()
        talker.finish()
    went_unnoticed(counters)
    lab.start_daemon(lab.hostA, **LATER)
    expect(new.running(), new.tail())
