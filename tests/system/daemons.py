"""Daemons that end and start again, the applications that are connected to them, and what a
daemon and its kernel have recorded of connections."""
import signal

import observe
from process import expect, wait_until
from transfer import HeldDownload

TERMINATED, KILLED = "SIGTERM", "SIGKILL"


def end_daemon(host, how):
    """Ends the daemon, and returns when it has ended."""
    host.daemon.signal(getattr(signal, how))
    status = host.daemon.wait()
    expect(
        status == (0 if how == TERMINATED else -signal.SIGKILL),
        lambda: f"{host.daemon.name}: status {status}\n{host.daemon.tail()}",
    )


def httpsd_of(lab, host):
    [server] = [process for process in lab.processes if process.name == f"{host.name}:httpsd"]
    return server


def restart(lab, host, how=TERMINATED):
    """Starts a new daemon, and waits until the httpsd here is connected to it."""
    server = httpsd_of(lab, host)
    before = len(server.lines)
    end_daemon(host, how)
    lab.start_daemon(host)
    server.wait_line("event=daemon_connected", after=before)


def move_to_httpsd(lab, source, target):
    """Moves a connection, and waits until the httpsd there has it: not even the daemon has another
    descriptor of it."""
    server = httpsd_of(lab, target)
    before = len(server.lines)
    lab.move(source, target)
    server.wait_line("event=imported", after=before)


def moved_download(lab, content):
    """Returns a download whose server's end has moved from hostA to hostB."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = HeldDownload(lab, content)
    move_to_httpsd(lab, lab.hostA, lab.hostB)
    return transfer


def records(host):
    """Returns which connections the host's daemon has recorded, as role and place."""
    listed = host.api("/v1/connections")["connections"]
    return [(connection["role"], connection["holder"]) for connection in listed]


def wait_forgotten(*hosts):
    """Waits until neither kernel nor daemon of the hosts knows a connection."""
    for host in hosts:
        wait_until(lambda: not observe.redirects(host), f"no redirect is left on {host.name}")
        wait_until(lambda: not records(host), f"{host.name} has no record")


def block_output(client):
    """Stops the client from sending: the kernel of a home that has lost its tables would answer
    by RST."""
    client.run(
        "nft",
        "-f",
        "-",
        stdin=b"table inet quiet {\n chain c {\n"
        b" type filter hook output priority 0\n tcp dport 8443 drop\n }\n}",
    )


def lose_records(lab, host, tables):
    """Kills the host's daemon, and deletes its journal; with `tables` its rules, too."""
    end_daemon(host, KILLED)
    host.run("rm", "-rf", host.folder / "state")
    if tables:
        host.run(lab.sockmictl, "flush")
