#!/usr/bin/python3
"""The figures, as a table and in build/bench.json. Moves and their floor are measured side by side in one run, on the same link: their ratio says
more than either, for machines are noisy."""
import json
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/lab")]
sys.dont_write_bytecode = True

import ramp  # noqa: E402
import sandbox  # noqa: E402
from lab import PORT, Failure, Lab, expect, run, wait_until  # noqa: E402
from tls_client import TlsClient  # noqa: E402

MOVES, ECHO_PORT = 200, 7000
BUILD = ROOT / "build" / "release"
# name: unit, aim, what is better
FIGURES = {
    "freeze_tls_p50_us": ("us", None, "lower"),
    "freeze_tls_p99_us": ("us", None, "lower"),
    "freeze_floor_p50_us": ("us", None, "lower"),
    "freeze_tls_over_floor": ("ratio", 3, "lower"),
    "barrier_p50_us": ("us", 500, "lower"),
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
    "ramp_first_500ms_ratio_cubic": ("ratio", 0.9, "higher"),
    "ramp_first_500ms_ratio_bbr": ("ratio", 0.9, "higher"),
}


def freezes(lab):
    """One idle TLS connection goes A→B→A…; after each move, one of the floor: bare capture and restore of a socket on hostA whose peer is the
    client, and round trips between the same two. Both are done once in a while, with cold caches."""
    lab.file("g", b"hello\n")
    lab.start_all(lab.hostA, lab.hostB)
    echo = lab.client.popen(lab.program("bench/bench_floor"), "echo", lab.client.address, ECHO_PORT)
    echo.wait_line("ready")
    floor = lab.hostA.popen(lab.program("bench/bench_floor"), "measure", lab.client.address, ECHO_PORT, stdin=subprocess.PIPE)
    floor.wait_line("ready")
    client = TlsClient(lab, (lab.hostA.address, PORT))
    client.handshake()
    source, target = lab.hostA, lab.hostB
    for i in range(MOVES):
        lab.move(source, target)
        source, target = target, source
        floor.stdin.write(b"\n")
        floor.stdin.flush()
        floor.wait_line(".", after=i + 1)
    client.send(client.request("GET", "/g"))
    expect(client.response() == b"hello\n", "the connection did not survive its moves")
    client.close()
    frozen = sorted(m["freeze_us"] for host in (lab.hostA, lab.hostB) for m in host.migrations("export"))
    expect(len(frozen) == MOVES, f"{len(frozen)} moves")
    least, p50 = statistics.median(float(line) for line in list(floor.lines)[1:]), statistics.median(frozen)
    return {"freeze_tls_p50_us": p50, "freeze_tls_p99_us": frozen[len(frozen) * 99 // 100], "freeze_floor_p50_us": least,
            "freeze_tls_over_floor": p50 / least}


def machine():
    """What this was measured on: kernel, processors and their make."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")), platform.machine())
    processors = sum(line.startswith("processor") for line in open("/proc/cpuinfo", encoding="utf-8"))
    return f"Linux {platform.release().split('-')[0]}, {processors} x {model}"


def main():
    sandbox.enter()
    try:
        values = {}
        for program in ("bench_barrier", "bench_tls", "bench_sessions"):
            values |= json.loads(run([str(BUILD / "bench" / program)]))
        values |= ramp.ramps(BUILD)
        with Lab(BUILD) as lab:  # last: for a while after it, the kernel is busy with the end of its namespaces
            values |= freezes(lab)
            lab.assert_clean()
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    results = [{"name": name, "value": None if values[name] is None else round(values[name], 3), "unit": unit, "aim": aim, "better": better}
               for name, (unit, aim, better) in FIGURES.items()]
    host = machine()
    (ROOT / "build/bench.json").write_text(json.dumps({"host": host, "results": results}, indent=2) + "\n")
    print(host)
    for row in results:
        aim = f"aim: {'at most' if row['better'] == 'lower' else 'at least'} {row['aim']}" if row["aim"] else ""
        value = "not here" if row["value"] is None else f"{row['value']:.2f}"
        print(f"{row['name']:28} {value:>10} {row['unit']:6} {aim}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
