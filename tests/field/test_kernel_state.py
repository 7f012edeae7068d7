"""Administrators and other daemons change sockmi's state in the kernel: it is restored
immediately, the connections continue, and log and status say so."""
import errno
import socket

import namespace
import observe
from cases import cases
from process import expect, run, wait_until
from socket_app import LISTENING, SERVICE, Between, Connection, SocketApp, move, start
from test_containers import Container

PORT = 8443


def repaired(host, before=0):
    """Waits until the daemon has restored what was removed. Returns how many repairs it
    has made by now."""
    return wait_until(
        lambda: (count := host.api("/v1/status")["repairs"]["count"]) > before and count,
        f"{host.name} repairs its rules",
    )


def moved_connection(lab, family="4"):
    start(lab)
    c = Connection(lab, family)
    c.both_ways()
    c.move(lab.hostB)
    c.both_ways()
    return c


@cases(("hostA", "4"), ("hostA", "6"), ("hostB", "4"), ("hostB", "6"))
def test_a_flushed_ruleset_is_repaired(lab, where, family):
    c = moved_connection(lab, family)
    host = getattr(lab, where)
    host.run("nft", "flush", "ruleset")
    repaired(host)
    # The kernel looks up routes again that it had cached.
    run(["ip", "-n", where, "route", "add", "192.0.2.0/24", "dev", "eth0"])
    c.both_ways()
    host.daemon.wait_line("event=rules_repaired")
    c.move(lab.hostA)
    c.both_ways()
    c.end()


def test_an_upload_survives_flushed_rulesets(lab):
    """A packet that arrives while home's tables are gone is not answered by RST."""
    c = moved_connection(lab)
    sent = c.up.begin_send(c.theirs, 8 << 20)
    for n in range(20):
        before = lab.hostA.api("/v1/status")["repairs"]["count"]
        lab.hostA.run("nft", "flush", "ruleset")
        repaired(lab.hostA, before)
    c.up.receive(c.ours)
    sent()
    expect(observe.resets(lab.client)[0] == 0, "home answered by RST")
    c.both_ways()
    c.end()


@cases(
    "delete table netdev sockmi",
    "delete table inet sockmi",
    "flush table netdev sockmi",
    "flush chain inet sockmi prerouting",
    "flush map netdev sockmi redir4",
)
def test_a_deleted_table_chain_or_map_is_repaired(lab, command):
    c = moved_connection(lab)
    for host in (lab.hostA, lab.hostB):
        before = host.api("/v1/status")["repairs"]["count"]
        host.run("nft", *command.split())
        if host is lab.hostA or "map" not in command:
            repaired(host, before)
    c.both_ways()
    c.end()


def test_a_new_connection_moves_after_a_flush(lab):
    c = moved_connection(lab)
    lab.hostA.run("nft", "flush", "ruleset")
    d = Connection(lab, port=PORT + 1)
    d.both_ways()
    d.move(lab.hostB)
    d.both_ways()
    c.both_ways()
    c.end()
    d.end()


@cases("rules", "table")
def test_deleted_policy_routing_is_repaired(lab, what):
    c = moved_connection(lab)
    for family in ("-4", "-6"):
        if what == "table":
            run(["ip", family, "-n", "hostB", "route", "flush", "table", "29547"])
            continue
        for line in lab.hostB.run("ip", family, "rule").splitlines():
            if not any(name in line for name in ("lookup local", "lookup main", "lookup default")):
                run(["ip", family, "-n", "hostB", "rule", "del", "priority", line.split(":")[0]])
    repaired(lab.hostB)
    c.both_ways()
    c.end()


def test_routing_rules_are_marked_as_the_kernels(lab):
    """systemd-networkd removes rules of others when it starts, but not those that are
    marked as the kernel's."""
    start(lab)
    ours = [line for line in lab.hostB.run("ip", "-d", "rule").splitlines() if "29547" in line]
    expect(ours and all("proto kernel" in line for line in ours), f"{ours}")


def test_a_connection_survives_a_moment_without_homes_address(lab):
    c = moved_connection(lab)
    run(["ip", "-n", "hostA", "addr", "del", "10.77.0.1/24", "dev", "eth0"])
    run(["ip", "-n", "hostA", "addr", "add", "10.77.0.1/24", "dev", "eth0"])
    c.both_ways()
    c.end()


