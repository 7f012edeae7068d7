#!/usr/bin/python3
"""Fuzzes: first all kept inputs must pass, then new ones are searched for.

run.py [--seconds N] [TARGET ...]   N seconds per target (0: only the kept inputs)

An input that fails is left in build/fuzz. Once it is understood it belongs into
tests/fuzz/corpus/TARGET. The last line is "N passed, N failed".
"""
import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/sanitize/tests/fuzz"
WORK = ROOT / "build/fuzz"
ENVELOPE = 46  # docs/image-format.md
OPTIONS = [
    "-timeout=10",
    "-rss_limit_mb=4096",
    "-max_len=8192",
    "-verbosity=0",
    "-print_final_stats=1",
]
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    **os.environ,
}


def seeds(target):
    """Returns the folders of inputs that fuzzing begins with."""
    folders = [ROOT / "tests/fuzz/corpus" / target]
    if target == "fuzz_tls_image":
        bodies = WORK / "bodies"
        bodies.mkdir(exist_ok=True)
        for image in (ROOT / "tests/golden/images").rglob("*.image"):
            (bodies / f"{image.parent.name}-{image.stem}").write_bytes(
                image.read_bytes()[ENVELOPE:]
            )
        folders.append(bodies)
    return [str(folder) for folder in folders if folder.is_dir()]


def run(target, arguments):
    done = subprocess.run(
        [BUILD / target, *OPTIONS, f"-artifact_prefix={WORK}/{target}-", *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        print(done.stdout[-8000:], flush=True)
    statistics = dict(
        line.split(": ") for line in done.stdout.splitlines() if line.startswith("stat::")
    )
    return done.returncode == 0, int(statistics.get("stat::number_of_executed_units", 0))


def fuzz(target, seconds):
    kept = seeds(target)
    good, count = run(target, ["-runs=0", *kept])
    if good and seconds > 0:
        found = WORK / target
        found.mkdir(exist_ok=True)
        good, count = run(target, [f"-max_total_time={seconds}", str(found), *kept])
    print(f"{'ok  ' if good else 'FAIL'} {target}: {count} inputs", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    targets = options.targets or sorted(
        path.stem for path in (ROOT / "tests/fuzz").glob("fuzz_*.cc")
    )
    good = [fuzz(target, options.seconds) for target in targets]
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed", flush=True)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
