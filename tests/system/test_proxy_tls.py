"""sockmi-proxy terminates TLS, or passes it through to the backend for the server that the client
asks for."""
import contextlib
import hashlib
import signal
import socket
import ssl

import pytest

from byte_services import Service, echo, named, receive_all, receive_exactly
from lab import ADDRESSES
from process import expect, run, wait_until
from proxy import PORT, at, configure, start, through, through_tls
from transfer import random_bytes

CONTENT = random_bytes(3 << 20)


def make_certificate(folder, name, *server_names):
    """Makes a certificate of its own authority. Returns the files of chain and key."""
    chain, key = folder / f"{name}.crt", folder / f"{name}.key"
    names = ",".join(f"DNS:{each}" for each in server_names)
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    run(
        [
            *command.split(),
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName={names}",
            "-keyout",
            str(key),
            "-out",
            str(chain),
        ]
    )
    return chain, key


@pytest.fixture(name="certificates")
def three_certificates(lab):
    """Returns the listener's tables of certificates, and a file with all three."""
    folder = lab.hostA.folder
    made = {
        "a": make_certificate(folder, "a", "a.example"),
        "b": make_certificate(folder, "b", "b.example", "*.c.example"),
        "default": make_certificate(folder, "default", "other.example"),
    }
    tables = {
        f"listener__in__certificate__{name}": {"chain": chain, "key": key}
        for name, (chain, key) in made.items()
    }
    authority = folder / "authority"
    authority.write_bytes(b"".join(chain.read_bytes() for chain, _ in made.values()))
    return tables, authority


def subject(connection):
    return connection.getpeercert()["subject"][0][0][1]


def on_b(lab, serve, port=9001):
    return Service(lab.hostB, (lab.hostB.address, port), serve)


TERMINATE = {"tls": "terminate"}


def test_bytes_pass_through_tls_whole(lab, certificates):
    tables, authority = certificates
    with on_b(lab, echo) as backend:
        proxy = start(lab, {"one": at(backend)}, listener=TERMINATE, **tables)
        with through_tls(lab, authority, "a.example") as client:
            received = hashlib.sha256()
            for begin in range(0, len(CONTENT), 1 << 16):
                part = CONTENT[begin : begin + (1 << 16)]
                client.sendall(part)
                received.update(receive_exactly(client, len(part)))
            client.unwrap().close()  # needs the close_notify of the proxy
        line = proxy.wait_line("event=connection_closed")
    expect(received.digest() == hashlib.sha256(CONTENT).digest(), "the bytes differ")
    expect(f"received={len(CONTENT)} " in line and 'error=""' in line, line)


def test_curl_downloads_by_each_tls_version(lab, certificates):
    tables, authority = certificates

    def answer(connection):
        with connection:
            while not receive_exactly(connection, 1) == b"\n" or not connection.recv(2) == b"\r\n":
                pass
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
            connection.sendall(head.encode() + CONTENT)

    with on_b(lab, answer) as backend:
        start(lab, {"one": at(backend)}, listener=TERMINATE, **tables)
        for version in ("1.2", "1.3"):
            out = lab.folder / "download"
            lab.client.run(
                *("curl", "-sS", "--tlsv1.2", "--tls-max", version, "--cacert", authority),
                *("--resolve", f"a.example:{PORT}:{ADDRESSES['hostA']}", "-o", out),
                f"https://a.example:{PORT}/",
            )
            expect(out.read_bytes() == CONTENT, f"TLS {version}: the download differs")


def test_the_end_of_the_backend_is_a_close_notify(lab, certificates):
    tables, authority = certificates

    def answer(connection):
        with connection:
            connection.sendall(CONTENT)

    with on_b(lab, answer) as backend:
        start(lab, {"one": at(backend)}, listener=TERMINATE, **tables)
        with through_tls(lab, authority, "a.example") as client:
            expect(receive_all(client) == CONTENT, "the bytes differ")


def test_a_reset_of_the_backend_is_no_close_notify(lab, certificates):
    tables, authority = certificates
    with on_b(lab, named(b"one")) as backend:
        start(lab, {"one": at(backend)}, listener=TERMINATE, **tables)
        with through_tls(lab, authority, "a.example", client=lab.hostC) as client:
            receive_exactly(client, 3)
            backend.die()
            with pytest.raises((ConnectionResetError, ssl.SSLError)):
                receive_all(client)


def test_the_server_name_selects_the_certificate(lab, certificates):
    tables, authority = certificates
    with on_b(lab, echo) as backend:
        start(lab, {"one": at(backend)}, listener=TERMINATE, **tables)
        for name, expected in (
            ("a.example", "a"),
            ("b.example", "b"),
            ("x.c.example", "b"),
            (None, "default"),
        ):
            with through_tls(lab, authority, name) as client:
                expect(subject(client) == expected, f"{name}: {subject(client)}")


