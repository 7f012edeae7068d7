"""HTTP/2 over TLS through proxies whose hosts are drained."""
import http2
from cases import cases, long
from process import expect
from real_programs import Circle
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
    circle = Circle(lab)
    lab.file("f", random_bytes(FILE))
    http2.start(lab)
    load = http2.Load(lab, CONNECTIONS, REQUESTS, "-m", STREAMS, "--rps", PER_SECOND)
    for _ in range(DRAINS):
        circle.drain(CONNECTIONS)
    expect(load.running(), "the requests have ended before the last drain")
    load.finish()
