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
        expect(
            kind or self._timers() == self._before,
            lambda: f"{self._sender.name} went on by a timer only: {self._before}, now "
            f"{self._timers()}",
        )

    def _timers(self):
        return {
            name: observe.kernel_counter(self._sender, name)
            for name in ("TcpExtTCPWinProbe", "TcpExtTCPTimeouts")
        }


class Filled:
    """A connection whose receive queue ("unread") or send queue ("unacknowledged") is full to the
    last byte that the window allowed."""

    def __init__(self, lab, queue, family="4", most=32 << 20):
        self._queue, self._unread = queue, queue == "unread"
        self.connection = Connection(lab, family)
        self._stream = self.connection.up if self._unread else self.connection.down
        self._stream.fill(self._ends()[0], most)

    def _ends(self):
        connection = self.connection
        return (
            (connection.theirs, connection.ours)
            if self._unread
            else (connection.ours, connection.theirs)
        )

    def size(self):
        return self.connection.ours.info(self._queue)

    def sending_host(self):
        return self._ends()[0].host

    def empty(self):
        self._stream.receive(self._ends()[1])


@cases(*[(queue, family) for queue in ("unread", "unacknowledged") for family in BOTH])
def test_a_full_queue_moves_without_a_stall(lab, queue, family):
    start(lab)
    filled = Filled(lab, queue, family)
    before = filled.size()
    filled.connection.move(lab.hostB)
    expect(filled.size() == before > 0, filled.connection.ours.info)
    with NoStall(filled.sending_host()):
        filled.empty()
    filled.connection.both_ways()


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
def test_a_queue_larger_than_the_importers_buffers_moves(lab, queue):
    large = 8 << 20
    namespace.sysctl(
        "hostA",
        {f"net.ipv4.tcp_{kind}": f"4096 {4 * large} {4 * large}" for kind in ("rmem", "wmem")},
    )
    start(lab, steer={"freeze_timeout_ms": 30_000})  # with sanitizers such an image takes seconds
    filled = Filled(lab, queue, most=8 * large)
    expect(filled.size() > large, filled.connection.ours.info)
    filled.connection.move(lab.hostB)
    expect(filled.size() > large, filled.connection.ours.info)
    filled.empty()
    filled.connection.both_ways()


def test_long_queues_move_in_freezes_of_their_own(lab):
    """In one freeze together, their queues would keep all of them waiting."""
    large = 3 << 20
    namespace.sysctl("hostA", {"net.ipv4.tcp_wmem": f"4096 {4 * large} {4 * large}"})
    start(lab)
    connections = [Connection(lab, port=PORT + i) for i in range(3)]
    for connection in connections:
        connection.down.fill(connection.ours, most=8 * large)
        expect(connection.ours.info("unacknowledged") > large, connection.ours.info)
    expect(
        export_together([connection.ours for connection in connections], lab.hostB) == [0, 0, 0],
        "one has not gone",
    )
    arrived = [imported(lab.hostB, "4") for _ in connections]
    for connection, socket in zip(
        connections, sorted(arrived, key=lambda socket: socket.info("local"))
    ):
        connection.ours = socket
        connection.down.receive(connection.theirs)
        connection.both_ways()
    searches = {migration["id"][:24] for migration in lab.hostA.migrations("export")}
    expect(len(searches) == len(connections), searches)


MOVES = 200
ONE_WAY = 20  # ms
# Microseconds. A peer with one segment in flight repeats it after two round trips plus this.
ITS_TIMER = 200_000


class Repeats:
    """Checks after each move that neither end has repeated anything. A longer freeze than `bound`
    (in microseconds) excuses the peer, whose timer was right to expire."""

    def __init__(self, lab, connection, bound):
        self._lab, self._connection, self._bound = lab, connection, bound
        self._freeze, self._seen = 0, self._counts()

    def _counts(self):
        """Returns how many segments the client has sent again, and has received again."""
        return observe.resent(self._lab.client), observe.received_twice(self._lab.client)

    def move(self, target):
        """Moves the connection, whose peer has been answered since the last move."""
        self.check()
        source = self._connection.ours.host
        self._connection.move(target)
        self._freeze = source.migrations("export")[-1]["freeze_us"]

    def check(self):
        before, self._seen = self._seen, self._counts()
        ours = self._connection.ours.info("retransmits")  # since the last move
        expect(
            (ours == 0 and self._seen == before) or self._freeze > self._bound,
            lambda: f"resent and received twice: {before}, now {self._seen}; we repeated {ours}; "
            f"the freeze took {self._freeze} us",
        )


@cases(*BOTH)
def test_a_request_response_client_retransmits_nothing(lab, family):
    """The client waits before each request, for as long as a move takes at most: so requests come
    before, during and after the freeze. Our answers are not repeated, either, nor late because the
    acknowledgement of the last one came in the freeze."""
    start(lab)
    connection, size, times, think = Connection(lab, family), 64, 3, 10_000
    asked = connection.theirs.begin("ask", size, MOVES * times, "requests", think)
    repeats = Repeats(lab, connection, ITS_TIMER)
    for target in [lab.hostB, lab.hostA] * (MOVES // 2):
        connection.ours.do("echo", size, times)
        repeats.move(target)
    asked()
    repeats.check()


# A sender repeats its last segment when nothing is acknowledged for two round trips and two ticks
# of its clock (a tail loss probe). On the bridge that is 4 to 8 ms, and less than the 40 ms by
# which a receiver whose window is full delays its acknowledgement: a probe occurs now and then
# without any move. On this path that time is so long that a freeze fits into it, and the queue is
# read empty before each move, so the window is never full. On a busy host a freeze may take longer
# nevertheless. The sender's buffer is smaller than what the path's queue holds (50 ms), so that
# nothing is lost there, even if all of it comes together after a freeze.
@topology("bridge", delay_ms=ONE_WAY, rate_mbit=100)
@cases(*BOTH)
def test_an_uploading_client_retransmits_nothing(lab, family):
    namespace.sysctl("client", {"net.ipv4.tcp_wmem": f"4096 16384 {1 << 19}"})
    start(lab)
    connection, piece = Connection(lab, family), 1 << 20
    sent = connection.up.begin_send(connection.theirs, MOVES * piece)
    targets = itertools.cycle([lab.hostB, lab.hostA])
    repeats = Repeats(lab, connection, 2 * ONE_WAY * 1000)
    while connection.up.sent - connection.up.received > piece:
        connection.up.receive(connection.ours, piece)
        connection.up.receive(connection.ours, connection.ours.info("unread"))
        repeats.move(next(targets))
    connection.up.receive(connection.ours)
    sent()
    repeats.check()
