#!/usr/bin/python3
"""Runs all tests: unit tests of the sanitizer build, a little fuzzing, programs against the
installed release, and source checks, as many of these at a time as there are processors; then,
beside the last of them, the system tests, two a processor, since they mostly wait. The last line is
"N passed, N failed"; the exit code is not 0 if one failed."""
import concurrent.futures
import functools
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[1]

import googletest  # noqa: E402

PROCESSORS = os.cpu_count() or 1
ENDS_WITH_US = ["setpriv", "--pdeathsig", "TERM", "--"]  # what follows, however this program ends


def script(*arguments, **options):
    """Starts a Python program."""
    return subprocess.Popen(
        [*ENDS_WITH_US, "/usr/bin/python3", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        **options,
    )


def source_checks():
    """Returns (passed, failed): each tool is one test."""
    done = [
        subprocess.run([*ENDS_WITH_US, str(tool)], check=False).returncode == 0
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
    passed, failed = (int(counts[1]), int(counts[2])) if counts else (0, 1)
    return passed, failed or int(running.returncode != 0)


def header_tests():
    return counted("tests/headers/run.py")


def fuzz_tests():
    return counted("tests/fuzz/run.py", "--seconds", "8")


def system_tests():
    """Returns (passed, failed). Tests that skip themselves are neither."""
    report = ROOT / "build/system-tests.xml"
    report.unlink(missing_ok=True)
    env = {"LAB_BUILD": str(ROOT / "build/sanitize"), **os.environ}
    with script(
        "-m",
        "pytest",
        "--durations=10",
        f"--junitxml={report}",
        f"--numprocesses={2 * PROCESSORS}",
        env=env,
    ) as running:
        status = running.wait()
    tests = ElementTree.parse(report).findall(".//testcase") if report.exists() else []
    outcomes = [{child.tag for child in test} for test in tests]
    failed = sum(bool(tags & {"failure", "error"}) for tags in outcomes)
    skipped = sum("skipped" in tags for tags in outcomes)
    return len(tests) - failed - skipped, failed or int(status != 0)


def timed(name, suite):
    """Returns (passed, failed) of a suite, and prints them with the time that it took."""
    began = time.monotonic()
    passed, failed = suite()
    seconds = time.monotonic() - began
    print(f"{name}: {passed} passed, {failed} failed, {seconds:.0f} s", flush=True)
    return passed, failed


def unit_tests():
    """Returns a suite by name for each program. The longest one is first, because other suites
    have to run meanwhile."""
    programs = sorted((ROOT / "build/sanitize/tests/unit").glob("unit_*"))
    programs.sort(key=lambda program: program.name != "unit_migration")
    return {
        program.name: functools.partial(googletest.run, *ENDS_WITH_US, program)
        for program in programs
        if os.access(program, os.X_OK) and program.is_file()
    }


def main():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))  # sys.exit() waits for the threads
    suites = {
        **unit_tests(),
        "fuzz targets": fuzz_tests,
        "headers": header_tests,
        "source checks": source_checks,
        "system tests": system_tests,
    }
    with concurrent.futures.ThreadPoolExecutor(PROCESSORS) as pool:
        counts = list(pool.map(timed, suites.keys(), suites.values()))
    return googletest.report(counts)


if __name__ == "__main__":
    sys.exit(main())
