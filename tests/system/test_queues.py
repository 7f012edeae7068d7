"""Both queues move completely, however full, and nothing stalls or is retransmitted
because of the move."""
import itertools

import namespace
import observe
from cases import cases, topology
from lab import PORT
from process import expect, wait_until
from socket_app import Connection, export_together, imported, start

BOTH = ["4", "6"]


def probes(host):
    """Returns how often the host's kernel has probed whether a window is still zero."""
    return observe.kernel_counter(host, "TcpExtTCPWinProbe")


class NoStall:
    """Checks that its body needs no timer of the sender: neither a window probe nor a
    retransmission makes it continue. It begins right after a probe, because the next one
    is then far away, and a slow machine does not count as a stall."""

    def __init__(self, sender):
        self._sender = sender

    def __enter__(self):
        before = probes(self._sender)
        wait_until(lambda: probes(self._sender) > before, f"{self._sender.name} asks for a window")
        self._before = self._timers()

    def __exit__(self, kind, *_):
        expect(kind or self._timers() == self._before, lambda: f"{self._sender.name} went on by a timer only: {self._before}, now {self._timers()}")

    def _timers(self):
        return {name: observe.kernel_counter(self._sender, name) for name in ("TcpExtTCPWinProbe", "TcpExtTCPTimeouts")}


@cases(*BOTH)
def test_a_full_receive_queue_moves_without_a_stall(lab, family):
    """Our receive queue is full to the last byte that the window allowed."""
    start(lab)
    connection = Connection(lab, family)
    connection.up.fill(connection.theirs)
    unread = connection.ours.info("unread")
    connection.move(lab.hostB)
    expect(connection.ours.info("unread") == unread > 0, connection.ours.info)
    expect(connection.theirs.info("unsent") > 0, connection.theirs.info)
    with NoStall(lab.client):
        connection.up.receive(connection.ours)
    connection.both_ways()


@cases(*BOTH)
def test_unread_data_is_copied_before_the_freeze(lab, family):
    start(lab)
    connection = Connection(lab, family)
    connection.up.fill(connection.theirs)
    for source, target in [(lab.hostA, lab.hostB), (lab.hostB, lab.hostA)]:
        unread = connection.ours.info("unread")
        connection.move(target)
        moved = source.migrations("export")[-1]
        expect(moved["pre_copied"] >= unread > 64 << 10 and moved["bytes"] < 32 << 10, moved)
        connection.up.receive(connection.ours, 10_000)
    connection.both_ways()


def test_unread_data_moves_in_the_freeze_if_pre_copy_is_refused(lab):
    start(lab)
    connection = Connection(lab)
    connection.up.fill(connection.theirs)
    unread = connection.ours.info("unread")
    lab.hostB.arm("pre-copy-refused")
    connection.move(lab.hostB)
    moved = lab.hostA.migrations("export")[-1]
    expect(moved["pre_copied"] == 0 and moved["bytes"] > unread, moved)
    connection.both_ways()


@cases(*BOTH)
def test_a_full_send_queue_moves_without_a_stall(lab, family):
    start(lab)
    connection = Connection(lab, family)
    connection.down.fill(connection.ours)
    unacknowledged = connection.ours.info("unacknowledged")
    connection.move(lab.hostB)
    expect(connection.ours.info("unacknowledged") == unacknowledged > 0, connection.ours.info)
    with NoStall(lab.hostB):
        connection.down.receive(connection.theirs)
    connection.both_ways()


@cases(*BOTH)
def test_full_queues_of_both_directions_move_three_times(lab, family):
    start(lab, *lab.hosts)
    connection = Connection(lab, family)
    connection.up.fill(connection.theirs)
    connection.down.fill(connection.ours)
    connection.move(lab.hostB, lab.hostC, lab.hostA)
    connection.up.receive(connection.ours)
    connection.down.receive(connection.theirs)
    connection.both_ways()
    connection.end()


