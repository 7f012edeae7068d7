"""sockmi-proxy without descriptors."""
import pytest

from byte_services import Service, named, receive_all, receive_exactly
from process import expect
from proxy import at, configure, through

BUILD = "release"  # a sanitizer that cannot open a pipe takes valid memory for invalid


def test_a_lack_of_descriptors_delays_clients_and_blames_no_backend(lab):
    """The clients use up all descriptors before they say for whom they are, so that there is none
    for the backend's connection."""
    header = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"
    with Service(lab.hostB, (lab.hostB.address, 9001), named(b"one")) as backend:
        path = configure(lab, {"one": at(backend)}, listener={"proxy_protocol": True})
        proxy = lab.hostA.popen(
            *("prlimit", "--nofile=60:60", lab.program("src/proxy/sockmi-proxy")),
            *("--config", path),
        )
        proxy.wait_line("sockmi-proxy ready")
        clients = [through(lab, lab.hostC) for _ in range(60)]
        proxy.wait_line("event=proxy_accept_failed")
        clients[0].sendall(header)
        with pytest.raises(ConnectionResetError):
            receive_all(clients[0])
        expect("Too many open files" in proxy.wait_line("event=connection_closed"), proxy.tail())
        # The places of those that go are for those that have waited.
        for client in clients[:40]:
            client.close()
        clients[-1].sendall(header)
        expect(receive_exactly(clients[-1], 3) == b"one", "one that has waited")
        for client in clients[40:]:
            client.close()
        expect(not proxy.says("event=backend_failed"), proxy.tail())
