"""An importer that is a router handles only the packets of its foreign connections, and
forwards all others to their homes."""
import observe
from cases import cases
from namespace import sysctl
from process import expect, run, wait_until
from socket_app import Between, Connection, SocketApp, start

from test_port_reuse import LINGER, number

PORT = 9443


def make_router(host):
    sysctl(
        host.name,
        {
            "net.ipv4.ip_forward": 1,
            "net.ipv6.conf.all.forwarding": 1,
            "net.ipv4.conf.all.send_redirects": 0,
            "net.ipv4.conf.eth0.send_redirects": 0,
        },
    )


def add_route(source, by, to):
    """Routes what `source` sends to `to` through the host `by`."""
    sysctl(
        source.name,
        {
            "net.ipv4.conf.all.accept_redirects": 0,
            "net.ipv4.conf.eth0.accept_redirects": 0,
            "net.ipv6.conf.eth0.accept_redirects": 0,
        },
    )
    run(["ip", "-n", source.name, "route", "add", f"{to.at('4')}/32", "via", by.at("4")])
    run(["ip", "-n", source.name, "-6", "route", "add", f"{to.at('6')}/128", "via", by.at("6")])


def passes_by(lab, listener, family, app):
    theirs = app.socket(family).connect(lab.hostA, PORT)
    return Between(listener.accept(), theirs)


@cases("4", "6")
def test_packets_of_other_connections_to_home_are_forwarded(lab, family):
    start(lab, steer={"linger_ms": 60_000})
    make_router(lab.hostB)
    add_route(lab.hostC, lab.hostB, lab.hostA)
    app = SocketApp(lab.hostC)
    listener = lab.hostA.app.socket(family).listen(PORT)
    old = passes_by(lab, listener, family, app)
    forwarded = observe.Counter(lab.hostB, "out", f"tcp dport {PORT}")
    old.both_ways()
    expect(forwarded.packets() > 0, "hostC's packets do not go by way of hostB")
    foreign = Connection(lab, family)
    foreign.both_ways()
    foreign.move(lab.hostB)
    foreign.both_ways()
    old.both_ways()
    passes_by(lab, listener, family, app).both_ways()
    foreign.end()
    old.both_ways()
    passes_by(lab, listener, family, app).both_ways()


@cases("4", "6")
def test_packets_of_an_ended_foreign_connection_are_not_sent_back(lab, family):
    start(lab, steer={"linger_ms": 60_000})
    make_router(lab.hostB)
    foreign = Connection(lab, family)
    foreign.both_ways()
    foreign.move(lab.hostB)
    foreign.both_ways()
    reset = "tcp flags & rst == rst"
    with observe.Dropped(lab.client, "in", reset):  # so that the client's connection continues
        foreign.ours.set(*LINGER, number(1) + number(0))
        foreign.ours.close()
        wait_until(
            lambda: not lab.hostB.api("/v1/connections")["connections"],
            "the foreign connection has ended",
        )
        come, gone = observe.Counter(lab.hostB, "in", "tcp dport 8443", "come"), observe.Counter(
            lab.hostB, "out", "tcp dport 8443", "gone"
        )
        answered = observe.Counter(lab.hostB, "out", "tcp sport 8443", "answered")
        foreign.theirs.do("fill", "up", foreign.up.sent, 32 << 20)
        wait_until(lambda: come.packets() >= 3, "the client repeats what nobody acknowledges")
        expect(gone.packets() == 0, "it was sent back to home")
        expect(answered.packets() == 0, "it was answered")
    # The RST that the client did not receive.
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")
