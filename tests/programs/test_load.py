"""Drains of a host with many connections, or with ones that come and go, by h2load over TLS."""
import os
import resource

import pytest

import http2
from cases import cases, long
from daemons import KILLED, end_daemon, wait_forgotten
from process import expect, wait_until
from proxy import POLICY
from real_programs import BACKEND_PORT
from test_drain import drain, drain_to_end, moved, wait_moved
from transfer import random_bytes

FILE = 10_000
BUSY = 200
# With 10,000 the test takes ten minutes, and a proxy needs 20,000 descriptors.
IDLE = int(os.environ.get("IDLE", 2_000))
RATE = 100  # of their begins, per second: a handshake has ten seconds
QUIET_SECONDS = 60 + 2 * IDLE // RATE  # between the two requests of an idle connection


@pytest.fixture(name="many_descriptors")
def raised_limit():
    """The programs of the test may have as many descriptors as relays need."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (IDLE + BUSY) + 500
    if before[1] < wanted:
        pytest.skip(f"a program may have {before[1]} descriptors, and needs {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def start(lab, **options):
    lab.file("f", random_bytes(FILE))
    http2.start(lab, **options)


def wait_relays(lab, count):
    """Waits until so many connections with the backend exist: a client's handshake comes first."""

    def look():
        listed = lab.client.run("ss", "-Htn", "state", "established", f"sport = :{BACKEND_PORT}")
        return listed.count("\n") >= count

    wait_until(look, f"{count} relays", timeout=QUIET_SECONDS)


@long
@cases(("tls", 100), ("plain", 500))
def test_no_connection_is_refused_or_lost_while_connections_come_during_drains(lab, kind, rate):
    """So many connections begin each second. Each makes two requests, two seconds apart."""
    start(lab, tls=kind == "tls")
    count = 20 * rate
    load = http2.Load(lab, count, 2 * count, "-r", rate, "--rps", 0.5, tls=kind == "tls")
    drains, gone = 0, {"hostB": 0, "hostC": 0}
    while load.running():
        drain(lab.hostA, "--deadline", "2s").wait()  # it may find no end: more come all the time
        for host, number in moved(lab.hostA).items():
            gone[host] += number
        lab.hostA.run(lab.sockmictl, "undrain")
        drains += 1
    load.finish()
    expect(drains >= 5 and min(gone.values()) > rate // 5, f"{drains} drains: {gone}")
    wait_forgotten(*lab.hosts)


@long
def test_relays_continue_when_an_importers_daemon_is_killed_during_a_drain(lab):
    start(lab)
    load = http2.Load(lab, BUSY, BUSY * 300, "--rps", 5)  # 60 s
    wait_relays(lab, BUSY)
    tool = drain(lab.hostA, "--rate", 100)
    wait_moved(lab.hostA, BUSY // 2)
    end_daemon(lab.hostB, KILLED)
    tool.wait(timeout=120)
    lab.start_daemon(lab.hostB, **POLICY)
    drain_to_end(lab.hostA)
    expect(load.running(), "the requests have ended before the drain")
    load.finish()


@long
def test_idle_and_busy_connections_are_spread_over_two_hosts(lab, many_descriptors):
    """Each idle one makes a request at its begin, and another one after the drain."""
    relays = IDLE + BUSY
    start(lab, listener={"max_connections": relays})
    idle = http2.Load(lab, IDLE, 2 * IDLE, "-r", RATE, "--rps", 1 / QUIET_SECONDS)
    wait_relays(lab, IDLE)
    busy = http2.Load(lab, BUSY, BUSY * 5 * QUIET_SECONDS, "--rps", 5)
    wait_relays(lab, relays)
    drain_to_end(lab.hostA)
    counts = moved(lab.hostA)
    expect(sum(counts.values()) == 2 * relays, counts)
    expect(min(counts.values()) > relays // 2, counts)
    expect(idle.running() and busy.running(), "the requests have ended before the drain")
    for load in (busy, idle):
        load.finish(timeout=2 * QUIET_SECONDS)
    wait_forgotten(*lab.hosts)
