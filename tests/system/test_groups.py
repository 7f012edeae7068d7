"""Groups: connections that move together or not at all, and arrive at one application."""
import errno
import hashlib
import socket
import threading

import namespace
import observe
import socket_app
from cases import cases
from lab import PORT
from process import expect, wait_until
from sandbox import without_privilege
from socket_app import CONNECTED, SERVICE, Between, Socket
from test_commit import LATER, dies, settled
from tls_client import TlsClient
from transfer import random_bytes


def begin(lab, count=2, hosts=(), **changes):
    """Returns connections of the client with an application on hostA: the two legs of a
    proxy, as far as sockmi knows."""
    socket_app.start(lab, *hosts, **LATER, **changes)
    listener = lab.hostA.app.socket("4").listen()
    legs = []
    for _ in range(count):
        theirs = lab.client.app.socket("4").connect(lab.hostA)
        legs.append(Between(listener.accept(), theirs))
    for leg in legs:
        leg.both_ways()
    return legs


def begin_export(legs, target, states=None, groups=None):
    """Returns a function that waits for the errno of each export, and the last reason."""
    words = []
    for i, leg in enumerate(legs):
        words += [leg.ours.fd, states[i] if states else CONNECTED, groups[i] if groups else 1]
    answer = legs[0].ours.app.begin("export-groups", SERVICE, target.address, *words)

    def errors():
        got = answer()
        return got.get("errors", [got.get("error")] * len(legs)), got["reason"]

    return errors


def export(legs, target, states=None, groups=None):
    return begin_export(legs, target, states, groups)()


def take(legs, host):
    """The application there imports the group with one call."""
    for leg in legs:
        leg.ours.close()
    peers = {tuple(leg.theirs.info("local")): leg for leg in legs}
    got = host.app.do("import-groups", len(legs), SERVICE, 20_000)
    expect(len(got["fds"]) == len(legs), got)
    expect(len(set(got["groups"])) == 1 and got["groups"][0] != 0, got)
    for fd in got["fds"]:
        one = Socket(host.app, fd)
        peers.pop(tuple(one.info("peer"))).ours = one


def move(legs, target):
    errors, reason = export(legs, target)
    expect(errors == [0] * len(legs), f"{errors}: {reason}")
    take(legs, target)


def go_on(legs, *others):
    """Each connection is where its application is; nothing is left of a move elsewhere."""
    for leg in legs:
        leg.both_ways()
    for host in others:
        wait_until(
            lambda: host.api("/v1/status")["lists"]["connected"]["used"] == 0,
            f"{host.name} gives the places free",
        )
    for leg in legs:
        leg.end()


def stays(lab, legs, *others):
    expect(
        not observe.redirects(lab.hostA),
        lambda: f"a redirect is left: {observe.redirects(lab.hostA)}",
    )
    go_on(legs, *others)


def test_both_legs_move_from_host_to_host_and_home(lab):
    legs = begin(lab, hosts=(lab.hostA, lab.hostB, lab.hostC))
    for target in (lab.hostB, lab.hostC, lab.hostA):
        for leg in legs:  # on its way when they move
            leg.up.send(leg.theirs, 50_000)
            leg.down.send(leg.ours, 50_000)
        move(legs, target)
        for leg in legs:
            leg.up.receive(leg.ours)
            leg.down.receive(leg.theirs)
            leg.both_ways()
    go_on(legs)


def test_the_largest_group_moves(lab):
    legs = begin(lab, 16)
    move(legs, lab.hostB)
    go_on(legs)


def test_a_larger_group_is_refused(lab):
    legs = begin(lab, 17)
    errors, reason = export(legs, lab.hostB)
    expect(errors == [errno.EINVAL] * 17, f"{errors}: {reason}")
    stays(lab, legs, lab.hostB)


def test_groups_and_single_connections_move_in_one_call(lab):
    legs = begin(lab, 100)
    # 30 pairs, whose connections do not follow each other, and 40 single ones.
    groups = [i % 30 + 1 if i < 60 else 0 for i in range(100)]
    errors, reason = export(legs, lab.hostB, groups=groups)
    expect(errors == [0] * 100, f"{errors}: {reason}")
    waiting = {}
    for leg, group in zip(legs, groups):
        leg.ours.close()
        waiting[tuple(leg.theirs.info("local"))] = leg, group
    while waiting:
        got = lab.hostB.app.do("import-groups", 64, SERVICE, 20_000)
        expect(got["fds"], f"{len(waiting)} did not arrive")
        arrived = {}
        for fd, number in zip(got["fds"], got["groups"]):
            one = Socket(lab.hostB.app, fd)
            leg, group = waiting.pop(tuple(one.info("peer")))
            leg.ours = one
            expect((number == 0) == (group == 0), f"group {group} arrived as {number}")
            arrived.setdefault(number, []).append(group)
        for number, those in arrived.items():
            expect(
                number == 0 or len(those) == 2 and those[0] == those[1],
                f"{those} arrived as the group {number}",
            )
    go_on(legs)


