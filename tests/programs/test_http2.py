"""HTTP/2 over TLS through proxies whose hosts are drained."""
import http2
from cases import cases, long
from lab import PORT
from process import expect
from real_programs import Circle, program
from transfer import random_bytes

DRAINS = 20
CONNECTIONS, STREAMS, PER_SECOND, REQUESTS = 5, 20, 200, 60_000
FILE = 10_000


@cases(http2.Download, http2.Upload)
def test_a_transfer_by_curl_continues_through_five_drains(lab, kind):
    http2.transfer_through_drains(lab, kind, 96 << 20, drains=5)


@long
def test_no_request_of_a_hundred_streams_fails_in_twenty_drains(lab):
    """The rate is limited, so that the requests last longer than the drains."""
    h2load, circle = program("h2load"), Circle(lab)
    lab.file("f", random_bytes(FILE))
    http2.start(lab)
    load = lab.client.popen(
        h2load,
        *("-c", CONNECTIONS, "-m", STREAMS, "-n", REQUESTS, "--rps", PER_SECOND),
        f"https://{lab.hostA.address}:{PORT}/f",
    )
    load.wait_line("Application protocol: h2")
    for _ in range(DRAINS):
        circle.drain(CONNECTIONS)
    expect(load.running(), "the requests have ended before the last drain")
    expect(load.wait(timeout=300) == 0, load.tail)
    expect(load.says(f"{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout"), load.tail)
    expect(load.says(f"status codes: {REQUESTS} 2xx"), load.tail)
