"""A router sends "too big" to the connection's address, where its socket no longer is.
The message must follow the socket."""
from cases import cases, topology
from process import expect, run
from socket_app import Connection, start

NARROW = 1300


def narrow(lab, mtu=NARROW):
    """From now on packets from the router to the client must not be larger."""
    near = lab.topology.link_of("client")
    # Instead of the route that the kernel made, not in addition to it.
    for network, metric in zip(near.networks(), [[], ["metric", "256"]]):
        run(
            [
                "ip",
                "-n",
                "router",
                "route",
                "replace",
                network,
                "dev",
                near.name,
                "proto",
                "kernel",
                *metric,
                "mtu",
                "lock",
                str(mtu),
            ]
        )


@topology("routed")
@cases(("B", "4"), ("B", "6"), ("C", "4"), ("C", "6"))
def test_a_path_that_narrows_after_the_move_is_noticed(lab, target, family):
    start(lab, *lab.hosts)
    connection = Connection(lab, family)
    connection.both_ways()
    connection.move(getattr(lab, f"host{target}"))
    narrow(lab)
    connection.both_ways(1_000_000)
    expect(connection.ours.info("pmtu") == NARROW, connection.ours.info)


@topology("routed")
@cases("4", "6")
def test_a_narrow_path_is_known_after_the_move(lab, family):
    start(lab, *lab.hosts)
    connection = Connection(lab, family)
    narrow(lab)
    connection.both_ways()
    expect(connection.ours.info("pmtu") == NARROW, connection.ours.info)
    for target in (lab.hostB, lab.hostC):
        connection.move(target)
        connection.both_ways()
        expect(connection.ours.info("pmtu") == NARROW, connection.ours.info)
    connection.end()