@cases("unread", "unacknowledged")
def test_queues_larger_than_the_importers_buffers_move(lab, queue):
    large = 8 << 20
    namespace.sysctl("hostA", {f"net.ipv4.tcp_{kind}": f"4096 {4 * large} {4 * large}" for kind in ("rmem", "wmem")})
    start(lab)
    connection = Connection(lab)
    stream, sender = (connection.up, connection.theirs) if queue == "unread" else (connection.down, connection.ours)
    stream.fill(sender, most=8 * large)
    expect(connection.ours.info(queue) > large, connection.ours.info)
    connection.move(lab.hostB)
    expect(connection.ours.info(queue) > large, connection.ours.info)
    stream.receive(connection.ours if queue == "unread" else connection.theirs)
    connection.both_ways()


def test_long_queues_move_in_freezes_of_their_own(lab):
    """In one freeze together, their queues would keep all of them waiting."""
    large = 3 << 20
    namespace.sysctl("hostA", {"net.ipv4.tcp_wmem": f"4096 {4 * large} {4 * large}"})
    start(lab)
    connections = [Connection(lab, port=PORT + i) for i in range(3)]
    for connection in connections:
        connection.down.fill(connection.ours, most=8 * large)
        expect(connection.ours.info("unacknowledged") > large, connection.ours.info)
    expect(export_together([connection.ours for connection in connections], lab.hostB) == [0, 0, 0], "one has not gone")
    arrived = [imported(lab.hostB, "4") for _ in connections]
    for connection, socket in zip(connections, sorted(arrived, key=lambda socket: socket.info("local"))):
        connection.ours = socket
        connection.down.receive(connection.theirs)
        connection.both_ways()
    searches = {migration["id"][:24] for migration in lab.hostA.migrations("export")}
    expect(len(searches) == len(connections), searches)


MOVES = 200
ONE_WAY = 20  # ms


def timers(*hosts):
    """Returns how often a sender there has waited in vain for an acknowledgement."""
    return sum(observe.kernel_counter(host, "TcpExtTCPLossProbes", "TcpExtTCPTimeouts") for host in hosts)


@cases(*BOTH)
def test_a_request_response_client_retransmits_nothing(lab, family):
    """The client waits before each request, for as long as a move takes at most: so
    requests come before, during and after the freeze. Our answers are not repeated,
    either, nor late because the acknowledgement of the last one came in the freeze."""
    start(lab)
    connection, size, times, think = Connection(lab, family), 64, 3, 10_000
    asked = connection.theirs.begin("ask", size, MOVES * times, "requests", think)
    for target in [lab.hostB, lab.hostA] * (MOVES // 2):
        connection.ours.do("echo", size, times)
        connection.move(target)
    asked()
    expect(connection.theirs.info("retransmits") == 0, connection.theirs.info)
    expect(timers(lab.hostA, lab.hostB) == 0, connection.ours.info)


# A sender repeats its last segment when nothing is acknowledged for two round trips and
# two ticks of its clock (a tail loss probe). On the bridge that is 4 to 8 ms, and less
# than the 40 ms by which a receiver whose window is full delays its acknowledgement: a
# probe occurs now and then without any move. On this path that time is so long that a
# freeze fits into it, and the queue is read empty before each move, so the window is
# never full. On a busy host a freeze may take longer nevertheless: it costs one segment.
# The sender's buffer is smaller than what the path's queue holds (50 ms), so that nothing
# is lost there, even if all of it comes together after a freeze.
@topology("bridge", delay_ms=ONE_WAY, rate_mbit=100)
@cases(*BOTH)
def test_an_uploading_client_retransmits_nothing(lab, family):
    namespace.sysctl("client", {"net.ipv4.tcp_wmem": f"4096 16384 {1 << 19}"})
    start(lab)
    connection, piece, moves, too_long = Connection(lab, family), 1 << 20, 0, 0
    sent = connection.up.begin_send(connection.theirs, MOVES * piece)
    hosts = itertools.cycle([(lab.hostA, lab.hostB), (lab.hostB, lab.hostA)])
    while connection.up.sent - connection.up.received > piece:
        connection.up.receive(connection.ours, piece)
        connection.up.receive(connection.ours, connection.ours.info("unread"))
        source, target = next(hosts)
        connection.move(target)
        moves += 1
        too_long += source.migrations("export")[-1]["freeze_us"] > 2 * ONE_WAY * 1000
    connection.up.receive(connection.ours)
    sent()
    expect(connection.theirs.info("retransmits") <= too_long < moves, lambda: f"{moves} moves, {too_long} long freezes; {connection.theirs.info()}")
