"""What the operator types and sees."""
import json
import pathlib
import re
import tempfile

import pytest

import observe
from process import expect, run
from transfer import HeldDownload, random_bytes

CONTENT = random_bytes(1 << 20)


def test_curl_reads_every_view(lab):
    lab.start_daemon(lab.hostA)
    for view in ("status", "connections", "hosts", "migrations"):
        json.loads(
            lab.hostA.run(
                "curl", "-sf", "--unix-socket", lab.hostA.socket, f"http://sockmid/v1/{view}"
            )
        )


def test_sockmictl_prints_json_and_tables(lab):
    lab.start_daemon(lab.hostA)
    for view in ("status", "connections", "hosts", "migrations"):
        json.loads(lab.hostA.run(lab.sockmictl, "--json", view))
        expect(lab.hostA.run(lab.sockmictl, view).strip(), f"{view} prints nothing")


def test_each_subcommand_has_help(lab):
    """The man page describes exactly the subcommands of the table: tools/check-manual."""
    page = (pathlib.Path(__file__).resolve().parents[2] / "man/sockmictl.1").read_text(
        encoding="utf-8"
    )
    names = [
        name.split()
        for name in re.findall(r"^\.It (?:Xo\n\.)?Cm ((?:[a-z]+ ?)+)", page, re.MULTILINE)
    ]
    expect(["cluster", "issue"] in names, names)
    for name in names:
        shown = lab.hostA.run(lab.sockmictl, *name, "--help")
        expect("Usage: sockmictl " + " ".join(name) in shown, f"{name}: {shown}")


def test_a_strict_reverse_path_filter_is_reported(lab):
    """A strict reverse path filter on a host with two interfaces is in the log, and in
    the status for as long as it is set."""
    lab.hostA.run("ip", "link", "add", "spare", "type", "veth", "peer", "name", "other")
    lab.hostA.run("sysctl", "-qw", "net.ipv4.conf.spare.rp_filter=1")
    lab.start_daemon(lab.hostA, **{"": {"interfaces": ["spare", "eth0"]}})
    [warning] = lab.hostA.api("/v1/status")["warnings"]
    expect("net.ipv4.conf.spare.rp_filter" in warning, warning)
    expect(
        any("event=host_check_failed" in line for line in lab.hostA.daemon.lines),
        "the log does not say it",
    )
    lab.hostA.run("sysctl", "-qw", "net.ipv4.conf.spare.rp_filter=2")
    expect(lab.hostA.api("/v1/status")["warnings"] == [], "the status still says it")


