"""Situations of a service: a boot, and a restart while a container has its folder mounted."""
import signal

import observe
from process import expect, run, wait_until
from socket_app import Connection, start


def stop(host):
    host.daemon.signal(signal.SIGTERM)
    expect(host.daemon.wait() == 0, host.daemon.tail)


def hold(host):
    return host.run(
        host.lab.program("src/sockmid/sockmid"), "--config", host.folder / "sockmid.toml", "--hold"
    )


def after_a_boot(lab):
    """Returns a connection that has moved to hostB. hostA is as after a boot: the kernel has no
    rules, the daemon does not run yet, and the journal exists."""
    start(lab)
    connection = Connection(lab)
    connection.both_ways()
    connection.move(lab.hostB)
    connection.both_ways()
    stop(lab.hostA)
    lab.hostA.run(lab.sockmictl, "flush")
    return connection


def sends_twice(lab, connection):
    """The peer sends, and sends again, and is not reset. Returns a function that waits until all
    is sent."""
    before = observe.resent(lab.client)
    sent = connection.up.begin_send(connection.theirs, 1000)
    wait_until(lambda: observe.resent(lab.client) > before, "the peer sends again")
    expect(observe.resets(lab.client)[0] == 0, "the peer was refused")
    return sent


def test_a_peer_is_not_reset_between_boot_and_daemon_start(lab):
    """The kernel has lost everything, its addresses are up, and the daemon does not run
    yet; the journal exists."""
    connection = after_a_boot(lab)
    hold(lab.hostA)
    sent = sends_twice(lab, connection)
    lab.start_daemon(lab.hostA)
    expect(
        "sockmi_hold" not in lab.hostA.run("nft", "list", "tables"), "its packets are held still"
    )
    connection.up.receive(connection.ours)
    sent()
    connection.both_ways()
    connection.end()


def test_the_boot_filter_is_restored_after_the_tables_were_emptied(lab):
    """nftables.service is started or reloaded, and sockmid-hold.service with it, while no
    daemon runs."""
    connection = after_a_boot(lab)
    hold(lab.hostA)
    for _ in range(2):
        lab.hostA.run("nft", "flush", "ruleset")
        hold(lab.hostA)
    sent = sends_twice(lab, connection)
    lab.start_daemon(lab.hostA)
    connection.up.receive(connection.ours)
    sent()
    connection.end()


def test_the_boot_filter_is_not_installed_while_a_daemon_runs(lab):
    """The daemon itself restores what is removed; a connection that comes home to it must
    not be cut off."""
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    lab.hostA.run("nft", "flush", "ruleset")
    hold(lab.hostA)
    expect("sockmi_hold" not in lab.hostA.run("nft", "list", "tables"), "its packets are held")
    connection.both_ways()
    connection.move(lab.hostA)
    connection.both_ways()
    connection.end()


def test_flush_removes_the_boot_filter(lab):
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    stop(lab.hostA)
    hold(lab.hostA)
    expect("sockmi_hold" in lab.hostA.run("nft", "list", "tables"), "nothing is held")
    lab.hostA.run(lab.sockmictl, "flush")
    expect("sockmi_hold" not in lab.hostA.run("nft", "list", "tables"), "it is held still")
    lab.start_daemon(lab.hostA)
    connection.both_ways()
    connection.end()


def test_a_container_with_the_socket_folder_mounted_reaches_the_next_daemon(lab):
    """The unit keeps the folder over a restart (test_unit_file.py), and so does the daemon."""
    folder = lab.hostA.folder / "run"
    folder.mkdir()
    lab.hostA.socket = folder / "sockmid.sock"
    changes = {"": {"socket": str(lab.hostA.socket)}}
    lab.start_daemon(lab.hostA, **changes)
    inside = lab.folder / "inside"
    inside.mkdir()
    container = lab.hostA.popen(
        "unshare",
        "-m",
        "sh",
        "-c",
        f"mount --bind {folder} {inside} && echo mounted && exec sleep 60",
        name="container",
    )
    container.wait_line("mounted")

    def status():
        return run(
            [
                "nsenter",
                "-t",
                str(container.pid),
                "-m",
                "curl",
                "-s",
                "--unix-socket",
                str(inside / "sockmid.sock"),
                "http://x/v1/status",
            ],
            check=False,
        )[0]

    expect(status() == 0, "the container does not reach the daemon")
    stop(lab.hostA)
    lab.start_daemon(lab.hostA, **changes)
    expect(status() == 0, "the container does not reach the daemon any more")
    container.kill()
