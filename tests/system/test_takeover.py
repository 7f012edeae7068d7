"""A service address moves to another host with everything at it; then the old host can be
unplugged."""
import signal
import socket
import threading

import observe
from cases import cases
from lab import PORT, SERVICE_ADDRESS as SERVICE, expect, wait_until
from namespace import within
from transfer import begin_all, finish_all, random_bytes

CONTENT = random_bytes(4 << 20)
TAKEOVER = {"takeover": {"addresses": [SERVICE]}, "steer": {"linger_ms": 2000}}


def start(lab, *hosts, **changes):
    """Adds the service address to hostA, and starts a daemon and a server of every
    address on each host."""
    lab.file("f", CONTENT)
    lab.hostA.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    certificate, key = lab.certificate()
    servers = []
    for host in hosts or (lab.hostA, lab.hostB):
        lab.start_daemon(host, **{**TAKEOVER, **changes})
        server = host.popen(
            lab.program("examples/httpsd"),
            "--listen",
            f"0.0.0.0:{PORT}",
            "--root",
            lab.root,
            "--cert",
            certificate,
            "--key",
            key,
            "--service",
            "web",
            "--name",
            host.name,
            name="httpsd",
        )
        server.wait_line("httpsd ready")
        servers.append(server)
    return servers


def begin(lab, downloads=2, uploads=1):
    return begin_all(lab, CONTENT, downloads, uploads, SERVICE)


def finish(transfers):
    finish_all(transfers, CONTENT)


def take_over(lab, source, target, *options, check=True):
    return source.run(
        lab.sockmictl, "takeover", SERVICE, "--to", target.name, *options, check=check
    )


def holders(lab):
    return [
        host.name
        for host in lab.hosts
        if f" {SERVICE}/" in host.run("ip", "-4", "addr", "show", "dev", "eth0")
    ]


def who_answers(lab, *options):
    """Returns the Server header of a new connection to the address. `options` of curl."""
    certificate, _ = lab.certificate()
    head = lab.client.run(
        "curl",
        "-sS",
        "--fail",
        "-D",
        "-",
        "-o",
        "/dev/null",
        "--max-time",
        20,
        *options,
        "--cacert",
        certificate,
        f"https://{SERVICE}:{PORT}/f",
    )
    return next(
        line.split(":")[1].strip()
        for line in head.splitlines()
        if line.lower().startswith("server:")
    )


def unplug(host):
    """Unplugs the host without a notice to others."""
    host.run("ip", "link", "set", "eth0", "down")
    host.daemon.kill()


def test_the_old_host_can_be_unplugged_after_a_takeover(lab):
    old, _ = start(lab)
    transfers = begin(lab, 3, 2)
    output = take_over(lab, lab.hostA, lab.hostB)
    expect("5 connections moved, 0 lost" in output, output)
    expect(holders(lab) == ["hostB"], holders(lab))
    unplug(lab.hostA)
    old.kill()
    expect("hostB" in who_answers(lab), "hostB does not answer new connections")
    finish(transfers)
    wait_until(
        lambda: not any(lab.hostB.api("/v1/status")["connections"].values()),
        "hostB forgets the connections that ended",
    )
    lab.hostA.run(lab.sockmictl, "flush")


def test_new_clients_are_served_right_after_a_takeover(lab):
    """Until the takeover, the new host drops packets to the address that belong to none
    of its own connections: the address was another host's, and its foreign connections
    linger."""
    start(lab, steer={"linger_ms": 60_000})
    transfers = begin(lab, 1, 0)
    lab.move(lab.hostA, lab.hostB)
    finish(transfers)
    transfers = begin(lab, 1, 0)
    take_over(lab, lab.hostA, lab.hostB)
    expect("hostB" in who_answers(lab, "--connect-timeout", 3), "hostB does not answer")
    finish(transfers)


def test_an_address_moved_by_hand_serves_new_clients(lab):
    """The address moves by hand, or by VRRP: its new holder serves new clients, although
    it belonged to the home of a foreign connection there."""
    start(lab)
    transfers = begin(lab)
    lab.move(lab.hostA, lab.hostB, connections=3)
    lab.hostA.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    lab.client.run("ip", "neigh", "flush", "to", SERVICE)
    expect("hostB" in who_answers(lab, "--connect-timeout", 3), "hostB does not answer")
    finish(transfers)


