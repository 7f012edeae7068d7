"""Checks what a host with a valid certificate can do to others: no more than
SECURITY.md says."""
import errno
import pathlib
import re
import socket
import time

import observe
from cases import cases
from lab import PORT, SERVICE_ADDRESS, expect, wait_until
from member import Member, alive, reserve
from namespace import within
from socket_app import Between, Connection, move, start

SCHEMA = (pathlib.Path(__file__).resolve().parents[2] / "src/wire/control.fbs").read_text()
TYPES = range(1, 1 + len(re.search(r"union Request \{([^}]*)\}", SCHEMA)[1].split(",")))


def test_a_message_without_a_request_is_refused(lab):
    lab.start_daemon(lab.hostA)
    member = Member(lab, lab.hostC, lab.hostA)
    for kind in TYPES:
        member.says("null", kind, check=[errno.EBADMSG])
    alive(lab.hostA)


def test_a_members_claim_redirects_no_port_and_no_connection(lab):
    lab.start_daemon(lab.hostA)
    lab.start_httpsd(lab.hostA)
    member = Member(lab, lab.hostC, lab.hostA)
    at = f"{lab.hostA.address}:{PORT}"
    own, client = lab.hostC.address, f"{lab.client.address}:4444"
    for words in (
        ("moved", at, "-", own, "hostC", "web"),  # a whole port
        ("moved", at, client, own, "hostC", "web"),  # a connection that never existed
        # At a port without a service.
        ("moved", f"{lab.hostA.address}:22", client, own, "hostC", "web"),
        ("moved", at, client, "198.51.100.1", "hostC", "web"),
    ):  # to an address that is not its own
        code = member.says(*words)[0][0]
        expect(code in (errno.EACCES, errno.ENOENT, errno.EHOSTUNREACH), lambda: f"{words}: {code}")
    expect(not observe.redirects(lab.hostA), lambda: f"{observe.redirects(lab.hostA)}")
    connection = within(lab.client, lambda: socket.create_connection((lab.hostA.address, PORT), 5))
    connection.close()
    alive(lab.hostA)


def held_by_hostB(lab, **changes):
    """Makes a connection that has moved to hostB. Returns home's redirect of it, and
    home's record of it."""
    start(lab, **changes)
    moved = Connection(lab)
    moved.move(lab.hostB)
    return moved, observe.redirects(lab.hostA), lab.hostA.api("/v1/connections")["connections"][0]


def test_a_holder_cannot_redirect_to_a_foreign_address(lab):
    moved, before, connection = held_by_hostB(lab)
    # hostB itself sends it, with its own certificate, while its daemon serves.
    member = Member(lab, lab.hostB, lab.hostA)
    code = member.says(
        "moved", connection["local"], connection["peer"], "198.51.100.1", "hostB", "web"
    )[0][0]
    expect(code in (errno.EACCES, errno.EHOSTUNREACH), f"{code}")
    # hostC sends it, which never had the connection.
    Member(lab, lab.hostC, lab.hostA).says(
        "ended", connection["local"], connection["peer"], check=[errno.EACCES]
    )
    expect(observe.redirects(lab.hostA) == before, "the redirect has changed")
    moved.end()


def test_a_member_cannot_return_a_connection_that_another_holds(lab):
    moved, before, connection = held_by_hostB(lab, **{"import": {"require_importer": False}})
    member = Member(lab, lab.hostC, lab.hostA)
    expect(reserve(member, 7, 1, 1) == [0], "no place")
    member.says("path_queries", connection["local"], connection["peer"], check=[errno.EBUSY])
    member.says("prepare", 7, connection["local"], connection["peer"], "hostA", check=[errno.EBUSY])
    expect(observe.redirects(lab.hostA) == before, "the redirect has changed")
    moved.both_ways()
    moved.end()


def test_a_member_cannot_return_a_connection_that_never_left(lab):
    """Such a connection would be one of home's with any peer, although the peer never
    asked for it."""
    lab.start_daemon(lab.hostA, **{"import": {"require_importer": False}})
    member = Member(lab, lab.hostC, lab.hostA)
    expect(reserve(member, 7, 1, 1) == [0], "no place")
    [(code, _, reason)] = member.says(
        "prepare", 7, f"{lab.hostA.address}:22", f"{lab.client.address}:4444", "hostA"
    )
    expect(code == errno.EACCES and "no record" in reason, f"{code} {reason}")
    expect(not lab.hostA.api("/v1/connections")["connections"], "it is here")


