"""Runs GoogleTest programs, and reports the results of suites."""
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
    """(passed, failed); a program that dies, is stopped by a sanitizer, or hangs has failed."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        try:
            status = subprocess.run(
                [*command, "--gtest_brief=1", f"--gtest_output=json:{report.name}"],
                env={**os.environ, **SANITIZERS},
                stdin=subprocess.DEVNULL,
                timeout=600,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as why:
            print(why, flush=True)
            return 0, 1
        text = pathlib.Path(report.name).read_text()
    result = json.loads(text) if text else {"tests": 0, "failures": 0}
    failed = result["failures"]
    return result["tests"] - failed, failed or int(status != 0)


def report(counts):
    """Prints the sums of pairs (passed, failed). Returns an exit code."""
    passed, failed = (sum(column) for column in zip(*counts))
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0
