"""sockmi-proxy uses TLS to backends, which a client with TLS or one without it may have."""
import contextlib
import hashlib
import signal
import socket
import ssl

import pytest

from byte_services import Service, receive_all, receive_exactly
from cases import cases
from certificate import make_certificate
from process import expect, wait_until
from proxy import PORT, at, configure, start, through, through_tls
from tls_end import TlsEnd
from transfer import random_bytes

CONTENT = random_bytes(24 << 20)
NAME = "backend.example"
TERMINATE = {"tls": "terminate"}


class Certificates:
    """Certificates of the proxy's listener, of a backend, of the proxy as a client, and another
    one."""

    def __init__(self, folder):
        self._folder = folder
        self.front = self._make("front", "DNS:front.example")
        self.backend = self._make("backend", f"DNS:{NAME},IP:192.0.2.1")
        self.client = self._make("client", "DNS:proxy.example")
        self.other = self._make("other", f"DNS:{NAME}")

    def _make(self, name, names):
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        make_certificate(*files, names)
        return files

    @property
    def listener(self):
        chain, key = self.front
        return {"listener__in__certificate__front": {"chain": chain, "key": key}}

    def backend_keys(self, service, name=NAME, trusted=None, **keys):
        authority = (trusted or self.backend)[0]
        return {
            "address": at(service) if isinstance(service, Service) else service,
            "tls": True,
            "server_name": name,
            "authorities": authority,
            **keys,
        }


@pytest.fixture(name="certificates")
def made_certificates(lab):
    return Certificates(lab.hostA.folder)


def server_context(files, protocols=(), client=None, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if protocols:
        context.set_alpn_protocols(protocols)
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client[0])
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def client_context(certificates):
    return ssl.create_default_context(cafile=certificates.front[0])


def tls_service(lab, context, serve, port=9001):
    """`serve` gets a TlsEnd."""

    def serve_tls(connection):
        with TlsEnd(connection, context, server=True) as end:
            serve(end)

    return Service(lab.hostB, (lab.hostB.address, port), serve_tls)


def start_tls(lab, certificates, backends, listener=TERMINATE, **options):
    """`backends`: the keys of each, by name."""
    tables = {f"service__app__backend__{name}": keys for name, keys in backends.items()}
    if listener.get("tls") == "terminate":
        tables |= certificates.listener
    return start(lab, {}, listener=listener, **tables, **options)


def front(lab, certificates, protocols=(), client=None):
    return through_tls(lab, certificates.front[0], "front.example", protocols, client)


def echo(end):
    while data := end.receive():
        end.send(data)


def named(name):
    def serve(end):
        end.send(name)
        echo(end)

    return serve


class PlainEnd:
    """What a TlsEnd can do, without TLS."""

    def __init__(self, connection):
        self._socket = connection
        self.send, self.end_output = connection.sendall, lambda: connection.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def receive_exactly(self, size):
        return receive_exactly(self._socket, size)

    def receive_all(self):
        return receive_all(self._socket)


def open_client(lab, certificates, kind):
    plain = through(lab)
    if kind == "plain":
        return PlainEnd(plain)
    return TlsEnd(plain, client_context(certificates), "front.example")


LISTENER = {"plain": {}, "tls": TERMINATE}


@cases("plain", "tls")
def test_the_client_ends_first_and_gets_the_answer(lab, client, certificates):
    """Each end passes as a close_notify, behind all bytes."""

    def answer_after_the_end(end):
        data = end.receive_all()
        end.send(hashlib.sha256(data).digest() + data)
        end.end_output()

    context = server_context(certificates.backend)
    with tls_service(lab, context, answer_after_the_end) as backend:
        keys = certificates.backend_keys(backend)
        proxy = start_tls(lab, certificates, {"one": keys}, LISTENER[client])
        with open_client(lab, certificates, client) as end:
            end.send(CONTENT)
            end.end_output()
            answer = end.receive_all()
        line = proxy.wait_line("event=connection_closed")
    expect(answer == hashlib.sha256(CONTENT).digest() + CONTENT, f"{len(answer)} bytes differ")
    expect(f"received={len(CONTENT)} sent={len(CONTENT) + 32} " in line, line)
    expect('error=""' in line, line)