def test_a_server_name_selects_the_service(lab, certificates):
    tables, authority = certificates
    with on_b(lab, named(b"one"), 9001) as one, on_b(lab, named(b"two"), 9002) as two:
        start(
            lab,
            {"one": at(one)},
            listener=TERMINATE,
            **tables,
            listener__in__route__other={"names": ["*.c.example"], "service": "other"},
            service__other__backend__two={"address": at(two)},
        )
        for name, expected in (("a.example", b"one"), ("x.c.example", b"two")):
            with through_tls(lab, authority, name) as client:
                expect(receive_exactly(client, 3) == expected, name)


def test_the_protocol_is_one_that_the_backend_takes(lab, certificates):
    tables, authority = certificates
    with on_b(lab, echo) as backend:
        start(
            lab,
            {"one": at(backend)},
            listener=TERMINATE,
            service={"alpn": ["h2", "http/1.1"]},
            **tables,
        )
        for offered, chosen in (
            (["http/1.1", "h2"], "h2"),
            (["x", "http/1.1"], "http/1.1"),
            ([], None),
        ):
            with through_tls(lab, authority, "a.example", offered) as client:
                expect(client.selected_alpn_protocol() == chosen, f"{offered}")
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            through_tls(lab, authority, "a.example", ["smtp"])


def test_new_certificates_are_for_new_connections(lab, certificates):
    """Also in the middle of an upload."""
    tables, authority = certificates
    with on_b(lab, echo) as backend:
        proxy = start(lab, {"one": at(backend)}, listener=TERMINATE, **tables)
        with through_tls(lab, authority, "a.example") as before:
            before.sendall(CONTENT[:1000])
            chain, _ = make_certificate(lab.hostA.folder, "a", "a.example", "new.example")
            proxy.signal(signal.SIGHUP)
            proxy.wait_line("event=configuration_reloaded")
            with through_tls(lab, chain, "new.example") as after:
                after.sendall(b"new")
                expect(receive_exactly(after, 3) == b"new", "the new connection")
            before.sendall(CONTENT[1000:2000])
            expect(receive_exactly(before, 2000) == CONTENT[:2000], "the old connection")


def test_a_key_that_does_not_fit_is_refused(lab, certificates):
    tables, authority = certificates
    with on_b(lab, echo) as backend:
        proxy = start(lab, {"one": at(backend)}, listener=TERMINATE, **tables)
        tables["listener__in__certificate__a"]["key"] = lab.hostA.folder / "b.key"
        path = configure(lab, {"one": at(backend)}, listener=TERMINATE, **tables)
        status, output = lab.hostA.run(
            lab.program("src/proxy/sockmi-proxy"), "--check", "--config", path, check=False
        )
        expect(status == 2 and "listener.in: cannot use key" in output, output)
        proxy.signal(signal.SIGHUP)
        proxy.wait_line("event=configuration_refused")
        with through_tls(lab, authority, "a.example") as client:
            expect(subject(client) == "a", subject(client))


def test_clients_that_say_nothing_or_garbage_end_soon(lab, certificates):
    tables, _ = certificates
    with on_b(lab, echo) as backend:
        proxy = start(
            lab, {"one": at(backend)}, listener={**TERMINATE, "handshake_ms": 300}, **tables
        )
        with through(lab) as silent:
            expect(receive_all(silent) == b"", "something arrived")
        expect("in time" in proxy.wait_line("event=connection_closed"), proxy.tail())
        with through(lab, lab.hostC) as garbage:
            garbage.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                receive_all(garbage)  # perhaps an alert
        wait_until(lambda: proxy.says("TLS handshake failed"), "the handshake fails")
        expect(backend.accepted == 0, f"{backend.accepted} connections to the backend")


def test_tls_passes_through_to_the_server_that_the_client_asks_for(lab):
    folder = lab.hostB.folder
    chain, key = make_certificate(folder, "two", "two.example")

    def serve(connection):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.sendall(receive_exactly(tls, 1000))
            receive_all(tls)

    with on_b(lab, named(b"one"), 9001) as one, on_b(lab, serve, 9002) as two:
        proxy = start(
            lab,
            {"one": at(one)},
            listener={"tls": "pass", "handshake_ms": 500},
            listener__in__route__two={"names": ["two.example"], "service": "two"},
            service__two__backend__two={"address": at(two)},
        )
        with through_tls(lab, chain, "two.example") as client:
            client.sendall(CONTENT[:1000])
            expect(receive_exactly(client, 1000) == CONTENT[:1000], "the bytes differ")
        with through(lab) as silent:
            expect(receive_all(silent) == b"", "something arrived")
        with through(lab, lab.hostC) as garbage:
            garbage.sendall(b"GET / HTTP/1.1\r\n\r\n")
            garbage.shutdown(socket.SHUT_WR)
            receive_all(garbage)
        proxy.wait_line("this is not TLS")
        expect(one.accepted == 0, "the other backend was used")
