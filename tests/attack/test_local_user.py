"""What a user of a host without privilege can do to others there, and to root: nothing."""
import os
import signal

from lab import expect, wait_until
from sandbox import without_privilege

SQUATTER = "import socket,time; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.bind('\\0sockmid'); print('bound',flush=True); time.sleep(60)"


def python(host, program, *arguments, wrap=None, name="attacker", **options):
    """A program of a user without privilege."""
    return host.popen(*(without_privilege() if wrap is None else wrap), "/usr/bin/python3", "-c", program, *arguments, name=name, **options)


# --- the lock ---

def test_nobody_keeps_the_daemon_from_starting(lab):
    squatter = python(lab.hostA, SQUATTER)
    squatter.wait_line("bound")
    lab.hostA.run(lab.sockmictl, "flush")
    lab.start_daemon(lab.hostA)


def test_nobody_can_lock_the_file(lab):
    daemon = lab.start_daemon(lab.hostA)
    inode = os.stat("/run/netns/hostA").st_ino
    status, output = lab.hostA.run(*without_privilege(), "flock", "--nonblock", f"/run/sockmid/netns-{inode}.lock", "true", check=False)
    expect(status != 0 and "ermission denied" in output, lambda: f"status {status}: {output}")
    status, output = lab.hostA.run(lab.sockmictl, "flush", check=False)
    expect(status == 1 and f"process {daemon.pid}" in output, lambda: f"status {status}, does not say who it is: {output}")
    # Its death frees it.
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    wait_until(lambda: lab.hostA.run(lab.sockmictl, "flush", check=False)[0] == 0, "the lock is free")
