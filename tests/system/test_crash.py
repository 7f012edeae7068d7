"""A daemon is killed while a connection is frozen: the crash guard, or the next daemon, settles
it."""
import http.client
import signal

import observe
from cases import cases
from daemons import records, wait_forgotten
from process import expect
from transfer import HeldDownload, random_bytes

CONTENT = random_bytes(1 << 20)


def die_in_export(lab, moment):
    lab.hostA.arm(moment + "=kill")
    try:
        lab.hostA.export(lab.hostB)
    except (OSError, http.client.HTTPException):
        pass
    status = lab.hostA.daemon.wait()
    expect(status == -signal.SIGKILL, f"the daemon's status is {status}")


def test_a_kill_before_the_redirect_leaves_none(lab):
    """The exporter dies between freeze and decision: there is no rule that has to be removed."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    die_in_export(lab, "prepare-send")
    expect(not observe.redirects(lab.hostA), "a redirect was left")
    transfer.curl.kill()
    lab.hostA.run(lab.sockmictl, "flush")


@cases("prepare-send", "redirect", "journal")
def test_a_kill_before_the_decision_leaves_the_connection(lab, moment):
    """It is unfrozen immediately, and without another daemon."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    die_in_export(lab, moment)
    transfer.advance(500_000)
    lab.start_daemon(lab.hostA)
    transfer.finish_whole()
    wait_forgotten(lab.hostA, lab.hostB)


def test_a_kill_after_the_decision_completes_the_move(lab):
    """Its socket on the old host, which an application still has, is dead; the importer
    queries the next daemon."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    die_in_export(lab, "decided")
    lab.start_daemon(lab.hostA)
    expect(records(lab.hostA) == [("moved", "hostB")], records(lab.hostA))
    transfer.advance(500_000)
    transfer.finish_whole()
    wait_forgotten(lab.hostA, lab.hostB)
