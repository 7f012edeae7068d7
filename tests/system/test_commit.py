"""COMMIT: where a connection lives when a daemon dies, or fails, around the moment of the
decision."""
import errno
import os
import signal

import observe
import socket_app
from cases import cases
from process import expect, wait_until
from sandbox import without_privilege
from socket_app import CONNECTED, SERVICE, Connection

LATER = {"steer": {"linger_ms": 200, "freeze_timeout_ms": 2000}}


def begin(lab, *hosts):
    socket_app.start(lab, *hosts, **LATER)
    connection = Connection(lab)
    connection.both_ways()
    return connection


def begin_export(connection, target):
    """Returns a function that waits for the errno of the export; 0: it has moved."""
    answer = connection.ours.app.begin(
        "export", connection.ours.fd, CONNECTED, SERVICE, target.address
    )
    return lambda: answer().get("error", 0)


def export(connection, target):
    return begin_export(connection, target)()


def dies(host):
    status = host.daemon.wait()
    expect(status == -signal.SIGKILL, f"{host.name}: the daemon's status is {status}")


def doubts(host):
    return host.api("/v1/doubt")["doubts"]


def settled(*hosts):
    for host in hosts:
        wait_until(lambda: not doubts(host), f"nothing is in doubt on {host.name}", timeout=20)


def goes_on_here(lab, connection, others):
    """Checks that everything is as if nothing had happened."""
    connection.both_ways()
    expect(
        not observe.redirects(lab.hostA),
        lambda: f"a redirect is left: {observe.redirects(lab.hostA)}",
    )
    for host in others:
        wait_until(
            lambda: host.api("/v1/status")["lists"]["connected"]["used"] == 0,
            f"{host.name} gives the place free",
        )
    connection.end()


def the_client_sees_an_end(lab, connection):
    wait_until(
        lambda: connection.theirs.state() in ("CLOSE", "CLOSE_WAIT"),
        "the peer learns that it has ended",
    )
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")


# --- the importer ---


@cases("before-thaw", "thaw")
def test_a_failed_thaw_leaves_the_connection_at_the_exporter(lab, point):
    connection = begin(lab)
    lab.hostB.arm(point)
    expect(export(connection, lab.hostB) == errno.ECANCELED, lab.hostA.last_error())
    wait_until(
        lambda: lab.hostB.api("/v1/status")["lists"]["connected"]["used"] == 0, "the place is free"
    )
    connection.both_ways()
    connection.move(lab.hostB)
    connection.both_ways()
    connection.end()


def test_a_failed_thaw_at_home_leaves_the_connection_at_the_exporter(lab):
    connection = begin(lab)
    connection.move(lab.hostB)
    lab.hostA.arm("thaw")
    expect(export(connection, lab.hostA) == errno.ECANCELED, lab.hostB.last_error())
    connection.both_ways()
    connection.move(lab.hostA)
    connection.both_ways()
    connection.end()


def test_a_failed_thaw_at_a_third_host_leaves_the_connection_at_the_exporter(lab):
    connection = begin(lab, lab.hostA, lab.hostB, lab.hostC)
    connection.move(lab.hostB)
    lab.hostC.arm("thaw")
    expect(export(connection, lab.hostC) == errno.ECANCELED, lab.hostB.last_error())
    connection.both_ways()
    connection.end()
    wait_until(
        lambda: not observe.redirects(lab.hostA) and not observe.redirects(lab.hostB),
        "the redirects end with it",
    )


def test_an_importer_that_dies_before_the_thaw_leaves_the_connection_at_the_exporter(lab):
    connection = begin(lab)
    lab.hostB.arm("before-thaw=kill")
    answer = begin_export(connection, lab.hostB)
    dies(lab.hostB)
    lab.start_daemon(lab.hostB, **LATER)
    expect(answer() in (errno.ECANCELED, errno.EINPROGRESS), "the export has succeeded")
    settled(lab.hostA)
    goes_on_here(lab, connection, [lab.hostB])


