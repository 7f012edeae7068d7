"""sockmi-proxy relays bytes between clients and backends. The clients are on the host `client`, or
on hostC if they are to see a reset, the proxy is on hostA, the backends are on hostB."""
import contextlib
import hashlib
import re
import signal
import socket

import pytest

from byte_services import (
    TIMEOUT,
    Service,
    answer_after_the_end,
    connect,
    echo,
    named,
    receive_all,
    receive_exactly,
)
from cases import cases
from process import expect, wait_until
from proxy import PORT, ask, at, configure, start, through
from transfer import random_bytes

CONTENT = random_bytes(6 << 20)


def on_b(lab, serve, port=9001):
    return Service(lab.hostB, (lab.hostB.address, port), serve)


@cases("tcp4", "tcp6", "unix")
def test_both_directions_pass_whole_with_a_half_close(lab, kind):
    """The client ends its input first, and gets the answer afterwards, which has a hash of what
    arrived."""
    address = {
        "tcp4": (lab.hostB.address, 9001),
        "tcp6": (lab.hostB.address6, 9001),
        "unix": str(lab.hostA.folder / "backend"),
    }[kind]
    front = (lab.hostA.address6 if kind == "tcp6" else lab.hostA.address, PORT)
    listen = f"[{front[0]}]:{PORT}" if kind == "tcp6" else f"{front[0]}:{PORT}"
    host = lab.hostA if kind == "unix" else lab.hostB
    with Service(host, address, answer_after_the_end) as backend:
        start(lab, {"one": at(backend)}, listen=[listen])
        with connect(lab.client, front) as client:
            client.sendall(CONTENT)
            client.shutdown(socket.SHUT_WR)
            answer = receive_all(client)
    expect(answer == hashlib.sha256(CONTENT).digest() + CONTENT, f"{len(answer)} bytes differ")


def test_a_backend_that_ends_first_still_receives(lab):
    received = []

    def end_first(connection):
        with connection:
            connection.sendall(b"bye")
            connection.shutdown(socket.SHUT_WR)
            received.append(receive_all(connection))

    with on_b(lab, end_first) as backend:
        proxy = start(lab, {"one": at(backend)})
        with through(lab) as client:
            expect(receive_all(client) == b"bye", "the backend's end did not pass")
            client.sendall(CONTENT)
        line = proxy.wait_line("event=connection_closed")
        wait_until(lambda: received, "the backend has all")
    expect(received == [CONTENT], "the backend received something else")
    expect(f"received={len(CONTENT)} sent=3 " in line and 'error=""' in line, line)


def test_a_listener_for_both_families_takes_ipv4_and_ipv6(lab):
    with on_b(lab, named(b"one")) as backend:
        listen = [f"[::]:{PORT}"]
        proxy = start(lab, {"one": at(backend)}, listen=listen, listener={"v6only": False})
        for address in (lab.hostA.address, lab.hostA.address6):
            with connect(lab.client, (address, PORT)) as client:
                expect(receive_exactly(client, 3) == b"one", address)
        proxy.wait_line(f"client={lab.client.address}:")


def test_a_client_is_served_by_another_backend_if_one_refuses(lab):
    with on_b(lab, named(b"two")) as two:
        proxy = start(lab, {"one": f"{lab.hostB.address}:9000", "two": at(two)})
        names = {ask(lab) for _ in range(10)}
        expect(names == {b"two"}, names)
        proxy.wait_line("event=backend_failed")
        expect(sum("event=backend_failed" in line for line in proxy.lines) == 1, proxy.tail())


def test_connections_spread_over_the_backends(lab):
    with on_b(lab, named(b"one"), 9001) as one, on_b(lab, named(b"two"), 9002) as two:
        start(lab, {"one": at(one), "two": at(two)})
        held = [through(lab) for _ in range(20)]
        names = [receive_exactly(client, 3) for client in held]
        expect(names.count(b"one") == 10, names)
        for client in held:
            client.close()


def await_reset(lab, proxy, client):
    """An RST is sent once, and not again if a busy machine loses it: then the next segment brings
    one. But a proxy whose backend's socket has got it has to pass it without that."""
    client.settimeout(10)
    with pytest.raises(ConnectionResetError):
        try:
            receive_all(client)
        except TimeoutError:
            hosts = (lab.hostA, lab.hostB, lab.hostC)
            sockets = "\n".join(host.run("ss", "-taneoi") for host in hosts)
            alive = lab.hostA.run("ss", "-tnH", "state", "established")
            backend, peer = f"{lab.hostB.address}:9001", "%s:%d" % client.getsockname()
            expect(
                backend in alive or peer not in alive,
                f"the reset did not pass:\n{proxy.tail()}\n{sockets}",
            )
            client.sendall(b"?")
            receive_all(client)