@cases("plain", "tls")
def test_a_backend_that_ends_first_still_receives(lab, client, certificates):
    received = []

    def end_first(end):
        end.send(b"bye")
        end.end_output()
        received.append(end.receive_all())

    with tls_service(lab, server_context(certificates.backend), end_first) as backend:
        keys = certificates.backend_keys(backend)
        proxy = start_tls(lab, certificates, {"one": keys}, LISTENER[client])
        with open_client(lab, certificates, client) as end:
            expect(end.receive_all() == b"bye", "the backend's end did not pass")
            end.send(CONTENT)
            end.end_output()
            line = proxy.wait_line("event=connection_closed")
        wait_until(lambda: received, "the backend has all")
    expect(received == [CONTENT], "the backend received something else")
    expect('error=""' in line, line)


@cases("end", "reset")
def test_a_broken_end_of_the_backend_is_no_close_notify(lab, kind, certificates):
    def serve(end):
        end.send(b"one")
        end.receive_exactly(1)

    with tls_service(lab, server_context(certificates.backend), serve) as backend:
        start_tls(lab, certificates, {"one": certificates.backend_keys(backend)})
        with front(lab, certificates, client=lab.hostC) as client:
            receive_exactly(client, 3)
            if kind == "reset":
                backend.die()
            else:
                client.sendall(b"x")  # its socket is closed without close_notify
            with pytest.raises((ConnectionResetError, ssl.SSLError)):
                receive_all(client)


