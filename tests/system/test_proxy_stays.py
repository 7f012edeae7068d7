"""Relays of sockmi-proxy that cannot move, or whose move fails, go on where they are; those that a
dead proxy or daemon had return or wait."""
import contextlib
import signal

import pytest

import observe
from byte_services import TIMEOUT, Service, connect, echo, receive_all, receive_exactly
from cases import cases
from process import expect, state, wait_until
from proxy import PORT, at, configure, start, through, through_tls
from proxy_moves import (
    PART,
    POLICY,
    SERVICE,
    backend_for,
    echoes,
    in_background,
    move,
    start_host,
    start_proxy,
    start_tls,
    stays_at_a,
)
from test_commit import LATER, dies, settled
from test_proxy_tls import TERMINATE, make_certificate


@contextlib.contextmanager
def relay(lab, *changes):
    """Yields the client of a relay at hostA that could move to hostB, hostA's proxy, and the
    backend. `changes`: of both daemons, as start_host() has them."""
    with backend_for(lab) as backend:
        proxy = start_host(lab, lab.hostA, backend, *changes)
        start_host(lab, lab.hostB, backend, *changes)
        with through(lab) as client:
            echoes(client)
            yield client, proxy, backend


@cases("listener", "service")
def test_a_relay_stays_if_the_other_proxy_cannot_serve_it(lab, kind):
    with backend_for(lab) as backend:
        proxy = start_host(lab, lab.hostA, backend)
        lab.start_daemon(lab.hostB, **POLICY)
        path = configure(lab, {"one": at(backend)}, host=lab.hostB, moves={"enabled": True})
        text = path.read_text()
        if kind == "listener":
            text = text.replace("[listener.in]", "[listener.out]")
        else:
            text = text.replace('"app"', '"else"').replace("[service.app", "[service.else")
        path.write_text(text)
        importer = lab.hostB.popen(lab.program("src/proxy/sockmi-proxy"), "--config", path)
        importer.wait_line("event=moves_unavailable")
        with through(lab) as client:
            echoes(client)
            stays_at_a(lab, proxy, lab.hostB, "no permitted application on hostB")
            echoes(client)


def test_a_tls_relay_returns_if_the_other_listener_has_no_tls(lab):
    with backend_for(lab) as backend:
        chain, key = make_certificate(lab.folder, "a", "a.example")
        tables = {"listener__in__certificate__a": {"chain": chain, "key": key}}
        home = start_host(lab, lab.hostA, backend, listener=TERMINATE, **tables)
        start_host(lab, lab.hostB, backend, {"import": {"wait_ms": 500}})
        with through_tls(lab, chain, "a.example") as client:
            echoes(client)
            client.sendall(PART)
            move(lab, lab.hostA, lab.hostB)
            home.wait_line("event=relays_imported")
            expect(receive_exactly(client, len(PART)) == PART, "the echo is another")
            echoes(client)
            client.unwrap().close()


def test_a_relay_to_a_unix_socket_stays(lab):
    path = str(lab.hostA.folder / "backend")
    with Service(lab.hostA, path, echo) as backend:
        proxy = start_host(lab, lab.hostA, backend)
        start_host(lab, lab.hostB, backend)
        with through(lab) as client:
            echoes(client)
            stays_at_a(lab, proxy, lab.hostB, "Unix socket")
            echoes(client)


def test_a_client_in_its_handshake_stays(lab):
    with backend_for(lab) as backend:
        start_tls(lab, backend)
        [proxy] = [each for each in lab.processes if each.name == "hostA:sockmi-proxy"]
        with through(lab):
            wait_until(lambda: lab.hostA.export(lab.hostB, SERVICE) == (0, 2), "it is accepted")
            proxy.wait_line("still connecting")


@cases("redirect", "journal", "capture", "prepare-send")
def test_a_step_that_fails_at_the_exporter_keeps_the_relay(lab, point):
    failing(lab, lab.hostA, point)


@cases("restore", "prepared-reply", "may-thaw", "thaw")
def test_a_step_that_fails_at_the_importer_keeps_the_relay(lab, point):
    failing(lab, lab.hostB, point)


def failing(lab, where, point):
    with relay(lab) as (client, *_):
        client.sendall(PART)
        where.arm(point)
        expect(lab.hostA.export(lab.hostB, SERVICE) == (0, 2), "it did not fail")
        expect(receive_exactly(client, len(PART)) == PART, "the echo is another")
        expect(not observe.redirects(lab.hostA), "a redirect is left")
        move(lab, lab.hostA, lab.hostB)
        echoes(client)


# --- when a part dies ---


