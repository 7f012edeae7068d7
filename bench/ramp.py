"""Measures how fast a download is right after its server's end has moved, relative to its
speed before: at 40 ms round trip, with each congestion control.

The half second that is measured begins when the move is requested, so it includes the
move itself. Only the endpoints' windows and this machine limit the rate: a queue on the
path would hide a window that is too small, because it keeps the path busy while the
sender has nothing to send.
"""
import json
import statistics
import time

from lab import Lab, run
from transfer import Download

DELAY_MS, MOVES, SETTLE, BEFORE, AFTER = 20, 6, 3.0, 1.0, 0.5  # seconds, except the first two
CONTROLS = ("cubic", "bbr")


def available():
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as file:
        return file.read().split()


def serve_with(host, client, control):
    """Sets the congestion control of connections that the host accepts from the client,
    even if not every user may choose it."""
    route = json.loads(host.run("ip", "-j", "route", "get", client.address))[0]
    run(
        [
            "ip",
            "-n",
            host.name,
            "route",
            "add",
            client.address,
            "via",
            route["gateway"],
            "dev",
            route["dev"],
            "congctl",
            control,
        ]
    )


def rate(transfer, seconds, during=lambda: None):
    """Returns bytes per second from now on; calls `during` meanwhile."""
    began, at = time.monotonic(), transfer.offset
    during()
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    return (transfer.offset - at) / (time.monotonic() - began)


def ramp(build, control):
    with Lab(build, kind="routed", delay_ms=DELAY_MS) as lab:
        serve_with(lab.hostA, lab.client, control)
        with open(lab.root / "endless", "wb") as file:
            file.truncate(1 << 40)
        lab.start_all(lab.hostA, lab.hostB)
        transfer = Download(lab, "endless")
        source, target = lab.hostA, lab.hostB
        ratios = []
        for _ in range(MOVES):
            time.sleep(SETTLE)
            before = rate(transfer, BEFORE)
            after = rate(transfer, AFTER, lambda: lab.move(source, target))
            ratios.append(after / before)
            print(
                f"ramp: {control}: {before * 8 / 1e6:.0f} Mbit/s, after a move "
                f"{after * 8 / 1e6:.0f}",
                flush=True,
            )
            source, target = target, source
        transfer.curl.kill()
        return statistics.median(ratios)


def ramps(build):
    """The value is None for a congestion control that this kernel does not have."""
    found = {}
    for control in CONTROLS:
        missing = control not in available()
        if missing:
            print(f"ramp: this kernel has no {control}: not measured", flush=True)
        found[f"ramp_first_500ms_ratio_{control}"] = None if missing else ramp(build, control)
    return found
