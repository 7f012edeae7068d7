"""The service as it is installed: the privileges that its unit gives the daemon suffice,
and what the unit says about restarts holds."""
import pathlib
import re
import shutil
import signal
import sys

import pytest

from process import expect, run
from socket_app import SERVICE, Connection, SocketApp


def unit(lab, name="sockmid"):
    """Returns the settings of the unit; the last one if one is given more than once."""
    text = (lab.build / "packaging" / f"{name}.service").read_text()
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def as_the_unit_runs_it(lab):
    """Returns a command that runs another one with the capabilities of the unit, and no more."""
    names = [
        name.removeprefix("CAP_").lower() for name in unit(lab)["CapabilityBoundingSet"].split()
    ]
    return [
        "setpriv",
        "--bounding-set",
        ",".join(["-all", *(f"+{name}" for name in names)]),
        "--inh-caps=-all",
        "--no-new-privs",
    ]


def denied_numbers(lab):
    """Returns the numbers of the system calls that the unit denies."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here: the groups of SystemCallFilter= are not known")
    text = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text(encoding="utf-8")
    number_of = dict(re.findall(r"#define __NR_(\w+) (\d+)", text))
    groups = unit(lab)["SystemCallFilter"]
    expect(groups.startswith("~"), groups)
    names = [
        name
        for group in groups[1:].split()
        for name in re.findall(
            r"^ +(\w+)$", run(["systemd-analyze", "syscall-filter", group]), re.MULTILINE
        )
    ]
    return [number_of[name] for name in names if name in number_of]


def test_the_daemon_makes_no_system_call_that_the_unit_denies(lab):
    wrap = [
        sys.executable,
        pathlib.Path(__file__).with_name("denied_calls.py"),
        *denied_numbers(lab),
        "--",
    ]
    status, _ = run(
        [
            *map(str, wrap),
            sys.executable,
            "-c",
            "import ctypes; ctypes.CDLL(None).swapoff(b'/none')",
        ],
        check=False,
    )
    expect(status == -signal.SIGSYS, f"the filter denies nothing: status {status}")
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host, wrap=wrap)
        host.app = SocketApp(host, SERVICE)
    lab.client.app = SocketApp(lab.client)
    connection = Connection(lab)
    for target in (lab.hostB, lab.hostA):
        connection.move(target)
        connection.both_ways()
    connection.end()
    for host in (lab.hostA, lab.hostB):
        expect(host.daemon.stop() == 0, lambda: f"{host.name}: {host.daemon.tail()}")


def test_a_connection_of_port_443_moves_with_the_capabilities_of_the_unit(lab):
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host, wrap=as_the_unit_runs_it(lab))
        host.app = SocketApp(host, SERVICE, privileged=True)
    lab.client.app = SocketApp(lab.client)
    allowed = next(
        line
        for line in open(f"/proc/{lab.hostB.daemon.pid}/status", encoding="utf-8")
        if line.startswith("CapEff")
    )
    expect(
        bin(int(allowed.split()[1], 16)).count("1")
        == len(unit(lab)["CapabilityBoundingSet"].split()),
        allowed,
    )
    connection = Connection(lab, port=443)
    for target in (lab.hostB, lab.hostA, lab.hostB):
        connection.move(target)
        connection.both_ways()
    connection.end()


def test_the_units_restart_settings_suit_the_daemon(lab):
    settings = unit(lab)
    wanted = {
        "Restart": "on-failure",
        "StartLimitIntervalSec": "0",
        "RuntimeDirectoryPreserve": "restart",
        "KillMode": "mixed",
        "OOMPolicy": "continue",
        "LimitCORE": "0",
        "NoNewPrivileges": "yes",
    }
    expect(
        wanted.items() <= settings.items(),
        lambda: f"the unit has not {dict(wanted.items() - settings.items())}",
    )
    expect(
        int(settings["TimeoutStopSec"]) > 30,
        "what goes home when the daemon stops may take 20 s, and its last words more",
    )


def test_the_hold_unit_starts_before_the_network(lab):
    settings = unit(lab, "sockmid-hold")
    expect(
        "network-pre.target" in settings["Before"] and "nftables.service" in settings["After"],
        settings,
    )
    expect(settings["ExecStart"].endswith("/sockmid --hold"), settings)


def test_the_hold_unit_restarts_with_nftables(lab):
    """nftables.service empties the kernel's tables. systemd stops and starts parts of it
    with it only while they are active."""
    settings = unit(lab, "sockmid-hold")
    for name in ("PartOf", "ReloadPropagatedFrom", "After", "WantedBy"):
        expect("nftables.service" in settings[name], f"{name}={settings[name]}")
    expect(
        "sockmid.service" in settings["Before"]
        and settings["RemainAfterExit"] == "yes"
        and settings["ExecReload"] == settings["ExecStart"],
        settings,
    )


def test_the_drain_unit_stops_before_the_daemon_and_drains_for_a_reboot(lab):
    settings = unit(lab, "sockmi-drain")
    for name in ("sockmid.service", "sockmi-proxy.service", "network-online.target"):
        expect(name in settings["After"], settings)
    expect("Requires" not in settings and settings["RemainAfterExit"] == "yes", settings)
    program, *arguments = settings["ExecStop"].removeprefix("-").split()
    expect(program.endswith("/bin/sockmictl"), program)
    deadline = arguments[arguments.index("--deadline") + 1]
    expect(int(deadline.removesuffix("s")) < int(settings["TimeoutStopSec"]), settings)
    lab.start_daemon(lab.hostA)
    lab.hostA.run(lab.sockmictl, *arguments)
    status = lab.hostA.api("/v1/drain")
    expect(status["cordoned"] and status["for_reboot"], status)
