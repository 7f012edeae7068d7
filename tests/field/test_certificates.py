"""Clocks that differ, and certificates that have expired: nothing is lost, and log and
status name the host."""
from lab import expect, preloading, wait_until
from socket_app import CONNECTED, SERVICE, Connection, SocketApp

DAY = 86400


def with_clock(lab, seconds):
    return preloading(lab.program("tests/attack/libskew.so"), SKEW=seconds)


def start(lab, skew):
    lab.start_daemon(lab.hostA)
    lab.start_daemon(lab.hostB, wrap=with_clock(lab, skew))
    for host in (lab.hostA, lab.hostB):
        host.app = SocketApp(host, SERVICE)
    lab.client.app = SocketApp(lab.client)


def test_an_export_to_a_host_with_a_wrong_clock_fails_and_names_it(lab):
    start(lab, 40)
    connection = Connection(lab)
    connection.both_ways()
    answer = lab.hostA.app.tries(
        "export", connection.ours.fd, CONNECTED, SERVICE, lab.hostB.address
    )
    expect("error" in answer, f"{answer}: it went to a host that is not heard")
    for host, other in ((lab.hostA, "hostB"), (lab.hostB, "hostA")):
        host.daemon.wait_line(f"event=clock_differs host={other}")
        warnings = host.api("/v1/status")["warnings"]
        expect(
            any(f"the clock of {other}" in warning for warning in warnings),
            f"{host.name}: {warnings}",
        )
    connection.both_ways()


def test_a_small_clock_difference_does_not_prevent_moves(lab):
    start(lab, 20)
    connection = Connection(lab)
    connection.both_ways()
    connection.move(lab.hostB)
    connection.both_ways()
    expect(
        any("the clock of hostB" in warning for warning in lab.hostA.api("/v1/status")["warnings"]),
        "nobody is told before it fails",
    )


def own_folder(lab, host, *options, skew=0):
    """Returns an identity of the sandbox's cluster, issued when the clock was `skew`
    seconds from now."""
    lab.identity(host)  # creates the cluster
    folder = lab.folder / f"identity-{host.name}"
    host.run(
        *with_clock(lab, skew),
        lab.sockmictl,
        "cluster",
        "issue",
        host.name,
        "--cluster",
        "/run/cluster",
        "--out",
        folder,
        *options,
    )
    return str(folder)


def test_an_expired_certificate_is_reported(lab):
    lab.start_daemon(lab.hostA)
    lab.start_daemon(lab.hostB, **{"": {"identity": own_folder(lab, lab.hostB, skew=-740 * DAY)}})
    refused = lab.hostA.daemon.wait_line("event=datagram_refused")
    expect("invalid certificate of hostB: certificate has expired (on " in refused, refused)
    lab.hostB.daemon.wait_line("event=certificate_renewal_due")
    warnings = lab.hostB.api("/v1/status")["warnings"]
    expect(
        any(
            "invalid certificate of hostB: certificate has expired" in warning
            for warning in warnings
        ),
        f"{warnings}",
    )
    # The certificate is renewed, and no daemon is restarted.
    lab.hostB.run(
        lab.sockmictl,
        "cluster",
        "renew",
        lab.folder / "identity-hostB",
        "--cluster",
        "/run/cluster",
    )
    wait_until(
        lambda: [each["host"] for each in lab.hostA.api("/v1/hosts")["hosts"]] == ["hostB"],
        "hostA knows hostB",
        timeout=20,
    )
    expect(
        lab.hostB.api("/v1/status")["warnings"] == lab.hostA.api("/v1/status")["warnings"],
        "it still warns",
    )


def test_a_certificate_that_expires_soon_is_reported(lab):
    lab.start_daemon(lab.hostA, **{"": {"identity": own_folder(lab, lab.hostA, "--days", "20")}})
    warning = lab.hostA.daemon.wait_line("event=certificate_renewal_due")
    expect("this host's certificate expires on " in warning, warning)
    expect(
        any(
            "this host's certificate expires on" in each
            for each in lab.hostA.api("/v1/status")["warnings"]
        ),
        "the status does not say it",
    )


def test_the_authority_is_rotated_without_a_restart(lab):
    cluster, folders = lab.folder / "cluster", {
        host: lab.folder / f"identity-{host.name}" for host in (lab.hostA, lab.hostB, lab.hostC)
    }

    def ctl(*words):
        lab.hostA.run(lab.sockmictl, "cluster", *words, "--cluster", cluster)

    def read_again(host, act):
        seen = sum("event=identity_read" in line for line in host.daemon.lines)
        act()
        wait_until(
            lambda: sum("event=identity_read" in line for line in host.daemon.lines) > seen,
            f"{host.name} has read its folder",
        )

    def copy_authorities():
        for host in (lab.hostA, lab.hostB):
            read_again(host, lambda: lab.hostA.run("cp", cluster / "ca.crt", folders[host]))

    lab.hostA.run(lab.sockmictl, "cluster", "init", cluster)
    for host, folder in folders.items():
        ctl("issue", host.name, "--out", folder)
        lab.start_daemon(host, **{"": {"identity": str(folder)}})
        host.app = SocketApp(host, SERVICE)
    lab.client.app = SocketApp(lab.client)
    connection = Connection(lab)
    connection.both_ways()
    ctl("rotate")
    copy_authorities()
    read_again(lab.hostB, lambda: ctl("renew", folders[lab.hostB]))
    # One host has a certificate of the former authority, the other of the new one.
    connection.move(lab.hostB)
    read_again(lab.hostA, lambda: ctl("renew", folders[lab.hostA]))
    ctl("retire")
    copy_authorities()
    connection.move(lab.hostA)
    connection.both_ways()
    # hostC did not get a new certificate.
    answer = lab.hostA.app.tries(
        "export", connection.ours.fd, CONNECTED, SERVICE, lab.hostC.address
    )
    expect("error" in answer, "it went to a host whose authority has retired")
    lab.hostC.daemon.wait_line("event=datagram_refused")
    connection.both_ways()
    connection.end()
