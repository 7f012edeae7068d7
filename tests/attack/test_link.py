"""Checks that a machine on the link that is not a member, or no longer one, cannot keep
members from each other."""
import os
import shutil
import socket
import time

from lab import expect, preloading, wait_until
from namespace import within


def silent_connections(host, address, count):
    """Opens connections to the control channel that send nothing."""

    def connect():
        out = []
        for _ in range(count):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex((address, 7078))
            out.append(one)
        return out

    return within(host, connect)


def slow_download(lab, rate="200k"):
    """Starts a download that lasts some seconds, of a connection that is to move."""
    lab.file("payload", os.urandom(1 << 20))
    return lab.client.popen(
        "curl",
        "-sk",
        "--max-time",
        "30",
        "--limit-rate",
        rate,
        "-o",
        "/dev/null",
        f"https://{lab.hostA.address}:8443/payload",
        name="curl",
    )


def test_silent_connections_do_not_block_members(lab):
    lab.start_all(lab.hostA, lab.hostB)
    silent = silent_connections(lab.client, lab.hostB.address, 200)
    lab.hostB.daemon.wait_line("event=control_connection_refused")
    curl = slow_download(lab)
    lab.move(lab.hostA, lab.hostB)
    silent += silent_connections(lab.client, lab.hostB.address, 200)
    expect(curl.wait() == 0, curl.tail())
    for one in silent:
        one.close()
    # The daemon logs one line per second at most.
    expect(
        len([line for line in lab.hostB.daemon.lines if "event=control_connection_refused" in line])
        < 20,
        "the log is flooded",
    )


def test_a_flood_of_datagrams_stops_no_move(lab):
    lab.start_all(lab.hostA, lab.hostB)
    flood = lab.client.popen(
        "/usr/bin/python3",
        "-c",
        f"""
import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("floods", flush=True)
while True:
    s.sendto(b"\\x02" + os.urandom(700), ("{lab.hostB.address}", 7077))
""",
        name="flood",
    )
    flood.wait_line("floods")
    curl = slow_download(lab)
    lab.move(lab.hostA, lab.hostB)
    flood.stop()
    expect(curl.wait() == 0, curl.tail())


def test_the_cluster_key_alone_authenticates_nobody(lab):
    """The machine was a member, or has read a former member's disk: it has the cluster's
    key, and a certificate that is not in force."""
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host)
    wait_until(lambda: knows(lab.hostA, lab.hostB), "hostA knows hostB")
    line = [each["control"] for each in lab.hostA.api("/v1/hosts")["hosts"]]
    other, folder = lab.folder / "other", lab.folder / "thief"
    lab.hostA.run(lab.sockmictl, "cluster", "init", other)
    lab.hostA.run(lab.sockmictl, "cluster", "issue", "hostB", "--cluster", other, "--out", folder)
    shutil.copy(lab.identity(lab.hostB) / "cluster.key", folder / "cluster.key")
    lab.hostC.run(
        lab.program("tests/attack/member"),
        folder,
        lab.hostC.address,
        "hostA",
        f"{lab.hostA.address}:7078",
        "hello",
        2000,
    )
    refused = lab.hostA.daemon.wait_line("event=datagram_refused")
    expect("hostB" in refused and lab.hostC.address in refused, refused)
    expect(
        [each["control"] for each in lab.hostA.api("/v1/hosts")["hosts"]] == line,
        "hostA looks for hostB elsewhere",
    )


def own_folder(lab, host):
    """Returns a copy of the host's identity that a test may change, with its cluster's folder."""
    cluster = lab.folder / "cluster"
    if not cluster.exists():
        lab.hostA.run(lab.sockmictl, "cluster", "init", cluster)
    out = lab.folder / f"identity-{host.name}"
    lab.hostA.run(lab.sockmictl, "cluster", "issue", host.name, "--cluster", cluster, "--out", out)
    return cluster, out


def start_with_own_folders(lab, *hosts):
    folders = {}
    for host in hosts:
        cluster, folders[host.name] = own_folder(lab, host)
        lab.start_daemon(host, **{"": {"identity": str(folders[host.name])}})
    return cluster, folders


def knows(host, other):
    return other.name in [each["host"] for each in host.api("/v1/hosts")["hosts"]]


