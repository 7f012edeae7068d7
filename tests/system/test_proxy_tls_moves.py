"""Relays of sockmi-proxy move with TLS to the client, to the backend, or to both."""
import contextlib
import hashlib
import socket
import ssl
import threading

from byte_services import TIMEOUT, Service, echo, receive_exactly
from cases import cases
from process import expect, wait_until
from proxy import at, start, through, through_tls
from proxy_moves import (
    CONTENT,
    PART,
    POLICY,
    SERVICE,
    Held,
    backend_for,
    blocked,
    in_background,
    move,
    start_tls,
)
from test_proxy_tls_backends import Certificates, PlainEnd, client_context, server_context
from tls_end import TlsEnd

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def exchange_while_it_moves(lab, client):
    """Sends content, with a part of it always on its way, and checks the echo. (An SSLSocket of
    Python must not be used by two threads.)"""
    received, size = hashlib.sha256(), 100_000
    source, target = lab.hostA, lab.hostB
    for number in range(96):
        client.sendall(CONTENT[number * size : (number + 1) * size])
        if number % 16 == 15:
            move(lab, source, target)
            source, target = target, source
        if number > 0:
            received.update(receive_exactly(client, size))
    received.update(receive_exactly(client, size))
    expect(received.digest() == hashlib.sha256(CONTENT[: 96 * size]).digest(), "the bytes differ")


@cases("1.2", "1.3")
def test_a_relay_with_a_tls_client_moves(lab, version):
    tls = VERSIONS[version]
    with backend_for(lab) as backend:
        authority = start_tls(lab, backend, service={"alpn": ["h2", "http/1.1"]})
        with through_tls(lab, authority, "a.example", ["http/1.1"], version=tls) as client:
            expect(client.selected_alpn_protocol() == "http/1.1", "another protocol")
            exchange_while_it_moves(lab, client)
            client.unwrap().close()  # needs the close_notify of the proxy


def test_a_tls_client_without_room_moves(lab):
    """A record is half written when the relay moves."""
    held = Held()
    with backend_for(lab, held) as backend:
        authority = start_tls(lab, backend)
        with through_tls(lab, authority, "a.example") as client, held.connection() as server:
            sender = in_background(server.sendall, CONTENT)
            wait_until(blocked(server), "its writer is blocked")
            received = hashlib.sha256()
            for source, target in ((lab.hostA, lab.hostB), (lab.hostB, lab.hostA)):
                move(lab, source, target)
                received.update(receive_exactly(client, 300_000))
            received.update(receive_exactly(client, len(CONTENT) - 600_000))
            sender.join(TIMEOUT)
            server.shutdown(socket.SHUT_WR)
            client.unwrap().close()
    expect(received.digest() == hashlib.sha256(CONTENT).digest(), "the bytes differ")


# --- TLS to the backend ---


def tls_backend(lab, context, serve, port=9001):
    def serve_tls(connection):
        with TlsEnd(connection, context, server=True) as end:
            serve(end)

    return Service(lab.client, (lab.client.address, port), serve_tls)


def start_hosts(lab, certificates, backends, tls):
    """`tls`: whether the client's TLS ends at the proxy."""
    tables = {f"service__app__backend__{name}": keys for name, keys in backends.items()}
    tables |= certificates.listener if tls else {}
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host, **POLICY)
        proxy = start(
            lab,
            {},
            host=host,
            moves={"enabled": True},
            listener={"tls": "terminate"} if tls else {},
            **tables,
        )
        proxy.wait_line(f"event=moves_available service={SERVICE}")


def echo_tls(end):
    while data := end.receive():
        end.send(data)
    end.end_output()


@cases("1.2", "1.3")
def test_a_relay_with_tls_on_both_sides_moves(lab, version):
    certificates = Certificates(lab.folder)
    context = server_context(certificates.backend, ["http/1.1"], version=VERSIONS[version])
    with tls_backend(lab, context, echo_tls) as backend:
        start_hosts(lab, certificates, {"one": certificates.backend_keys(backend)}, tls=True)
        with through_tls(
            lab,
            certificates.front[0],
            "front.example",
            ["h2", "http/1.1"],
            version=VERSIONS[version],
        ) as client:
            expect(client.selected_alpn_protocol() == "http/1.1", "another protocol")
            exchange_while_it_moves(lab, client)
            client.unwrap().close()


@cases("plain", "tls")
def test_a_relay_moves_after_the_client_has_ended_its_output(lab, client):
    """The answer comes after the last move."""
    certificates, answer = Certificates(lab.folder), threading.Event()

    def serve(end):
        data = end.receive_exactly(1)
        answer.wait(TIMEOUT)
        data += end.receive_all()
        end.send(hashlib.sha256(data).digest() + data)
        end.end_output()

    with tls_backend(lab, server_context(certificates.backend), serve) as backend:
        keys = certificates.backend_keys(backend)
        start_hosts(lab, certificates, {"one": keys}, tls=client == "tls")
        plain = through(lab)
        with contextlib.ExitStack() as stack:
            end = stack.enter_context(
                TlsEnd(plain, client_context(certificates), "front.example")
                if client == "tls"
                else PlainEnd(plain)
            )
            end.send(PART)
            end.end_output()
            for source, target in ((lab.hostA, lab.hostB), (lab.hostB, lab.hostA)):
                move(lab, source, target)
            answer.set()
            expect(end.receive_all() == hashlib.sha256(PART).digest() + PART, "another answer")


def test_relays_to_both_kinds_of_backends_move_together(lab):
    certificates = Certificates(lab.folder)
    with tls_backend(lab, server_context(certificates.backend), echo_tls, 9002) as two:
        with backend_for(lab, echo) as one:
            backends = {"one": {"address": at(one)}, "two": certificates.backend_keys(two)}
            start_hosts(lab, certificates, backends, tls=True)
            with contextlib.ExitStack() as stack:
                clients = [
                    stack.enter_context(through_tls(lab, certificates.front[0], "front.example"))
                    for _ in range(10)
                ]
                for client in clients:
                    client.sendall(PART)
                for source, target in ((lab.hostA, lab.hostB), (lab.hostB, lab.hostA)):
                    move(lab, source, target, relays=10)
                for client in clients:
                    expect(receive_exactly(client, len(PART)) == PART, "the echo is another")
                    client.unwrap().close()
            expect((one.accepted, two.accepted) == (5, 5), "the backends")
