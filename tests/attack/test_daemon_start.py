"""Checks that a user without privilege can neither prevent nor misuse the start of the daemon."""
import os
import signal

from lab import expect, wait_until
from local_user import python
from sandbox import without_privilege

SQUATTER = """
import socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('\\0sockmid')
print('bound', flush=True)
time.sleep(60)
"""


def test_a_user_cannot_prevent_the_daemons_start(lab):
    squatter = python(lab.hostA, SQUATTER)
    squatter.wait_line("bound")
    lab.hostA.run(lab.sockmictl, "flush")
    lab.start_daemon(lab.hostA)


def test_a_user_cannot_take_the_daemons_lock(lab):
    daemon = lab.start_daemon(lab.hostA)
    inode = os.stat("/run/netns/hostA").st_ino
    status, output = lab.hostA.run(
        *without_privilege(),
        "flock",
        "--nonblock",
        f"/run/sockmid/netns-{inode}.lock",
        "true",
        check=False,
    )
    expect(status != 0 and "ermission denied" in output, lambda: f"status {status}: {output}")
    status, output = lab.hostA.run(lab.sockmictl, "flush", check=False)
    expect(
        status == 1 and f"process {daemon.pid}" in output,
        lambda: f"status {status}, does not say who it is: {output}",
    )
    # The death of the daemon releases the lock.
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    wait_until(
        lambda: lab.hostA.run(lab.sockmictl, "flush", check=False)[0] == 0, "the lock is free"
    )


def test_a_file_at_the_socket_path_is_not_removed(lab):
    precious = lab.hostA.folder / "precious"
    precious.write_text("x")
    path = lab.configure(lab.hostA, **{"": {"socket": str(precious)}})
    status, output = lab.hostA.run(
        lab.program("src/sockmid/sockmid"), "--config", path, check=False
    )
    expect(status != 0 and precious.read_text() == "x", lambda: f"status {status}: {output}")


def test_a_daemon_does_not_start_with_keys_that_others_can_read_or_replace(lab):
    folder = lab.hostA.folder / "identity"
    lab.hostA.run("cp", "-a", lab.identity(lab.hostA), folder)
    path = lab.configure(lab.hostA, **{"": {"identity": str(folder)}})

    def refused(reason):
        status, output = lab.hostA.run(
            lab.program("src/sockmid/sockmid"), "--config", path, check=False
        )
        expect(status == 1 and reason in output, lambda: f"status {status}: {output}")

    for key in ("host.key", "cluster.key"):
        (folder / key).chmod(0o640)
        refused(f"{key} can be read by others")
        (folder / key).chmod(0o600)
        os.chown(folder / key, 65534, 65534)
        refused(f"{key} belongs to user 65534")
        os.chown(folder / key, 0, 0)
    folder.chmod(0o777)
    refused("can be changed by others")
    folder.chmod(0o700)
    lab.start_daemon(lab.hostA, **{"": {"identity": str(folder)}})
