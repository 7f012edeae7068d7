"""Connections of containers: their servers speak to the host's daemon by its socket, and have a network namespace and an address of their own."""
import hashlib

import observe
from lab import CONTAINER_ADDRESS as ADDRESS, PORT, expect, wait_until
from process import run
from transfer import Download, Upload, random_bytes

CONTENT = random_bytes(2 << 20)
HASH = hashlib.sha256(CONTENT).hexdigest()


class Container:
    """On hostA: nothing of sockmi's runs inside but what the application is linked with."""
    name = "c1"

    def __init__(self, lab, address=f"{ADDRESS}/24"):
        self.lab = lab
        lab.file("f", CONTENT)
        run(["ip", "netns", "add", self.name])
        run(["ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name])
        run(["ip", "link", "set", self.name, "master", "segment", "up"])
        self.run("ip", "-batch", "-", stdin=f"link set lo up\naddr add {address} dev eth0\nlink set eth0 up".encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run(["ip", "netns", "del", self.name])

    def run(self, *command, **options):
        return run(["nsenter", f"--net=/run/netns/{self.name}", "--", *map(str, command)], **options)

    def start_httpsd(self):
        certificate, key = self.lab.certificate()
        server = self.lab.hostA.popen("nsenter", f"--net=/run/netns/{self.name}", "--", self.lab.program("examples/httpsd"), "--listen", f"{ADDRESS}:{PORT}",
                                      "--root", self.lab.root, "--cert", certificate, "--key", key, "--service", "web", "--name", "c1", name="c1:httpsd")
        server.wait_line("httpsd ready")
        return server


def start(lab, container):
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host, steer={"linger_ms": 200, "freeze_timeout_ms": 1500})
    lab.start_httpsd(lab.hostB, listen=True)
    return container.start_httpsd()


def begin(lab):
    transfers = [Download(lab, "f", gate=200_000, to=ADDRESS), Upload(lab, CONTENT, gate=200_000, to=ADDRESS)]
    for transfer in transfers:
        transfer.wait_offset(200_000)
    return transfers


def finish(transfers):
    for transfer in transfers:
        transfer.allow(None)
    expect({transfer.finish() for transfer in transfers} == {HASH}, "a hash is wrong")


def test_a_container_exports(lab):
    with Container(lab) as container:
        start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        expect(len(observe.redirects(container)) == 2 and not observe.redirects(lab.hostA), "they are not redirected where they come in")
        finish(transfers)
        wait_until(lambda: not observe.leftovers(container), "the container's namespace is given up", timeout=20)


def test_they_come_home_into_the_container(lab):
    with Container(lab) as container:
        start(lab, container)
        transfers = begin(lab)
        for _ in range(2):
            lab.move(lab.hostA, lab.hostB, connections=2)
            lab.move(lab.hostB, lab.hostA, connections=2)
        expect(ADDRESS in container.run("ss", "-Htn"), "they are not in the container")
        expect(not observe.redirects(container), "a redirect is left")
        finish(transfers)


def test_a_container_imports(lab):
    """What arrives lives in the network of the host, whoever takes it: the application does not notice."""
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


def test_a_container_that_stops_leaves_its_connections_their_path(lab):
    with Container(lab) as container:
        server = start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        server.stop()
        run(["ip", "netns", "del", container.name])
        finish(transfers)
        run(["ip", "netns", "add", container.name])


def test_the_end_of_the_daemon_is_the_end_of_its_rules(lab):
    with Container(lab) as container:
        start(lab, container)
        transfers = begin(lab)
        lab.move(lab.hostA, lab.hostB, connections=2)
        lab.move(lab.hostB, lab.hostA, connections=2)
        expect(observe.leftovers(container), "no rules in the container")
        lab.hostA.daemon.stop()
        expect(not observe.leftovers(container), lambda: f"left behind: {observe.leftovers(container)}")
        finish(transfers)


def test_whom_the_container_can_not_reach_gets_nothing(lab):
    """hostB is not on the container's segment, as its address says: packets could not be sent there."""
    with Container(lab, f"{ADDRESS}/32") as container:
        container.run("ip", "route", "add", "10.77.0.0/24", "dev", "eth0")
        start(lab, container)
        transfers = begin(lab)
        expect(lab.hostA.export(lab.hostB) == (0, 2), "they were exported")
        expect("segment" in lab.hostA.last_error(), lab.hostA.last_error())
        finish(transfers)
