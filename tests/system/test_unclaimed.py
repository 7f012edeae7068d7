"""Endpoints that arrive at a host where no application takes them, or can use them: they
return home, and if that is not possible the peer sees their end."""
import os
import time

import observe
from process import expect, wait_until
from socket_app import CONNECTED, SERVICE, Connection, SocketApp, begin_export, imported, start
from transfer import HeldDownload, random_bytes

CONTENT = random_bytes(8 << 20)
WAITS = {"import": {"wait_ms": 1500}}


def exported(lab):
    """Returns a connection that hostB's daemon has and no application has taken."""
    connection = Connection(lab)
    connection.both_ways()
    begin_export(connection.ours, lab.hostB)()
    return connection


def is_home(lab, connection):
    lab.hostB.daemon.wait_line("event=unclaimed_connection_returned")
    connection.ours = imported(lab.hostA, connection.ours.family)
    connection.both_ways()
    connection.end()
    wait_until(
        lambda: lab.hostB.api("/v1/status")["lists"]["connected"]["used"] == 0, "its place is free"
    )
    expect(
        not observe.redirects(lab.hostA),
        lambda: f"a redirect is left: {observe.redirects(lab.hostA)}",
    )


def goes_home_whole(lab, transfer):
    transfer.finish_whole()
    wait_until(
        lambda: lab.hostB.api("/v1/status")["migrations"]["returned_home"] == 1, "it goes home"
    )


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_unclaimed_socket_returns_home(lab):
    start(lab, **WAITS)
    is_home(lab, exported(lab))


def test_an_unclaimed_tls_session_returns_home(lab):
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host, **WAITS)
    lab.start_httpsd(lab.hostA)
    lab.hostB.app = SocketApp(lab.hostB, SERVICE)  # registers for endpoints, and takes none
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    goes_home_whole(lab, transfer)


def test_an_endpoint_of_a_crashed_application_returns_home_at_once(lab):
    """Otherwise this would take 30 s."""
    start(lab)
    connection = exported(lab)
    lab.hostB.app.process.kill()
    began = time.monotonic()
    is_home(lab, connection)
    expect(time.monotonic() - began < 10, "it waited though nobody could take it")


def clients(host):
    """Returns how many local connections the host's daemon has."""
    return host.run("ss", "--unix", "--no-header", "state", "connected").count(str(host.socket))


def test_an_endpoint_of_a_hanging_application_returns_home(lab):
    """The application got it, and does not confirm it. When the application continues, it
    learns that it does not have it."""
    start(lab, **WAITS)
    connection = Connection(lab)
    connection.both_ways()
    before = clients(lab.hostB)
    answer = lab.hostB.app.begin("import", CONNECTED, SERVICE, 20_000)
    wait_until(lambda: clients(lab.hostB) > before, "its request is there")
    lab.hostB.app.process.pause()
    begin_export(connection.ours, lab.hostB)()
    lab.hostB.daemon.wait_line("event=delivery_expired")
    is_home(lab, connection)
    lab.hostB.app.process.resume()
    expect(
        "withdrawn the endpoint" in answer().get("reason", ""),
        "the application believes that it has it",
    )


def speaks_1_2_alone(lab):
    """Starts all but hostB's applications. Returns a wrap for one of them, which then
    cannot load a session of TLS 1.3."""
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host)
    lab.start_httpsd(lab.hostA)
    settings = lab.folder / "strict.cnf"
    settings.write_text(
        "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = d\n[d]\n"
        "MaxProtocol = TLSv1.2\n"
    )
    return "env", f"OPENSSL_CONF={settings}"


def test_an_endpoint_that_cannot_be_loaded_returns_home_at_once(lab):
    """A session of TLS 1.3, and an application that supports only 1.2. It tries once."""
    strict = speaks_1_2_alone(lab)
    server = lab.start_httpsd(lab.hostB, wrap=strict)
    transfer = HeldDownload(lab, CONTENT)
    used = cpu_seconds(server), cpu_seconds(lab.hostB.daemon)
    lab.move(lab.hostA, lab.hostB)
    lab.hostB.daemon.wait_line("event=delivery_rejected")
    lab.hostB.daemon.wait_line("event=unclaimed_connection_returned")
    goes_home_whole(lab, transfer)
    server.wait_line("event=import_failed")
    failures = [line for line in server.lines if "event=import_failed" in line]
    expect(len(failures) == 1, lambda: f"{len(failures)} attempts; the last: {failures[-1]}")
    spent = cpu_seconds(server) - used[0] + cpu_seconds(lab.hostB.daemon) - used[1]
    expect(spent < 1.0, f"{spent} s of CPU")


def test_an_endpoint_that_one_application_cannot_load_goes_to_another(lab):
    strict = speaks_1_2_alone(lab)
    lenient = lab.start_httpsd(lab.hostB)
    lab.start_httpsd(lab.hostB, wrap=strict)  # the application that waited last is notified first
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    lenient.wait_line("event=imported")
    transfer.finish_whole()


def test_an_endpoint_that_no_host_takes_is_reset(lab):
    """No application waits for it any more, at home or elsewhere: it ends, after some time."""
    start(lab, **WAITS)
    connection = exported(lab)
    lab.hostA.app.process.kill()
    lab.hostB.daemon.wait_line("event=unclaimed_connection_kept")
    lab.hostB.daemon.wait_line("event=unclaimed_connection_reset")
    wait_until(lambda: connection.theirs.state() == "CLOSE", "the peer hears of it")
    expect(lab.hostB.api("/v1/status")["migrations"]["reset"] == 1, "it is not counted")
    expect(lab.hostB.daemon.running(), "the daemon has ended")
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")  # one RST was right
    wait_until(lambda: not lab.hostB.api("/v1/connections")["connections"], "nothing is left of it")


def test_an_endpoint_that_home_refuses_goes_to_another_host(lab):
    start(lab, lab.hostA, lab.hostB, lab.hostC, **WAITS)
    connection = exported(lab)
    lab.hostA.app.process.kill()
    connection.ours = imported(lab.hostC, "4")
    connection.both_ways()
    connection.end()


def test_an_unclaimed_endpoint_waits_for_homes_daemon(lab):
    """Home's daemon is dead, and starts again in time."""
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host, **{"import": {"wait_ms": 8000}})
    lab.start_httpsd(lab.hostA)
    lab.hostB.app = SocketApp(lab.hostB, SERVICE)
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    lab.hostA.daemon.kill()
    lab.hostB.app.process.kill()
    lab.hostB.daemon.wait_line("event=unclaimed_connection_kept")
    lab.start_daemon(lab.hostA)
    goes_home_whole(lab, transfer)