def keeps_both(lab, where, point):
    """A step of an export fails, and both legs stay."""
    legs = begin(lab)
    where.arm(point)
    errors, reason = export(legs, lab.hostB)
    expect(0 not in errors and len(set(errors)) == 1, f"{errors}: {reason}")
    stays(lab, legs, lab.hostB)


@cases("redirect", "journal", "freeze", "capture", "prepare-send")
def test_a_step_that_fails_at_the_exporter_keeps_both(lab, point):
    keeps_both(lab, lab.hostA, point)


@cases("restore", "prepared-reply", "before-thaw", "may-thaw", "wake", "thaw")
def test_a_step_that_fails_at_the_importer_keeps_both(lab, point):
    keeps_both(lab, lab.hostB, point)


def test_a_socket_that_is_in_a_group_twice_keeps_it(lab):
    legs = begin(lab)
    errors, reason = export([legs[0], legs[1], legs[0]], lab.hostB)
    expect(errors == [errno.EBUSY] * 3 and "twice" in reason, f"{errors}: {reason}")
    stays(lab, legs, lab.hostB)


def test_a_leg_that_has_ended_keeps_the_other(lab):
    legs = begin(lab)
    closed = legs.pop()
    closed.end()
    other = lab.hostA.app.socket("4")
    closed.ours = other
    errors, reason = export([legs[0], closed], lab.hostB)
    expect(errors == [errno.ENOTCONN] * 2, f"{errors}: {reason}")
    other.close()
    stays(lab, legs, lab.hostB)


def test_a_bound_socket_in_a_group_is_refused(lab):
    legs = begin(lab)
    errors, reason = export(legs, lab.hostB, [CONNECTED, socket_app.BOUND])
    expect(errors == [errno.EINVAL] * 2 and "group" in reason, f"{errors}: {reason}")
    stays(lab, legs, lab.hostB)


def test_an_importer_that_dies_after_prepare_leaves_both_at_home(lab):
    legs = begin(lab)
    lab.hostB.arm("before-thaw=kill")
    answer = begin_export(legs, lab.hostB)
    dies(lab.hostB)
    lab.start_daemon(lab.hostB, **LATER)
    errors, reason = answer()
    expect(set(errors) <= {errno.ECANCELED, errno.EINPROGRESS}, f"{errors}: {reason}")
    settled(lab.hostA)
    stays(lab, legs, lab.hostB)


def test_an_operator_discards_both_at_once(lab):
    legs = begin(lab)
    lab.hostB.arm("before-thaw=kill")
    errors, reason = export(legs, lab.hostB)
    expect(errors == [errno.EINPROGRESS] * 2, f"{errors}: {reason}")
    doubts = lab.hostA.api("/v1/doubt")["doubts"]
    expect(len(doubts) == 2, doubts)
    lab.hostA.run(lab.sockmictl, "doubt", "discard", doubts[1]["id"])
    settled(lab.hostA)
    stays(lab, legs)
    lab.start_daemon(lab.hostB, **LATER)  # removes what the dead daemon left


@cases("token", "decided", "handed-over")
def test_an_exporter_that_dies_around_the_decision_does_not_split_the_group(lab, point):
    legs = begin(lab)
    lab.hostA.arm(point + "=kill")
    answer = begin_export(legs, lab.hostB)
    dies(lab.hostA)
    lab.start_daemon(lab.hostA, **LATER)
    answer()
    settled(lab.hostA, lab.hostB)

    # hostB keeps two places until the application there has the connections, and none if
    # it has discarded them. The sockets on hostA end one after the other.
    def place():
        here = [leg.ours.state() != "CLOSE" for leg in legs]
        used = lab.hostB.api("/v1/status")["lists"]["connected"]["used"]
        return {(True, True, 0): lab.hostA, (False, False, 2): lab.hostB}.get((*here, used))

    if wait_until(place, "both connections are at one host") == lab.hostA:
        return stays(lab, legs, lab.hostB)
    take(legs, lab.hostB)
    go_on(legs)