def test_an_importer_that_stays_dead_leaves_the_export_in_doubt(lab):
    """The application does not get a success; the next daemon there answers that the
    endpoint never thawed."""
    connection = begin(lab)
    lab.hostB.arm("before-thaw=kill")
    expect(export(connection, lab.hostB) == errno.EINPROGRESS, lab.hostA.last_error())
    [doubt] = doubts(lab.hostA)
    expect((doubt["kind"], doubt["host"]) == ("export", "hostB"), doubt)
    expect(connection.ours.state() != "CLOSE", "the source was killed")
    lab.start_daemon(lab.hostB, **LATER)
    settled(lab.hostA)
    goes_on_here(lab, connection, [lab.hostB])


def test_an_operator_discards_an_export_to_a_dead_importer(lab):
    connection = begin(lab)
    lab.hostB.arm("before-thaw=kill")
    expect(export(connection, lab.hostB) == errno.EINPROGRESS, lab.hostA.last_error())
    [doubt] = doubts(lab.hostA)
    listed = lab.hostA.run(lab.sockmictl, "doubt")
    expect(doubt["id"] in listed and "hostB" in listed, listed)
    status, output = lab.hostA.run(lab.sockmictl, "doubt", "discard", "no-such", check=False)
    expect(status == 1 and "ENOENT" in output, output)
    lab.hostA.run(lab.sockmictl, "doubt", "discard", doubt["id"])
    settled(lab.hostA)
    goes_on_here(lab, connection, [])
    lab.start_daemon(lab.hostB, **LATER)  # removes what the dead daemon left


@cases("thaw-written", "thawed")
def test_an_importer_that_dies_with_a_thawed_socket_ends_the_connection(lab, point):
    """This is the one failure that cannot be undone. Both sides see the end, and no
    caller gets a success."""
    connection = begin(lab)
    lab.hostB.arm(point + "=kill")
    answer = begin_export(connection, lab.hostB)
    dies(lab.hostB)
    lab.start_daemon(lab.hostB, **LATER)
    expect(answer() in (errno.ECONNABORTED, errno.EINPROGRESS), "the export has succeeded")
    settled(lab.hostA)
    the_client_sees_an_end(lab, connection)
    expect(connection.ours.state() == "CLOSE", "the source is open")
    expect(lab.hostA.migrations("export")[-1]["result"] == "lost", lab.hostA.migrations("export"))


def test_a_socket_that_fails_as_it_thaws_ends_the_connection(lab):
    connection = begin(lab)
    lab.hostB.arm("go-live")
    expect(export(connection, lab.hostB) == errno.ECONNABORTED, lab.hostA.last_error())
    the_client_sees_an_end(lab, connection)
    wait_until(
        lambda: lab.hostB.api("/v1/status")["lists"]["connected"]["used"] == 0, "the place is free"
    )
    expect(not observe.redirects(lab.hostA), "the redirect is left")


def test_a_lost_commit_answer_is_requested_again(lab):
    """The importer has thawed it, and answers so as often as it is queried."""
    connection = begin(lab)
    lab.hostA.arm("commit-reply", 3)
    connection.move(lab.hostB)
    connection.both_ways()
    connection.end()


# --- the exporter ---


def dies_in_export(lab, connection, point):
    lab.hostA.arm(point + "=kill")
    answer = begin_export(connection, lab.hostB)
    dies(lab.hostA)
    return answer


def test_an_exporter_that_dies_after_commit_does_not_stop_the_connection(lab):
    connection = begin(lab)
    expect(dies_in_export(lab, connection, "commit-reply")(), "the export has succeeded")
    connection.ours.close()
    connection.ours = socket_app.imported(lab.hostB, "4")
    expect(
        all("expires" not in each for each in observe.redirects(lab.hostA)),
        "the redirect ends by itself",
    )
    connection.both_ways()
    lab.start_daemon(lab.hostA, **LATER)
    settled(lab.hostA)
    connection.both_ways()
    connection.end()


def test_an_exporter_that_dies_before_commit_leaves_the_import_in_doubt(lab):
    """The endpoint is frozen on both hosts. The redirect to it is permanent."""
    connection = begin(lab)
    expect(dies_in_export(lab, connection, "decided")(), "the export has succeeded")
    [doubt] = wait_until(lambda: doubts(lab.hostB), "the importer is in doubt", timeout=20)
    expect((doubt["kind"], doubt["host"]) == ("import", "hostA"), doubt)
    lab.start_daemon(lab.hostA, **LATER)
    settled(lab.hostA, lab.hostB)
    moved(lab, connection)


