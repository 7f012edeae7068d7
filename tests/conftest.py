"""What pytest does for the system tests: it runs in a sandbox, and gives each test a lab of its
own (fixture `lab`).

With pytest-xdist (`pytest -n 4`), each worker runs in a sandbox of its own: see `workers()` in
sandbox.py.

LAB_BUILD names the build whose programs are tested (default build/release); a file overrides it
with BUILD = "release". LAB_SEED repeats the random moments of a run.
"""
import os
import random
import sys

import pytest

sys.dont_write_bytecode = True

import sandbox  # noqa: E402
from lab import Lab, ROOT  # noqa: E402

SEED = os.environ.get("LAB_SEED") or str(random.SystemRandom().randrange(1 << 32))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    """Runs pytest again, with the same arguments, in the sandbox. Workers begin in theirs."""
    config = session.config
    if config.option.collectonly:
        return
    with_workers = config.getoption("tx", None) and not hasattr(config, "workerinput")
    if not with_workers and not sandbox.inside():
        # Otherwise the files that it captures output in would stay the standard output.
        config.pluginmanager.getplugin("capturemanager").stop_global_capturing()
    try:
        if with_workers:
            sandbox.require()
            os.environ["LAB_SEED"] = SEED  # one for all workers
            config.option.tx = sandbox.workers(len(config.option.tx))
        else:
            sandbox.enter("-m", "pytest", *config.invocation_params.args)
    except SystemExit as end:
        pytest.exit("nothing was tested", end.code)


def pytest_report_header():
    return f"LAB_SEED={SEED}"


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    """A test runs in each of its topologies, and there with each of its cases."""
    marks = reversed(list(metafunc.definition.iter_markers("topology")))  # as they are written
    if topologies := [{"kind": mark.args[0], **mark.kwargs} for mark in marks]:
        metafunc.parametrize("lab", topologies, indirect=True, ids=topology_id)


def topology_id(options):
    return "-".join(
        key if value is True else f"{key}={value}" if key != "kind" else value
        for key, value in options.items()
    )


def pytest_collection_modifyitems(items):
    """Long tests begin before the others. A worker that begins one last would leave the other
    workers idle."""
    items.sort(key=lambda item: not item.get_closest_marker("long"))


@pytest.fixture(name="lab")
def running_lab(request):
    random.seed(f"{SEED} {request.node.nodeid}")
    build = ROOT / "build" / request.module.BUILD if hasattr(request.module, "BUILD") else None
    with Lab(build, **getattr(request, "param", {})) as lab:
        yield lab


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """A test that ends well fails if it leaves something behind."""
    (yield).get_result()
    pyfuncitem.funcargs["lab"].assert_clean()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """The report of a failure has the last lines of each program, up to its end (with --pdb, the
    programs go on)."""
    report = (yield).get_result()
    lab = item.funcargs.get("lab")
    if report.failed and lab and lab.processes:
        if not item.config.option.usepdb:
            lab.stop()
        lines = "\n".join(process.tail() for process in lab.processes)
        report.sections.append(("last lines of the programs", lines))


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if terminal := config.pluginmanager.getplugin("terminalreporter"):
        config.pluginmanager.register(Reasons(terminal))


class Reasons:
    """Prints why a test failed when it fails. pytest's own report comes after the last test."""

    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        if report.failed and (crash := getattr(report.longrepr, "reprcrash", None)):
            self.terminal.ensure_newline()
            self.terminal.write_line(f"  {crash.message}")