def test_a_group_that_no_application_takes_returns_home_as_a_whole(lab):
    """The application of hostB imports one connection at a time."""
    legs = begin(lab, **{"import": {"wait_ms": 1000}})
    errors, reason = export(legs, lab.hostB)
    expect(errors == [0, 0], f"{errors}: {reason}")
    got = lab.hostB.app.do("import-groups", 1, SERVICE, 300)
    expect(got["fds"] == [], f"half a group came: {got}")
    take(legs, lab.hostA)
    go_on(legs, lab.hostB)


def test_a_leg_that_has_ended_does_not_keep_the_other_from_home(lab):
    """No application of hostB takes them, and the peer resets one."""
    legs = begin(lab, **{"import": {"wait_ms": 4000}})
    errors, reason = export(legs, lab.hostB)
    expect(errors == [0, 0], f"{errors}: {reason}")
    ended, other = legs
    ended.theirs.set(1, 13, "0100000000000000")  # SO_LINGER: on, 0 s
    ended.theirs.close()
    lab.hostB.daemon.wait_line("event=unclaimed_connection_ended")
    for leg in legs:
        leg.ours.close()
    other.ours = socket_app.imported(lab.hostA, "4")
    go_on([other], lab.hostB)


def test_a_group_of_two_homes_goes_to_the_one_that_is_elsewhere(lab):
    """No application of hostC takes them, which is the first one's home."""
    socket_app.start(lab, lab.hostA, lab.hostC, **LATER, **{"import": {"wait_ms": 1000}})
    legs = [socket_app.at_home(lab, host) for host in (lab.hostC, lab.hostA)]
    legs[0].move(lab.hostA)
    errors, reason = export(legs, lab.hostC)
    expect(errors == [0, 0], f"{errors}: {reason}")
    lab.hostC.daemon.wait_line("event=unclaimed_connection_returned")
    take(legs, lab.hostA)
    go_on(legs, lab.hostC)


# --- a TLS leg and a plain one ---


class Backend:
    """An echo server on hostC, for one connection."""

    def __init__(self, lab):
        self._listener = namespace.within(
            lab.hostC, lambda: socket.create_server((lab.hostC.address, PORT))
        )
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.digest, self.count, self.connections = hashlib.sha256(), 0, 0

    def _serve(self):
        connection, _ = self._listener.accept()
        self.connections += 1
        while piece := connection.recv(1 << 16):
            self.digest.update(piece)
            self.count += len(piece)
            connection.sendall(piece)
        connection.close()
        self._listener.close()

    def finish(self):
        self._thread.join(30)
        expect(not self._thread.is_alive(), "the backend does not see the end")


def start_relay(lab, host, listens):
    lab.start_daemon(host, **LATER)
    certificate, key = lab.certificate()
    relay = host.popen(
        *without_privilege(),
        lab.program("tests/system/app/relay"),
        SERVICE,
        host.address if listens else "-",
        lab.hostC.address,
        PORT,
        certificate,
        key,
        name="relay",
    )
    relay.wait_line("relay ready")
    return relay


@cases("1.2", "1.3")
def test_a_proxy_moves_with_its_tls_client_and_its_backend(lab, tls):
    backend = Backend(lab)
    relays = {
        lab.hostA: start_relay(lab, lab.hostA, True),
        lab.hostB: start_relay(lab, lab.hostB, False),
    }
    client = TlsClient(lab, (lab.hostA.address, PORT), tls)
    client.handshake()
    content = random_bytes(600_000)
    place, other = lab.hostA, lab.hostB
    for start in range(0, len(content), 100_000):
        part = content[start : start + 100_000]
        client.send(part)
        expect(client.read_exactly(len(part)) == part, f"the echo of byte {start} on is another")
        lab.move(place, other, connections=2)
        relays[other].wait_line("imported client and backend, a group")
        place, other = other, place
    client.close()
    backend.finish()
    expect(backend.digest.hexdigest() == hashlib.sha256(content).hexdigest(), "the hash is wrong")
    expect((backend.count, backend.connections) == (len(content), 1), "the backend was left")


@cases("restore", "may-thaw")
def test_a_proxy_whose_move_fails_goes_on_with_both(lab, point):
    backend = Backend(lab)
    start_relay(lab, lab.hostA, True)
    start_relay(lab, lab.hostB, False)
    client = TlsClient(lab, (lab.hostA.address, PORT))
    client.handshake()
    lab.hostB.arm(point)
    went, failed = lab.hostA.export(lab.hostB)
    expect((went, failed) == (0, 2), f"{went} went, {failed} did not")
    content = random_bytes(100_000)
    client.send(content)
    expect(client.read_exactly(len(content)) == content, "the echo is another")
    lab.move(lab.hostA, lab.hostB, connections=2)
    client.send(content)
    expect(client.read_exactly(len(content)) == content, "the echo is another")
    client.close()
    backend.finish()
