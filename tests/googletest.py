"""Runs GoogleTest programs, and suites of tests."""
import json
import os
import pathlib
import subprocess
import tempfile

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


def run(*command):
    """(passed, failed); a program that dies or is stopped by a sanitizer has failed."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        done = subprocess.run(
            [*command, "--gtest_brief=1", f"--gtest_output=json:{report.name}"],
            env={**os.environ, **SANITIZERS},
            stdin=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
        text = pathlib.Path(report.name).read_text()
    result = json.loads(text) if text else {"tests": 0, "failures": 0}
    failed = result["failures"]
    return result["tests"] - failed, failed or int(done.returncode != 0)


def run_suites(suites):
    """Calls functions that return (passed, failed), and prints the sums. Returns an exit code."""
    passed = failed = 0
    for suite in suites:
        good, bad = suite()
        passed, failed = passed + good, failed + bad
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0