def test_a_member_cannot_inject_into_a_connection_that_it_did_not_send(lab):
    start(lab, lab.hostA)
    connection = Connection(lab)
    tuple_ = lab.hostA.run("ss", "-Htn", "state", "established", "sport", f"= :{PORT}").split()
    member = Member(lab, lab.hostC, lab.hostA)
    member.says("straggler", tuple_[2], tuple_[3], 1, 1, "INJECTED", check=[errno.EACCES])
    connection.both_ways()


def keep_is_refused(member):
    """Waits until the victim has probed the link, and has found who has the address."""
    end = time.monotonic() + 15
    while (
        code := member.says("take_over", "Keep", SERVICE_ADDRESS)[0][0]
    ) == errno.EAGAIN and time.monotonic() < end:
        pass
    expect(code == errno.EEXIST, f"{code}, though hostB has it")


def sequence_numbers(connection):
    """Returns the numbers of the next byte that this end sends, and receives."""
    repair, queue, number = 19, 20, 21  # linux/tcp.h: TCP_REPAIR, …
    connection.setsockopt(socket.IPPROTO_TCP, repair, 1)
    found = []
    for which in (2, 1):
        connection.setsockopt(socket.IPPROTO_TCP, queue, which)
        found.append(connection.getsockopt(socket.IPPROTO_TCP, number) & 0xFFFFFFFF)
    connection.setsockopt(socket.IPPROTO_TCP, repair, -1)  # without a window probe
    return found


def moved_to(lab, family, *targets):
    """Returns both ends of a connection of hostA that has moved on to each target, and the
    words of a straggler that fits its image."""
    start(lab, *lab.hosts)
    listener = lab.hostA.app.socket(family).listen()
    address = lab.hostA.at(family), PORT
    theirs = within(lab.client, lambda: socket.create_connection(address, 5))
    ours = listener.accept()
    local, peer = (
        f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip, port in ours.info("local", "peer")
    )
    for target in targets:
        ours = move(ours, target)
    words = "straggler", local, peer, *sequence_numbers(theirs), "LATE"
    return ours, theirs, words


@cases("4", "6")
def test_a_straggler_of_a_connection_that_has_moved_on_resets_nothing(lab, family):
    """hostA's barrier takes longer than the connection stays at hostB."""
    ours, theirs, words = moved_to(lab, family, lab.hostB, lab.hostC)
    code = Member(lab, lab.hostA, lab.hostB).says(*words)[0][0]
    theirs.sendall(b"x")
    expect(ours.do("recv", 1)["bytes"] == 1, "the peer's byte does not arrive")
    expect(code == errno.ENOENT, f"{code}")
    ours.close(), theirs.close()


@cases("4", "6")
def test_a_straggler_of_a_connection_that_has_ended_is_not_answered(lab, family):
    ours, theirs, words = moved_to(lab, family, lab.hostB, lab.hostA)
    theirs.shutdown(socket.SHUT_WR)
    ours.shutdown()
    expect(theirs.recv(1) == b"", "bytes in place of the end")
    wait_until(lambda: ours.state() == "CLOSE", "the last acknowledgement comes")
    code = Member(lab, lab.hostB, lab.hostA).says(*words)[0][0]
    ours.close(), theirs.close()
    expect(observe.resets(lab.client)[0] == 0, "an RST came")
    expect(code == errno.ENOENT, f"{code}")


def test_a_straggler_reaches_the_socket_that_came(lab):
    ours, theirs, words = moved_to(lab, "4", lab.hostB)
    Member(lab, lab.hostA, lab.hostB).says(*words, check=[0])
    wait_until(lambda: ours.info("unread") == 4, "it is in the receive queue")
    expect(ours.do("recv", 4)["bytes"] == 4, "it cannot be read")
    ours.close(), theirs.close()


