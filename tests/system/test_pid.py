"""The operator moves a socket of a process that does not use sockmi."""
import os
import signal
import socket
import subprocess

from cases import cases
from lab import PORT, expect, wait_until
from namespace import within
from process import state

# Two threads that wait in the kernel, as in servers; the program prints what happens to
# its socket.
SERVER = """
import socket, threading
listener = socket.create_server(("10.77.0.1", 8443))
print("listening", flush=True)
connection, _ = listener.accept()
print(f"accepted fd={connection.fileno()}", flush=True)
threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    while piece := connection.recv(65536):
        connection.sendall(b"foreign: " + piece)
    print("end", flush=True)
except OSError as error:
    print(f"dead errno={error.errno}", flush=True)
try:
    connection.send(b"x")
except OSError as error:
    print(f"send errno={error.errno}", flush=True)
"""


class Foreign:
    """A server on hostA, a client of it, and an application on hostB that imports such
    connections."""

    def __init__(self, lab, **changes):
        for host in (lab.hostA, lab.hostB):
            lab.start_daemon(host, service__echo={"export": ["*"], "import": ["*"]}, **changes)
        importer = lab.hostB.popen(lab.program("examples/echo_server"), "hostB")
        importer.wait_line("echo_server ready")
        self.server = lab.hostA.popen("/usr/bin/python3", "-c", SERVER)
        self.server.wait_line("listening")
        self.client = within(
            lab.client, lambda: socket.create_connection((lab.hostA.address, PORT), 20)
        )
        self.fd = self.server.wait_line("accepted").partition("fd=")[2]

    def ask(self, text):
        self.client.sendall(text)
        return self.client.recv(65536)

    def export_command(self, lab):
        where = ["--service", "echo", "--to", "hostB"]
        return [lab.sockmictl, "export", *where, "--pid", self.server.pid, "--fd", self.fd]

    def export(self, lab, wrap=()):
        return lab.hostA.run(*wrap, *self.export_command(lab), check=False)


def test_a_socket_of_another_process_moves(lab):
    foreign = Foreign(lab)
    expect(foreign.ask(b"1\n") == b"foreign: 1\n", "the server itself does not answer")
    status, output = foreign.export(lab)
    expect(status == 0 and "exported descriptor" in output, f"status {status}: {output}")
    expect(foreign.ask(b"2\n") == b"hostB: 2\n", "hostB does not answer")
    foreign.server.wait_line("dead errno=103")  # ECONNABORTED, reported once
    foreign.server.wait_line("send errno=32")  # EPIPE from then on
    expect(foreign.server.wait() == 0, foreign.server.tail())
    expect(foreign.ask(b"3\n") == b"hostB: 3\n", "hostB does not answer any more")
    foreign.client.close()


def test_a_failed_move_leaves_the_process_unharmed(lab):
    foreign = Foreign(lab)
    for fault in ("capture", "journal"):
        lab.hostA.arm(fault)
        status, output = foreign.export(lab)
        expect(status == 1 and fault in output, f"status {status}: {output}")
        expect(foreign.ask(b"1\n") == b"foreign: 1\n", "the server does not go on")
    foreign.client.close()
    foreign.server.wait_line("end")


@cases(
    *[
        (point, outcome)
        for point in ("freeze", "decided")
        for outcome in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGTSTP")
    ]
)
def test_signals_wait_until_the_move_has_ended(lab, point, name):
    """The daemon stands still in the middle of the move when the signals arrive. A freeze may
    last as long as sockmictl waits, or else a busy machine ends the move."""
    foreign = Foreign(lab, steer={"freeze_timeout_ms": 15_000})
    lab.hostA.arm(f"{point}=stop")
    mover = lab.hostA.popen(*foreign.export_command(lab))
    wait_until(lambda: state(lab.hostA.daemon.pid) == "T", "the daemon stands still", timeout=30)
    mover.signal(getattr(signal, name))
    pending = f"/proc/{mover.pid}/status"
    wait_until(
        lambda: int(
            next(
                line.split()[1]
                for line in open(pending, encoding="ascii")
                if line.startswith("ShdPnd")
            ),
            16,
        ),
        "the signal waits",
    )
    expect(state(foreign.server.pid) == "t", "the process runs on")
    lab.hostA.daemon.resume()
    mover.wait_line("exported descriptor", timeout=30)
    if name == "SIGTSTP":
        mover.resume()
    expect(foreign.ask(b"2\n") == b"hostB: 2\n", "hostB does not answer")
    foreign.server.wait_line("send errno=32")
    expect(foreign.server.wait() == 0, foreign.server.tail())
    foreign.client.close()


def test_a_user_without_ptrace_rights_cannot_move_a_socket(lab):
    foreign = Foreign(lab)
    os.chmod(lab.sockmictl, 0o755)
    status, output = foreign.export(
        lab, wrap=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    )
    expect(status == 1 and "EPERM" in output, f"status {status}: {output}")
    expect(foreign.ask(b"1\n") == b"foreign: 1\n", "the server does not go on")
    foreign.client.close()


def test_unsuitable_descriptors_and_processes_are_refused(lab):
    foreign = Foreign(lab)
    for fd, error in ((97, "EBADF"), (1, "E"), (3, "EINVAL")):
        status, output = lab.hostA.run(
            lab.sockmictl,
            "export",
            "--service",
            "echo",
            "--pid",
            foreign.server.pid,
            "--fd",
            fd,
            check=False,
        )
        expect(status == 1 and f"({error}" in output, f"descriptor {fd}: status {status}: {output}")
    status, output = lab.hostA.run(
        lab.sockmictl, "export", "--pid", lab.hostA.daemon.pid, "--fd", 3, check=False
    )
    expect(status == 1 and "the daemon itself" in output, f"status {status}: {output}")
    status, output = lab.hostA.run(
        lab.sockmictl, "export", "--pid", foreign.server.pid, check=False
    )
    expect(status == 2, f"--pid without --fd: status {status}: {output}")
    ended = subprocess.Popen(["true"])
    ended.wait()
    status, output = lab.hostA.run(
        lab.sockmictl, "export", "--pid", ended.pid, "--fd", 3, check=False
    )
    expect(status == 1 and "ESRCH" in output, f"status {status}: {output}")
    expect(foreign.ask(b"1\n") == b"foreign: 1\n", "the server does not go on")
    foreign.client.close()
