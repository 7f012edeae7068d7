"""What an application has set, and what the two ends have agreed on, is in place after a
move.

An option's value is read before the move and after it, byte by byte, whether the test has
set it or not: so a move must not change what was never set, either.
"""
import socket
import struct

import namespace
from cases import cases
from process import expect
from socket_app import CONNECTED, LISTENING, Connection, move, start

SOL_SOCKET, TCP, IP, IPV6 = (
    socket.SOL_SOCKET,
    socket.IPPROTO_TCP,
    socket.IPPROTO_IP,
    socket.IPPROTO_IPV6,
)


def number(value):
    return struct.pack("<i", value).hex()


def text(value):
    return value.encode().hex()


def seconds(value, microseconds=0):
    return struct.pack("<qq", value, microseconds).hex()


# Name, number, value; None is only read. Not here: options that follow from packets
# (INCOMING_CPU, QUICKACK, MTU) or that cannot be set on TCP (MULTICAST_TTL).
SOCKET = [
    ("DEBUG", 1, None),
    ("REUSEADDR", 2, number(1)),
    ("DONTROUTE", 5, None),
    ("BROADCAST", 6, number(1)),
    ("SNDBUF", 7, number(300_000)),
    ("RCVBUF", 8, number(200_000)),
    ("KEEPALIVE", 9, number(1)),
    ("OOBINLINE", 10, number(1)),
    ("PRIORITY", 12, number(5)),
    ("LINGER", 13, number(1) + number(7)),
    ("REUSEPORT", 15, number(1)),
    ("RCVLOWAT", 18, number(3)),
    ("RCVTIMEO", 20, seconds(21)),
    ("SNDTIMEO", 21, seconds(22, 500_000)),
    ("BINDTODEVICE", 25, None),
    ("TIMESTAMP", 29, number(1)),
    ("MARK", 36, number(0x77)),
    ("RXQ_OVFL", 40, number(1)),
    ("PEEK_OFF", 42, None),
    ("NOFCS", 43, None),
    ("SELECT_ERR_QUEUE", 45, number(1)),
    ("BUSY_POLL", 46, number(3)),
    ("MAX_PACING_RATE", 47, struct.pack("<q", 125_000_000).hex()),
    ("ZEROCOPY", 60, number(1)),
    ("PREFER_BUSY_POLL", 69, number(1)),
    ("RESERVE_MEM", 73, None),
    ("BUF_LOCK", 72, None),
    ("TXREHASH", 74, number(0)),
    ("RCVMARK", 75, number(1)),
]
TCP_OPTIONS = [
    ("NODELAY", 1, number(1)),
    ("MAXSEG", 2, None),
    ("CORK", 3, None),
    ("KEEPIDLE", 4, number(111)),
    ("KEEPINTVL", 5, number(22)),
    ("KEEPCNT", 6, number(3)),
    ("SYNCNT", 7, number(4)),
    ("LINGER2", 8, number(33)),
    ("DEFER_ACCEPT", 9, None),
    ("WINDOW_CLAMP", 10, number(500_000)),
    ("CONGESTION", 13, text("reno")),
    ("THIN_LINEAR_TIMEOUTS", 16, number(1)),
    ("USER_TIMEOUT", 18, number(45_000)),
    ("FASTOPEN", 23, None),
    ("NOTSENT_LOWAT", 25, number(123_456)),
    ("SAVE_SYN", 27, None),
    ("FASTOPEN_CONNECT", 30, None),
    ("FASTOPEN_NO_COOKIE", 34, None),
    ("INQ", 36, number(1)),
    ("TX_DELAY", 37, number(200)),
    ("RTO_MAX_MS", 44, number(5000)),
    ("RTO_MIN_US", 45, number(100_000)),
    ("DELACK_MAX_US", 46, number(30_000)),
]
IP_OPTIONS = [
    ("TOS", 1, number(0x28)),
    ("TTL", 2, number(55)),
    ("RECVOPTS", 6, number(1)),
    ("RETOPTS", 7, number(1)),
    ("PKTINFO", 8, number(1)),
    ("MTU_DISCOVER", 10, None),
    ("RECVERR", 11, number(1)),
    ("RECVTTL", 12, number(1)),
    ("RECVTOS", 13, number(1)),
    ("FREEBIND", 15, number(1)),
    ("PASSSEC", 18, number(1)),
    ("MINTTL", 21, number(2)),
    ("BIND_ADDRESS_NO_PORT", 24, number(1)),
    ("RECVFRAGSIZE", 25, number(1)),
    ("MULTICAST_LOOP", 34, number(0)),
    ("LOCAL_PORT_RANGE", 51, struct.pack("<I", 45_000 << 16 | 40_000).hex()),
]
IPV6_OPTIONS = [
    ("UNICAST_HOPS", 16, number(56)),
    ("MULTICAST_LOOP", 19, number(0)),
    ("MTU_DISCOVER", 23, None),
    ("RECVERR", 25, number(1)),
    ("V6ONLY", 26, None),
    ("AUTOFLOWLABEL", 70, number(0)),
    ("RECVPKTINFO", 49, number(1)),
    ("RECVHOPLIMIT", 51, number(1)),
    ("RECVRTHDR", 56, number(1)),
    ("RECVDSTOPTS", 58, number(1)),
    ("DONTFRAG", 62, number(1)),
    ("RECVTCLASS", 66, number(1)),
    ("TCLASS", 67, number(0x28)),
    ("ADDR_PREFERENCES", 72, number(1)),
    ("MINHOPCOUNT", 73, number(2)),
    ("RECVFRAGSIZE", 77, number(1)),
    ("FREEBIND", 78, number(1)),
]
LEVELS = {
    "SO": (SOL_SOCKET, SOCKET),
    "TCP": (TCP, TCP_OPTIONS),
    "IP": (IP, IP_OPTIONS),
    "IPV6": (IPV6, IPV6_OPTIONS),
}


