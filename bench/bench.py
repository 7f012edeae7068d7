#!/usr/bin/python3
"""Prints the figures as a table, and writes them to build/bench.json. What is compared is
measured in turns in the same run: machines are noisy, and such a ratio means more than
either number. Each topic is a file."""
import json
import pathlib
import platform
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/system")]
sys.dont_write_bytecode = True

import drain  # noqa: E402
import freezes  # noqa: E402
import ramp  # noqa: E402
import redirects  # noqa: E402
import retransmits  # noqa: E402
import sandbox  # noqa: E402
import stalls  # noqa: E402
from process import Failure, run  # noqa: E402

BUILD = ROOT / "build" / "release"
# name: unit, aim, which direction is better
FIGURES = {
    "freeze_floor_p50_us": ("us", None, "lower"),
    "freeze_tls_p50_us": ("us", None, "lower"),
    "freeze_tls_p99_us": ("us", None, "lower"),
    "barrier_p50_us": ("us", 500, "lower"),
    "freeze_tls_over_floor": ("ratio", 1.3, "lower"),
    "freeze_tcp_p50_us": ("us", None, "lower"),
    "freeze_tcp_p99_us": ("us", None, "lower"),
    "freeze_tcp_over_floor": ("ratio", 1.3, "lower"),
    "capture_restore_0_p50_us": ("us", 45, "lower"),
    "capture_restore_64k_p50_us": ("us", 100, "lower"),
    "capture_restore_1m_p50_us": ("us", 333, "lower"),
    "read_settings_p50_us": ("us", None, "lower"),
    "drain_1000_tcp_per_s": ("1/s", 5000, "higher"),
    "drain_2000_tls_s": ("s", 1, "lower"),
    "drain_tls_per_s": ("1/s", 2000, "higher"),
    "redirect_throughput_ratio": ("ratio", 0.95, "higher"),
    "hop_throughput_ratio": ("ratio", None, "higher"),
    "redirect_latency_ratio": ("ratio", None, "lower"),
    "hop_latency_ratio": ("ratio", None, "lower"),
    "redirect_20000_over_1": ("ratio", 0.97, "higher"),
    "redirect_20000_busy_over_1": ("ratio", None, "higher"),
    "redirect_add_10000_ms": ("ms", 100, "lower"),
    "peer_retransmits_rr_200": ("", 0, "lower"),
    "peer_retransmits_upload_200": ("", None, "lower"),
    "peer_retransmits_upload_unmoved": ("", None, "lower"),
    "peer_retransmits_upload_added": ("", 0, "lower"),
    "stall_full_queue_ms": ("ms", None, "lower"),
    "stall_full_queue_unmoved_ms": ("ms", None, "lower"),
    "ramp_first_500ms_ratio_cubic": ("ratio", 0.9, "higher"),
    "ramp_first_500ms_ratio_bbr": ("ratio", 0.9, "higher"),
    "image_tls13_bytes": ("bytes", 1024, "lower"),
    "save_ssl_p50_us": ("us", 10, "lower"),
    "load_ssl_tls13_p50_us": ("us", 250, "lower"),
    "load_ssl_tls12_p50_us": ("us", 150, "lower"),
    "load_ssl_per_s_2threads": ("1/s", 6000, "higher"),
    "tls_64_ratio": ("ratio", 0.98, "higher"),
    "tls_1k_ratio": ("ratio", 0.98, "higher"),
    "tls_16k_ratio": ("ratio", 0.98, "higher"),
    "session_overhead_bytes": ("bytes", 1024, "lower"),
    "handshake_ratio_2threads": ("ratio", 0.97, "higher"),
}
PROGRAMS = ("bench_barrier", "bench_tls", "bench_sessions", "bench_capture")
# The topics that depend most on a quiet machine are first: for a while after a lab, the
# kernel is busy with destroying its namespaces.
TOPICS = (
    freezes.freezes,
    redirects.redirects,
    drain.drains,
    drain.drains_of_tls,
    retransmits.retransmits,
    stalls.stalls,
    ramp.ramps,
)


def machine():
    """Returns what the figures were measured on: kernel, processors and their model."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in open("/proc/cpuinfo", encoding="utf-8")
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    processors = sum(
        line.startswith("processor") for line in open("/proc/cpuinfo", encoding="utf-8")
    )
    return f"Linux {platform.release().split('-')[0]}, {processors} x {model}"


def main():
    sandbox.enter()
    try:
        values = {}
        for program in PROGRAMS:
            values |= json.loads(run([str(BUILD / "bench" / program)]))
        for topic in TOPICS:
            values |= topic(BUILD)
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    results = [
        {
            "name": name,
            "value": None if values[name] is None else round(values[name], 3),
            "unit": unit,
            "aim": aim,
            "better": better,
        }
        for name, (unit, aim, better) in FIGURES.items()
    ]
    host = machine()
    (ROOT / "build/bench.json").write_text(
        json.dumps({"host": host, "results": results}, indent=2) + "\n"
    )
    print(host)
    for row in results:
        aim = (
            f"aim: {'at most' if row['better'] == 'lower' else 'at least'} {row['aim']}"
            if row["aim"] is not None
            else ""
        )
        value = "not here" if row["value"] is None else f"{row['value']:.2f}"
        print(f"{row['name']:28} {value:>10} {row['unit']:6} {aim}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