def test_an_address_is_kept_only_after_a_hold(lab):
    lab.start_daemon(lab.hostA, takeover={"addresses": [SERVICE_ADDRESS]})
    lab.start_daemon(lab.hostB)
    lab.hostB.run("ip", "address", "add", f"{SERVICE_ADDRESS}/24", "dev", "eth0")
    member = Member(lab, lab.hostC, lab.hostA)
    member.says("take_over", "Keep", SERVICE_ADDRESS, check=[errno.EAGAIN])  # hostA probes the link
    keep_is_refused(member)
    expect(
        SERVICE_ADDRESS not in lab.hostA.run("ip", "-4", "address", "show"),
        "hostA has taken the address",
    )
    # It is not accepted after a Hold of the liar, either.
    member.says("take_over", "Hold", SERVICE_ADDRESS, check=[0])
    keep_is_refused(member)
    member.says("take_over", "Drop", SERVICE_ADDRESS, check=[0])
    expect(
        SERVICE_ADDRESS not in lab.hostA.run("ip", "-4", "address", "show"),
        "hostA has taken the address",
    )
    # It is not accepted while another host's Hold is in force.
    lab.hostB.run("ip", "address", "del", f"{SERVICE_ADDRESS}/24", "dev", "eth0")
    Member(lab, lab.hostB, lab.hostA).says("take_over", "Hold", SERVICE_ADDRESS, check=[0])
    member.says("take_over", "Keep", SERVICE_ADDRESS, check=[errno.EACCES])


def test_a_slot_belongs_to_its_reserver(lab):
    lab.start_daemon(
        lab.hostA, **{"import": {"require_importer": False}}, steer={"freeze_timeout_ms": 60000}
    )
    used = lambda: lab.hostA.api("/v1/status")["lists"]["connected"]["used"]
    owner, thief = Member(lab, lab.hostC, lab.hostA), Member(lab, lab.hostB, lab.hostA)
    expect(reserve(owner, 5, 1, 1) == [0], "no place")
    expect(used() == 1, f"{used()} places")
    for words in (("pre_copy", 5), ("prepare", 5)):
        code = thief.says(*words)[0]
        expect(words[0] == "prepare" or code[0] == errno.EACCES, lambda: f"{words}: {code}")
    thief.says("abort", 5)
    thief.says("standby", check=[errno.ENOBUFS])
    expect(used() == 1, "another host has given the place up")
    owner.says("abort", 5, check=[0])
    expect(used() == 0, "its own host can not give it up")


def test_a_member_cannot_decide_about_a_slot_of_another(lab):
    lab.start_daemon(
        lab.hostA, **{"import": {"require_importer": False}}, steer={"freeze_timeout_ms": 60000}
    )
    owner, thief = Member(lab, lab.hostC, lab.hostA), Member(lab, lab.hostB, lab.hostA)
    expect(reserve(owner, 5, 1, 1) == [0], "no place")

    thief.says("commit", 5, check=[errno.ECANCELED])
    thief.says("late_write", 5, "INJECTED", check=[errno.ENOENT])
    answer = thief.says("query_outcome", 5)[0]

    expect(answer[:2] == (0, 0), f"{answer}: hostA has decided nothing")
    used = lab.hostA.api("/v1/status")["lists"]["connected"]["used"]
    expect(used == 1, f"{used} places: the owner's is gone")
    expect(not lab.hostA.api("/v1/connections")["connections"], "a connection is here")


def test_a_member_does_not_become_home_by_asking_for_a_connection(lab):
    moved, before, connection = held_by_hostB(lab)
    thief = Member(lab, lab.hostC, lab.hostB)

    answer = thief.says(
        "query_holder",
        connection["local"],
        connection["peer"],
        "default",
        f"{lab.hostC.address}:7078",
    )[0]

    expect(answer[:2] == (0, 1), f"{answer}: hostB holds it")
    [held] = lab.hostB.api("/v1/connections")["connections"]
    expect(held["home"] == "hostA", f"{held}")
    expect(observe.redirects(lab.hostA) == before, "the redirect has changed")
    moved.both_ways()
    moved.end()


def readdressed(host):
    """Returns the host's map of connections whose packets have its own address."""
    return host.run("nft", "list", "map", "inet", "sockmi", "rewritten4")


def says_routed(lab, liar, holder, connection):
    """`liar` says that it redirects the packets of the connection through a router."""
    return Member(lab, liar, holder).says(
        "query_holder",
        connection["local"],
        connection["peer"],
        "web",
        f"{liar.address}:7078",
        "routed",
    )[0]


