"""Hosts agree again on where a connection lives, after one was silent or has lost its records."""
import observe
from daemons import (
    KILLED,
    TERMINATED,
    block_output,
    end_daemon,
    lose_records,
    move_to_httpsd,
    moved_download,
    records,
    restart,
    wait_forgotten,
)
from process import expect, wait_until
from transfer import HeldDownload, random_bytes

CONTENT = random_bytes(1 << 20)


def test_the_last_exporter_forwards_while_home_is_silent(lab):
    lab.start_all()
    transfer = HeldDownload(lab, CONTENT)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    end_daemon(lab.hostA, TERMINATED)
    move_to_httpsd(lab, lab.hostB, lab.hostC)
    transfer.advance(400_000)
    expect(
        lab.hostB.address in observe.redirects(lab.hostA)[0]
        and lab.hostC.address in observe.redirects(lab.hostB)[0],
        "the packets find no way",
    )
    expect(records(lab.hostB) == [("forwarded", "hostC")], records(lab.hostB))
    expect(
        lab.hostC.export(lab.hostB) == (0, 1) and "EBUSY" in lab.hostC.last_error(),
        "it went back though home could mistake the order",
    )
    wait_until(
        lambda: lab.hostB.api("/v1/status")["home"]["unreachable"] == ["hostA"],
        "hostB says that home is silent",
    )
    lab.start_daemon(lab.hostA)
    wait_until(
        lambda: records(lab.hostA) == [("moved", "hostC")], "home learns the new place", timeout=20
    )
    expect(lab.hostC.address in observe.redirects(lab.hostA)[0], "the path is not short")
    wait_until(
        lambda: not observe.redirects(lab.hostB) and not records(lab.hostB), "hostB forgets it"
    )
    transfer.finish_whole()
    wait_forgotten(*lab.hosts)


def test_an_end_is_reported_once_home_answers_again(lab):
    """Home would not accept the end from the last host. The host before it is notified,
    and notifies home when it answers again."""
    lab.start_all()
    transfer = HeldDownload(lab, CONTENT)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    end_daemon(lab.hostA, KILLED)
    move_to_httpsd(lab, lab.hostB, lab.hostC)
    transfer.finish_whole()
    wait_forgotten(lab.hostB, lab.hostC)
    wait_until(
        lambda: lab.hostC.api("/v1/status")["home"]["pending_ends"] == 0, "hostC is rid of its duty"
    )
    restart(lab, lab.hostB, KILLED)  # the pending notice is in its journal
    expect(lab.hostB.api("/v1/status")["home"]["pending_ends"] == 1, "hostB has forgotten its duty")
    lab.start_daemon(lab.hostA)
    wait_until(
        lambda: not observe.redirects(lab.hostA) and not records(lab.hostA),
        "home is told",
        timeout=20,
    )


def test_a_home_without_its_journal_is_told_by_the_holder(lab):
    transfer = moved_download(lab, CONTENT)
    lose_records(lab, lab.hostA, tables=False)
    lab.start_daemon(lab.hostA)
    wait_until(
        lambda: records(lab.hostA) == [("moved", "hostB")], "home is told by the holder", timeout=20
    )
    lab.hostB.daemon.wait_line("event=claim_accepted_by_home")
    expect(lab.hostB.api("/v1/status")["home"]["reasserted"] == 1, "the status does not say so")
    expect("expires" not in observe.redirects(lab.hostA)[0], "the redirect would end")
    transfer.finish_whole()
    wait_forgotten(lab.hostA, lab.hostB)


def test_a_home_without_its_tables_is_told_by_the_holder(lab):
    """Home's tables are gone too, and its administrator has set steer.believe_holders."""
    lab.start_all(lab.hostA, lab.hostB, steer={"linger_ms": 200, "believe_holders": True})
    transfer = HeldDownload(lab, CONTENT)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    transfer.wait_offset(100_000)
    block_output(lab.client)
    lose_records(lab, lab.hostA, tables=True)
    lab.start_daemon(lab.hostA, steer={"linger_ms": 200, "believe_holders": True})
    wait_until(lambda: observe.redirects(lab.hostA), "home redirects again", timeout=20)
    lab.client.run("nft", "delete", "table", "inet", "quiet")
    transfer.finish_whole()
    wait_forgotten(lab.hostA, lab.hostB)


def test_a_home_without_the_service_refuses_the_holders_claim(lab):
    moved_download(lab, CONTENT)
    block_output(lab.client)
    lose_records(lab, lab.hostA, tables=True)
    lab.start_daemon(lab.hostA, service__web={})
    lab.hostB.daemon.wait_line("event=claim_rejected_by_home")
    expect(lab.hostB.api("/v1/status")["home"]["rejected"] == 1, "the status does not say so")
    expect(not observe.redirects(lab.hostA), "home redirects a service that it does not serve")
    # The holder's socket waits for acknowledgements that home no longer forwards: its
    # rules stay.
    lab.stop()
    lab.hostB.run(lab.sockmictl, "flush")


def test_a_holder_without_its_journal_is_told_by_home(lab):
    transfer = moved_download(lab, CONTENT)
    lose_records(lab, lab.hostB, tables=False)
    lab.start_daemon(lab.hostB)
    wait_until(lambda: records(lab.hostB) == [("imported", "hostB")], "home reminds it", timeout=20)
    transfer.finish_whole()
    wait_forgotten(lab.hostA, lab.hostB)
