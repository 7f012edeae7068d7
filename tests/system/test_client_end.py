"""The client's end moves while the server's stays."""
import hashlib

from lab import PORT
from process import expect, wait_until
from transfer import random_bytes

CONTENT = random_bytes(32 << 20)


def begin(lab):
    """Begins a download from hostC to hostA that cannot end: the server is stopped, so
    only what its kernel still has to send can arrive."""
    lab.file("f", CONTENT)
    for host in lab.hosts:
        lab.start_daemon(host)
    server = lab.start_httpsd(lab.hostC, listen=True)
    fetch = lab.hostA.popen(
        lab.program("examples/fetch"),
        "--connect",
        f"{lab.hostC.address}:{PORT}",
        "--path",
        "/f",
        "--service",
        "dl",
    )
    server.wait_line("GET /f")
    server.pause()
    return server, fetch


def is_whole(fetch):
    line = fetch.wait_line("sha256")
    expect(line.split()[1:3] == [hashlib.sha256(CONTENT).hexdigest(), str(len(CONTENT))], line)


def test_a_download_continues_on_the_importer(lab):
    server, fetch = begin(lab)
    importer = lab.hostB.popen(lab.program("examples/fetch"), "--import", "--service", "dl")
    wait_until(lambda: lab.hostA.export(lab.hostB, "dl") == (1, 0), "it moves")
    fetch.wait_line("exported")
    server.resume()
    is_whole(importer)


def test_one_endpoint_is_delivered_once(lab):
    """Two importers wait and one endpoint arrives: the daemon delivers it once, and has
    nothing for a later request."""
    server, fetch = begin(lab)
    importers = [
        lab.hostB.popen(lab.program("examples/fetch"), "--import", "--service", "dl")
        for _ in range(2)
    ]
    for importer in importers:
        importer.wait_line("fetch ready")
    wait_until(lambda: lab.hostA.export(lab.hostB, "dl") == (1, 0), "it moves")
    expect(lab.hostA.export(lab.hostB, "dl") == (0, 0), "hostA has it still")
    server.resume()
    wait_until(
        lambda: any(importer.says("sha256") for importer in importers), "one has it", timeout=60
    )
    [loaded] = [importer for importer in importers if importer.says("sha256")]
    is_whole(loaded)
    [other] = [importer for importer in importers if importer is not loaded]
    third = lab.hostB.popen(lab.program("examples/fetch"), "--import", "--service", "dl")
    third.wait_line("fetch ready")
    lists = lab.hostB.api("/v1/status")["lists"]["connected"]
    expect(lists["used"] == 0, f"hostB has something left: {lists}")
    expect(other.running() and third.running(), "somebody imported what was imported already")


def test_a_connection_does_not_move_to_its_peers_host(lab):
    """Packets between two addresses of one host never reach the wire, where they could be
    redirected: the peer's host refuses."""
    server, fetch = begin(lab)
    lab.hostC.popen(lab.program("examples/fetch"), "--import", "--service", "dl")
    wait_until(lambda: lab.hostA.export(lab.hostC, "dl") == (0, 1), "it does not move")
    server.resume()
    is_whole(fetch)
