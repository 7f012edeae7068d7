"""What becomes of connections that a drain cannot move, and of a cordon: options of
`sockmictl drain`."""
import contextlib

from cases import cases
from daemons import restart
from lab import PORT
from many_clients import ManyClients
from process import expect, run
from sandbox import without_privilege
from test_drain import CONTENT, DEADLINE, SOME_STAY, USAGE, drain_status, drain_to_end
from test_drain_answers import hold_as_root, start_false


def is_open(client):
    client.settimeout(0.5)
    try:
        return client.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


def test_a_connection_that_is_stuck_is_cut_and_no_other_one(lab):
    lab.start_all(lab.hostA, lab.hostB)
    clients = ManyClients(lab, 3, CONTENT)
    foreign = hold_as_root(lab)
    # It claims both connections, and can only hold the one of its own user for sure.
    _, stuck = start_false(lab, "claims", *without_privilege(), holds=True)
    said = drain_to_end(lab.hostA, "--on-stuck", "cut", status=SOME_STAY)
    expect(any("1 connections that did not move were cut" in line for line in said), said)
    status = drain_status(lab.hostA)
    expect((status["moved"], status["cut"], status["stay"]) == (3, 1, 1), status)
    expect(not is_open(stuck), "it was not cut")
    expect(is_open(foreign[0]), "a connection that is not held was cut")
    clients.finish_whole()


def test_a_connection_that_is_stuck_is_cut_at_the_deadline(lab):
    lab.start_all(lab.hostA, lab.hostB)
    lab.hostA.arm("find_host", 1000)
    client = lab.hostC.popen(
        "/usr/bin/python3",
        "-c",
        "import socket, sys\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "print('connected', flush=True)\n"
        "try: s.recv(1)\n"
        "except ConnectionResetError: print('reset', flush=True)",
        lab.hostA.address,
        PORT,
    )
    client.wait_line("connected")
    drain_to_end(lab.hostA, "--on-stuck", "cut", "--deadline", "3s", status=DEADLINE)
    client.wait_line("reset")
    expect(drain_status(lab.hostA)["cut"] == 1, drain_status(lab.hostA))


def test_a_connection_that_is_stuck_is_tried_until_it_moves(lab):
    lab.start_all(lab.hostA, lab.hostB)
    clients = ManyClients(lab, 1, CONTENT)
    lab.hostA.arm("find_host", 6)  # two more than a drain tries otherwise
    drain_to_end(lab.hostA, "--on-stuck", "wait")
    expect(drain_status(lab.hostA)["moved"] == 1, drain_status(lab.hostA))
    clients.finish_whole()


def test_another_word_is_refused(lab):
    lab.start_daemon(lab.hostA)
    drain_to_end(lab.hostA, "--on-stuck", "hope", status=USAGE)
    expect(lab.hostA.ask("POST", "/v1/drain", '{"on_stuck": "hope"}')[0] == 400, "it is accepted")
    expect(not drain_status(lab.hostA)["cordoned"], "it drains")


@contextlib.contextmanager
def another_boot(lab):
    """The kernel seems to have been started again."""
    path = "/proc/sys/kernel/random/boot_id"
    other = lab.folder / "boot_id"
    other.write_text("5ca1ab1e-0000-0000-0000-000000000000\n")
    run(["mount", "--bind", str(other), path])
    try:
        yield
    finally:
        run(["umount", path])


@cases("first", "after another drain")
def test_a_drain_for_a_reboot_ends_by_it_and_no_other_one(lab, when):
    lab.start_all(lab.hostA)
    if when != "first":
        drain_to_end(lab.hostA)
    drain_to_end(lab.hostA, "--for-reboot")
    restart(lab, lab.hostA)
    expect(drain_status(lab.hostA)["cordoned"], "a restart of the daemon ends it")
    with another_boot(lab):
        restart(lab, lab.hostA)
        restart(lab, lab.hostA)
    cordoned = drain_status(lab.hostA)["cordoned"]
    expect(cordoned == (when != "first"), drain_status(lab.hostA))
