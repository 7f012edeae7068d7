"""The journal on a disk that is full or broken, and its use by one daemon only."""
import contextlib
import signal

from cases import cases
from process import expect, run, wait_until
from socket_app import Connection, start
from transfer import HeldDownload, random_bytes

CONTENT = random_bytes(4 << 20)


@contextlib.contextmanager
def small_disk(host):
    """Puts the host's state folder on a disk of its own."""
    folder = host.folder / "state"
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=512k", "small", str(folder)])
    try:
        yield folder
    finally:
        run(["umount", "--lazy", str(folder)])


def fill(folder):
    with open(folder / "filling", "ab", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass


def restart(lab, host, folder):
    """Restarts on a full disk, with no space kept from before: the journal's last page is full."""
    host.daemon.signal(signal.SIGTERM)
    host.daemon.wait()
    text = (folder / "journal").read_bytes()
    (folder / "journal").unlink()
    (folder / "journal").write_bytes(
        text + b"later 1 " + b"x" * (4096 - 9 - len(text) % 4096) + b"\n"
    )
    fill(folder)
    lab.start_daemon(host)


def journal_of(host):
    return host.api("/v1/status")["journal"]


@cases("hostA", "hostB")
def test_a_full_disk_stops_new_moves_and_harms_nothing(lab, full):
    """The disk of the exporter, or of the importer, is full."""
    host = getattr(lab, full)
    with small_disk(host) as folder:
        lab.start_all(lab.hostA, lab.hostB)
        transfer = HeldDownload(lab, CONTENT)
        [server] = [process for process in lab.processes if process.name == f"{full}:httpsd"]
        seen = len(server.lines)
        restart(lab, host, folder)
        server.wait_line("event=daemon_connected", after=seen)
        expect(lab.hostA.export(lab.hostB) == (0, 1), "it moved")
        expect(
            "journal" in lab.hostA.last_error() and "ENOSPC" in lab.hostA.last_error(),
            lambda: lab.hostA.last_error(),
        )
        transfer.advance(1_000_000)
        (folder / "filling").unlink()
        lab.move(lab.hostA, lab.hostB)
        transfer.finish_whole()
        expect(
            journal_of(host) == {"error": "", "unwritten": 0, "unreadable": 0},
            lambda: journal_of(host),
        )
        lab.assert_clean()


def test_facts_are_written_once_the_disk_has_room(lab):
    """Home's disk is full when it gets a redirect. The redirect outlives home's daemon
    nevertheless."""
    with small_disk(lab.hostA) as folder:
        start(lab, lab.hostA, lab.hostB, lab.hostC)
        connection = Connection(lab)
        connection.move(lab.hostB)
        restart(lab, lab.hostA, folder)
        connection.move(lab.hostC)
        wait_until(lambda: journal_of(lab.hostA)["unwritten"], "home has something to write")
        lab.hostA.daemon.wait_line("event=journal_write_failed")
        connection.both_ways()
        (folder / "filling").unlink()
        wait_until(lambda: not journal_of(lab.hostA)["unwritten"], "it is written")
        lab.hostA.daemon.kill()
        lab.hostA.run("nft", "delete", "table", "netdev", "sockmi")
        lab.start_daemon(lab.hostA)
        connection.both_ways()
        connection.end()
        lab.assert_clean()


def test_a_second_daemon_leaves_the_journal_unchanged(lab):
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    path = lab.hostA.folder / "state" / "journal"
    lab.hostA.daemon.signal(signal.SIGSTOP)  # it has more to write about the move
    before, number = path.read_bytes(), path.stat().st_ino
    status, output = lab.hostA.run(
        lab.program("src/sockmid/sockmid"),
        "--config",
        lab.hostA.folder / "sockmid.toml",
        check=False,
    )
    lab.hostA.daemon.signal(signal.SIGCONT)
    expect(status == 1 and "another sockmid" in output, f"status {status}: {output}")
    expect((path.read_bytes(), path.stat().st_ino) == (before, number), "the journal is another")
    connection.both_ways()
    connection.end()


def test_an_unreadable_journal_prevents_the_start(lab):
    lab.start_daemon(lab.hostA)
    lab.hostA.daemon.signal(signal.SIGTERM)
    lab.hostA.daemon.wait()
    path = lab.hostA.folder / "state" / "journal"
    path.unlink(missing_ok=True)
    path.mkdir()
    status, output = lab.hostA.run(
        lab.program("src/sockmid/sockmid"),
        "--config",
        lab.hostA.folder / "sockmid.toml",
        check=False,
    )
    expect(status == 1 and "EISDIR" in output, f"status {status}: {output}")
    path.rmdir()
    lab.start_daemon(lab.hostA)


def test_a_damaged_journal_is_kept_and_reported(lab):
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    lab.hostA.daemon.signal(signal.SIGTERM)
    lab.hostA.daemon.wait()
    path = lab.hostA.folder / "state" / "journal"
    damaged = b"away nonsense\n" + path.read_bytes()
    path.write_bytes(damaged)
    lab.start_daemon(lab.hostA)
    expect(journal_of(lab.hostA)["unreadable"] == 1, lambda: journal_of(lab.hostA))
    expect((path.parent / "journal.damaged-1").read_bytes() == damaged, "it is not kept")
    connection.both_ways()
    connection.end()
