"""IPv6 moves as IPv4 does, and so does IPv4 on an IPv6 socket."""
import observe
from cases import cases
from process import expect
from socket_app import Connection, OwnConnection, start


@cases("4", "6", "mapped")
def test_a_connection_makes_a_round_trip_in_each_family(lab, family):
    start(lab, *lab.hosts)
    connection = Connection(lab, family)
    addresses = connection.ours.info("local", "peer")
    connection.travel(lab.hostB, lab.hostC)
    expect(
        connection.ours.info("local", "peer") == addresses,
        lambda: f"{addresses}, now {connection.ours.info()}",
    )
    expect(
        len(observe.redirects(lab.hostA)) == 1,
        lambda: f"home's rules: {observe.redirects(lab.hostA)}",
    )
    connection.travel(lab.hostA)
    expect(
        not observe.redirects(lab.hostA), lambda: f"left at home: {observe.redirects(lab.hostA)}"
    )
    connection.end()


@cases("4", "6", "mapped")
def test_a_client_end_moves_in_each_family(lab, family):
    start(lab, *lab.hosts)
    connection = OwnConnection(lab, family)
    connection.travel(lab.hostB, lab.hostC, lab.hostA)
    connection.end()


@cases(("4", "6"), ("6", "4"))
def test_one_family_moves_while_the_other_stays_at_the_same_port(lab, first, second):
    """The rules of one family do not affect the other."""
    start(lab)
    moved, stays = Connection(lab, first), Connection(lab, second)
    moved.move(lab.hostB)
    stays.both_ways()
    moved.both_ways()
    stays.end()
    moved.end()
