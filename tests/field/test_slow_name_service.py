"""What is slow, or hangs, delays only those that need it."""
import os

from cases import cases
from lab import preloading
from process import expect
from sandbox import without_privilege
from socket_app import SERVICE, Connection, SocketApp


@cases("hostA", "hostB")
def test_a_hanging_name_service_delays_only_its_own_user(lab, where):
    gate = lab.folder / "gate"
    os.mkfifo(gate)
    slow = preloading(lab.program("tests/field/libslownss.so"), NSS_GATE=gate)
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host, wrap=slow if host.name == where else ())
        host.app = SocketApp(host, SERVICE, privileged=True)
    lab.client.app = SocketApp(lab.client)
    host = getattr(lab, where)
    connection = Connection(lab)
    connection.both_ways()
    waits = host.popen(
        *without_privilege(),
        "curl",
        "-s",
        "-m",
        "60",
        "--unix-socket",
        host.socket,
        "http://x/v1/migrations",
        name="nobody",
    )
    host.daemon.wait_line("name service asked")
    # If the daemon waited, none of these would end: the name service answers only
    # afterwards.
    expect(host.api("/v1/status")["host"] == where, "root is not served")
    connection.move(lab.hostB)
    connection.both_ways()
    connection.move(lab.hostA)
    expect(
        waits.wait() == 0 and waits.says('"migrations"'),
        lambda: f"nobody is never served\n{waits.tail()}",
    )
    host.daemon.wait_line("event=user_lookup_timed_out")
    with open(gate, "w", encoding="ascii"):  # the thread that called the name service ends
        pass
    connection.both_ways()
    connection.end()
