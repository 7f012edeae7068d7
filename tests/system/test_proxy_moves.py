"""Relays of sockmi-proxy move from host to host, both connections together. Client and backend
notice nothing."""
import contextlib
import hashlib
import socket
import threading

from byte_services import (
    TIMEOUT,
    answer_after_the_end,
    receive_all,
    receive_exactly,
)
from process import expect, wait_until
from proxy import through
from proxy_moves import (
    CONTENT,
    PART,
    SERVICE,
    Held,
    backend_for,
    blocked,
    echoes,
    in_background,
    move,
    start_host,
)


def test_a_relay_moves_with_bytes_on_their_way(lab):
    hosts = [lab.hostA, lab.hostB, lab.hostC, lab.hostA]
    with backend_for(lab) as backend:
        for host in lab.hosts:
            start_host(lab, host, backend)
        with through(lab) as client:
            for source, target in zip(hosts, hosts[1:]):
                client.sendall(PART)
                move(lab, source, target)
                expect(receive_exactly(client, len(PART)) == PART, "the echo is another")
    expect(backend.accepted == 1, f"{backend.accepted} connections")


def send_and_end(connection):
    connection.sendall(CONTENT)
    connection.shutdown(socket.SHUT_WR)


def test_a_relay_moves_during_an_upload_and_a_download(lab):
    hosts = [lab.hostA, lab.hostB, lab.hostC] * 2
    with backend_for(lab) as backend:
        for host in lab.hosts:
            start_host(lab, host, backend)
        with through(lab) as client:
            sender = in_background(client.sendall, CONTENT)
            received = hashlib.sha256()
            for source, target in zip(hosts, hosts[1:]):
                received.update(receive_exactly(client, len(CONTENT) // len(hosts)))
                move(lab, source, target)
            sender.join(TIMEOUT)
            client.shutdown(socket.SHUT_WR)
            received.update(receive_all(client))
    expect(received.digest() == hashlib.sha256(CONTENT).digest(), "the bytes differ")


def test_a_relay_with_full_buffers_both_ways_moves(lab):
    held = Held()
    with backend_for(lab, held) as backend:
        for host in lab.hosts:
            start_host(lab, host, backend)
        with through(lab) as client, held.connection() as server:
            ends = [client, server]
            senders = [in_background(send_and_end, each) for each in ends]
            for each in ends:
                wait_until(blocked(each), "its writer is blocked")
            hashes = [hashlib.sha256(), hashlib.sha256()]
            for source, target in ((lab.hostA, lab.hostB), (lab.hostB, lab.hostC)):
                move(lab, source, target)
                for each, digest in zip(ends, hashes):
                    digest.update(receive_exactly(each, 300_000))
            readers = [
                in_background(lambda e=each, d=digest: d.update(receive_all(e)))
                for each, digest in zip(ends, hashes)
            ]
            for thread in (*senders, *readers):
                thread.join(TIMEOUT)
                expect(not thread.is_alive(), "a direction has not ended")
    for digest in hashes:
        expect(digest.digest() == hashlib.sha256(CONTENT).digest(), "the bytes differ")


def test_a_half_closed_relay_moves(lab):
    """The client ends its output before the first move; the answer comes after the last one."""
    answer = threading.Event()

    def serve(connection):
        data = connection.recv(1)
        answer.wait(TIMEOUT)
        with connection:
            data += receive_all(connection)
            connection.sendall(hashlib.sha256(data).digest() + data)

    with backend_for(lab, serve) as backend:
        for host in (lab.hostA, lab.hostB):
            start_host(lab, host, backend)
        with through(lab) as client:
            client.sendall(PART)
            client.shutdown(socket.SHUT_WR)
            for source, target in ((lab.hostA, lab.hostB), (lab.hostB, lab.hostA)):
                move(lab, source, target)
            answer.set()
            expect(receive_all(client) == hashlib.sha256(PART).digest() + PART, "another answer")


def test_a_relay_whose_backend_has_ended_moves(lab):
    held = Held()
    with backend_for(lab, held) as backend:
        for host in (lab.hostA, lab.hostB):
            start_host(lab, host, backend)
        with through(lab) as client, held.connection() as server:
            server.sendall(b"bye")
            server.shutdown(socket.SHUT_WR)
            expect(receive_all(client) == b"bye", "the end did not pass")
            move(lab, lab.hostA, lab.hostB)
            client.sendall(PART)
            client.shutdown(socket.SHUT_WR)
            expect(receive_all(server) == PART, "the bytes differ")


def test_a_hundred_relays_move_together(lab):
    with backend_for(lab) as backend:
        for host in (lab.hostA, lab.hostB):
            start_host(lab, host, backend)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(through(lab)) for _ in range(100)]
            for number, client in enumerate(clients):
                echoes(client, b"%d" % number)
                client.sendall(b"%d on its way" % number)
            for source, target in ((lab.hostA, lab.hostB), (lab.hostB, lab.hostA)):
                move(lab, source, target, relays=100)
            for number, client in enumerate(clients):
                expected = b"%d on its way" % number
                expect(receive_exactly(client, len(expected)) == expected, number)
                echoes(client, b"%d again" % number)


def test_an_order_moves_the_relays_that_it_names(lab):
    with backend_for(lab) as backend:
        for host in (lab.hostA, lab.hostB):
            start_host(lab, host, backend)
        with through(lab) as one, through(lab) as other:
            echoes(one)
            echoes(other)
            move(lab, lab.hostA, lab.hostB, peer="%s:%d" % one.getsockname())
            expect(lab.hostB.export(lab.hostA, SERVICE, peer="10.9.9.9") == (0, 0), "it moved")
            echoes(one)
            echoes(other)
            move(lab, lab.hostA, lab.hostB)
            move(lab, lab.hostB, lab.hostA, relays=2)
            echoes(one)
            echoes(other)


def test_the_clients_address_and_the_counters_move(lab):
    with backend_for(lab) as backend:
        for host in (lab.hostA, lab.hostB):
            proxy = start_host(lab, host, backend, listener={"proxy_protocol": True})
        with through(lab) as client:
            client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n")
            echoes(client)
            move(lab, lab.hostA, lab.hostB)
            echoes(client, b"more")
        line = proxy.wait_line("event=connection_closed")
    count = len(PART) + 4
    expect(f"client=192.0.2.7:4711 received={count} sent={count} " in line, line)


def test_the_remaining_idle_time_moves(lab):
    """Each host would wait for an hour, but the relay came with a second."""
    with backend_for(lab, host=lab.hostC) as backend:
        start_host(lab, lab.hostA, backend, service={"idle_ms": 1500})
        proxy = start_host(lab, lab.hostB, backend, service={"idle_ms": 3_600_000})
        with through(lab, lab.hostC) as client:
            echoes(client)
            move(lab, lab.hostA, lab.hostB)
            line = proxy.wait_line("event=connection_closed", timeout=10)
    expect('error="idle for too long"' in line, line)


def test_a_relay_whose_backend_has_done_all_moves(lab):
    """The backend's connection has ended in both directions; the client reads slowly."""
    with backend_for(lab, answer_after_the_end) as backend:
        proxy = start_host(lab, lab.hostA, backend)
        start_host(lab, lab.hostB, backend)
        content = CONTENT[: 4 << 20]
        answer = hashlib.sha256(content).digest() + content
        with through(lab) as client:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
            received = b""

            def read_until_it_moves():
                nonlocal received
                if lab.hostA.export(lab.hostB, SERVICE) == (2, 0):
                    return True
                received += receive_exactly(client, min(1 << 16, len(answer) - len(received)))
                return False

            wait_until(read_until_it_moves, "the proxy has read all of the backend")
            expect(len(received) < len(answer), "it moved after the end")
            received += receive_all(client)
    expect(received == answer, "the bytes differ")
    expect(not proxy.says("event=connection_closed"), "it ended at hostA")