def test_export_waits_for_the_outcome_and_prints_it(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    output = lab.hostA.run(lab.sockmictl, "export", "--service", "web", "--to", lab.hostB.address)
    expect("1 exported" in output, output)
    expect(
        lab.hostB.api("/v1/connections")["connections"][0]["home"] == "hostA",
        "hostB does not hold it",
    )
    transfer.finish_whole()


def test_a_failed_export_exits_with_an_error(lab):
    lab.start_all(lab.hostA)
    transfer = HeldDownload(lab, CONTENT)
    status, output = lab.hostA.run(lab.sockmictl, "export", "--service", "web", check=False)
    expect(status == 1 and "cannot export" in output, f"status {status}: {output}")
    transfer.finish_whole()


def test_export_accepts_the_name_of_a_host(lab):
    """`--to` accepts a host's name as soon as a datagram of it has arrived."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    lab.move(lab.hostB, lab.hostA)
    lab.move(lab.hostA, "hostB")
    hosts = {each["host"]: each for each in lab.hostA.api("/v1/hosts")["hosts"]}
    expect(hosts["hostB"]["address"] == lab.hostB.address and hosts["hostB"]["connected"], hosts)
    transfer.finish_whole()


def test_sockmictl_fails_without_a_daemon(lab):
    status, output = lab.hostA.run(lab.sockmictl, "status", check=False)
    expect(status == 1 and "sockmictl:" in output, f"status {status}: {output}")


def test_check_refuses_wrong_configurations(lab):
    good = lab.configure(lab.hostA)
    lab.hostA.run(lab.program("src/sockmid/sockmid"), "--check", "--config", good)
    bad = lab.hostA.folder / "bad.toml"
    for text in ("socket = 7\n", "no toml at all\n", good.read_text() + "[unheard-of]\nx = 1\n"):
        bad.write_text(text)
        status, output = lab.hostA.run(
            lab.program("src/sockmid/sockmid"), "--check", "--config", bad, check=False
        )
        expect(status != 0 and output.strip(), f"status {status} for:\n{text}{output}")


def test_a_former_key_is_refused_and_the_error_names_the_new_one(lab):
    good = lab.configure(lab.hostA).read_text()
    former = lab.hostA.folder / "former.toml"
    for key, value, new in (
        ("negotiation.group", '"239.1.2.3:4"', "discovery.group"),
        ("negotiation.peers", "[]", "discovery.hosts"),
        ("negotiation.timeout_ms", "500", "discovery.timeout_ms"),
        ("negotiation.preference", '"first"', "discovery.preference"),
        ("transfer.port", "7078", "control.port"),
    ):
        former.write_text(f"{key} = {value}\n{good}")
        status, output = lab.hostA.run(
            lab.program("src/sockmid/sockmid"), "--check", "--config", former, check=False
        )
        expect(
            status == 2 and f"line 1: {key}: unknown key; its name is {new} now" in output,
            f"status {status}: {output}",
        )


def test_fault_points_require_testing(lab):
    lab.start_daemon(lab.hostA, **{"": {"testing": False}})
    status, output = lab.hostA.run(lab.sockmictl, "fault", "freeze", check=False)
    expect(status == 1 and "testing" in output, f"status {status}: {output}")


@pytest.fixture
def folder_on_disk():
    """A folder of a file system that is not in memory."""
    for parent in ("/var/tmp", "/tmp", "/"):
        if run(["stat", "-f", "-c", "%T", parent]).strip() not in ("tmpfs", "ramfs"):
            with tempfile.TemporaryDirectory(dir=parent) as folder:
                yield pathlib.Path(folder)
            return
    pytest.skip("all file systems are in memory")


def test_a_runtime_folder_on_a_disk_is_refused(lab, folder_on_disk):
    path = lab.configure(
        lab.hostA, **{"": {"socket": str(folder_on_disk / "sockmid.sock"), "testing": False}}
    )
    status, output = lab.hostA.run(
        "timeout", "20", lab.program("src/sockmid/sockmid"), "--config", path, check=False
    )
    expect(status == 1 and "not in memory" in output, f"status {status}: {output}")
    expect(not list(folder_on_disk.iterdir()), "there is something in it")
    lab.start_daemon(
        lab.hostA, **{"": {"socket": str(folder_on_disk / "sockmid.sock")}}
    )  # with testing = true
    expect(
        any("event=runtime_folder_not_in_memory" in line for line in lab.hostA.daemon.lines),
        "the log does not say it",
    )


def test_flush_removes_what_a_killed_daemon_left(lab):
    daemon = lab.start_daemon(lab.hostA)
    daemon.kill()
    expect(observe.leftovers(lab.hostA), "a killed daemon leaves nothing; then what is flush for?")
    lab.hostA.run(lab.sockmictl, "flush")
    expect(not observe.leftovers(lab.hostA), observe.leftovers(lab.hostA))


def test_a_restarted_daemon_removes_leftovers(lab):
    lab.start_daemon(lab.hostA).kill()
    lab.start_daemon(lab.hostA)


def test_a_second_daemon_does_not_start(lab):
    lab.start_daemon(lab.hostA)
    status, output = lab.hostA.run(
        lab.program("src/sockmid/sockmid"),
        "--config",
        lab.hostA.folder / "sockmid.toml",
        check=False,
    )
    expect(status == 1 and "sockmid:" in output, f"status {status}: {output}")
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "the first one does not serve on")
    expect(observe.leftovers(lab.hostA), "the first one's tables are gone")
