"""Several applications wait for the same service: an endpoint that arrives goes to one of
them, and the others continue to sleep."""
import os

from process import expect, wait_until
from socket_app import CONNECTED, SERVICE, Connection, Socket, SocketApp, begin_export, start

POLL = {7, 73, 271}  # poll(2) and ppoll(2), as x86-64 and aarch64 number them


class Importer:
    def __init__(self, host):
        self.app = SocketApp(host, SERVICE)
        self.folder = f"/proc/{self.app.process.pid}"
        before = len(os.listdir(f"{self.folder}/fd"))
        self.answer = self.app.begin("import", CONNECTED, SERVICE, 60_000)
        wait_until(
            lambda: len(os.listdir(f"{self.folder}/fd")) == before + 1 and self.sleeps(),
            "it waits for the daemon",
        )

    def sleeps(self):
        with open(f"{self.folder}/syscall", encoding="ascii") as syscall:
            return syscall.read().split()[0] in map(str, POLL)

    def wakings(self):
        with open(f"{self.folder}/status", encoding="ascii") as status:
            return next(
                int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt")
            )

    def has_one(self):
        return any(line.startswith("reply 0 ") for line in list(self.app.process.lines))


def test_each_endpoint_wakes_one_waiting_application(lab):
    start(lab)
    importers = [Importer(lab.hostB) for _ in range(4)]
    for port in (8443, 8444):
        slept = {importer: importer.wakings() for importer in importers}
        connection = Connection(lab, port=port)
        connection.both_ways()
        begin_export(connection.ours, lab.hostB)()
        wait_until(
            lambda: any(importer.has_one() for importer in importers), "one has it", timeout=30
        )
        lab.hostB.api("/v1/status")
        (winner,) = [importer for importer in importers if importer.has_one()]
        importers.remove(winner)
        expect(
            not (
                woken := [
                    importer for importer in importers if importer.wakings() != slept[importer]
                ]
            ),
            lambda: f"{len(woken)} others were woken",
        )
        connection.ours = Socket(winner.app, winner.answer()["fd"])
        connection.both_ways()
        connection.end()