def test_a_revoked_host_is_shut_out_without_a_restart(lab):
    cluster, folders = start_with_own_folders(lab, lab.hostA, lab.hostB)
    for host in (lab.hostA, lab.hostB):
        lab.start_httpsd(host)
    wait_until(
        lambda: knows(lab.hostA, lab.hostB) and knows(lab.hostB, lab.hostA), "they know each other"
    )
    lab.hostA.run(lab.sockmictl, "cluster", "revoke", "hostB", "--cluster", cluster)
    shutil.copy(cluster / "crl.pem", folders["hostA"] / "crl.pem")
    lab.hostA.daemon.wait_line("event=identity_read")
    lab.hostA.daemon.wait_line("revoked")  # logged about what hostB continues to send
    curl = slow_download(lab, "500k")
    went = wait_until(
        lambda: (answer := lab.hostA.export(lab.hostB)) != (0, 0) and answer,
        "an application has it",
    )
    expect(went == (0, 1), f"{went}: it went to a revoked host")
    expect(curl.wait() == 0, curl.tail())
    # With a renewed certificate it is a member again: hostB reads its folder on SIGHUP,
    # or by itself.
    lab.hostA.run(lab.sockmictl, "cluster", "renew", folders["hostB"], "--cluster", cluster)
    lab.hostB.daemon.wait_line("event=identity_read")
    curl = slow_download(lab, "500k")
    wait_until(
        lambda: lab.hostA.export(lab.hostB) == (1, 0), "it moves to the renewed host", timeout=15
    )
    expect(curl.wait() == 0, curl.tail())


def test_the_cluster_key_is_replaced_host_by_host(lab):
    cluster, folders = start_with_own_folders(lab, lab.hostA, lab.hostB)
    wait_until(
        lambda: knows(lab.hostA, lab.hostB) and knows(lab.hostB, lab.hostA), "they know each other"
    )
    lab.hostA.run(lab.sockmictl, "cluster", "rekey", "--cluster", cluster)
    shutil.copy(cluster / "cluster.key", folders["hostA"] / "cluster.key")
    lab.hostA.daemon.wait_line("event=identity_read")
    heard = lambda host: host.api("/v1/hosts")["hosts"][0]["last_heard_ms_ago"]
    for host in (lab.hostA, lab.hostB):
        before = time.monotonic()
        wait_until(
            lambda: heard(host) < (time.monotonic() - before) * 1000,
            f"{host.name} is told something since",
            timeout=15,
        )


def test_an_invalid_identity_folder_changes_nothing(lab):
    _, folders = start_with_own_folders(lab, lab.hostA)
    (folders["hostA"] / "host.crt").write_text("no certificate")
    lab.hostA.daemon.wait_line("event=identity_read_failed")
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "it does not serve")


def test_check_reports_an_expired_certificate(lab):
    path = lab.configure(lab.hostA)
    with_clock = lambda days: preloading(
        lab.program("tests/attack/libskew.so"), SKEW=days * 86400
    )  # noqa: E731
    check = [lab.program("src/sockmid/sockmid"), "--check", "--config", path]
    lab.hostA.run(*check)
    output = lab.hostA.run(*with_clock(720), *check)
    expect("expires on" in output, output)
    status, output = lab.hostA.run(*with_clock(740), *check, check=False)
    expect(status == 1 and "hostA: certificate has expired" in output, f"{status}: {output}")


def test_a_wrong_clock_is_reported(lab):
    lab.start_daemon(lab.hostA)
    lab.start_daemon(lab.hostB, wrap=preloading(lab.program("tests/attack/libskew.so"), SKEW=40))
    for host, other, words in ((lab.hostA, "hostB", "ahead of"), (lab.hostB, "hostA", "behind")):
        line = host.daemon.wait_line(f"event=clock_differs host={other}")
        expect(f"the clock of {other} is" in line and words in line, line)
        warnings = host.api("/v1/status")["warnings"]
        expect(
            any(f"the clock of {other} is" in each and "refused" in each for each in warnings),
            f"{warnings}",
        )
    expect(
        len([line for line in lab.hostA.daemon.lines if "clock_differs" in line]) == 1,
        "it is said more than once",
    )