def test_a_backend_that_dies_resets_its_clients_only(lab):
    with on_b(lab, named(b"one"), 9001) as one, on_b(lab, named(b"two"), 9002) as two:
        proxy = start(lab, {"one": at(one), "two": at(two)})
        clients = {}
        while len(clients) < 2:
            client = through(lab, lab.hostC)
            clients[receive_exactly(client, 3)] = client
        one.die()
        await_reset(lab, proxy, clients[b"one"])
        clients[b"two"].sendall(b"more")
        expect(receive_exactly(clients[b"two"], 4) == b"more", "the other connection")
        expect(ask(lab) == b"two", "a new connection")
        for client in clients.values():
            client.close()


def test_a_client_without_a_backend_is_reset(lab):
    proxy = start(lab, {"one": f"{lab.hostB.address}:9000"})
    with pytest.raises(ConnectionResetError), through(lab, lab.hostC) as client:
        receive_all(client)
    line = proxy.wait_line("event=connection_closed")
    expect("Connection refused" in line, line)


def test_an_idle_connection_ends(lab):
    with on_b(lab, echo) as backend:
        proxy = start(lab, {"one": at(backend)}, service={"idle_ms": 300})
        with pytest.raises(ConnectionResetError), through(lab, lab.hostC) as client:
            receive_all(client)
        expect('error="idle for too long"' in proxy.wait_line("connection_closed"), proxy.tail())


def test_a_full_listener_accepts_when_a_connection_ends(lab):
    with on_b(lab, named(b"one")) as backend:
        proxy = start(lab, {"one": at(backend)}, listener={"max_connections": 5})
        held = [through(lab) for _ in range(5)]
        for client in held:
            receive_exactly(client, 3)
        waiting = through(lab)  # in the kernel's queue
        proxy.wait_line("event=listener_full")
        expect(backend.accepted == 5, f"{backend.accepted} connections")
        held.pop().close()
        expect(receive_exactly(waiting, 3) == b"one", "the one that waited")
        for client in [*held, waiting]:
            client.close()


def test_a_client_has_no_more_connections_than_it_may(lab):
    """Others are served meanwhile."""
    with on_b(lab, named(b"one")) as backend:
        proxy = start(lab, {"one": at(backend)}, listener={"max_connections_per_client": 3})
        held = [through(lab, lab.hostC) for _ in range(3)]
        for client in held:
            receive_exactly(client, 3)
        with pytest.raises(ConnectionResetError), through(lab, lab.hostC) as refused:
            receive_all(refused)
        proxy.wait_line(f"event=client_limit_reached listener=in client={lab.hostC.address}:")
        expect(ask(lab) == b"one", "another client")
        held.pop().close()
        wait_until(
            lambda: sum("connection_closed" in line for line in proxy.lines) == 3,
            "the connections of both clients end",
        )
        with through(lab, lab.hostC) as again:
            expect(receive_exactly(again, 3) == b"one", "after the end of one")
        for client in held:
            client.close()


def test_a_unix_backend_with_a_full_queue_is_waited_for(lab):
    path = str(lab.hostA.folder / "backend")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        filling = []
        with pytest.raises(BlockingIOError):
            while True:
                filling.append(socket.socket(socket.AF_UNIX))
                filling[-1].setblocking(False)
                filling[-1].connect(path)
        proxy = start(lab, {"one": f"unix:{path}"}, service={"connect_ms": 500})
        with pytest.raises(ConnectionResetError), through(lab, lab.hostC) as client:
            receive_all(client)
        line = proxy.wait_line("event=connection_closed")
        took = int(re.search(r"took=(\d+)us", line).group(1))
        expect(took >= 500_000 and "temporarily unavailable" in line, line)
        with through(lab) as client:
            listener.settimeout(TIMEOUT)
            for _ in filling[:-1]:
                listener.accept()[0].close()
            with listener.accept()[0] as backend:
                backend.sendall(b"one")
                expect(receive_exactly(client, 3) == b"one", "the client that has waited")
        for each in filling:
            each.close()


def say_header(connection):
    """Answers the first line, or the 28 bytes of a binary header for IPv4, then echoes."""
    first = receive_exactly(connection, 28)
    while first.startswith(b"PROXY") and not first.endswith(b"\n"):
        first += receive_exactly(connection, 1)
    connection.sendall(first)
    echo(connection)


@cases("v1", "v2")
def test_a_backend_is_told_the_client_of_a_proxy_in_front(lab, version):
    with on_b(lab, say_header) as backend:
        start(
            lab,
            {"one": at(backend)},
            listener={"proxy_protocol": True, "handshake_ms": 500},
            service__app__backend__one={"address": at(backend), "proxy_protocol": version},
        )
        expected = {
            "v1": b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
            "v2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
            + socket.inet_aton("192.0.2.1")
            + socket.inet_aton("198.51.100.1")
            + (56324).to_bytes(2, "big")
            + (443).to_bytes(2, "big"),
        }[version]
        for front in (
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nhello",
            expected + b"hello",
        ):
            with through(lab) as client:
                client.sendall(front[:7])
                client.sendall(front[7:])
                expect(receive_exactly(client, len(expected)) == expected, "another header")
                expect(receive_exactly(client, 5) == b"hello", "the bytes behind the header")


