"""Measures how many plain TCP connections per second leave a host that is being drained,
by one call of the library: see drain.cc."""
import statistics
import subprocess

from lab import PORT, Lab

CONNECTIONS, DRAINS = 1000, 5


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
