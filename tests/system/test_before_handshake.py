"""A connection moves before its TLS handshake, or in the middle of the ClientHello."""
from cases import cases
from lab import PORT
from process import expect, wait_until
from tls_client import TlsClient


@cases(*[(tls, sent) for tls in ("1.2", "1.3") for sent in ("nothing", "half")])
def test_the_handshake_is_done_on_the_importer(lab, tls, sent):
    lab.file("g", b"hello\n")
    lab.start_all(lab.hostA, lab.hostB)
    client = TlsClient(lab, (lab.hostA.address, PORT), tls)
    hello = client.hello()
    cut = len(hello) // 2 if sent == "half" else 0
    client.send_raw(hello[:cut])
    # The server does not report a connection before its first request, so it is asked
    # until it has accepted this one.
    wait_until(lambda: lab.hostA.export(lab.hostB) == (1, 0), "the connection moves")
    client.send_raw(hello[cut:])
    client.handshake()
    client.send(client.request("GET", "/g"))
    expect(client.response() == b"hello\n", "the answer is wrong")
    client.close()
