"""A daemon without a free descriptor waits for one, and then serves again."""
import os
import resource
import time

from lab import expect, wait_until
from test_link import silent_connections

BUILD = "release"  # a sanitizer that cannot open a pipe takes valid memory for invalid


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_daemon_without_descriptors_does_not_spin(lab):
    daemon = lab.start_daemon(lab.hostA)
    lab.hostA.api("/v1/status")  # the daemon has opened everything that it opens at its start
    used = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    former = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used, former[1]))
    # More than the daemon may have open for a moment.
    waiting = silent_connections(lab.hostC, lab.hostA.address, 7)
    daemon.wait_line("event=control_connection_accept_failed")
    before, began = cpu_seconds(daemon), time.monotonic()
    while time.monotonic() - began < 2:
        time.sleep(0.1)  # the time that is measured
    spent = cpu_seconds(daemon) - before
    expect(spent < 0.5, f"{spent} s of CPU in 2 s")
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, former)
    for one in waiting:
        one.close()
    wait_until(lambda: lab.hostA.api("/v1/status")["host"] == "hostA", "it serves again")
