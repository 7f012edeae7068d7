"""A daemon stands still (SIGSTOP): calls of the library end, and the caller learns who
has the connection. Later the daemon continues accordingly."""
from cases import cases
from process import expect, state, wait_until
from socket_app import CONNECTED, SERVICE, Connection, imported, start

EINPROGRESS, ETIMEDOUT = 115, 110
SHORT = 1500  # milliseconds


def stopped(host):
    wait_until(
        lambda: state(host.daemon.pid) == "T", f"{host.daemon.name} stands still", timeout=30
    )


def error_of(answer):
    got = answer(60)
    return got.get("error"), got.get("reason")


def begin_export(socket, target):
    return socket.app.begin("export", socket.fd, CONNECTED, SERVICE, target.address, SHORT)


def exported(lab):
    """Makes an endpoint that is ready at hostB and that no application has taken yet."""
    start(lab)
    connection = Connection(lab)
    connection.ours.do("export", CONNECTED, SERVICE, lab.hostB.address)
    connection.ours.close()
    return connection


def gave_up(host):
    wait_until(
        lambda: "gave up waiting" in host.last_error(),
        "the daemon knows that nobody waits",
        timeout=30,
    )


def test_an_export_times_out_if_the_daemon_stops_before_reading_it(lab):
    start(lab)
    connection = Connection(lab)
    lab.hostA.daemon.pause()
    error, reason = error_of(begin_export(connection.ours, lab.hostB))
    expect(error == ETIMEDOUT, lambda: f"{error} {reason}")
    connection.both_ways()  # it belongs to the application, and continues
    lab.hostA.daemon.resume()
    gave_up(lab.hostA)
    connection.both_ways()
    expect(
        lab.hostB.app.tries("import", CONNECTED, SERVICE, 0).get("error") == ETIMEDOUT,
        "it has gone to hostB",
    )
    connection.move(lab.hostB)
    connection.both_ways()
    connection.end()


def test_an_export_times_out_if_the_daemon_stops_before_the_decision(lab):
    """The socket is frozen until the daemon continues. What both ends sent meanwhile arrives."""
    start(lab)
    connection = Connection(lab)
    connection.both_ways()
    lab.hostA.arm("journal=stop")
    answer = begin_export(connection.ours, lab.hostB)
    stopped(lab.hostA)
    up = connection.up.begin_send(connection.theirs, 5000)
    error, reason = error_of(answer)
    expect(error == ETIMEDOUT, lambda: f"{error} {reason}")
    down = connection.down.begin_send(connection.ours, 5000)
    lab.hostA.daemon.resume()
    gave_up(lab.hostA)
    connection.up.receive(connection.ours)
    connection.down.receive(connection.theirs)
    up(), down()
    connection.both_ways()
    connection.move(lab.hostB)
    connection.both_ways()
    connection.end()


@cases("token", "decided")
def test_an_export_is_in_doubt_if_the_daemon_stops_after_the_decision(lab, point):
    """It is not certain that it stays: it moves as soon as the daemon continues."""
    start(lab)
    connection = Connection(lab)
    connection.both_ways()
    lab.hostA.arm(f"{point}=stop")
    answer = begin_export(connection.ours, lab.hostB)
    stopped(lab.hostA)
    error, reason = error_of(answer)
    expect(error == EINPROGRESS, lambda: f"{error} {reason}")
    lab.hostA.daemon.resume()
    old, connection.ours = connection.ours, imported(lab.hostB, "4")
    connection.both_ways()
    wait_until(lambda: old.state() == "CLOSE", "the old socket is dead")
    old.close()
    connection.end()


def test_an_import_times_out_while_the_daemon_is_stopped(lab):
    connection = exported(lab)
    lab.hostB.daemon.pause()
    error, reason = error_of(lab.hostB.app.begin("import", CONNECTED, SERVICE, 100))
    expect(error == ETIMEDOUT and "sockmid" in reason, lambda: f"{error} {reason}")
    lab.hostB.daemon.resume()
    connection.ours = imported(lab.hostB, "4")
    connection.both_ways()
    connection.end()


def test_an_endpoint_taken_from_a_stopped_daemon_is_not_delivered_twice(lab):
    connection = exported(lab)
    lab.hostB.arm("taken=stop")
    connection.ours = imported(lab.hostB, "4")
    stopped(lab.hostB)
    connection.both_ways()
    lab.hostB.daemon.resume()
    wait_until(
        lambda: lab.hostB.api("/v1/status")["lists"]["connected"]["used"] == 0, "its place is free"
    )
    expect(
        lab.hostB.app.tries("import", CONNECTED, SERVICE, 0).get("error") == ETIMEDOUT,
        "it is given away twice",
    )
    connection.both_ways()
    connection.end()
