#!/usr/bin/python3
"""Tests the TLS part with OpenSSL 3.5, that of Debian 13: builds it there, runs its unit
tests there, and moves connections between it and this machine's OpenSSL (build/sanitize).

The last line is "N passed, N failed". Exit code: 0 all passed, 1 a test failed, 77 SKIPPED:
nothing was tested, because no Debian 13 is available here (see trixie.py).
"""
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/system")]
sys.dont_write_bytecode = True

import googletest  # noqa: E402
import moves  # noqa: E402
import sandbox  # noqa: E402
import trixie  # noqa: E402

BUILD = "build/openssl35"
UNITS = ["unit_tls", "unit_wire", "unit_lib"]


def build():
    """Builds, inside, what is tested."""
    configure = [
        "cmake",
        "-G",
        "Ninja",
        "-S",
        ".",
        "-B",
        BUILD,
        "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
        "-DSOCKMI_SANITIZE=ON",
        "-DSOCKMI_DAEMON=OFF",
        "-DSOCKMI_BENCH=OFF",
    ]
    for step in [configure, ["cmake", "--build", BUILD, "--target", *UNITS, "mover"]]:
        subprocess.run(trixie.command(*step), stdin=subprocess.DEVNULL, check=True)


def openssl_version(within=lambda *command: command):
    query = within("dpkg-query", "-W", "-f", "${Version}", "libssl-dev")
    return subprocess.run(query, stdout=subprocess.PIPE, text=True, check=True).stdout


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        trixie.provide()
    except trixie.NotPossible as why:
        print(f"SKIPPED: nothing was tested with OpenSSL 3.5: {why}", file=sys.stderr, flush=True)
        return sandbox.NOT_POSSIBLE
    sandbox.enter()
    trixie.mount()
    print(
        f"OpenSSL {openssl_version()} here, {openssl_version(trixie.command)} in {trixie.HERE}",
        flush=True,
    )
    build()
    counts = [googletest.run(*trixie.command(f"{BUILD}/tests/unit/{unit}")) for unit in UNITS]
    return googletest.report([*counts, moves.run_all()])


if __name__ == "__main__":
    sys.exit(main())
