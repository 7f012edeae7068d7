"""A connection that moves in the middle of a transfer keeps its congestion window."""
import pytest

from cases import cases, topology
from process import expect, wait_until
from socket_app import SERVICE, Connection, SocketApp, start

CONGESTION, INFINITE, INITIAL = (6, 13), 0x7FFFFFFF, 10  # TCP_CONGESTION
MEGABYTE = 1 << 20
TAKEN_AWAY = "-bpf,-perfmon,-sys_admin"


def with_control(name):
    return lambda ours, theirs: ours.set(*CONGESTION, name.encode().hex())


def start_without_bpf(lab, host):
    """Starts a daemon that may not load BPF programs."""
    host.daemon = host.popen(
        "setpriv",
        "--bounding-set",
        TAKEN_AWAY,
        "--inh-caps",
        TAKEN_AWAY,
        lab.program("src/sockmid/sockmid"),
        "--config",
        lab.configure(host),
    )
    host.daemon.wait_line("sockmid ready")


def carries(host):
    return host.api("/v1/status")["congestion_window"].startswith("struct_ops ")


def begin_download(lab, control, size):
    """Begins a download. Its window has grown when this returns."""
    connection = Connection(lab, "4", with_control(control))
    received = connection.down.begin_receive(connection.theirs, size)
    sent = connection.down.begin_send(connection.ours, size // 2)
    wait_until(lambda: connection.ours.info("cwnd") > 10 * INITIAL, "the window grows")
    sent()
    return connection, received


@topology("routed", delay_ms=20)
@cases("cubic", "bbr")
def test_the_congestion_window_moves(lab, control):
    start(lab, privileged=True)  # only a privileged application may choose any congestion control
    connection, received = begin_download(lab, control, 16 * MEGABYTE)
    before = connection.ours.info("cwnd")
    connection.move(lab.hostB)
    after = connection.ours.info("cwnd")
    # If hostB cannot carry windows, there is nothing to compare. The daemon reports this,
    # and the transfer continues nevertheless.
    expect(
        after >= 0.7 * before or not carries(lab.hostB),
        f"{before} segments before the move, {after} after it",
    )
    expect(
        bytes.fromhex(connection.ours.get(*CONGESTION)).rstrip(b"\0") == control.encode(),
        "the congestion control is another one",
    )
    connection.down.send(connection.ours, 8 * MEGABYTE)
    received()


@topology("routed", delay_ms=20, rate_mbit=20)
def test_the_slow_start_threshold_moves(lab):
    start(lab, privileged=True)
    connection = Connection(lab, "4", with_control("cubic"))
    received = connection.down.begin_receive(connection.theirs, 8 * MEGABYTE)
    connection.down.send(connection.ours, 6 * MEGABYTE)
    wait_until(lambda: connection.ours.info("ssthresh") < INFINITE, "a segment is lost")
    connection.move(lab.hostB)
    expect(
        connection.ours.info("ssthresh") < INFINITE or not carries(lab.hostB),
        "the threshold is gone",
    )
    connection.down.send(connection.ours, 2 * MEGABYTE)
    received()


def test_a_connection_moves_without_bpf_and_the_status_says_so(lab):
    start(lab, lab.hostA)
    start_without_bpf(lab, lab.hostB)
    lab.hostB.app = SocketApp(lab.hostB, SERVICE)
    status = lab.hostB.api("/v1/status")["congestion_window"]
    expect(status.startswith("not carried: "), status)
    said = [
        line for line in lab.hostB.daemon.lines if "event=congestion_carrier_unavailable" in line
    ]
    expect(len(said) == 1, said)
    connection = Connection(lab)
    connection.move(lab.hostB)
    connection.both_ways()


def test_a_killed_daemon_leaves_no_congestion_control(lab):
    daemon = lab.start_daemon(lab.hostA)
    if not carries(lab.hostA) or "linked=true" not in daemon.wait_line(
        "event=congestion_carrier_loaded"
    ):
        pytest.skip("this kernel, or this user, has no BPF links for it")
    name = lab.hostA.api("/v1/status")["congestion_window"].split()[1]

    def known():
        with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as file:
            return name in file.read().split()

    expect(known(), f"{name} is not there")
    daemon.kill()
    wait_until(lambda: not known(), f"{name} goes")
    lab.start_daemon(lab.hostA)  # which removes the rest