def test_a_recreated_interface_is_repaired(lab):
    c = moved_connection(lab)
    before = lab.hostA.api("/v1/status")["repairs"]["count"]
    run(["ip", "link", "del", "hostA"])
    run(["ip", "link", "add", "hostA", "type", "veth", "peer", "name", "eth0", "netns", "hostA"])
    run(["ip", "link", "set", "hostA", "addrgenmode", "none", "master", "lan", "up"])
    run(["ip", "-n", "hostA", "link", "set", "eth0", "addrgenmode", "none", "up"])
    run(["ip", "-n", "hostA", "addr", "add", "10.77.0.1/24", "dev", "eth0"])
    repaired(lab.hostA, before)
    c.both_ways()
    c.move(lab.hostA)
    c.move(lab.hostB)  # by multicast, too
    c.both_ways()
    c.end()


def test_the_delivery_route_is_restored_after_loopback_was_down(lab):
    """The delivery route is removed with it, and the kernel sends no notice."""
    c = moved_connection(lab)
    run(["ip", "-n", "hostB", "link", "set", "lo", "down"])
    run(["ip", "-n", "hostB", "link", "set", "lo", "up"])
    wait_until(
        lambda: "local default dev lo" in lab.hostB.run("ip", "route", "show", "table", "29547"),
        "the route is put back",
    )
    run(["ip", "-n", "hostB", "route", "add", "192.0.2.0/24", "dev", "eth0"])
    c.both_ways()
    c.end()


def test_repairs_continue_during_endless_flushes(lab):
    """Repairs become rarer, but not rarer than twice a second: the daemon has other work
    to do. What the peer sends meanwhile arrives when the administrator stops, if not
    before."""
    c = moved_connection(lab)
    loop = lab.hostA.popen("sh", "-c", "while :; do nft flush ruleset; sleep 0.05; done")
    try:
        sent = c.up.begin_send(c.theirs, 1000)
        wait_until(
            lambda: lab.hostA.api("/v1/status")["repairs"]["count"] >= 8,
            "eight repairs",
            timeout=30,
        )
    finally:
        loop.kill()
    repairs = lab.hostA.api("/v1/status")["repairs"]
    expect("nft (" in repairs["last"], f"{repairs}: who was it?")
    c.up.receive(c.ours)
    sent()
    c.both_ways()
    expect(observe.resets(lab.client)[0] == 0, "home answered by RST")
    c.end()


def test_a_failed_repair_is_reported_and_repeated(lab):
    c = moved_connection(lab)
    lab.hostA.run(
        "nft",
        "flush ruleset; add table inet sockmi; add set inet sockmi foreign4 { type ipv6_addr; }",
    )
    wait_until(
        lambda: lab.hostA.api("/v1/status")["repairs"]["error"],
        "status says that it can not be repaired",
    )
    lab.hostA.daemon.wait_line("event=rules_repair_failed")
    lab.hostA.run("nft", "delete", "table", "inet", "sockmi")
    wait_until(
        lambda: not lab.hostA.api("/v1/status")["repairs"]["error"], "it is repaired", timeout=20
    )
    c.both_ways()
    c.end()


def test_a_repair_removes_elements_that_others_added(lab):
    """An administrator loads a listing that was saved before: a redirect of a connection
    that has ended would divert the next one."""
    c = moved_connection(lab)
    lab.hostA.run(
        "nft",
        "add",
        "element",
        "netdev",
        "sockmi",
        "redir4",
        "{ 10.77.0.100 . 4711 . 10.77.0.1 . 8443 : 10.77.0.2 }",
    )
    before = lab.hostA.api("/v1/status")["repairs"]["count"]
    lab.hostA.run("nft", "delete", "table", "inet", "sockmi")
    repaired(lab.hostA, before)
    wait_until(
        lambda: not any("4711" in each for each in observe.redirects(lab.hostA)),
        "the strange redirect goes",
    )
    c.both_ways()
    c.end()


def test_the_fallback_table_cannot_be_deleted_by_others(lab):
    c = moved_connection(lab)
    shown = lab.hostA.run("nft", "list", "table", "inet", "sockmi_guard")
    expect("10.77.0.1 . 8443" in shown, shown)
    status, _ = lab.hostA.run("nft", "delete", "table", "inet", "sockmi_guard", check=False)
    expect(status != 0, "anybody can delete the guard's table")
    c.end()


def test_changes_of_other_tables_cause_no_repair(lab):
    start(lab)
    lab.hostA.run("nft", "add", "table", "ip", "other")
    lab.hostA.run("nft", "delete", "table", "ip", "other")
    run(["ip", "-n", "hostA", "rule", "add", "priority", "100", "lookup", "main"])
    run(["ip", "-n", "hostA", "rule", "del", "priority", "100"])
    expect(
        lab.hostA.api("/v1/status")["repairs"] == {"count": 0, "last": "", "error": ""},
        "it was taken for ours",
    )


