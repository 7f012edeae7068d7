"""Measures how many connections per second leave a host that is being drained: plain TCP
connections by one call of the library, see drain.cc; and TLS connections of an httpsd, to two other
hosts, by `sockmictl drain`."""
import resource
import statistics
import subprocess

from lab import PORT, Lab
from many_clients import ManyClients
from process import expect

CONNECTIONS, DRAINS = 1000, 5
TLS_CONNECTIONS, TLS_DRAINS = 2000, 3
SMALL = b"x" * 1024  # what each client has got before the drain


def drain(lab):
    """Returns seconds."""
    program = lab.program("bench/bench_drain")
    holder = lab.hostA.popen(
        program,
        "hold",
        lab.hostA.address,
        PORT,
        CONNECTIONS,
        lab.hostB.address,
        stdin=subprocess.PIPE,
    )
    holder.wait_line("listening")
    taker = lab.hostB.popen(program, "take", CONNECTIONS)
    taker.wait_line("waiting")
    peers = lab.client.popen(program, "connect", lab.hostA.address, PORT, CONNECTIONS)
    for process in (holder, peers):
        process.wait_line("ready")
    holder.stdin.write(b"\n")
    holder.stdin.flush()
    taker.wait_line("ready")
    seconds = float(holder.wait_line("."))
    for process in (peers, taker, holder):
        process.stop()
    return seconds


def drains(build):
    with Lab(build) as lab:
        for host in (lab.hostA, lab.hostB):
            lab.start_daemon(host)
        times = [drain(lab) for _ in range(DRAINS)]
        lab.assert_clean()
    return {"drain_1000_tcp_per_s": CONNECTIONS / statistics.median(times)}


def drain_tls(build):
    """Returns seconds."""
    with Lab(build) as lab:
        lab.start_all()
        clients = ManyClients(lab, TLS_CONNECTIONS, SMALL)
        lab.hostA.run(lab.sockmictl, "drain")
        status = lab.hostA.api("/v1/drain")
        expect(status["moved"] == TLS_CONNECTIONS, status)
        clients.finish_whole()
        lab.assert_clean()
    return (status["ended_ms"] - status["began_ms"]) / 1000


def drains_of_tls(build):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    seconds = statistics.median(drain_tls(build) for _ in range(TLS_DRAINS))
    return {"drain_2000_tls_s": seconds, "drain_tls_per_s": TLS_CONNECTIONS / seconds}
