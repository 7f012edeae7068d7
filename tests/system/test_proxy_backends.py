"""Backends of sockmi-proxy that come, go and change: health checks. The proxy is on hostA, the
backends are on hostB."""
import signal

from byte_services import Service, named
from process import expect
from proxy import ask, configure, start

PORTS = {"one": 9001, "two": 9002}
CHECKS = {"check_ms": 100, "check_fall": 2, "check_rise": 2}


def on_b(lab, name):
    return Service(lab.hostB, (lab.hostB.address, PORTS[name]), named(name.encode()))


def addresses(lab):
    return {name: f"{lab.hostB.address}:{port}" for name, port in PORTS.items()}


def test_a_backend_that_is_down_gets_no_client_until_it_is_up(lab):
    with on_b(lab, "two"):
        proxy = start(lab, addresses(lab), service=CHECKS)
        down = proxy.wait_line("event=backend_down")
        expect("service=app backend=one " in down and "Connection refused" in down, down)
        expect({ask(lab) for _ in range(5)} == {b"two"}, "clients get the one that is up")
        with on_b(lab, "one"):
            proxy.wait_line("event=backend_up service=app backend=one")
            expect(ask(lab) == b"one", "the one that is up again")
        expect(not proxy.says("event=backend_failed"), proxy.tail())


def test_a_backend_that_does_not_answer_is_down(lab):
    lab.hostB.run("nft", "add table ip t")
    lab.hostB.run("nft", "add chain ip t c { type filter hook input priority 0; }")
    lab.hostB.run("nft", f"add rule ip t c tcp dport {PORTS['one']} drop")
    with on_b(lab, "one"), on_b(lab, "two"):
        proxy = start(lab, addresses(lab), service={**CHECKS, "connect_ms": 100})
        expect("no answer" in proxy.wait_line("event=backend_down service=app backend=one"), "")
        lab.hostB.run("nft", "delete table ip t")
        proxy.wait_line("event=backend_up service=app backend=one")


def test_a_reload_ends_the_checks(lab):
    with on_b(lab, "two"):
        proxy = start(lab, addresses(lab), service=CHECKS)
        proxy.wait_line("event=backend_down")
        configure(lab, addresses(lab))
        proxy.signal(signal.SIGHUP)
        proxy.wait_line("event=configuration_reloaded")
        with on_b(lab, "one"):
            expect(ask(lab) == b"one", "it is not down without checks")
    expect(not proxy.says("event=backend_up"), proxy.tail())