def read(sock, level):
    """An odd size of a buffer is read as the even one below: the kernel may choose an odd
    size, but doubles what is set, so no program can set one."""
    number_of_level, options = LEVELS[level]
    values = {name: sock.get(number_of_level, number) for name, number, _ in options}
    return {
        name: f"{int(value[:2], 16) & ~1:02x}{value[2:]}" if name in ("SNDBUF", "RCVBUF") else value
        for name, value in values.items()
    }


def differences(before, after):
    return {
        name: f"{value} → {after[name]}" for name, value in before.items() if after[name] != value
    }


def survive(sock, target, level, state=CONNECTED):
    before = read(sock, level)
    expect(
        sum(value is not None for value in before.values()) > len(before) // 2,
        lambda: f"hardly anything can be read: {before}",
    )
    moved = move(sock, target, state)
    expect(not (changed := differences(before, read(moved, level))), lambda: f"{level}: {changed}")
    return moved


def set_all(sock, level):
    """Sets what this kernel supports: some options are newer than others."""
    number_of_level, options = LEVELS[level]
    done = [
        name
        for name, number, value in options
        if value
        and "error" not in sock.app.tries("setopt", sock.fd, number_of_level, number, value)
    ]
    expect(
        len(done) > len([value for *_, value in options if value]) // 2,
        lambda: f"hardly anything can be set: {done}",
    )


@cases(
    ("SO", "4"),
    ("TCP", "4"),
    ("IP", "4"),
    ("SO", "6"),
    ("TCP", "6"),
    ("IPV6", "6"),
    ("IPV6", "mapped"),
    ("IP", "mapped"),
)
def test_options_that_were_set_move(lab, level, family):
    start(lab, privileged=True)  # some options may only be set by root
    connection = Connection(lab, family)
    set_all(connection.ours, level)
    connection.ours = survive(connection.ours, lab.hostB, level)
    connection.both_ways(20_000)


@cases(("SO", "4"), ("TCP", "4"), ("IP", "4"), ("IPV6", "6"))
def test_untouched_options_stay_unchanged(lab, level, family):
    """The kernel still adjusts the buffers whose size it adjusted before (SO_BUF_LOCK)."""
    start(lab)
    connection = Connection(lab, family)
    connection.both_ways(4 << 20)  # which enlarges it
    connection.ours = survive(connection.ours, lab.hostB, level)
    connection.both_ways()


@cases(("SO", "4"), ("TCP", "4"), ("IPV6", "6"))
def test_options_of_a_listener_move_and_are_inherited(lab, level, family):
    """Connections that are accepted later inherit the option as before."""
    start(lab, privileged=True)
    listener = lab.hostA.app.socket(family)
    set_all(listener, level)
    if level == "TCP":
        for name in (9, 23, 27):  # DEFER_ACCEPT, FASTOPEN, SAVE_SYN
            listener.set(TCP, name, number(1))
    listener.listen()
    lab.client.app.socket(family).connect(lab.hostA).do("send", "s", 0, 1)
    inherited = read(listener.accept(), level)
    moved = survive(listener, lab.hostB, level, LISTENING)
    lab.client.app.socket(family).connect(lab.hostA).do("send", "s", 0, 1)
    changed = differences(inherited, read(moved.accept(), level))
    expect(not changed, lambda: f"accepted after the move: {changed}")


def test_a_corked_socket_holds_its_bytes_after_a_move(lab):
    """A part of a segment that waits in the send queue for the application to uncork
    continues to wait."""
    start(lab)
    connection = Connection(lab)
    connection.ours.set(TCP, 3, number(1))
    connection.down.send(connection.ours, 100)
    expect(connection.ours.info("unsent") == 100, connection.ours.info)
    connection.move(lab.hostB)
    expect(connection.ours.get(TCP, 3) == number(1), "not corked any more")
    connection.ours.set(TCP, 3, number(0))
    connection.down.receive(connection.theirs)


NEGOTIATED = ["negotiated", "snd_wscale", "rcv_wscale"]


@cases(
    "",
    "net.ipv4.tcp_timestamps=0",
    "net.ipv4.tcp_sack=0",
    "net.ipv4.tcp_window_scaling=0",
    "net.ipv4.tcp_timestamps=2",
)
def test_negotiated_options_move(lab, setting):
    """The importer's kernel would negotiate otherwise. Its settings do not matter."""
    if setting:
        namespace.sysctl("client", dict([setting.split("=")]))
    start(lab)
    connection = Connection(lab)
    connection.both_ways()
    before = connection.ours.info(*NEGOTIATED)
    connection.move(lab.hostB)
    expect(
        connection.ours.info(*NEGOTIATED) == before,
        lambda: f"{before}, now {connection.ours.info(*NEGOTIATED)}",
    )
    for target in (lab.hostA, lab.hostB):
        connection.both_ways(1_000_000)
        connection.move(target)
    connection.both_ways()


@cases(("4", 700), ("6", 900))
def test_the_peers_segment_size_moves(lab, family, size):
    """The segment size that the peer announced, not that of this path."""
    start(lab)
    connection = Connection(
        lab, family, prepare=lambda ours, theirs: theirs.set(TCP, 2, number(size))
    )
    before = connection.ours.info("snd_mss", "rcv_mss")
    expect(before[0] <= size, connection.ours.info)
    connection.move(lab.hostB)
    connection.both_ways()
    expect(
        connection.ours.info("snd_mss") == before[0],
        lambda: f"{before}, now {connection.ours.info()}",
    )
