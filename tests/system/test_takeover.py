"""A service address moves to another host with everything at it; then the old host can be
unplugged."""
import signal
import socket
import threading

import observe
from cases import long
from lab import SERVICE_ADDRESS as SERVICE, expect, wait_until
from namespace import within
from takeover import (
    CONTENT,
    begin,
    finish,
    holders,
    start,
    take_over,
    unplug,
    who_answers,
)


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


@long
def test_the_old_holder_takes_the_address_back_from_a_host_without_its_daemon(lab):
    """The kernel of that host answers for the address until the Hold expires."""
    start(lab)
    lab.hostB.arm("takeover-doubt=kill")
    asked = takeover_without_keep(lab)
    expect(lab.hostB.daemon.wait() == -signal.SIGKILL, lab.hostB.daemon.tail)
    expect(asked.wait(90) == 1, asked.tail())
    expect(holders(lab) == ["hostA"], holders(lab))
    expect("hostA" in who_answers(lab), "hostA does not answer")
    lab.hostB.run(lab.sockmictl, "flush")


def test_a_takeover_ends_although_the_old_holder_cannot_probe_the_link(lab):
    """The new holder takes the address alone; the old one does not take it back."""
    start(lab)
    asked = takeover_without_keep(lab)
    lab.hostA.run("ip", "link", "set", "eth0", "down")
    asked.wait_line("cannot find out whether hostB has", timeout=90)
    expect(asked.wait() == 1, asked.tail())
    lab.hostA.daemon.wait_line("event=takeover_unresolved")
    expect(holders(lab) == ["hostB"], holders(lab))
    expect("hostB" in who_answers(lab), "hostB does not answer")


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
