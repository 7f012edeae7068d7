"""Connections of containers: their servers use the host's daemon by its socket, and have
a network namespace and an address of their own."""
import socket

import observe
import socket_app
from cases import cases
from lab import CONTAINER_ADDRESS as ADDRESS, expect, wait_until
from process import run
from socket_app import LISTENING, SERVICE, SocketApp, Stream, move
from daemons import KILLED, TERMINATED, block_output, end_daemon, records
from transfer import Download, begin_all, finish_all, random_bytes

CONTENT = random_bytes(2 << 20)


class Container:
    """A container on hostA: nothing of sockmi runs inside except the library that the
    application is linked with."""

    name = "c1"

    def __init__(self, lab, address=f"{ADDRESS}/24"):
        self.lab, self.address = lab, lab.hostA.address  # the address of its daemon
        lab.file("f", CONTENT)
        run(["ip", "netns", "add", self.name])
        run(
            [
                "ip",
                "link",
                "add",
                self.name,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                self.name,
            ]
        )
        run(["ip", "link", "set", self.name, "master", "lan", "up"])
        self.run(
            "ip",
            "-batch",
            "-",
            stdin=f"link set lo up\naddr add {address} dev eth0\nlink set eth0 up".encode(),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run(["ip", "netns", "del", self.name])

    def run(self, *command, **options):
        return run(
            ["nsenter", f"--net=/run/netns/{self.name}", "--", *map(str, command)], **options
        )

    def popen(self, *command, name, **options):
        return self.lab.hostA.popen(
            "nsenter",
            f"--net=/run/netns/{self.name}",
            "--",
            *command,
            name=f"{self.name}:{name}",
            **options,
        )

    def at(self, family):
        expect(family == "4", "a container has no IPv6 address")
        return ADDRESS

    def wait_given_up(self):
        """Waits until the daemon has left the container's namespace, and nothing in it."""
        wait_until(
            lambda: not observe.leftovers(self),
            "the container's namespace is given up",
            timeout=20,
        )

    def start_httpsd(self):
        return self.lab.start_httpsd(self, listen=True, address=ADDRESS)


def start_daemon(lab, host=None, wrap=()):
    lab.start_daemon(host or lab.hostA, wrap, steer={"linger_ms": 200, "freeze_timeout_ms": 3000})


def start(lab, container):
    for host in (lab.hostA, lab.hostB):
        start_daemon(lab, host)
    lab.start_httpsd(lab.hostB, listen=True)
    return container.start_httpsd()


def begin(lab, uploads=1):
    return begin_all(lab, CONTENT, 1, uploads, ADDRESS)


def finish(transfers):
    finish_all(transfers, CONTENT)


def test_a_containers_connections_are_exported(lab):
    with Container(lab) as container:
        start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        expect(
            len(observe.redirects(container)) == 2 and not observe.redirects(lab.hostA),
            "they are not redirected where they come in",
        )
        finish(transfers)
        container.wait_given_up()


def test_connections_return_into_their_container(lab):
    with Container(lab) as container:
        start(lab, container)
        transfers = begin(lab)
        for _ in range(2):
            lab.move(lab.hostA, lab.hostB, connections=2)
            lab.move(lab.hostB, lab.hostA, connections=2)
        expect(ADDRESS in container.run("ss", "-Htn"), "they are not in the container")
        expect(not observe.redirects(container), "a redirect is left")
        finish(transfers)


def test_an_application_in_a_container_imports(lab):
    """An imported connection lives in the network of the host, whichever application
    takes it. The application does not notice."""
    with Container(lab) as container:
        start(lab, container)
        transfer = Download(lab, "f", gate=200_000, to=lab.hostB.address)
        transfer.wait_offset(200_000)
        for _ in range(2):
            lab.move(lab.hostB, lab.hostA)
            lab.move(lab.hostA, lab.hostB)
        lab.move(lab.hostB, lab.hostA)
        expect(not observe.leftovers(container), "rules in the container")
        finish([transfer])


def test_moved_connections_survive_the_end_of_their_container(lab):
    with Container(lab) as container:
        server = start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        server.stop()
        run(["ip", "netns", "del", container.name])
        finish(transfers)
        run(["ip", "netns", "add", container.name])


@cases(TERMINATED, KILLED)
def test_moved_connections_survive_the_daemon(lab, how):
    """One transfer ends while home has no daemon: its last bytes arrive, too. The others
    come home afterwards, and may move again."""
    with Container(lab) as container:
        server = start(lab, container)
        ends, *go_on = begin(lab, uploads=2)
        lab.move(lab.hostA, lab.hostB, connections=3)
        end_daemon(lab.hostA, how)
        finish([ends])
        seen = len(server.lines)
        start_daemon(lab)
        server.wait_line("event=daemon_connected", after=seen)
        expect(len(records(lab.hostA)) >= 2, lambda: f"what it remembers: {records(lab.hostA)}")
        wait_until(
            lambda: records(lab.hostA) == [("moved", "hostB")] * 2,
            "the end of the one is told",
            timeout=20,
        )
        for _ in range(2):
            lab.move(lab.hostB, lab.hostA, connections=2)
            expect(
                ADDRESS in container.run("ss", "-Htn") and not records(lab.hostA),
                "they are not in the container",
            )
            lab.move(lab.hostA, lab.hostB, connections=2)
        expect(not observe.redirects(lab.hostA), "they are redirected in the host's own namespace")
        finish(go_on)
        container.wait_given_up()


@cases(TERMINATED, KILLED)
def test_a_container_has_no_rules_after_all_connections_returned(lab, how):
    """The daemon ends before it has given up the namespace. A killed daemon leaves its
    rules there, and the next one removes them."""
    with Container(lab) as container:
        start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        lab.move(lab.hostB, lab.hostA, connections=2)
        expect(observe.leftovers(container), "no rules in the container")
        end_daemon(lab.hostA, how)
        if how == KILLED:
            start_daemon(lab)
            lab.hostA.daemon.wait_line("event=namespace_recovered")
        container.wait_given_up()
        finish(transfers)


def test_a_moved_listener_of_a_container_survives_the_daemon(lab):
    """New connections are redirected to the listener's present host; accepted ones stay
    in the container."""
    with Container(lab) as container:
        socket_app.start(lab)
        container.app = SocketApp(container, SERVICE)
        listener = container.app.socket("4")
        # As servers do: the listener comes home to a connection that has stayed.
        listener.set(socket.SOL_SOCKET, socket.SO_REUSEADDR, "01000000")
        listener.listen()
        stays = lab.client.app.socket("4").connect(container), listener.accept()
        listener = move(listener, lab.hostB, LISTENING)
        for how in (TERMINATED, KILLED):
            end_daemon(lab.hostA, how)
            answers(lab, container, listener, *stays)
            start_daemon(lab)
            wait_until(lambda: lab.hostA.api("/v1/hosts")["hosts"], "hostB is heard")
            answers(lab, container, listener, *stays)
        expect(records(lab.hostA) == [("moved", "hostB")], records(lab.hostA))
        container.app = SocketApp(container, SERVICE)  # one that is registered with the new daemon
        listener = move(listener, container, LISTENING)
        wait_until(lambda: not records(lab.hostA), "its connections have ended and it is home")
        answers(lab, container, listener, *stays)


def answers(lab, container, listener, their_old, our_old):
    """Checks a new connection, and an old one."""
    theirs = lab.client.app.socket("4").connect(container)
    ours = listener.accept()
    for number, ends in enumerate([(theirs, ours), (their_old, our_old)]):
        stream = Stream(f"s{number}")
        stream.send(ends[0], 1000)
        stream.receive(ends[1])
    for end in (theirs, ours):
        end.close()


def test_a_home_without_its_journal_learns_its_containers_connections(lab):
    with Container(lab) as container:
        start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        end_daemon(lab.hostA, KILLED)
        run(["rm", "-rf", lab.hostA.folder / "state"])
        start_daemon(lab)
        wait_until(
            lambda: records(lab.hostA) == [("moved", "hostB")] * 2,
            "home is told by the holder",
            timeout=20,
        )
        expect(
            not any("expires" in entry for entry in observe.redirects(container)),
            "the redirects would end",
        )
        finish(transfers)
        container.wait_given_up()


def lines(host, *words):
    return [line for line in host.daemon.lines if all(word in line for word in words)]


def without_admin(*command):
    return ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", *command]


def test_a_daemon_without_rights_leaves_containers_to_the_next(lab):
    with Container(lab) as container:
        server = start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        end_daemon(lab.hostA, TERMINATED)
        start_daemon(lab, wrap=without_admin())
        warnings = lines(lab.hostA, "level=warn", "container")
        expect(
            len(warnings) == 1 and "moved=2" in warnings[0] and "CAP_SYS_ADMIN" in warnings[0],
            warnings,
        )
        expect(not records(lab.hostA) and not observe.redirects(lab.hostA), "it looks after them")
        expect(len(observe.redirects(container)) == 2, "the container does not lead them on")
        end_daemon(lab.hostA, TERMINATED)
        seen = len(server.lines)
        start_daemon(lab)
        server.wait_line("event=daemon_connected", after=seen)
        expect(records(lab.hostA) == [("moved", "hostB")] * 2, records(lab.hostA))
        lab.move(lab.hostB, lab.hostA, connections=2)
        finish(transfers)


def test_a_container_that_ended_without_a_daemon_is_given_up(lab):
    with Container(lab) as container:
        server = start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        end_daemon(lab.hostA, TERMINATED)
        server.stop()
        run(["ip", "netns", "del", container.name])
        for gone in (2, 0):
            start_daemon(lab)
            warnings = lines(lab.hostA, "event=container_disappeared")
            expect(len(warnings) == gone, warnings)
            expect(
                not records(lab.hostA) and not observe.redirects(lab.hostA),
                "its connections are looked after",
            )
            end_daemon(lab.hostA, TERMINATED)
        for transfer in transfers:
            transfer.curl.kill()
        run(["ip", "netns", "add", container.name])


def test_flush_removes_rules_in_containers(lab):
    """It does not remove what another daemon has left in its own network, which is also a
    namespace of this machine."""
    with Container(lab) as container:
        start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        block_output(lab.client)
        for host in (lab.hostA, lab.hostB):
            end_daemon(host, TERMINATED)
        output = lab.hostA.run(*without_admin(lab.sockmictl, "flush"))
        expect(
            "CAP_SYS_ADMIN" in output and observe.redirects(container), lambda: f"it says: {output}"
        )
        output = lab.hostA.run(lab.sockmictl, "flush")
        expect(
            not output and not observe.leftovers(container),
            lambda: f"{output}; left behind: {observe.leftovers(container)}",
        )
        expect(observe.leftovers(lab.hostB), "hostB has lost its rules")
        lab.hostB.run(lab.sockmictl, "flush")
        for transfer in transfers:
            transfer.curl.kill()


def test_a_host_that_the_container_cannot_reach_is_refused(lab):
    """hostB is not on the container's link, as its address shows: packets could not be
    sent there."""
    with Container(lab, f"{ADDRESS}/32") as container:
        container.run("ip", "route", "add", "10.77.0.0/24", "dev", "eth0")
        start(lab, container)
        transfers = begin(lab)
        expect(lab.hostA.export(lab.hostB) == (0, 2), "they were exported")
        expect("is not on the link" in lab.hostA.last_error(), lab.hostA.last_error())
        finish(transfers)
