"""A daemon is asked to stop, for a restart or an upgrade: no connection ends because of it."""
import hashlib
import signal
import threading

from cases import cases
from process import Failure, expect, wait_until
from socket_app import CONNECTED, SERVICE, Connection, SocketApp, begin_export, imported, start
from transfer import Download, random_bytes

CONTENT = random_bytes(8 << 20)
WANTED = hashlib.sha256(CONTENT).hexdigest()


def begin(lab, count):
    lab.file("f", CONTENT)
    transfers = [Download(lab, "f", rate=1 << 20, gate=None) for _ in range(count)]
    for transfer in transfers:
        transfer.wait_offset(100_000)
    return transfers


@cases("1.2", "1.3")
def test_unclaimed_endpoints_return_home_when_the_daemon_stops(lab, tls):
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host)
    lab.start_httpsd(lab.hostA)
    lab.hostB.app = SocketApp(lab.hostB, SERVICE)  # registers for endpoints, and takes none
    lab.file("f", CONTENT)
    transfers = [Download(lab, "f", tls, gate=100_000) for _ in range(5)]
    for transfer in transfers:
        transfer.wait_offset(100_000)
    lab.move(lab.hostA, lab.hostB, connections=5)
    expect(lab.hostB.daemon.stop() == 0, lab.hostB.daemon.tail)
    for transfer in transfers:
        transfer.allow(None)
    expect(all(transfer.finish() == WANTED for transfer in transfers), "a hash is wrong")


def test_an_undelivered_endpoint_returns_home_when_the_daemon_stops(lab):
    start(lab)
    connection = Connection(lab)
    connection.both_ways()
    lab.hostB.app.begin("import", CONNECTED, SERVICE, 20_000)
    lab.hostB.app.process.pause()
    begin_export(connection.ours, lab.hostB)()
    expect(lab.hostB.daemon.stop() == 0, lab.hostB.daemon.tail)
    connection.ours = imported(lab.hostA, "4")
    connection.both_ways()
    connection.end()


def test_a_stopping_daemon_waits_for_home_and_refuses_exports(lab):
    start(lab)
    waiting = Connection(lab)
    begin_export(waiting.ours, lab.hostB)()
    there = lab.hostB.app.socket("4").listen(9443)
    there_theirs = lab.client.app.socket("4").connect(lab.hostB, 9443)
    there = there.accept()
    lab.hostA.daemon.pause()
    lab.hostB.daemon.signal(signal.SIGTERM)
    lab.hostB.daemon.wait_line("event=stopping")
    lab.hostB.daemon.wait_line("event=not_returned_yet")
    refused = lab.hostB.app.tries("export", there.fd, CONNECTED, SERVICE, lab.hostA.address)
    expect("stopping" in refused.get("reason", ""), lambda: f"an export while it stops: {refused}")
    lab.hostA.daemon.resume()
    expect(lab.hostB.daemon.wait(20) == 0, lab.hostB.daemon.tail)
    waiting.ours = imported(lab.hostA, "4")
    waiting.both_ways()
    waiting.end()
    for socket in (there_theirs, there):
        socket.close()


@cases("hostA", "hostB")
def test_a_stream_of_moves_survives_restarts(lab, restarted):
    """Eight downloads move between hostA, their home, and hostB, while the daemon of one
    of the two stops and starts again."""
    host = getattr(lab, restarted)
    servers = lab.start_all(lab.hostA, lab.hostB)
    transfers = begin(lab, 8)
    done, moved = threading.Event(), [0]

    def move():
        while not done.is_set():
            for source, target in ((lab.hostA, lab.hostB), (lab.hostB, lab.hostA)):
                try:
                    moved[0] += source.export(target)[0]
                except (Failure, OSError):  # its daemon does not run, or is ending
                    done.wait(0.02)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(3):
            before = moved[0]
            wait_until(lambda: moved[0] > before + 4, "connections move")
            expect(host.daemon.stop() == 0, host.daemon.tail)
            lab.start_daemon(host)
    finally:
        done.set()
        mover.join()
    for transfer in transfers:
        expect(transfer.finish() == WANTED, "a hash is wrong")
    for server in servers:
        expect(server.running(), server.tail)
