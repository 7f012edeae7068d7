"""The client's end moves while the server's stays."""
import hashlib

from cases import cases
from lab import PORT
from process import expect
from transfer import random_bytes

CONTENT = random_bytes(32 << 20)


@cases("hostB", "hostC")
def test_a_download_goes_on_elsewhere(lab, target):
    """hostC serves, and takes the client's end itself in the second case: then both ends live on one host."""
    lab.file("f", CONTENT)
    for host in lab.hosts:
        lab.start_daemon(host)
    server = lab.start_httpsd(lab.hostC, listen=True)
    target = getattr(lab, target)
    importer = target.popen(lab.program("examples/fetch"), "--import", "--service", "dl")
    # The server's send buffer is all that can come while it is stopped: the download is not over before the move.
    exporter = lab.hostA.popen(lab.program("examples/fetch"), "--connect", f"{lab.hostC.address}:{PORT}", "--path", "/f", "--service", "dl")
    server.wait_line("GET /f")
    server.pause()
    lab.move(lab.hostA, target, service="dl")
    exporter.wait_line("exported")
    server.resume()
    line = importer.wait_line("sha256")
    expect(line.split()[1:3] == [hashlib.sha256(CONTENT).hexdigest(), str(len(CONTENT))], line)
