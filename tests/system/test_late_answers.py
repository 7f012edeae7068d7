"""An exporter whose daemon died after COMMIT asks what became of the connection when much
has happened since: the importer's daemon has restarted, and the connection has moved on, or
its application has closed it. The answer must not end what lives elsewhere."""
import signal

import observe
import socket_app
from process import expect, wait_until
from socket_app import CONNECTED, SERVICE, Connection

LATER = {"steer": {"linger_ms": 200, "freeze_timeout_ms": 2000}}


def moved_by_a_dying_daemon(lab, *hosts):
    """Returns a connection that hostB has, while the daemon of hostA, which exported it, is
    dead and does not know that."""
    socket_app.start(lab, *hosts, **LATER)
    connection = Connection(lab)
    connection.both_ways()
    lab.hostA.arm("commit-reply=kill")
    answer = connection.ours.app.begin(
        "export", connection.ours.fd, CONNECTED, SERVICE, lab.hostB.address
    )
    status = lab.hostA.daemon.wait()
    expect(status == -signal.SIGKILL, f"the daemon of hostA ended with status {status}")
    expect(answer().get("error"), "the export has succeeded")
    connection.ours.close()
    connection.ours = socket_app.imported(lab.hostB, "4")
    connection.both_ways()
    return connection


def restart(lab, host):
    host.daemon.kill()
    lab.start_daemon(host, **LATER)


def asks_again(lab):
    """The next daemon of hostA asks, and gets an answer."""
    lab.start_daemon(lab.hostA, **LATER)
    wait_until(
        lambda: lab.hostA.migrations("export"), "hostA knows what became of its export", timeout=20
    )
    expect(not lab.hostA.api("/v1/doubt")["doubts"], lab.hostA.api("/v1/doubt"))
    expect(lab.hostA.migrations("export")[-1]["result"] == "committed", lab.hostA.last_error())


def test_a_connection_that_has_moved_on_lives_although_the_importer_restarts(lab):
    connection = moved_by_a_dying_daemon(lab, lab.hostA, lab.hostB, lab.hostC)
    connection.move(lab.hostC)
    connection.both_ways()
    restart(lab, lab.hostB)
    asks_again(lab)
    connection.both_ways()
    wait_until(
        lambda: lab.hostC.address in "".join(observe.redirects(lab.hostA)),
        "home redirects to hostC",
    )
    wait_until(lambda: not observe.redirects(lab.hostB), "hostB redirects nothing any more")
    connection.both_ways()
    connection.end()
    wait_until(lambda: not observe.redirects(lab.hostA), "the redirect ends with it")


def test_a_connection_closed_with_data_under_way_ends_in_order(lab):
    """No application has it any more, and the kernel of hostB still sends its last bytes."""
    connection = moved_by_a_dying_daemon(lab, lab.hostA, lab.hostB)
    connection.down.fill(connection.ours)
    connection.ours.close()
    restart(lab, lab.hostB)
    asks_again(lab)
    connection.down.receive_end(connection.theirs)
    connection.theirs.close()
    wait_until(lambda: not observe.redirects(lab.hostA), "the redirect ends with it")
