"""A connection that has moved is not called well before its peer has been heard."""
import observe
from process import expect, wait_until
from socket_app import Connection, start


def unheard(host):
    return host.api("/v1/status")["connections"]["unheard"]


def test_a_silent_peer_is_heard_by_its_answer_to_our_probe(lab):
    start(lab)
    c = Connection(lab)
    c.both_ways()
    c.move(lab.hostB)
    wait_until(lambda: unheard(lab.hostB) == 0, "the peer is heard")
    expect(all(each["heard"] for each in lab.hostB.api("/v1/connections")["connections"]), "it was not heard")
    expect(not any("event=unheard" in line for line in lab.hostB.daemon.lines), "a warning of a peer that was heard")
    c.both_ways()
    c.end()


def test_a_peer_that_does_not_get_our_packets_is_named(lab):
    start(lab)
    c = Connection(lab)
    c.both_ways()
    with observe.Dropped(lab.client, "in", "ip saddr 10.77.0.1 tcp sport 8443"):
        c.move(lab.hostB)
        lab.hostB.daemon.wait_line("event=unheard")
        expect(unheard(lab.hostB) == 1, "it counts as heard")
        expect([each["heard"] for each in lab.hostB.api("/v1/connections")["connections"]] == [False], "it counts as heard")
    sent = c.down.begin_send(c.ours, 1000)
    c.down.receive(c.theirs)
    sent()
    wait_until(lambda: unheard(lab.hostB) == 0, "the peer is heard")
    lab.hostB.daemon.wait_line("event=heard")
    c.end()
