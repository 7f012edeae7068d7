"""What a daemon writes to standard error is not read, because the service manager's journal has
stopped, or the reader has ended."""
import contextlib
import fcntl
import os

from cases import cases
from daemons import wait_forgotten
from lab import PORT
from process import expect, wait_until
from socket_app import SERVICE, Connection, SocketApp

MOVES = 30


@contextlib.contextmanager
def unread(lab, host):
    """Starts the host's daemon with a standard error that nobody reads: a pipe of one page, which
    one line fills. Yields the reading end."""
    path = host.folder / "stderr"
    os.mkfifo(path)
    reader = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    try:
        lab.start_daemon(
            host, wrap=["sh", "-c", 'exec "$@" 2>"$0"', path], steer={"linger_ms": 200}
        )
        yield reader
    finally:
        reader.close()


def start_applications(lab, *hosts):
    for host in hosts:
        host.app = SocketApp(host, SERVICE)
    lab.client.app = SocketApp(lab.client)


@cases("hostA", "hostB")
def test_connections_move_although_nobody_reads_the_log(lab, where):
    unread_host, other = (lab.hostA, lab.hostB) if where == "hostA" else (lab.hostB, lab.hostA)
    lab.start_daemon(other, steer={"linger_ms": 200})
    with unread(lab, unread_host) as reader:
        start_applications(lab, lab.hostA, lab.hostB)
        connections = []
        for number in range(MOVES):
            connections.append(Connection(lab, port=PORT + number))
            connections[-1].move(lab.hostB)
            connections[-1].both_ways(1000)
        wait_until(
            lambda: unread_host.api("/v1/status")["log"]["dropped_lines"],
            "lines are dropped, and the status says so",
        )
        expect(reader.read(1 << 16), "not even the first line was written")
        for connection in connections:
            connection.end()
        wait_forgotten(lab.hostA, lab.hostB)


@cases("hostA", "hostB")
def test_connections_move_although_the_reader_of_the_log_has_ended(lab, where):
    gone_host, other = (lab.hostA, lab.hostB) if where == "hostA" else (lab.hostB, lab.hostA)
    lab.start_daemon(other, steer={"linger_ms": 200})
    with unread(lab, gone_host) as reader:
        reader.close()
        start_applications(lab, lab.hostA, lab.hostB)
        connection = Connection(lab)
        connection.move(lab.hostB, lab.hostA, lab.hostB)
        connection.both_ways()
        connection.end()
        wait_forgotten(lab.hostA, lab.hostB)


def test_the_crash_guard_unfreezes_without_a_reader_of_its_log(lab):
    """The daemon dies with several frozen sockets. The guard logs a line about each."""
    lab.start_daemon(lab.hostB)
    with unread(lab, lab.hostA) as reader:
        start_applications(lab, lab.hostA, lab.hostB)
        connections = [Connection(lab, port=PORT + number) for number in range(4)]
        lab.hostA.arm("prepare-send=kill")
        reader.close()
        answer = lab.hostA.app.begin(
            "export-together",
            SERVICE,
            lab.hostB.address,
            *(connection.ours.fd for connection in connections),
        )
        lab.hostA.daemon.wait()
        answer()
        for connection in connections:
            connection.both_ways(1000)
    lab.start_daemon(lab.hostA)  # finds nothing to settle
    for connection in connections:
        connection.end()
