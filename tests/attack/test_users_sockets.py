"""Checks that a user without privilege gets no port, address or privilege of others by moving a
socket."""
import socket

from lab import PORT, expect, wait_until
from process import run
from sandbox import without_privilege
from socket_app import BOUND, Connection, SocketApp, move, start
from socket_app import refused as stays
from test_containers import Container


# --- ports and addresses of others ---


def test_a_wildcard_port_of_another_user_is_not_exported(lab):
    """IPV6_V6ONLY lets a user bind the wildcard in addition to root's listener."""
    start(lab)
    root = SocketApp(lab.hostA, "web", privileged=True).socket("4")
    root.do("bind", "0.0.0.0", PORT)
    root.do("listen", 8)
    beside = lab.hostA.app.socket("6")
    beside.set(41, 26, "01000000")  # IPV6_V6ONLY
    beside.do("bind", "::", PORT)
    expect("IPV6_V6ONLY" in stays(beside, lab.hostB, BOUND), "refused for another reason")
    lab.client.app.socket("4").connect(lab.hostA)
    root.accept()


def test_a_socket_bound_to_a_foreign_address_is_not_exported(lab):
    """IP_FREEBIND does not need a privilege."""
    start(lab)
    foreign = lab.hostA.app.socket("4")
    foreign.set(0, 15, "01000000")  # IP_FREEBIND
    foreign.do("bind", lab.client.address, PORT)
    expect(
        "is not in the socket's network namespace" in stays(foreign, lab.hostB, BOUND),
        "refused for another reason",
    )


def test_a_port_where_another_user_listens_is_not_exported(lab):
    start(lab)
    bound = lab.hostA.app.socket("4").bind()
    root = SocketApp(lab.hostA, "web", privileged=True).socket("6")
    root.set(41, 26, "01000000")
    root.do("bind", "::", PORT)
    root.do("listen", 8)
    expect("another user" in stays(bound, lab.hostB, BOUND), "refused for another reason")


# --- namespaces that a user makes ---


class OwnNamespace:
    """A network namespace that a user without privilege has made on hostA, with an
    address of its choice."""

    name = "own"

    def __init__(self, lab, address):
        self.lab, self.address = lab, address

    def popen(self, *command, name, **options):
        setup = (
            "ip link set lo up && ip link add own0 type veth peer name own1 && ip addr add "
            f"{self.address}/24 dev own0 && "
            f'ip link set own0 up && ip link set own1 up && exec "$@"'
        )
        return self.lab.hostA.popen(
            *without_privilege(),
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            setup,
            "sh",
            *command,
            name=f"own:{name}",
            **options,
        )

    def at(self, _):
        return self.address


def test_a_users_own_namespace_is_not_served(lab):
    """The namespace could have any address. Connections that come home to that address
    would be restored in it, and the daemon would work in it."""
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    own = OwnNamespace(lab, lab.hostA.address)
    attacker = SocketApp(own, "web", privileged=True)
    bound = attacker.socket("4").bind(7000)
    expect("belongs to user 65534" in stays(bound, lab.hostB, BOUND), "refused for another reason")
    other = OwnNamespace(lab, "10.99.0.1")
    bound = SocketApp(other, "web", privileged=True).socket("4").bind(7000)
    expect("belongs to user 65534" in stays(bound, lab.hostB, BOUND), "refused for another reason")
    rules = run(["nsenter", "-t", str(attacker.process.pid), "-n", "nft", "list", "tables"])
    expect("sockmi" not in rules, lambda: f"the daemon has been there: {rules}")
    connection.move(lab.hostA)
    expect(
        f"{lab.hostA.address}:{PORT}" in lab.hostA.run("ss", "-Htn"),
        "it has come home to somewhere else",
    )
    connection.both_ways()
    connection.end()


def test_a_container_cannot_claim_the_hosts_address(lab):
    """It does not get the host's connections, either."""
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    with Container(lab, f"{lab.hostA.address}/24") as container:
        bound = SocketApp(container, "web").socket("4")
        bound.do("bind", lab.hostA.address, 7000)
        expect("host's own" in stays(bound, lab.hostB, BOUND), "refused for another reason")
        connection.move(lab.hostA)
        connection.both_ways()
    connection.end()


# --- what a moved socket may ---


def test_a_moved_socket_cannot_bind_to_another_address(lab):
    """On another host it has IP_TRANSPARENT, which its user could not set: with this
    option it may bind to any address."""
    start(lab)
    fresh = lab.hostB.app.socket("4")
    expect(
        lab.hostB.app.tries("setopt", fresh.fd, 0, 19, "01000000").get("error") == 1,
        "nobody may set it",
    )
    connection = Connection(lab)
    connection.move(lab.hostB)
    connection.ours.do("disconnect")
    wait_until(lambda: connection.theirs.state() == "CLOSE", "the peer hears of it")
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")  # that RST was right
    bound = move(lab.hostA.app.socket("4").bind(7000), lab.hostB, BOUND)
    for socket_ in (connection.ours, bound):
        expect(socket_.get(0, 19) == "01000000", "it has no privilege at all")
        for address in (lab.hostC.address, lab.hostB.address):
            expect(
                lab.hostB.app.tries("bind", socket_.fd, address, 7001).get("error") == 22,
                f"it can be bound to {address}",
            )


def test_privileged_options_of_a_container_do_not_move(lab):
    start(lab)
    with Container(lab) as container:
        app = SocketApp(container, "web", privileged=True)
        listener = app.socket("4").listen()
        lab.client.app.socket("4").connect(container)
        ours = listener.accept()
        ours.set(socket.SOL_SOCKET, socket.SO_MARK, "07000000")
        ours.set(socket.SOL_SOCKET, socket.SO_PRIORITY, "63000000")
        moved = move(ours, lab.hostB)
        expect(
            moved.get(socket.SOL_SOCKET, socket.SO_MARK) == "00000000", "its mark has come along"
        )
        expect(
            moved.get(socket.SOL_SOCKET, socket.SO_PRIORITY) == "00000000",
            "its priority has come along",
        )
