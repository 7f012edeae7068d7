"""Rules in home's kernel live no longer than they are needed."""
import resource
import socket
import struct

import observe
from cases import cases
from daemons import (
    TERMINATED,
    block_output,
    end_daemon,
    httpsd_of,
    move_to_httpsd,
    moved_download,
    records,
    wait_forgotten,
)
from namespace import within
from process import expect, wait_until
from transfer import HeldDownload, random_bytes

CONTENT = random_bytes(1 << 20)


def test_a_redirect_ends_with_its_connection(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    expect(len(observe.redirects(lab.hostA)) == 1, "no redirect while the connection is away")
    transfer.finish_whole()
    wait_until(lambda: not observe.redirects(lab.hostA), "the redirect goes", timeout=5)
    wait_until(lambda: not lab.hostA.api("/v1/connections")["connections"], "home forgets it")
    wait_until(
        lambda: lab.hostB.api("/v1/status")["lists"]["connected"]["used"] == 0,
        "its place in the import list is free",
    )


def test_a_return_home_removes_the_redirect(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    lab.move(lab.hostB, lab.hostA)
    expect(not observe.redirects(lab.hostA), lambda: f"still there: {observe.redirects(lab.hostA)}")
    transfer.finish_whole()


def test_home_redirects_straight_to_the_last_holder(lab):
    lab.start_all()
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    lab.move(lab.hostB, lab.hostC)
    wait_until(
        lambda: [c["holder"] for c in lab.hostA.api("/v1/connections")["connections"]] == ["hostC"],
        "home learns the new place",
    )
    [entry] = observe.redirects(lab.hostA)
    expect(lab.hostC.address in entry, entry)
    wait_until(lambda: not observe.redirects(lab.hostB), "hostB's own redirect goes", timeout=5)
    transfer.finish_whole()


def test_three_hops_leave_no_redirect(lab):
    lab.start_all()
    transfer = HeldDownload(lab, CONTENT)
    for source, target, offset in (
        (lab.hostA, lab.hostB, 300_000),
        (lab.hostB, lab.hostC, 500_000),
        (lab.hostC, lab.hostA, 700_000),
    ):
        move_to_httpsd(lab, source, target)
        transfer.advance(offset)
    expect(records(lab.hostA) == [("imported", "hostA")], records(lab.hostA))
    for host in lab.hosts:
        wait_until(
            lambda: not observe.redirects(host), f"no redirect is left on {host.name}", timeout=5
        )
    expect(not records(lab.hostB) and not records(lab.hostC), "a host that it left remembers it")
    transfer.finish_whole()


def test_a_connection_returns_to_a_host_that_redirected_it(lab):
    """A connection that a host redirects to the next one can come back to it."""
    lab.start_all()
    transfer = HeldDownload(lab, CONTENT)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    move_to_httpsd(lab, lab.hostB, lab.hostC)
    wait_until(lambda: not records(lab.hostB), "home knows that it is on hostC")
    move_to_httpsd(lab, lab.hostC, lab.hostB)
    transfer.advance(500_000)
    transfer.finish_whole()
    wait_forgotten(*lab.hosts)


def closed_by_peer(lab, transfer):
    transfer.allow(None)
    transfer.finish()


def reset_by_peer(lab, transfer):
    transfer.curl.kill()  # with unread bytes: its kernel sends an RST


def application_killed(lab, transfer):
    httpsd_of(lab, lab.hostB).kill()
    transfer.allow(None)


ENDS = {
    function.__name__: function for function in (closed_by_peer, reset_by_peer, application_killed)
}


@cases(*ENDS)
def test_every_kind_of_end_removes_the_redirect(lab, how):
    transfer = moved_download(lab, CONTENT)
    ENDS[how](lab, transfer)
    wait_forgotten(lab.hostA, lab.hostB)
    # Packets to a killed application are answered by RST, whether moved or not.
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")


def test_a_redirect_lingers_for_the_last_packets(lab):
    """The holder is in TIME_WAIT: it still answers the peer's repeated FIN, by way of home."""
    lab.start_daemon(lab.hostA, steer={"linger_ms": 60_000})
    lab.start_daemon(lab.hostB, steer={"linger_ms": 60_000})
    lab.start_httpsd(lab.hostA), lab.start_httpsd(lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    transfer.finish_whole()
    wait_until(lambda: not records(lab.hostA), "home knows that it has ended")
    [entry] = observe.redirects(lab.hostA)
    expect("expires" in entry, entry)


def test_flush_removes_rules_of_live_connections(lab):
    transfer = moved_download(lab, CONTENT)
    block_output(lab.client)
    for host in (lab.hostA, lab.hostB):
        status, output = host.run(lab.sockmictl, "flush", check=False)
        expect(status == 1 and "another sockmid" in output, f"status {status}: {output}")
        end_daemon(host, TERMINATED)
        expect(observe.leftovers(host), "nothing is left; then what is flushed?")
        host.run(lab.sockmictl, "flush")
        expect(not observe.leftovers(host), lambda: f"{host.name}: {observe.leftovers(host)}")
    transfer.curl.kill()


def test_an_end_among_twenty_thousand_others_is_noticed(lab):
    """These connections have not moved; one that has ends among the last."""
    transfer = moved_download(lab, CONTENT)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    many = within(lab.hostB, lambda: pairs(min(10_000, most // 2 - 1000)))
    lab.hostB.daemon.pause()
    for each in many:
        each.close()
    transfer.finish_whole()
    lab.hostB.daemon.resume()
    wait_forgotten(lab.hostA, lab.hostB)


def pairs(count):
    """Returns both ends of `count` connections, which end by RST."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    out = []
    for _ in range(count):
        ends = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        out += ends
    listener.close()
    return out
