"""A daemon ends and starts again: no connection ends because of it, and no rule stays."""
import hashlib
import signal
import threading

import observe
from cases import cases
from daemons import (
    KILLED,
    TERMINATED,
    end_daemon,
    move_to_httpsd,
    moved_download,
    records,
    restart,
    wait_forgotten,
)
from lab import PORT
from process import Failure, expect, wait_until
from socket_app import (
    CONNECTED,
    LISTENING,
    SERVICE,
    Connection,
    SocketApp,
    Stream,
    begin_export,
    imported,
    move,
    start,
)
from transfer import Download, HeldDownload, Upload, random_bytes

CONTENT = random_bytes(8 << 20)
HELD = 7 << 20  # of CONTENT, where a download stands until the test lets it end
SMALL = random_bytes(1 << 20)
WANTED = hashlib.sha256(CONTENT).hexdigest()


def begin(lab, count):
    lab.file("f", CONTENT)
    transfers = [Download(lab, "f", rate=1 << 20, gate=HELD) for _ in range(count)]
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
    lab.hostB.daemon.wait_line("event=daemon_stopping")
    lab.hostB.daemon.wait_line("event=unclaimed_connection_kept")
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
        transfer.allow(None)
    for transfer in transfers:
        expect(transfer.finish() == WANTED, "a hash is wrong")
    for server in servers:
        expect(server.running(), server.tail)


# --- connections that have moved ---


@cases((TERMINATED, "hostA"), (TERMINATED, "hostB"), (KILLED, "hostA"), (KILLED, "hostB"))
def test_a_download_survives_a_daemon(lab, how, name):
    lab.start_all(lab.hostA, lab.hostB)
    host = getattr(lab, name)
    transfer = HeldDownload(lab, SMALL)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    end_daemon(host, how)
    transfer.advance(500_000)  # without any daemon there
    lab.start_daemon(host)
    expect(
        records(lab.hostA) == [("moved", "hostB")]
        and records(lab.hostB) == [("imported", "hostB")],
        f"{records(lab.hostA)} {records(lab.hostB)}",
    )
    transfer.finish_whole()
    wait_forgotten(lab.hostA, lab.hostB)


@cases(TERMINATED, KILLED)
def test_an_upload_survives_both_daemons(lab, how):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = Upload(lab, SMALL, gate=200_000)
    transfer.wait_offset(200_000)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    for host in (lab.hostA, lab.hostB):
        restart(lab, host, how)
    transfer.allow(None)
    transfer.finish()
    wait_forgotten(lab.hostA, lab.hostB)


def test_a_connection_moves_after_restarts(lab):
    lab.start_all()
    transfer = HeldDownload(lab, SMALL)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    restart(lab, lab.hostB, KILLED)
    move_to_httpsd(lab, lab.hostB, lab.hostC)
    transfer.advance(400_000)
    restart(lab, lab.hostA, KILLED)
    restart(lab, lab.hostC)
    move_to_httpsd(lab, lab.hostC, lab.hostA)
    transfer.finish_whole()
    wait_forgotten(*lab.hosts)


@cases("hostA", "hostB")
def test_an_end_without_a_daemon_is_settled_by_the_next(lab, name):
    """The daemon of home, or of the holder, does not run when the connection ends."""
    lab.start_all(lab.hostA, lab.hostB)
    host = getattr(lab, name)
    transfer = HeldDownload(lab, SMALL)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    end_daemon(host, KILLED)
    transfer.finish_whole()
    expect(
        observe.redirects(lab.hostA),
        "the redirect has gone though nobody could tell that the connection has ended",
    )
    lab.start_daemon(host)
    wait_forgotten(lab.hostA, lab.hostB)
    wait_until(lambda: lab.hostB.api("/v1/status")["home"]["pending_ends"] == 0, "home was told")


def test_nothing_is_left_after_the_last_connection(lab):
    transfer = moved_download(lab, SMALL)
    transfer.finish_whole()
    wait_forgotten(lab.hostA)
    for host in (lab.hostA, lab.hostB):
        end_daemon(host, TERMINATED)
        expect(not observe.leftovers(host), lambda: f"{host.name}: {observe.leftovers(host)}")


def test_tables_with_other_chains_keep_their_redirects(lab):
    """A daemon with other interfaces, and so with other chains."""
    transfer = moved_download(lab, SMALL)
    end_daemon(lab.hostA, KILLED)
    lab.hostA.run("ip", "link", "add", "spare", "type", "veth", "peer", "name", "other")
    lab.start_daemon(lab.hostA, **{"": {"interfaces": ["spare", "eth0"]}})
    expect(len(observe.redirects(lab.hostA)) == 1, "the redirect is gone")
    transfer.advance(500_000)
    chains = lab.hostA.run("nft", "list", "table", "netdev", "sockmi")
    expect(chains.count("hook ingress") == 2, chains)
    transfer.finish_whole()
    wait_forgotten(lab.hostA, lab.hostB)


def test_an_unexplained_redirect_is_removed(lab):
    """A redirect of a connection that lives here is removed immediately. One of an
    unknown connection is removed if no host claims it in time."""
    lab.start_all(lab.hostA)
    transfer = HeldDownload(lab, SMALL)
    peer, port = transfer.curl_address(lab).rsplit(":", 1)
    end_daemon(lab.hostA, KILLED)
    for source in (port, "9"):
        lab.hostA.run(
            "nft",
            f"add element netdev sockmi redir4 {{ {peer} . {source} . {lab.hostA.address} . "
            f"8443 : {lab.hostB.address} }}",
        )
    lab.start_daemon(lab.hostA)
    [left] = observe.redirects(lab.hostA)
    expect(" . 9 . " in left and "expires" in left, left)
    transfer.finish_whole()


def test_a_daemon_that_fails_to_start_keeps_the_redirects(lab):
    transfer = moved_download(lab, SMALL)
    end_daemon(lab.hostA, TERMINATED)
    settings = lab.configure(lab.hostA, control={"port": PORT})  # the application has that port
    status, output = lab.hostA.run(
        lab.program("src/sockmid/sockmid"), "--config", settings, check=False
    )
    expect(status == 1 and "in use" in output, f"status {status}: {output}")
    transfer.advance(500_000)
    lab.start_daemon(lab.hostA)
    transfer.finish_whole()
    wait_forgotten(lab.hostA, lab.hostB)


@cases("hostA", "hostB")
def test_a_moved_listener_survives_a_daemon(lab, name):
    start(lab)
    listener = move(lab.hostA.app.socket("4").listen(), lab.hostB, LISTENING)
    [host] = [host for host in lab.hosts if host.name == name]
    end_daemon(host, TERMINATED)
    lab.start_daemon(host)
    wait_until(lambda: lab.hostA.api("/v1/hosts")["hosts"], "the holder is heard")
    expect(
        (records(lab.hostA), records(lab.hostB)) == ([("moved", "hostB")], [("imported", "hostB")]),
        lambda: f"{records(lab.hostA)} {records(lab.hostB)}",
    )
    theirs, stream = lab.client.app.socket("4").connect(lab.hostA), Stream("s")
    ours = listener.accept()
    stream.send(theirs, 1000)
    stream.receive(ours)