def test_a_relay_whose_importing_proxy_dies_returns(lab):
    """The proxy of hostB is killed between PREPARE and the thaw."""
    with backend_for(lab) as backend:
        home = start_host(lab, lab.hostA, backend)
        importer = start_host(lab, lab.hostB, backend, {"import": {"wait_ms": 500}})
        with through(lab) as client:
            echoes(client)
            client.sendall(PART)
            lab.hostB.arm("before-thaw=stop")
            asked = in_background(lab.hostA.export, lab.hostB, SERVICE)
            wait_until(lambda: state(lab.hostB.daemon.pid) in "Tt", "the daemon stands")
            importer.kill()
            lab.hostB.daemon.resume()
            asked.join(TIMEOUT)
            expect(receive_exactly(client, len(PART)) == PART, "the echo is another")
            echoes(client)
            wait_until(lambda: home.says("event=relays_imported"), "it has returned")


def test_a_relay_in_doubt_waits_for_the_operator(lab):
    with relay(lab, LATER) as (client, *_):
        lab.hostB.arm("before-thaw=kill")
        expect(lab.hostA.export(lab.hostB, SERVICE) == (0, 2), "it was decided")
        dies(lab.hostB)
        client.sendall(PART)
        doubt = lab.hostA.api("/v1/doubt")["doubts"][0]
        lab.hostA.run(lab.sockmictl, "doubt", "discard", doubt["id"])
        settled(lab.hostA)
        expect(receive_exactly(client, len(PART)) == PART, "the echo is another")
        echoes(client)
        lab.start_daemon(lab.hostB, **POLICY)  # removes what the dead daemon left


def test_the_proxy_works_without_a_daemon_and_registers_when_it_comes(lab):
    with backend_for(lab) as backend:
        proxy = start(lab, {"one": at(backend)}, moves={"enabled": True})
        proxy.wait_line(f"event=moves_unavailable service={SERVICE}")
        start_host(lab, lab.hostB, backend)
        with through(lab) as client:
            echoes(client)
            lab.start_daemon(lab.hostA, **POLICY)
            proxy.wait_line("event=moves_available")
            move(lab, lab.hostA, lab.hostB)
            echoes(client)


def test_the_proxy_registers_again_after_a_restart_of_the_daemon(lab):
    with relay(lab) as (client, proxy, _):
        lab.hostA.daemon.stop()
        proxy.wait_line("event=moves_interrupted")
        before = len(proxy.lines)
        lab.start_daemon(lab.hostA, **POLICY)
        proxy.wait_line("event=moves_available", after=before)
        move(lab, lab.hostA, lab.hostB)
        echoes(client)


def test_a_restarted_proxy_takes_relays_back(lab):
    """The proxy of hostA is restarted while its relays are at hostB."""
    with relay(lab) as (client, proxy, backend):
        move(lab, lab.hostA, lab.hostB)
        expect(proxy.stop() == 0, proxy.tail())
        start_proxy(lab, lab.hostA, backend)
        move(lab, lab.hostB, lab.hostA)
        echoes(client)


@cases("idle", "registering")
def test_a_proxy_stops_while_the_daemon_hangs(lab, moment):
    """It waits five seconds at most for an answer, also if it has more than one to wait for."""
    with backend_for(lab, host=lab.hostB) as backend:
        options = {"moves": {"enabled": True}, "top": {"stop_ms": 100}}
        proxy = start_host(lab, lab.hostA, backend, top={"stop_ms": 100})
        with through(lab, lab.hostC) as client:
            echoes(client)
            lab.hostA.daemon.pause()
            if moment == "registering":
                more = {
                    f"listener__more{i}": {"listen": [f"127.0.0.1:{9000 + i}"], "service": "app"}
                    for i in range(4)
                }
                configure(lab, {"one": at(backend)}, **options, **more)
                proxy.signal(signal.SIGHUP)
                proxy.wait_line("event=configuration_reloaded")
            proxy.signal(signal.SIGTERM)
            expect(proxy.wait(timeout=12) == 0, proxy.tail())
            with pytest.raises(ConnectionResetError):
                receive_all(client)
        lab.hostA.daemon.resume()


def test_a_reload_changes_what_moves(lab):
    with backend_for(lab) as backend:
        proxy = start_host(lab, lab.hostA, backend)
        start_host(lab, lab.hostB, backend)
        name = f"{lab.hostA.address}:{PORT + 1}"
        extra = {"listener__more": {"listen": [name], "service": "app"}}
        configure(lab, {"one": at(backend)}, moves={"enabled": True}, **extra)
        proxy.signal(signal.SIGHUP)
        proxy.wait_line("event=moves_unavailable service=more/app")
        with through(lab) as client, connect(lab.client, (lab.hostA.address, PORT + 1)) as other:
            echoes(other)
            echoes(client)
            move(lab, lab.hostA, lab.hostB)
            echoes(client)
            echoes(other)