def test_a_second_holder_of_the_address_is_reported(lab):
    """As after a link was split into two parts."""
    start(lab)
    take_over(lab, lab.hostA, lab.hostB)
    lab.hostC.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.daemon.wait_line("event=address_conflict_found", timeout=40)
    warnings = lab.hostB.api("/v1/status")["warnings"]
    expect(any(SERVICE in warning for warning in warnings), f"{warnings}")
    lab.hostC.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.daemon.wait_line("event=address_conflict_ended", timeout=40)


def test_an_address_removed_by_hand_is_restored(lab):
    """A network manager that has no record of the address removes it. It is not restored
    if another host has it: then it was moved by hand."""
    start(lab)
    transfers = begin(lab)
    take_over(lab, lab.hostA, lab.hostB)
    lab.hostB.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.daemon.wait_line("event=address_restored")
    expect("hostB" in who_answers(lab, "--connect-timeout", 3), "hostB does not answer")
    finish(transfers)
    lab.hostC.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.daemon.wait_line("event=address_lost")
    expect(SERVICE not in lab.hostB.run("ip", "-br", "addr"), "two hosts have it")


def lifetimes(host):
    return host.run("ip", "-4", "addr", "show", "to", SERVICE)


def test_an_address_that_returns_is_kept_permanently(lab):
    """The address comes back soon after it was here before: the new holder has it
    permanently, not for the seconds of a Hold."""
    start(lab)
    take_over(lab, lab.hostA, lab.hostB)
    wait_until(
        lambda: any(each["host"] == "hostA" for each in lab.hostB.api("/v1/hosts")["hosts"]),
        "hostB knows hostA",
    )
    take_over(lab, lab.hostB, lab.hostA)
    take_over(lab, lab.hostA, lab.hostB)
    expect("valid_lft forever" in lifetimes(lab.hostB), lifetimes(lab.hostB))


def journalled(host):
    """Returns the addresses that the journal has as taken over."""
    found = set()
    for words in map(str.split, (host.folder / "state" / "journal").read_text().splitlines()):
        if words[0] in ("taken", "-taken"):
            (found.add if words[0] == "taken" else found.discard)(words[1])
    return sorted(found)


@cases("running", "down")
def test_the_next_daemon_restores_a_taken_over_address(lab, when):
    """The address is removed, by somebody or by a boot, while a daemon runs that has not
    taken it over itself, or while none runs."""
    start(lab)
    transfers = begin(lab)
    take_over(lab, lab.hostA, lab.hostB)
    finish(transfers)
    unplug(lab.hostA)
    lab.hostB.daemon.signal(signal.SIGTERM)
    expect(lab.hostB.daemon.wait() == 0, lab.hostB.daemon.tail)
    expect(SERVICE in lab.hostB.run("ip", "-br", "addr"), "the address has gone with the daemon")
    if when == "running":
        lab.start_daemon(lab.hostB, **TAKEOVER)
    lab.hostB.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    if when == "down":
        lab.start_daemon(lab.hostB, **TAKEOVER)
    lab.hostB.daemon.wait_line("event=address_restored")
    expect("hostB" in who_answers(lab, "--connect-timeout", 3), "hostB does not answer")
    lab.hostA.run(lab.sockmictl, "flush")


def test_the_next_daemon_does_not_restore_an_address_that_it_lost(lab):
    """The address was handed on; another host has it now; or the configuration no longer
    allows it here."""
    start(lab)

    def restart(**changes):
        lab.hostB.daemon.signal(signal.SIGTERM)
        expect(lab.hostB.daemon.wait() == 0, lab.hostB.daemon.tail)
        lab.hostB.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0", check=False)
        lab.start_daemon(lab.hostB, **{**TAKEOVER, **changes})

    take_over(lab, lab.hostA, lab.hostB)
    expect(journalled(lab.hostB) == [SERVICE], journalled(lab.hostB))
    wait_until(
        lambda: any(each["host"] == "hostA" for each in lab.hostB.api("/v1/hosts")["hosts"]),
        "hostB knows hostA",
    )
    take_over(lab, lab.hostB, lab.hostA)
    expect(
        (journalled(lab.hostA), journalled(lab.hostB)) == ([SERVICE], []),
        "hostB did not forget it, or hostA does not know it",
    )
    restart()
    take_over(lab, lab.hostA, lab.hostB)
    lab.hostC.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    restart()
    lab.hostB.daemon.wait_line("event=address_lost")
    expect((journalled(lab.hostB), holders(lab)) == ([], ["hostC"]), "two hosts have it")
    lab.hostC.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostA.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    take_over(lab, lab.hostA, lab.hostB)
    restart(takeover={})
    lab.hostB.daemon.wait_line("event=address_given_up")
    expect((journalled(lab.hostB), holders(lab)) == ([], []), "it was put back")


