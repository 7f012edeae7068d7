"""The hosts have firewalls that accept what belongs to known connections, to their
services and to sockmi; see firewall.py."""
from cases import cases, topology
from socket_app import Connection, OwnConnection, start


# The packets of a client's end are accepted only because they belong to a known connection.
ENDS = {"server": Connection, "client": OwnConnection}


@topology("bridge", firewall="nftables")
@topology("bridge", firewall="iptables", rp_filter=True)
@topology("routed", firewall="nftables", rp_filter=True)
@cases(*[(end, family) for end in ENDS for family in ("4", "6")])
def test_either_end_of_a_connection_moves_behind_firewalls(lab, end, family):
    start(lab, *lab.hosts)
    connection = ENDS[end](lab, family)
    connection.travel(lab.hostB, lab.hostC, lab.hostA)
    connection.end()


@topology("bridge", firewall="nftables")
@cases("4", "6")
def test_the_first_packet_after_a_move_passes_the_firewall(lab, family):
    """The first packet after the move is ours, or the peer's: both must pass."""
    start(lab)
    connection = Connection(lab, family)
    connection.both_ways()
    connection.move(lab.hostB)
    connection.up.send(connection.theirs, 1000)
    connection.up.receive(connection.ours)
    connection.move(lab.hostA)
    connection.down.send(connection.ours, 1000)
    connection.down.receive(connection.theirs)
    connection.end()
