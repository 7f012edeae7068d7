"""An export that is not possible: the error gives the reason, and the same curl finishes
at home."""
import observe
import socket_app
from cases import cases
from process import expect, wait_until
from transfer import HeldDownload, Upload, random_bytes

CONTENT = random_bytes(2 << 20)


def fails(lab, transfer, text, to=None):
    """Checks that the export fails with the text, for the operator and in the
    application's log. The transfer is then finished at home."""
    went, failed = lab.hostA.export(to)
    expect((went, failed) == (0, 1), lambda: f"{went} went, {failed} did not")
    expect(
        text in lab.hostA.last_error(),
        lambda: f"wanted '{text}', the daemon says '{lab.hostA.last_error()}'",
    )
    [server] = [process for process in lab.processes if process.name == "hostA:httpsd"]
    server.wait_line(text)
    transfer.finish_whole()
    expect(
        not observe.redirects(lab.hostA),
        lambda: f"a redirect is left: {observe.redirects(lab.hostA)}",
    )


def test_an_export_fails_if_no_host_answers(lab):
    lab.start_all(lab.hostA)
    fails(lab, HeldDownload(lab, CONTENT), "EHOSTUNREACH")


def test_an_export_to_an_unknown_host_fails(lab):
    lab.start_all(lab.hostA, lab.hostB)
    fails(lab, HeldDownload(lab, CONTENT), "EHOSTUNREACH", to="10.77.0.99")


def test_an_export_to_a_host_without_the_service_fails(lab):
    lab.start_all(lab.hostA)
    lab.start_daemon(lab.hostB, service__web={})
    fails(lab, HeldDownload(lab, CONTENT), "ECONNREFUSED", to=lab.hostB)


def test_an_export_to_a_full_import_queue_fails(lab):
    lab.start_all(lab.hostA)
    lab.start_daemon(lab.hostB, **{"import": {"max_connected": 0}})
    lab.start_httpsd(lab.hostB)
    fails(lab, HeldDownload(lab, CONTENT), "ENOBUFS", to=lab.hostB)


def test_an_export_without_an_importing_application_fails(lab):
    lab.start_all(lab.hostA)
    lab.start_daemon(lab.hostB)
    fails(lab, HeldDownload(lab, CONTENT), "ESRCH", to=lab.hostB)


def test_an_export_to_a_stopped_daemon_fails(lab):
    lab.start_all(lab.hostA, lab.hostB)
    lab.hostB.daemon.pause()
    fails(lab, HeldDownload(lab, CONTENT), "EHOSTUNREACH", to=lab.hostB)


def test_an_export_fails_if_the_importer_no_longer_receives(lab):
    """The importer's control connection is open and it has reserved a slot. From then on
    it receives nothing."""
    lab.start_all(lab.hostA, lab.hostB, steer={"freeze_timeout_ms": 1500})
    warm_up(lab)
    lab.hostB.run(
        "nft",
        "-f",
        "-",
        stdin=b"table inet broken {\n chain c {\n type filter hook input priority 0\n"
        b" tcp dport 7078 drop\n }\n}",
    )
    fails(lab, HeldDownload(lab, CONTENT), "ETIMEDOUT", to=lab.hostB)


def warm_up(lab):
    """Moves one connection to hostB, so that the daemons' control connection is open."""
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    transfer.finish_whole()


EXPORTER, IMPORTER = "hostA", "hostB"


@cases(
    (EXPORTER, "find_host"),
    (IMPORTER, "reserve-refused"),
    (EXPORTER, "redirect"),
    (EXPORTER, "freeze"),
    (EXPORTER, "capture"),
    (EXPORTER, "prepare-send"),
    (IMPORTER, "restore"),
    (IMPORTER, "prepared-reply"),
    (EXPORTER, "check"),
    (EXPORTER, "journal"),
)
def test_a_failed_step_is_reported_and_harms_nothing(lab, where, point):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    getattr(lab, where).arm(point)
    fails(lab, transfer, point, to=lab.hostB)
    wait_until(
        lambda: lab.hostB.api("/v1/status")["lists"]["connected"]["used"] == 0,
        "the importer gives the place free",
    )


@cases("freeze", "capture", "check", "journal")
def test_an_upload_survives_a_failed_step(lab, point):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = Upload(lab, CONTENT, gate=1 << 20)
    transfer.wait_offset(300_000)
    lab.hostA.arm(point)
    expect(lab.hostA.export(lab.hostB) == (0, 1), "the export went though its step was to fail")
    transfer.allow(None)
    transfer.finish()


def test_a_connection_moves_after_a_failed_export(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    lab.hostA.arm("check")
    expect(lab.hostA.export(lab.hostB) == (0, 1), "the export went though its step was to fail")
    lab.move(lab.hostA, lab.hostB)
    transfer.finish_whole()


def test_a_failed_redirect_does_not_hold_what_returns_home(lab):
    """One connection of the batch needs a redirect at hostA, and the importer is the
    other one's home."""
    socket_app.start(lab, lab.hostA, lab.hostC)
    returns, leaves = (socket_app.at_home(lab, host) for host in (lab.hostC, lab.hostA))
    returns.move(lab.hostA)
    lab.hostA.arm("redirect")
    errors = socket_app.export_together([returns.ours, leaves.ours], lab.hostC)
    expect(errors[0] == 0 and errors[1] != 0, errors)
    returns.ours = socket_app.imported(lab.hostC, "4")
    for connection in (returns, leaves):
        connection.both_ways()
        connection.end()