def test_an_address_is_taken_over_and_back(lab):
    start(lab)
    transfers = begin(lab)
    take_over(lab, lab.hostA, lab.hostB)
    expect(
        [c["home"] for c in lab.hostB.api("/v1/connections")["connections"]] == ["hostB"] * 3,
        "they are not at home on hostB",
    )
    expect(lab.hostA.api("/v1/connections")["connections"] == [], "hostA has not forgotten them")
    for transfer in transfers:
        transfer.allow(800_000)
        transfer.wait_offset(700_000)
    output = take_over(lab, lab.hostB, lab.hostA)
    expect("3 connections moved" in output and holders(lab) == ["hostA"], f"{output}{holders(lab)}")
    for host in (lab.hostA, lab.hostB):
        wait_until(
            lambda host=host: not observe.redirects(host), f"the redirects of {host.name} go"
        )
    unplug(lab.hostB)
    expect("hostA" in who_answers(lab), "hostA does not answer new connections")
    finish(transfers)
    lab.hostB.run(lab.sockmictl, "flush")


def test_connections_move_before_and_after_a_takeover(lab):
    start(lab, *lab.hosts)
    transfers = begin(lab)
    lab.move(lab.hostA, lab.hostC, connections=3, local=SERVICE)
    status, output = take_over(lab, lab.hostA, lab.hostB, check=False)
    expect(status == 1 and "lives on hostC" in output and holders(lab) == ["hostA"], output)
    lab.move(lab.hostC, lab.hostB, connections=3)
    take_over(lab, lab.hostA, lab.hostB)
    lab.move(lab.hostB, lab.hostC, connections=3)
    unplug(lab.hostA)
    finish(transfers)
    wait_until(lambda: not observe.redirects(lab.hostB), "the redirects of hostB go")
    lab.hostA.run(lab.sockmictl, "flush")


def test_a_connection_that_nobody_exports_stops_a_takeover(lab):
    start(lab)
    transfers = begin(lab, 1, 0)
    listener = within(lab.hostA, lambda: socket.create_server((SERVICE, 9)))
    client = within(lab.client, lambda: socket.create_connection((SERVICE, 9), 10))
    connection, _ = listener.accept()
    status, output = take_over(lab, lab.hostA, lab.hostB, check=False)
    expect(status == 1 and f"{SERVICE}:9<-" in output and holders(lab) == ["hostA"], output)
    client.sendall(b"x")
    expect(connection.recv(1) == b"x", "it does not go on")
    expect("hostA" in who_answers(lab), "new connections do not get in again")
    connection.close()
    client.close()
    listener.close()
    take_over(lab, lab.hostA, lab.hostB)
    finish(transfers)


def test_forbidden_takeovers_are_refused(lab):
    start(lab, lab.hostA, lab.hostB)
    lab.start_daemon(lab.hostC)
    for arguments, reason in (
        (("10.77.0.1", "--to", "hostB"), "own address"),
        (("10.77.0.77", "--to", "hostB"), "not an address"),
        ((SERVICE, "--to", "hostC"), "takeover.addresses"),
        ((SERVICE, "--to", "nobody"), "not known"),
    ):
        status, output = lab.hostA.run(lab.sockmictl, "takeover", *arguments, check=False)
        expect(status == 1 and reason in output, f"{arguments}: status {status}: {output}")
    expect(holders(lab) == ["hostA"], holders(lab))


def test_a_takeover_that_fails_before_the_decision_changes_nothing(lab):
    start(lab)
    transfers = begin(lab, 1, 1)
    for host, fault in ((lab.hostB, "takeover-hold"), (lab.hostA, "takeover-remove")):
        host.arm(fault)
        status, output = take_over(lab, lab.hostA, lab.hostB, check=False)
        expect(
            status == 1 and fault in output and holders(lab) == ["hostA"], f"{output}{holders(lab)}"
        )
        expect("hostA" in who_answers(lab), "hostA does not serve new connections")
    lab.hostA.arm("takeover-keep", 3)
    take_over(lab, lab.hostA, lab.hostB)
    expect(holders(lab) == ["hostB"], holders(lab))
    finish(transfers)