@cases(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
def test_many_clients_each_get_their_own_bytes(lab, version, certificates):
    context = server_context(certificates.backend, version=version)
    with tls_service(lab, context, echo) as backend:
        start_tls(lab, certificates, {"one": certificates.backend_keys(backend)}, {})
        clients = [through(lab) for _ in range(100)]
        for i, client in enumerate(clients):
            client.sendall(b"%d|" % i * 10_000)
        for i, client in enumerate(clients):
            expected = b"%d|" % i * 10_000
            expect(receive_exactly(client, len(expected)) == expected, f"connection {i}")
            client.close()


@cases(
    ("other authority", "self-signed certificate"),
    ("other name", "hostname mismatch"),
    ("other address", "IP address mismatch"),
)
def test_a_backend_with_a_wrong_certificate_gets_no_client(lab, wrong, reason, certificates):
    received = []
    context = server_context(certificates.backend)
    with tls_service(lab, context, lambda end: received.append(end.receive())) as one:
        with tls_service(lab, context, named(b"two"), 9002) as two:
            keys = {
                "other authority": certificates.backend_keys(one, trusted=certificates.other),
                "other name": certificates.backend_keys(one, name="front.example"),
                "other address": certificates.backend_keys(one, name="192.0.2.2"),
            }[wrong]
            backends = {"one": keys, "two": certificates.backend_keys(two, name="192.0.2.1")}
            proxy = start_tls(lab, certificates, backends, {})
            with through(lab) as client:
                client.sendall(b"secret")
                expect(receive_exactly(client, 9) == b"twosecret", "the other backend")
            expect(reason in proxy.wait_line("event=backend_failed"), proxy.tail())
    expect(not received, received)


def test_a_client_whose_only_backend_fails_is_told_so(lab, certificates):
    """With a reset, or with an alert if its handshake has waited for the backend."""
    with tls_service(lab, server_context(certificates.backend), echo) as backend:
        keys = certificates.backend_keys(backend, trusted=certificates.other)
        proxy = start_tls(lab, certificates, {"one": keys})
        with front(lab, certificates, client=lab.hostC) as client:
            with pytest.raises((ConnectionResetError, ssl.SSLError)):
                receive_all(client)
        with pytest.raises(ssl.SSLError, match="(?i)internal.error"):
            front(lab, certificates, ["h2"])
        wait_until(
            lambda: sum("self-signed" in line for line in proxy.lines if "closed" in line) == 2,
            "both connections are logged with the reason",
        )


@cases(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
def test_the_proxy_shows_its_certificate_to_a_backend(lab, version, certificates):
    subjects = []

    def serve(end):
        subjects.append(end.tls.getpeercert()["subjectAltName"])
        end.send(b"one")
        echo(end)

    context = server_context(certificates.backend, client=certificates.client, version=version)
    with tls_service(lab, context, serve) as backend:
        chain, key = certificates.client
        keys = certificates.backend_keys(backend, chain=chain, key=key)
        proxy = start_tls(lab, certificates, {"one": keys}, {})
        with through(lab) as client:
            expect(receive_exactly(client, 3) == b"one", "the service")
        expect(subjects == [(("DNS", "proxy.example"),)], subjects)
        # Without the certificate it is not served.
        seen = len(proxy.lines)
        configure(lab, {}, service__app__backend__one=certificates.backend_keys(backend))
        proxy.signal(signal.SIGHUP)
        proxy.wait_line("event=configuration_reloaded")
        with contextlib.suppress(ConnectionResetError), through(lab, lab.hostC) as client:
            expect(receive_all(client) == b"", "something arrived")
        wait_until(lambda: any("alert" in line for line in proxy.lines[seen:]), "the reason")
        expect(len(subjects) == 1, subjects)


@cases(
    # what the client offers, the backend takes, the service takes; what both get
    (["http/1.1", "h2"], ["h2", "http/1.1"], [], "h2"),
    (["h2", "http/1.1"], ["http/1.1"], [], "http/1.1"),
    (["h2", "http/1.1"], ["h2", "http/1.1"], ["http/1.1"], "http/1.1"),
    (["x"], ["h2"], [], None),
    ([], ["h2"], [], None),
    (["h2"], [], ["h2"], None),
)
def test_the_client_gets_the_protocol_of_the_backend(
    lab, offered, taken, allowed, chosen, certificates
):
    seen = []

    def serve(end):
        seen.append(end.tls.selected_alpn_protocol())
        echo(end)

    context = server_context(certificates.backend, taken)
    with tls_service(lab, context, serve) as backend:
        keys = certificates.backend_keys(backend)
        service = {"alpn": allowed} if allowed else {}
        start_tls(lab, certificates, {"one": keys}, service=service)
        with front(lab, certificates, offered) as client:
            expect(client.selected_alpn_protocol() == chosen, client.selected_alpn_protocol())
            client.sendall(CONTENT[:1000])
            expect(receive_exactly(client, 1000) == CONTENT[:1000], "the bytes differ")
    expect(seen == [chosen], seen)


def test_a_protocol_that_the_backend_refuses_is_not_its_failure(lab, certificates):
    """A client could have all backends avoided otherwise."""
    server = lab.hostB.popen(
        *("openssl", "s_server", "-accept", "9001", "-alpn", "h2", "-rev"),
        *("-cert", certificates.backend[0], "-key", certificates.backend[1]),
    )
    server.wait_line("ACCEPT")
    keys = certificates.backend_keys(f"{lab.hostB.address}:9001")
    proxy = start_tls(lab, certificates, {"one": keys})
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        front(lab, certificates, ["smtp"])
    proxy.wait_line("event=connection_closed")
    with front(lab, certificates, ["smtp", "h2"]) as client:
        expect(client.selected_alpn_protocol() == "h2", client.selected_alpn_protocol())
        client.sendall(b"abc\n")
        expect(receive_exactly(client, 4) == b"cba\n", "the answer")
    expect(not proxy.says("event=backend_failed"), proxy.tail())


def test_clients_of_a_service_with_both_kinds_of_backends(lab, certificates):
    """The one without TLS gets what the service prefers."""

    def serve_plain(connection):
        with connection:
            connection.sendall(b"one")
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    address = (lab.hostB.address, 9002)
    with Service(lab.hostB, address, serve_plain) as one, tls_service(
        lab, server_context(certificates.backend, ["x"]), named(b"two")
    ) as two:
        backends = {"one": {"address": at(one)}, "two": certificates.backend_keys(two)}
        start_tls(lab, certificates, backends, service={"alpn": ["h2", "x"]})
        with front(lab, certificates, ["x", "h2"]) as first:
            expect(receive_exactly(first, 3) == b"one", "the first client's backend")
            expect(first.selected_alpn_protocol() == "h2", first.selected_alpn_protocol())
            with front(lab, certificates, ["x", "h2"]) as second:
                expect(receive_exactly(second, 3) == b"two", "the second client's backend")
                expect(second.selected_alpn_protocol() == "x", second.selected_alpn_protocol())


def test_a_backend_that_is_silent_in_the_handshake_is_given_up(lab, certificates):
    silent_end = []

    def be_silent(connection):
        with connection:
            silent_end.append(receive_all(connection))

    address = (lab.hostB.address, 9002)
    with Service(lab.hostB, address, be_silent) as silent, tls_service(
        lab, server_context(certificates.backend), named(b"two")
    ) as two:
        backends = {
            "one": certificates.backend_keys(silent),
            "two": certificates.backend_keys(two),
        }
        proxy = start_tls(lab, certificates, backends, service={"connect_ms": 300})
        with front(lab, certificates, ["h2"]) as client:
            expect(receive_exactly(client, 3) == b"two", "the other backend")
        expect("in time" in proxy.wait_line("event=backend_failed"), proxy.tail())
        wait_until(lambda: silent_end, "the connection to the silent one ends")


def test_a_client_that_stops_in_its_handshake_leaves_its_backend(lab, certificates):
    ends = []
    context = server_context(certificates.backend, ["h2"])
    with tls_service(lab, context, lambda end: ends.append(end.receive())) as backend:
        keys = certificates.backend_keys(backend)
        listener = {**TERMINATE, "handshake_ms": 500}
        proxy = start_tls(lab, certificates, {"one": keys}, listener)
        hello = ssl.MemoryBIO()
        client_side = client_context(certificates)
        client_side.set_alpn_protocols(["h2"])
        tls = client_side.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="front.example")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        with through(lab) as client:
            client.sendall(hello.read())
            expect("in time" in proxy.wait_line("event=connection_closed"), proxy.tail())
        expect(backend.accepted == 1, f"{backend.accepted} connections to the backend")


def test_the_backend_is_told_the_client_before_its_tls(lab, certificates):
    headers = []
    context = server_context(certificates.backend)

    def serve(connection):
        header = b""
        while not header.endswith(b"\r\n"):
            header += receive_exactly(connection, 1)
        headers.append(header)
        with TlsEnd(connection, context, server=True) as end:
            echo(end)

    with Service(lab.hostB, (lab.hostB.address, 9001), serve) as backend:
        keys = certificates.backend_keys(backend, proxy_protocol="v1")
        start_tls(lab, certificates, {"one": keys})
        with front(lab, certificates, ["h2"]) as client:
            client.sendall(b"x")
            expect(receive_exactly(client, 1) == b"x", "the echo")
            source = client.getsockname()
    expected = f"PROXY TCP4 {source[0]} {lab.hostA.address} {source[1]} {PORT}\r\n"
    expect(headers == [expected.encode()], headers)


def test_files_of_a_backend_that_cannot_be_used_are_refused(lab, certificates):
    keys = certificates.backend_keys(f"{lab.hostB.address}:9001", chain=certificates.client[0])
    for wrong, reason in (
        ({"key": certificates.other[1]}, "service.app.backend.one: cannot use key"),
        ({"key": certificates.client[1], "authorities": "/none"}, "cannot use authorities /none"),
        ({}, "service.app.backend.one.chain: needed together with key"),
    ):
        path = configure(lab, {}, service__app__backend__one={**keys, **wrong})
        status, output = lab.hostA.run(
            lab.program("src/proxy/sockmi-proxy"), "--check", "--config", path, check=False
        )
        expect(status == 2 and reason in output, output)
