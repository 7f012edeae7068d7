"""A host that boots counts the cookies of its sockets from the start. What its journal says of
sockets of the boot before must not be taken for sockets of this boot."""
import re
import signal
import struct

import observe
import socket_app
from process import expect, wait_until
from socket_app import CONNECTED, SERVICE, Connection

LATER = {"steer": {"linger_ms": 200, "freeze_timeout_ms": 2000}}
SOL_SOCKET, SO_COOKIE = 1, 57


def restart_in(lab, host, boot):
    """Starts the next daemon, which reads this boot's name. The sockets are those of before."""
    host.daemon.kill()
    name = host.folder / "boot_id"
    name.write_text(f"{boot}\n")
    lab.start_daemon(
        host,
        wrap=[
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"',
            name,
        ],
        **LATER,
    )


def cookie_of(socket):
    [cookie] = struct.unpack("=Q", bytes.fromhex(socket.get(SOL_SOCKET, SO_COOKIE)))
    return cookie


def test_the_socket_of_an_earlier_boot_is_not_mistaken_for_another_one(lab):
    """hostB had an endpoint that no application had taken. After the boot its cookie is that of
    another socket there. hostA must not believe that the connection lives."""
    socket_app.start(lab, lab.hostA, lab.hostB, **LATER)
    connection = Connection(lab)
    connection.both_ways()
    lab.hostA.arm("commit-reply=kill")
    connection.ours.app.begin("export", connection.ours.fd, CONNECTED, SERVICE, lab.hostB.address)
    status = lab.hostA.daemon.wait()
    expect(status == -signal.SIGKILL, f"the daemon of hostA ended with status {status}")
    other = lab.hostB.app.socket("4").listen(4711)
    lab.hostB.daemon.kill()
    path = lab.hostB.folder / "state" / "journal"
    text, changed = re.subn(
        r"^(thawed \S+) [1-9]\d*", rf"\1 {cookie_of(other)}", path.read_text(), flags=re.M
    )
    expect(changed == 1, f"the journal has no thaw:\n{path.read_text()}")
    path.write_text(text)

    restart_in(lab, lab.hostB, "another")
    lab.start_daemon(lab.hostA, **LATER)

    wait_until(lambda: lab.hostA.migrations("export"), "hostA knows the outcome", timeout=20)
    [export] = lab.hostA.migrations("export")
    expect(export["result"] == "lost", export)
    expect(not lab.hostA.api("/v1/doubt")["doubts"], lambda: lab.hostA.api("/v1/doubt"))
    wait_until(lambda: not observe.redirects(lab.hostA), "the redirect ends")
    expect(other.state() == "LISTEN", other.state())
    wait_until(
        lambda: connection.theirs.state() in ("CLOSE", "CLOSE_WAIT"), "the peer learns of the end"
    )
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")