def missed(host):
    """Returns how many notices of changes the kernel could not give to the daemon, for
    lack of room."""
    with open(f"/proc/{host.daemon.pid}/net/netlink", encoding="ascii") as table:
        return sum(int(row.split()[8]) for row in list(table)[1:])


def test_rules_are_repaired_after_lost_notices(lab):
    """The kernel reports that notices were lost: then the daemon checks everything."""
    c = moved_connection(lab)
    host = lab.hostA
    before = host.api("/v1/status")["repairs"]["count"]
    host.daemon.pause()
    host.run("nft", "add table ip other; add set ip other some { type ipv4_addr; }")
    elements = ",".join(f"10.1.{a}.{b}" for a in range(200) for b in range(200))
    transaction = f"add element ip other some {{ {elements} }}; flush set ip other some".encode()
    wait_until(
        lambda: host.run("nft", "-f", "-", stdin=transaction) == "" and missed(host),
        "its buffer is full",
        timeout=120,
    )
    host.run("nft", "delete", "table", "inet", "sockmi")
    host.daemon.resume()
    repaired(host, before)
    host.run("nft", "delete", "table", "ip", "other")
    c.both_ways()
    c.end()


def connection_of(lab, container):
    start(lab)
    container.app = SocketApp(container, SERVICE)
    listener, theirs = container.app.socket("4").listen(), lab.client.app.socket("4")
    theirs.connect(container)
    return Between(listener.accept(), theirs)


@cases("flush ruleset", "delete table netdev sockmi", "delete table inet sockmi")
def test_rules_inside_a_container_are_repaired(lab, command):
    with Container(lab) as container:
        c = connection_of(lab, container)
        c.both_ways()
        c.move(lab.hostB)
        c.both_ways()
        before = lab.hostA.api("/v1/status")["repairs"]["count"]
        container.run("nft", *command.split())
        repaired(lab.hostA, before)
        said = lab.hostA.daemon.wait_line("event=rules_repaired")
        expect("in namespace" in said, said)
        c.both_ways()
        c.end()
        container.wait_given_up()


def test_a_failed_repair_in_a_container_does_not_block_other_repairs(lab):
    with Container(lab) as container:
        c = connection_of(lab, container)
        c.move(lab.hostB)
        container.run(
            "nft",
            "flush ruleset; add table inet sockmi; add set inet sockmi foreign4 { type "
            "ipv6_addr; }",
        )
        wait_until(
            lambda: lab.hostA.api("/v1/status")["repairs"]["error"],
            "status says that it can not be repaired",
        )
        lab.hostA.run("nft", "flush", "ruleset")
        wait_until(
            lambda: "table inet sockmi\n" in lab.hostA.run("nft", "list", "tables"),
            "the host's own tables are put back",
        )
        container.run("nft", "delete", "table", "inet", "sockmi")
        wait_until(
            lambda: not lab.hostA.api("/v1/status")["repairs"]["error"],
            "the container's are, too",
            timeout=20,
        )
        c.both_ways()
        c.end()
        container.wait_given_up()


def test_home_without_its_tables_does_not_reset_clients_of_a_moved_listener(lab):
    """Home's daemon stands still and repairs nothing: only the fallback table keeps home
    from refusing new connections. Other RSTs of home must still be sent: those of
    connections that have stayed, and of other ports."""
    start(lab)
    listener = lab.hostA.app.socket("4").listen()
    their_old, our_old = lab.client.app.socket("4").connect(lab.hostA), listener.accept()
    listener = move(listener, lab.hostB, LISTENING)
    lab.hostA.daemon.pause()
    lab.hostA.run("nft", "flush", "ruleset")
    arrived = observe.Counter(lab.hostA, "in", f"tcp dport {PORT} tcp flags syn")
    their_new = lab.client.app.socket("4")
    connected = their_new.begin("connect", lab.hostA.address, PORT)
    wait_until(arrived.packets, "home gets the SYN")
    expect(observe.resets(lab.client)[0] == 0, "home has refused it")
    our_old.set(socket.SOL_SOCKET, socket.SO_LINGER, "0100000000000000")
    our_old.close()
    wait_until(
        lambda: observe.resets(lab.client)[0] == 1, "the connection that has stayed is reset"
    )
    expect(refuses(lab, PORT + 1), "another port does not refuse")
    lab.hostA.daemon.resume()
    connected()
    c = Between(listener.accept(), their_new)
    c.both_ways()
    c.end()
    their_old.close()
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")  # those two were right


def refuses(lab, port):
    def connect():
        with socket.socket() as caller:
            caller.settimeout(20)
            return caller.connect_ex((lab.hostA.address, port)) == errno.ECONNREFUSED

    return namespace.within(lab.client, connect)
