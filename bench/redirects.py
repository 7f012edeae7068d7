"""Measures the cost of the detour over home of a moved connection's packets.

Three connections of the client take turns:

    stays    client → hostA              was never moved
    moved    client → hostA → hostB      was moved: hostA's rules redirect its packets
    hop      client → hostC → hostB      ends on hostB; hostC is its router, with neither
                                         rules nor a daemon: the cost of any extra hop

The way back is direct for each. redirect.cc measures redirects by their number.
"""
import json
import os
import statistics

import namespace
from lab import PORT, Lab, run
from socket_app import Connection, start

ROUNDS, BYTES, TRIPS = 41, 32 << 20, 500
NODELAY = (6, 1, "01000000")
# 256 KiB: more than any of these paths holds, and not so much that they lose packets.
SEND_BUFFER = (1, 7, "00000400")


class Path(Connection):
    def __init__(self, lab, port, home, *targets):
        self.listener, self.theirs = home.app.socket("4").listen(port), lab.client.app.socket("4")
        self.theirs.connect(home, port)
        self.ours = self.listener.accept()
        self.listener.close()
        for end in (self.ours, self.theirs):
            end.set(*NODELAY)
        self.theirs.set(*SEND_BUFFER)
        self._begin()
        self.move(*targets)

    def throughput(self):
        """Returns bytes per microsecond, client to server."""
        received, sent = self.ours.begin("sink", BYTES), self.theirs.begin("pour", BYTES)
        sent()
        return BYTES / received()["us"]

    def latency(self):
        """Returns the microseconds of a round trip."""
        answered = self.ours.begin("echo", 1, TRIPS)
        median = self.theirs.do("ping", TRIPS)["us"]
        answered()
        return median


def route_by(client, router, host):
    namespace.sysctl(
        router.name,
        {
            "net.ipv4.ip_forward": 1,
            "net.ipv4.conf.all.send_redirects": 0,
            "net.ipv4.conf.eth0.send_redirects": 0,
        },
    )
    run(["ip", "-n", client.name, "route", "add", host.address, "via", router.address])


def run_on(processor, *hosts):
    for host in hosts:
        os.sched_setaffinity(host.app.process.pid, {processor})


def ratios(paths, measure):
    """Compares each path with the first one: the median over rounds in which each has a turn."""
    for path in paths:
        measure(path)  # windows grow, caches become warm
    found = []
    for _ in range(ROUNDS):
        first, *others = [measure(path) for path in paths]
        found.append([other / first for other in others])
    return [statistics.median(each) for each in zip(*found)]


def costs(build):
    with Lab(build) as lab:
        start(lab)
        route_by(lab.client, lab.hostC, lab.hostB)
        paths = [
            Path(lab, PORT, lab.hostA),
            Path(lab, PORT + 1, lab.hostA, lab.hostB),
            Path(lab, PORT, lab.hostB),
        ]
        processors = sorted(os.sched_getaffinity(0))
        # All work for a byte is on the one processor, and so is measured.
        run_on(processors[0], lab.client, lab.hostA, lab.hostB)
        moved, hop = ratios(paths, Path.throughput)
        # The two ends of a round trip are two machines.
        run_on(processors[-1], lab.hostA, lab.hostB)
        slower_moved, slower_hop = ratios(paths, Path.latency)
        lab.assert_clean()
    return {
        "redirect_throughput_ratio": moved,
        "hop_throughput_ratio": hop,
        "redirect_latency_ratio": slower_moved,
        "hop_latency_ratio": slower_hop,
    }


def numbers(build):
    with Lab(build) as lab:
        hosts = [
            f"{host.name}={host.address}" for host in (lab.client, lab.hostA, lab.hostC, lab.hostB)
        ]
        return json.loads(run([str(lab.program("bench/bench_redirect")), *hosts]))


def redirects(build):
    return costs(build) | numbers(build)
