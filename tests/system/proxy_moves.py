"""Proxies on several hosts whose relays move. Clients and backends are on the host `client`."""
import queue
import select
import threading

from byte_services import TIMEOUT, Service, echo, receive_exactly
from process import expect
from proxy import POLICY, SERVICE, at, start
from test_proxy_tls import TERMINATE, make_certificate
from transfer import random_bytes

PART = random_bytes(100_000)
CONTENT = random_bytes(24 << 20)


def backend_for(lab, serve=echo, host=None):
    host = host or lab.client
    return Service(host, (host.address, 9001), serve)


def start_proxy(lab, host, backend, **options):
    proxy = start(lab, {"one": at(backend)}, host=host, moves={"enabled": True}, **options)
    proxy.wait_line(f"event=moves_available service={SERVICE}")
    return proxy


def start_host(lab, host, backend, daemon=(), **options):
    lab.start_daemon(host, **POLICY, **dict(daemon))
    return start_proxy(lab, host, backend, **options)


def move(lab, source, target, relays=1, **match):
    lab.move(source, target, SERVICE, connections=2 * relays, **match)


def stays_at_a(lab, proxy, target, reason, relays=1):
    """An order is executed and moves nothing, for this reason."""
    before = len(proxy.lines)
    answer = lab.hostA.export(target, SERVICE)
    expect(answer == (0, 2 * relays), answer)
    line = proxy.wait_line("event=relays_not_exported", after=before)
    expect(reason in line and f" count={relays} " in line, line)


def echoes(client, data=PART):
    client.sendall(data)
    expect(receive_exactly(client, len(data)) == data, "the echo is another")


def in_background(call, *arguments):
    thread = threading.Thread(target=call, args=arguments, daemon=True)
    thread.start()
    return thread


def start_tls(lab, backend, **options):
    certificate = make_certificate(lab.folder, "a", "a.example")
    tables = {"listener__in__certificate__a": dict(zip(("chain", "key"), certificate))}
    for host in (lab.hostA, lab.hostB):
        start_host(lab, host, backend, listener=TERMINATE, **tables, **options)
    return certificate[0]


class Held:
    """A backend with one connection, which the test itself uses."""

    def __init__(self):
        self._connections = queue.Queue()

    def __call__(self, connection):
        self._connections.put(connection)

    def connection(self):
        return self._connections.get(timeout=TIMEOUT)


def blocked(connection):
    """Returns a condition: nothing more could be written for some time."""
    seen = [0]

    def look():
        writable = select.select([], [connection], [], 0)[1]
        seen[0] = 0 if writable else seen[0] + 1
        return seen[0] >= 20

    return look