def test_a_home_that_lies_about_routers_gets_no_packets_of_the_holders_own(lab):
    """What it says makes the holder give packets that carry the holder's own address to the
    foreign connection. The client has a connection with the holder, too, from the same
    port."""
    reuse = lambda ours, theirs: theirs.set(1, 2, "01000000")  # SO_REUSEADDR
    start(lab)
    moved = Connection(lab, prepare=reuse)
    moved.move(lab.hostB)
    record = lab.hostA.api("/v1/connections")["connections"][0]
    listener, theirs = lab.hostB.app.socket("4").listen(), lab.client.app.socket("4")
    theirs.set(1, 2, "01000000")
    theirs.do("bind", lab.client.address, int(record["peer"].rsplit(":", 1)[1]))
    theirs.connect(lab.hostB)
    own = Between(listener.accept(), theirs)
    own.both_ways()
    before = readdressed(lab.hostB)

    answer = says_routed(lab, lab.hostA, lab.hostB, record)

    expect(answer[:2] == (0, 1), f"{answer}: hostB holds it")
    own.both_ways()
    moved.both_ways()
    expect(readdressed(lab.hostB) == before, lambda: readdressed(lab.hostB))
    own.end()
    moved.end()


def test_only_the_home_says_how_packets_of_a_connection_come(lab):
    moved, _, record = held_by_hostB(lab)
    before = readdressed(lab.hostB)

    answer = says_routed(lab, lab.hostC, lab.hostB, record)

    expect(answer[:2] == (0, 1), f"{answer}: hostB holds it")
    expect(readdressed(lab.hostB) == before, lambda: readdressed(lab.hostB))
    moved.both_ways()
    moved.end()


def test_a_slot_is_filled_only_by_what_it_was_reserved_for(lab):
    lab.start_daemon(
        lab.hostA, **{"import": {"require_importer": False}}, steer={"freeze_timeout_ms": 60000}
    )
    member = Member(lab, lab.hostC, lab.hostA)
    expect(
        reserve(member, 5, 1, 1) == [0], "no slot"
    )  # service web, owner root, a connection, one byte
    where = (f"{SERVICE_ADDRESS}:443", f"{lab.client.address}:4444", "hostC")
    for words, code, word in (
        (("dl", "root", 4, 1), errno.EACCES, "service"),
        (("web", "nobody", 4, 1), errno.EACCES, "user"),
        (("web", "root", 2, 1), errno.EACCES, "state"),
        (("web", "root", 4, 2), errno.EMSGSIZE, "bytes"),
    ):
        [(answer, _, reason)] = member.says("prepare", 5, *where, *words)
        expect(answer == code and word in reason, lambda: f"{words}: {answer} {reason}")
        expect(
            SERVICE_ADDRESS not in lab.hostA.run("nft", "list", "ruleset"),
            lambda: f"{words}: it has rules",
        )
    expect(lab.hostA.api("/v1/status")["lists"]["connected"]["used"] == 1, "the slot is gone")


def test_an_impossible_group_is_refused_as_a_whole(lab):
    lab.start_daemon(
        lab.hostA, **{"import": {"require_importer": False}}, steer={"freeze_timeout_ms": 60000}
    )
    member = Member(lab, lab.hostC, lab.hostA)
    expect(reserve(member, 5, 1, 1) == [0], "no slot")
    for words, count, code, word in (
        ((5, 17), 17, errno.EMSGSIZE, "17"),
        ((5, 2, "dl", 4), 2, errno.EINVAL, "services"),
        ((5, 2, "web", 2), 2, errno.EINVAL, "listening"),
        ((6, 2), 2, errno.ENOBUFS, "reserved"),
    ):
        answers = member.says("prepare_group", *words)
        verdicts = [(answer, word in reason) for answer, _, reason in answers]
        expect(verdicts == [(code, True)] * count, lambda: f"{words}: {answers}")
        expect(
            lab.client.address not in lab.hostA.run("nft", "list", "ruleset"),
            lambda: f"{words}: it has rules",
        )
    expect(lab.hostA.api("/v1/status")["lists"]["connected"]["used"] == 1, "the slot is gone")
    alive(lab.hostA)


def test_a_host_cannot_reserve_all_slots(lab):
    lab.start_daemon(
        lab.hostA, **{"import": {"require_importer": False}}, steer={"freeze_timeout_ms": 60000}
    )
    codes = reserve(Member(lab, lab.hostC, lab.hostA), 1, 4096, 4)
    expect(codes == [0, 0, errno.ENOBUFS, errno.ENOBUFS], f"{codes}")
    used = lab.hostA.api("/v1/status")["lists"]["connected"]["used"]
    expect(used == 8192, f"{used} places")
    expect(
        reserve(Member(lab, lab.hostB, lab.hostA), 1 << 20, 64, 1) == [0],
        "another host finds no place",
    )
    alive(lab.hostA)
