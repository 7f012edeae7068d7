"""`sockmictl drain` empties a host of sockmi-proxy, whose clients and backends know nothing of
sockmi."""
import hashlib

import unchanged_server
from byte_services import receive_exactly
from process import expect
from proxy import through
from proxy_moves import PART, backend_for, start_host
from test_drain import drain_to_end, moved
from transfer import Download, random_bytes

RELAYS = 30
SIZE = 24 << 20


def test_all_relays_of_a_drained_host_continue_elsewhere(lab):
    with backend_for(lab) as backend:
        for host in lab.hosts:
            start_host(lab, host, backend)
        clients = [through(lab) for _ in range(RELAYS)]
        for client in clients:
            client.sendall(PART)
        drain_to_end(lab.hostA)
        counts = moved(lab.hostA)
        expect(sum(counts.values()) == 2 * RELAYS and len(counts) == 2, counts)
        for client in clients:
            expect(receive_exactly(client, len(PART)) == PART, "the echo is another")
            client.close()
    expect(backend.accepted == RELAYS, f"{backend.accepted} connections")


def test_curl_downloads_from_an_unchanged_server_through_three_drains(lab):
    content = random_bytes(SIZE)
    lab.file("f", content)
    unchanged_server.start_server(lab)
    for host in lab.hosts:
        unchanged_server.start_host(lab, host)
    transfer = Download(lab, "f", gate=1)
    hosts = [*lab.hosts, lab.hostA]
    for number, (source, target) in enumerate(zip(hosts, hosts[1:]), 1):
        transfer.allow(number * SIZE // 4)
        transfer.wait_offset(number * SIZE // 4)
        drain_to_end(source, "--to", target.name)
        expect(moved(source) == {target.name: 2}, moved(source))
        source.run(lab.sockmictl, "undrain")
    transfer.allow(None)
    expect(transfer.finish() == hashlib.sha256(content).hexdigest(), "the bytes differ")
