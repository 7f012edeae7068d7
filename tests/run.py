#!/usr/bin/python3
"""Runs all tests: unit tests of the sanitizer build, programs against the installed release, a
little fuzzing, then the lab. The last line is "N passed, N failed"; the exit code is not 0 if one
failed."""
import glob
import os
import pathlib
import re
import signal
import subprocess
import sys

sys.dont_write_bytecode = True

import googletest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]


def script(*arguments):
    """Returns (passed, failed), as the script's last line reports them."""
    env = {"LAB_BUILD": str(ROOT / "build" / "sanitize"), **os.environ}
    with subprocess.Popen(["/usr/bin/python3", *arguments], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as running:
        last = ""
        try:
            for last in running.stdout:
                print(last, end="", flush=True)
        finally:
            running.terminate()  # the lab's whole sandbox ends with it
    counts = re.fullmatch(r"(\d+) passed, (\d+) failed\n?", last)
    return (int(counts[1]), int(counts[2])) if counts else (0, 1)


def source_checks():
    """Returns (passed, failed): each tool is one test."""
    done = [subprocess.run([str(tool)], check=False).returncode == 0 for tool in sorted((ROOT / "tools").glob("check-*"))]
    return done.count(True), done.count(False)


def header_tests():
    return script(str(ROOT / "tests/headers/run.py"))


def fuzz_tests():
    return script(str(ROOT / "tests/fuzz/run.py"), "--seconds", "8")


def lab_tests():
    return script(str(ROOT / "tests/system/run.py"))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    passed = failed = 0
    programs = sorted(glob.glob(str(ROOT / "build/sanitize/tests/unit/unit_*")))
    suites = [lambda program=program: googletest.run(program) for program in programs if os.access(program, os.X_OK) and os.path.isfile(program)]
    for suite in [source_checks, *suites, header_tests, fuzz_tests, lab_tests]:
        good, bad = suite()
        passed, failed = passed + good, failed + bad
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