def takeover_without_keep(lab):
    """Begins a takeover whose last message, Keep, is lost: hostA has given the address up, and
    hostB has it for the time of the Hold."""
    lab.hostA.arm("takeover-keep", 1000)
    asked = lab.hostA.popen(lab.sockmictl, "takeover", SERVICE, "--to", "hostB")
    wait_until(lambda: holders(lab) == ["hostB"], "hostB holds it, hostA does not")
    return asked


def test_the_new_holder_probes_the_link_if_the_old_holder_is_silent(lab):
    """The old host is unplugged at the worst moment: it no longer has the address, and
    the new host did not receive the next message."""
    start(lab)
    transfers = begin(lab, 1, 0)
    asked = takeover_without_keep(lab)
    unplug(lab.hostA)
    lab.hostB.daemon.wait_line("event=takeover_probed", timeout=30)
    lab.hostB.daemon.wait_line("event=address_taken_over")
    expect(
        "valid_lft forever" in lab.hostB.run("ip", "addr", "show", "to", SERVICE),
        "the address will go",
    )
    expect("hostB" in who_answers(lab), "hostB does not answer")
    finish(transfers)
    asked.wait()
    lab.hostA.run(lab.sockmictl, "flush")


def test_the_old_holder_takes_the_address_back_from_a_dead_host(lab):
    start(lab)
    asked = takeover_without_keep(lab)
    unplug(lab.hostB)
    expect(asked.wait() == 1, asked.tail())
    wait_until(lambda: "hostA" in holders(lab), "hostA has it back")
    expect("hostA" in who_answers(lab), "hostA does not answer")
    lab.hostB.run(lab.sockmictl, "flush")


def test_the_old_holder_takes_the_address_back_from_a_host_without_its_daemon(lab):
    """The kernel of that host answers for the address until the Hold expires."""
    start(lab)
    asked = takeover_without_keep(lab)
    lab.hostB.daemon.kill()
    expect(asked.wait(90) == 1, asked.tail())
    expect(holders(lab) == ["hostA"], holders(lab))
    expect("hostA" in who_answers(lab), "hostA does not answer")
    lab.hostB.run(lab.sockmictl, "flush")


class Clients:
    """Four clients that connect, one request each time, until the context ends."""

    def __init__(self, lab):
        self._lab, self._ended = lab, threading.Event()
        self.answers, self._errors = [], []
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def _run(self):
        try:
            while not self._ended.is_set():
                self.answers.append(who_answers(self._lab))
        except Exception as error:  # reported at the end
            self._errors.append(error)

    def wait_served_by(self, host):
        """Waits until requests that begin from now on are answered by the host."""
        seen = len(self.answers) + len(self._threads)
        wait_until(
            lambda: self._errors or any(host.name in answer for answer in self.answers[seen:]),
            f"{host.name} serves",
            timeout=60,
        )

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()
        expect(kind or not self._errors, lambda: f"a client was not served: {self._errors[0]}")


def test_clients_that_keep_connecting_are_served_during_takeovers(lab):
    start(lab)
    lab.file("f", CONTENT[:100_000])
    with Clients(lab) as clients:
        for source, target in ((lab.hostA, lab.hostB), (lab.hostB, lab.hostA)):
            clients.wait_served_by(source)
            take_over(lab, source, target)
        clients.wait_served_by(lab.hostA)


def test_an_ipv6_address_is_announced_after_a_takeover(lab):
    service = "fd77::50"
    hosts = [lab.client, lab.hostA, lab.hostB]
    lab.hostA.run(
        "ip", "addr", "add", f"{service}/64", "dev", "eth0", "nodad", "preferred_lft", "0"
    )
    listeners = []
    for host in hosts[1:]:
        lab.start_daemon(host, takeover={"addresses": [f"{service}/128"]})
        listeners.append(
            within(host, lambda: socket.create_server(("::", 9), family=socket.AF_INET6))
        )
        listeners[-1].settimeout(10)

    def connect():
        within(lab.client, lambda: socket.create_connection((service, 9), 10)).close()

    connect()
    listeners[0].accept()[0].close()
    listeners[0].close()
    output = lab.hostA.run(lab.sockmictl, "takeover", service, "--to", "hostB")
    expect("0 connections moved" in output, output)
    expect(service not in lab.hostA.run("ip", "-6", "addr"), "hostA still has it")
    expect(
        "deprecated" in lab.hostB.run("ip", "-6", "addr", "show", "to", service),
        "it is not as it was on hostA",
    )
    unplug(lab.hostA)
    connect()
    listeners[1].accept()[0].close()
    listeners[1].close()
    lab.hostA.run(lab.sockmictl, "flush")
