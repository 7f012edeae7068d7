"""Backends of sockmi-proxy that come, go and change: health checks, and names. The proxy is on
hostA, the backends are on hostB and hostC."""
import contextlib
import signal

from byte_services import Service, named, receive_exactly
from process import expect, run
from proxy import ask, configure, start, through

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


@contextlib.contextmanager
def names(lab, text):
    """A file of names for the programs of the lab, which the test may write again."""
    path = lab.folder / "hosts"
    path.write_text(text)
    run(["mount", "--bind", str(path), "/etc/hosts"])
    try:
        yield path
    finally:
        run(["umount", "/etc/hosts"])


def test_a_backend_with_a_name_follows_its_address(lab):
    other = Service(lab.hostC, (lab.hostC.address, PORTS["one"]), named(b"two"))
    with names(lab, f"{lab.hostB.address} app.example\n") as hosts, on_b(lab, "one"), other:
        proxy = start(lab, {"a": "app.example:9001"}, service={"resolve_ms": 100})
        with through(lab) as client:
            expect(receive_exactly(client, 3) == b"one", "the first address")
            hosts.write_text(f"{lab.hostC.address} app.example\n")
            proxy.wait_line(f"backend=a address={lab.hostC.address}:9001")
            expect(ask(lab) == b"two", "a new connection")
            hosts.write_text("")
            proxy.wait_line("event=backend_name_failed service=app backend=a")
            expect(ask(lab) == b"two", "while the name is unknown")
            client.sendall(b"more")
            expect(receive_exactly(client, 4) == b"more", "the connection of before")
