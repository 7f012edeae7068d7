#!/usr/bin/python3
"""Runs all tests: source checks, unit tests of the sanitizer build, programs against the installed
release, a little fuzzing, then the system tests. The last line is "N passed, N failed"; the exit
code is not 0 if one failed."""
import contextlib
import glob
import os
import pathlib
import re
import signal
import subprocess
import sys
from xml.etree import ElementTree

sys.dont_write_bytecode = True

import googletest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def script(*arguments, **options):
    """Runs a Python program, which ends before this one does."""
    with subprocess.Popen(
        ["/usr/bin/python3", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, **options
    ) as running:
        try:
            yield running
        finally:
            running.terminate()


def source_checks():
    """Returns (passed, failed): each tool is one test."""
    done = [
        subprocess.run([str(tool)], check=False).returncode == 0
        for tool in sorted((ROOT / "tools").glob("check-*"))
    ]
    return done.count(True), done.count(False)


def counted(*command):
    """Returns (passed, failed), as the last line of a program reports them."""
    last = ""
    with script(*command, stdout=subprocess.PIPE, text=True) as running:
        for last in running.stdout:
            print(last, end="", flush=True)
    counts = re.fullmatch(r"(\d+) passed, (\d+) failed\n?", last)
    return (int(counts[1]), int(counts[2])) if counts else (0, 1)


def header_tests():
    return counted("tests/headers/run.py")


def fuzz_tests():
    return counted("tests/fuzz/run.py", "--seconds", "8")


def system_tests():
    """Returns (passed, failed). Tests that skip themselves are neither."""
    report = ROOT / "build/system-tests.xml"
    report.unlink(missing_ok=True)
    env = {"LAB_BUILD": str(ROOT / "build/sanitize"), **os.environ}
    with script("-m", "pytest", "--durations=10", f"--junitxml={report}", env=env) as running:
        status = running.wait()
    tests = ElementTree.parse(report).findall(".//testcase") if report.exists() else []
    outcomes = [{child.tag for child in test} for test in tests]
    failed = sum(bool(tags & {"failure", "error"}) for tags in outcomes)
    skipped = sum("skipped" in tags for tags in outcomes)
    return len(tests) - failed - skipped, failed or int(status != 0)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    programs = sorted(glob.glob(str(ROOT / "build/sanitize/tests/unit/unit_*")))
    suites = [
        lambda program=program: googletest.run(program)
        for program in programs
        if os.access(program, os.X_OK) and os.path.isfile(program)
    ]
    return googletest.run_suites([source_checks, *suites, header_tests, fuzz_tests, system_tests])


if __name__ == "__main__":
    sys.exit(main())
