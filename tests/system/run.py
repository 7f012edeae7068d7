#!/usr/bin/python3
"""Runs the lab's tests: every function test_* of every test_*.py in this folder, in
../attack and in ../field, each with a Lab of its own.

usage: run.py [PATTERN…]     only tests whose FILE.FUNCTION contains one of the patterns

LAB_BUILD names the build whose programs are tested (default build/release); a file overrides
it with BUILD = "release". LAB_SEED repeats random moments. The last line is
"N passed, N failed".
"""
import importlib
import itertools
import os
import pathlib
import random
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
FOLDERS = [HERE, HERE.parent / "attack", HERE.parent / "field"]
sys.path[:0] = map(str, FOLDERS)
sys.dont_write_bytecode = True

import sandbox  # noqa: E402
from lab import Failure, Lab, ROOT  # noqa: E402


def tests_of(module):
    """Yields each test with its name; a function is one test per case and topology (see
    cases.py)."""
    for name, function in list(vars(module).items()):
        if name.startswith("test_") and callable(function):
            for topology, case in itertools.product(getattr(function, "topologies", [{}]), getattr(function, "cases", [()])):
                words = " ".join([*map(str, case), *describe(topology)])
                yield f"{module.__name__}.{name}" + (f"[{words}]" if words else ""), function, case, topology


def describe(topology):
    return [key if value is True else f"{key}={value}" if key != "kind" else value for key, value in topology.items()]


def run_test(name, function, case, topology, build, seed):
    random.seed(f"{seed} {name}")
    began = time.monotonic()
    lab, error = None, ""
    try:
        with Lab(build, **topology) as lab:
            function(lab, *case)
            lab.assert_clean()
    except Failure as failure:
        error = str(failure)
    except Exception:  # a test that breaks has failed; the others run
        error = traceback.format_exc()
    seconds = time.monotonic() - began
    if not error:
        print(f"ok {name} ({seconds:.1f} s)", flush=True)
        return True
    print(f"FAILED {name} ({seconds:.1f} s)\n  {error}", flush=True)
    for process in lab.processes if lab else []:
        print(process.tail(), flush=True)
    return False


def main():
    patterns = sys.argv[1:]
    sandbox.enter()
    seed = os.environ.get("LAB_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"lab: LAB_SEED={seed}", flush=True)
    passed = failed = 0
    for path in sorted(path for folder in FOLDERS for path in folder.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        build = ROOT / "build" / module.BUILD if hasattr(module, "BUILD") else None
        for name, function, case, topology in tests_of(module):
            if patterns and not any(pattern in name for pattern in patterns):
                continue
            if run_test(name, function, case, topology, build, seed):
                passed += 1
            else:
                failed += 1
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