def test_an_operator_commits_an_import_from_a_dead_exporter(lab):
    connection = begin(lab)
    expect(dies_in_export(lab, connection, "decided")(), "the export has succeeded")
    [doubt] = wait_until(lambda: doubts(lab.hostB), "the importer is in doubt", timeout=20)
    lab.hostB.run(lab.sockmictl, "doubt", "commit", doubt["id"])
    lab.start_daemon(lab.hostA, **LATER)
    settled(lab.hostA, lab.hostB)
    moved(lab, connection)


def test_an_operator_discards_an_import_from_a_dead_exporter(lab):
    connection = begin(lab)
    expect(dies_in_export(lab, connection, "journal")(), "the export has succeeded")
    connection.both_ways()  # the guard has unfrozen it
    [doubt] = wait_until(lambda: doubts(lab.hostB), "the importer is in doubt", timeout=20)
    lab.hostB.run(lab.sockmictl, "doubt", "discard", doubt["id"])
    wait_until(
        lambda: lab.hostB.api("/v1/status")["lists"]["connected"]["used"] == 0, "the place is free"
    )
    lab.start_daemon(lab.hostA, **LATER)
    goes_on_here(lab, connection, [lab.hostB])


def moved(lab, connection):
    """Checks that it lives on hostB, and that its old socket is dead."""
    wait_until(lambda: connection.ours.state() == "CLOSE", "the old socket is ended")
    connection.ours.close()
    connection.ours = socket_app.imported(lab.hostB, "4")
    connection.both_ways()
    connection.end()
    wait_until(lambda: not observe.redirects(lab.hostA), "the redirect ends with it")


# --- an exporter's daemon and its guard at once ---


def guard_of(host):
    [line] = host.run("pgrep", "--parent", host.daemon.pid, "--full", ".").split()
    return int(line)


def both_die_in_export(lab, connection, point):
    """The guard is stopped until the daemon is dead, and then killed, too."""
    guard = guard_of(lab.hostA)
    os.kill(guard, signal.SIGSTOP)
    lab.hostA.arm(point + "=kill")
    answer = begin_export(connection, lab.hostB)
    wait_until(lambda: not lab.hostA.daemon.running(), "the daemon dies")
    os.kill(guard, signal.SIGKILL)
    dies(lab.hostA)
    return answer


@cases("prepare-send", "redirect", "journal")
def test_the_next_daemon_unfreezes_an_undecided_socket(lab, point):
    connection = begin(lab)
    both_die_in_export(lab, connection, point)()
    expect(
        "fwmark:" in lab.hostA.run("ss", "--tcp", "--numeric", "--extended", "--no-header"),
        "the socket is not frozen",
    )
    lab.start_daemon(lab.hostA, **LATER)
    settled(lab.hostA, lab.hostB)
    goes_on_here(lab, connection, [lab.hostB])


@cases("decided", "handed-over", "commit-reply")
def test_the_next_daemon_ends_a_decided_socket_that_the_importer_has(lab, point):
    connection = begin(lab)
    both_die_in_export(lab, connection, point)()
    lab.start_daemon(lab.hostA, **LATER)
    settled(lab.hostA, lab.hostB)
    moved(lab, connection)


def test_the_next_daemon_unfreezes_a_decided_socket_that_the_importer_lost(lab):
    """Both daemons and the guard are dead."""
    connection = begin(lab)
    both_die_in_export(lab, connection, "decided")()
    lab.hostB.daemon.kill()
    lab.start_daemon(lab.hostB, **LATER)
    lab.start_daemon(lab.hostA, **LATER).wait_line("the endpoint continues here")
    goes_on_here(lab, connection, [lab.hostB])


