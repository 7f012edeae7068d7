"""Measures how long a freeze lasts, relative to the lower bound.

An idle TLS connection and an idle plain one move A→B→A… After each pair of moves the
lower bound is measured: bare capture and restore of a socket on hostA whose peer is the
client, and one and a half round trips between the two. All are rare, so that caches are
cold.
"""
import statistics
import subprocess

import socket_app
from lab import PORT, Lab, expect
from tls_client import TlsClient

MOVES, ECHO_PORT, PLAIN_PORT, TLS_SERVICE = 200, 7000, 7001, "dl"


class Floor:
    def __init__(self, lab):
        program = lab.program("bench/bench_floor")
        lab.client.popen(program, "echo", lab.client.address, ECHO_PORT).wait_line("ready")
        self._measure = lab.hostA.popen(
            program, "measure", lab.client.address, ECHO_PORT, stdin=subprocess.PIPE
        )
        self._measure.wait_line("ready")
        self.times = []

    def once(self):
        self._measure.stdin.write(b"\n")
        self._measure.stdin.flush()
        self.times.append(float(self._measure.wait_line(".", after=len(self.times) + 1)))


def frozen(lab, service):
    times = sorted(
        m["freeze_us"]
        for host in (lab.hostA, lab.hostB)
        for m in host.migrations("export")
        if m["service"] == service
    )
    expect(len(times) == MOVES, f"{len(times)} moves of service {service}")
    return times


def freezes(build):
    with Lab(build) as lab:
        lab.file("g", b"hello\n")
        socket_app.start(lab)
        for host in (lab.hostA, lab.hostB):
            lab.start_httpsd(host, service=TLS_SERVICE)
        floor = Floor(lab)
        client = TlsClient(lab, (lab.hostA.address, PORT))
        client.handshake()
        plain = socket_app.Connection(lab, port=PLAIN_PORT)
        source, target = lab.hostA, lab.hostB
        for _ in range(MOVES):
            lab.move(source, target, service=TLS_SERVICE)
            plain.move(target)
            floor.once()
            source, target = target, source
        client.send(client.request("GET", "/g"))
        expect(client.response() == b"hello\n", "the connection did not survive its moves")
        client.close()
        plain.both_ways()
        tls, tcp, least = (
            frozen(lab, TLS_SERVICE),
            frozen(lab, socket_app.SERVICE),
            statistics.median(floor.times),
        )
        lab.assert_clean()
    return {
        "freeze_tls_p50_us": statistics.median(tls),
        "freeze_tls_p99_us": tls[MOVES * 99 // 100],
        "freeze_tcp_p50_us": statistics.median(tcp),
        "freeze_tcp_p99_us": tcp[MOVES * 99 // 100],
        "freeze_floor_p50_us": least,
        "freeze_tls_over_floor": statistics.median(tls) / least,
        "freeze_tcp_over_floor": statistics.median(tcp) / least,
    }
