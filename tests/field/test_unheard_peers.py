"""A connection that has moved does not count as healthy before its peer has answered."""
import contextlib

import observe
from cases import cases, long
from process import expect, wait_until
from socket_app import Connection, start
from daemons import TERMINATED, end_daemon


def unheard(host):
    return host.api("/v1/status")["connections"]["unheard"]


@contextlib.contextmanager
def unanswered(lab):
    """Makes a connection that has moved to hostB and whose peer does not receive hostB's
    packets while the context lasts; hostB has noticed."""
    start(lab)
    c = Connection(lab)
    c.both_ways()
    with observe.Dropped(lab.client, "in", "ip saddr 10.77.0.1 tcp sport 8443"):
        c.move(lab.hostB)
        lab.hostB.daemon.wait_line("event=peer_unheard")
        yield c


def test_a_silent_peer_is_heard_by_its_answer_to_the_probe(lab):
    start(lab)
    c = Connection(lab)
    c.both_ways()
    c.move(lab.hostB)
    wait_until(lambda: unheard(lab.hostB) == 0, "the peer is heard")
    expect(
        all(each["heard"] for each in lab.hostB.api("/v1/connections")["connections"]),
        "it was not heard",
    )
    expect(
        not any("event=peer_unheard" in line for line in lab.hostB.daemon.lines),
        "a warning of a peer that was heard",
    )
    c.both_ways()
    c.end()


def test_a_peer_that_receives_nothing_is_reported(lab):
    with unanswered(lab) as c:
        expect(unheard(lab.hostB) == 1, "it counts as heard")
        expect(
            [each["heard"] for each in lab.hostB.api("/v1/connections")["connections"]] == [False],
            "it counts as heard",
        )
    wait_until(
        lambda: unheard(lab.hostB) == 0,
        "the peer is heard, though nobody has said anything",
        timeout=30,
    )
    lab.hostB.daemon.wait_line("event=peer_heard")
    c.both_ways()
    c.end()


def test_data_of_a_peer_that_receives_nothing_is_no_answer(lab):
    with unanswered(lab) as c:
        sent = c.up.begin_send(c.theirs, 1000)
        wait_until(lambda: c.ours.info("unread") == 1000, "they have come")
        # No socket here has that window: these are the daemon's probes.
        asked = observe.Counter(
            lab.client, "in", "ip saddr 10.77.0.1 tcp sport 8443 tcp window 1024"
        )
        wait_until(asked.packets, "hostB has looked, and asks again", timeout=60)
        expect(unheard(lab.hostB) == 1, "it counts as heard")
    c.up.receive(c.ours)
    sent()
    wait_until(lambda: unheard(lab.hostB) == 0, "the peer is heard", timeout=30)
    c.end()


def home_says(lab, heard):
    """Returns whether home's list has the one connection that lives elsewhere like that,
    and counts it so. Home may get an answer between the two queries."""
    [row] = lab.hostA.api("/v1/connections")["connections"]
    return row["heard"] == heard and lab.hostA.api("/v1/status")["connections"][
        "moved_unheard"
    ] == (not heard)


@long
def test_home_reports_an_unheard_peer_too(lab):
    """Home queries the holder when it starts, and from time to time."""
    with unanswered(lab) as c:
        end_daemon(lab.hostA, TERMINATED)
        lab.start_daemon(lab.hostA)
        wait_until(lambda: home_says(lab, heard=False), "home has heard that it is not", timeout=60)
        expect(
            "host=hostB" in lab.hostA.daemon.wait_line("event=peer_unheard_at_holder"),
            "it does not say where",
        )
    wait_until(lambda: home_says(lab, heard=True), "home has heard that it is", timeout=120)
    c.both_ways()
    c.end()


@cases("ours", "theirs")
def test_the_peer_of_a_half_closed_connection_is_probed_too(lab, who):
    start(lab)
    c = Connection(lab)
    c.both_ways()
    closer, other = (c.ours, c.theirs) if who == "ours" else (c.theirs, c.ours)
    closer.shutdown()
    (c.down if who == "ours" else c.up).receive_end(other)
    c.move(lab.hostB)
    wait_until(lambda: unheard(lab.hostB) == 0, "the peer is heard", timeout=30)
    expect(
        not any("event=peer_unheard" in line for line in lab.hostB.daemon.lines),
        "a warning of a peer that was heard",
    )
    expect(len(lab.hostB.api("/v1/connections")["connections"]) == 1, "it has ended")