def test_a_frozen_socket_that_cannot_be_unfrozen_is_in_doubt(lab):
    """A daemon that may not take descriptors out of other processes leaves the socket to
    one that may."""
    connection = begin(lab)
    both_die_in_export(lab, connection, "prepare-send")()
    weak = ["setpriv", "--bounding-set=-sys_ptrace"]
    lab.start_daemon(lab.hostA, wrap=weak, **LATER)
    [doubt] = doubts(lab.hostA)
    expect(doubt["kind"] == "frozen", doubt)
    status, output = lab.hostA.run(lab.sockmictl, "doubt", "discard", doubt["id"], check=False)
    expect(status == 1 and doubts(lab.hostA), output)
    lab.hostA.daemon.stop()
    lab.start_daemon(lab.hostA, **LATER)
    settled(lab.hostA)
    goes_on_here(lab, connection, [lab.hostB])


def test_a_damaged_journal_leaves_a_frozen_socket_in_doubt(lab):
    """Its decision may be what was lost, and the importer may have thawed it."""
    connection = begin(lab)
    both_die_in_export(lab, connection, "prepare-send")()
    with open(lab.hostA.folder / "state" / "journal", "ab") as journal:
        journal.write(b"commi\0\0\0\n")
    lab.start_daemon(lab.hostA, **LATER)
    [doubt] = doubts(lab.hostA)
    expect(doubt["kind"] == "frozen", doubt)
    lab.hostA.run(lab.sockmictl, "doubt", "discard", doubt["id"])
    settled(lab.hostA, lab.hostB)
    goes_on_here(lab, connection, [lab.hostB])


def test_a_stopped_crash_guard_does_not_stop_the_daemon(lab):
    connection = begin(lab)
    os.kill(guard := guard_of(lab.hostA), signal.SIGSTOP)
    connection.move(lab.hostB)
    connection.both_ways()
    os.kill(guard, signal.SIGCONT)
    connection.end()


# --- requests ---


def test_a_socket_exported_twice_moves_once(lab):
    connection = begin(lab)
    errors = socket_app.export_together([connection.ours, connection.ours], lab.hostB)
    expect(errors == [0, errno.EBUSY], errors)
    connection.ours = socket_app.imported(lab.hostB, "4")
    connection.both_ways()
    connection.end()


def test_only_root_resolves_doubts(lab):
    lab.start_daemon(lab.hostA)
    status, output = lab.hostA.run(
        *without_privilege(), lab.sockmictl, "doubt", "commit", "0", check=False
    )
    expect(status == 1 and "EACCES" in output, output)


# --- the guard ---


def test_a_dead_crash_guard_is_replaced_and_given_the_frozen_sockets(lab):
    """The new guard does its work: it unfreezes the sockets when the daemon dies."""
    connection = begin(lab)
    lab.hostB.arm("before-thaw=kill")
    # Decided; the guard holds it.
    expect(export(connection, lab.hostB) == errno.EINPROGRESS, lab.hostA.last_error())
    os.kill(guard_of(lab.hostA), signal.SIGKILL)
    lab.hostA.daemon.wait_line("event=guard_replaced count=1")
    lab.start_daemon(lab.hostB, **LATER)
    lab.hostB.app = socket_app.SocketApp(lab.hostB, SERVICE)  # it imports from this daemon
    settled(lab.hostA)
    connection.both_ways()
    lab.hostA.arm("prepare-send=kill")
    answer = begin_export(connection, lab.hostB)
    dies(lab.hostA)
    answer()
    connection.both_ways()  # the new guard has unfrozen it
    lab.start_daemon(lab.hostA, **LATER)
    goes_on_here(lab, connection, [lab.hostB])


def test_a_crash_guard_without_a_journal_leaves_sockets_to_the_next_daemon(lab):
    connection = begin(lab)
    journal = lab.hostA.folder / "state" / "journal"
    aside = journal.rename(journal.with_name("aside"))
    journal.mkdir()
    dies_in_export(lab, connection, "prepare-send")()
    expect(lab.hostA.daemon.says("event=sockets_left_frozen"), lab.hostA.daemon.tail())
    expect(
        "fwmark:" in lab.hostA.run("ss", "--tcp", "--numeric", "--extended", "--no-header"),
        "the socket is not frozen",
    )
    journal.rmdir()
    aside.rename(journal)
    lab.start_daemon(lab.hostA, **LATER)
    settled(lab.hostA, lab.hostB)
    goes_on_here(lab, connection, [lab.hostB])