def test_clients_without_the_header_of_a_proxy_are_not_served(lab):
    with on_b(lab, echo) as backend:
        proxy = start(
            lab,
            {"one": at(backend)},
            listener={"proxy_protocol": True, "handshake_ms": 300},
        )
        with through(lab) as silent:
            expect(receive_all(silent) == b"", "something arrived")
        with contextlib.suppress(ConnectionResetError), through(lab, lab.hostC) as other:
            other.sendall(b"GET / HTTP/1.1\r\n\r\n")
            receive_all(other)
        proxy.wait_line("the header of the PROXY protocol is missing")
        expect(backend.accepted == 0, f"{backend.accepted} connections to the backend")


def test_a_client_address_keeps_its_backend(lab):
    with on_b(lab, named(b"one"), 9001) as one, on_b(lab, named(b"two"), 9002) as two:
        start(lab, {"one": at(one), "two": at(two)}, service={"balance": "hash-client"})
        names = {ask(lab) for _ in range(10)}
        expect(len(names) == 1, names)


def test_the_proxy_gives_up_root(lab):
    """It binds a port of root before."""
    with on_b(lab, named(b"one")) as backend:
        proxy = start(
            lab,
            {"one": at(backend)},
            listen=[f"{lab.hostA.address}:{PORT}", f"{lab.hostA.address}:80"],
            top={"user": "nobody"},
        )
        # nsenter has become the proxy.
        with open(f"/proc/{proxy.pid}/status", encoding="utf-8") as status:
            lines = dict(line.split(":\t", 1) for line in status.read().splitlines())
        expect("0" not in lines["Uid"].split() + lines["Gid"].split(), lines["Uid"])
        expect(int(lines["CapEff"], 16) == 0, lines["CapEff"])
        expect(ask(lab) == b"one", "the service")


def test_a_thousand_connections_each_get_their_own_bytes(lab):
    with on_b(lab, echo) as backend:
        proxy = start(lab, {"one": at(backend)}, top={"stop_ms": 60_000})
        clients = [through(lab) for _ in range(1000)]
        for i, client in enumerate(clients):
            client.sendall(b"%d|" % i * 100)
        for i, client in enumerate(clients):
            expected = b"%d|" % i * 100
            expect(receive_exactly(client, len(expected)) == expected, f"connection {i}")
        for client in clients:
            client.close()
        proxy.signal(signal.SIGTERM)
        expect(proxy.wait() == 0, "exit status")
        expect(not proxy.says("event=connections_cut"), proxy.tail())


def test_a_new_configuration_is_for_new_connections(lab):
    with on_b(lab, named(b"one"), 9001) as one, on_b(lab, named(b"two"), 9002) as two:
        proxy = start(lab, {"one": at(one)})
        with through(lab) as client:
            receive_exactly(client, 3)
            configure(lab, {"two": at(two)})
            proxy.signal(signal.SIGHUP)
            proxy.wait_line("event=configuration_reloaded")
            expect(ask(lab) == b"two", "a new connection")
            client.sendall(CONTENT[:1000])
            expect(receive_exactly(client, 1000) == CONTENT[:1000], "the old connection")


def test_a_wrong_configuration_changes_nothing(lab):
    with on_b(lab, named(b"one")) as one:
        proxy = start(lab, {"one": at(one)})
        path = configure(lab, {"one": at(one)}, top={"thread": 1})
        status, output = lab.hostA.run(
            lab.program("src/proxy/sockmi-proxy"), "--check", "--config", path, check=False
        )
        expect(status == 2 and "line 3: thread: unknown key" in output, output)
        proxy.signal(signal.SIGHUP)
        expect("unknown key" in proxy.wait_line("event=configuration_refused"), proxy.tail())
        # An address that cannot be bound, after one that can.
        configure(lab, {"one": at(one)}, listen=["127.0.0.1:81", "192.0.2.1:80"])
        proxy.signal(signal.SIGHUP)
        proxy.wait_line("192.0.2.1:80")
        expect(ask(lab) == b"one", "the listener of before")


def test_a_stopping_proxy_lets_connections_end(lab):
    with on_b(lab, named(b"one")) as one:
        proxy = start(lab, {"one": at(one)}, top={"stop_ms": 60_000})
        client = through(lab)
        receive_exactly(client, 3)
        proxy.signal(signal.SIGTERM)
        proxy.wait_line("event=proxy_stopping")
        with pytest.raises(ConnectionRefusedError):
            through(lab, lab.hostC)
        client.sendall(b"last")
        client.shutdown(socket.SHUT_WR)
        expect(receive_all(client) == b"last", "the connection ended before its end")
        expect(proxy.wait() == 0, "exit status")


def test_a_stopping_proxy_resets_what_does_not_end(lab):
    with on_b(lab, named(b"one")) as one:
        proxy = start(lab, {"one": at(one)}, top={"stop_ms": 100})
        client = through(lab, lab.hostC)
        receive_exactly(client, 3)
        proxy.signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            receive_all(client)
        expect(proxy.wait() == 0, "exit status")
        proxy.wait_line("event=connections_cut count=1")
