"""Checks that nothing of a connection is left in the memory of the daemons that moved it."""
import hashlib
import os
import re

from lab import expect
from socket_app import SERVICE, Connection, SocketApp, start

BUILD = "release"  # a sanitizer keeps what is freed, and locks nothing
UNREAD = 300_000


def memory_with(pid, patterns):
    """Returns where in the process's memory one of the patterns is."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(
        f"/proc/{pid}/mem", "rb", 0
    ) as memory:
        for line in maps:
            begin, end, rights, name = re.match(
                r"([\da-f]+)-([\da-f]+) (\S+) \S+ \S+ \S+ *(.*)", line
            ).groups()
            if not rights.startswith("rw") or name in ("[vvar]", "[vsyscall]"):
                continue
            memory.seek(int(begin, 16))
            try:
                content = memory.read(int(end, 16) - int(begin, 16))
            except OSError:
                continue
            found += [
                (name or "anonymous", content.find(pattern))
                for pattern in patterns
                if pattern in content
            ]
    return found


def test_no_connection_data_is_left_in_a_daemons_memory(lab):
    start(lab)
    connection = Connection(lab)
    connection.up.send(connection.theirs, UNREAD)  # unread at hostA: it moves, in part by pre-copy
    connection.move(lab.hostB)
    # From its middle and from its end; app/bytes.cc says how the stream is made.
    sent = hashlib.shake_128(b"up/0").digest(UNREAD)
    patterns = [sent[at : at + 32] for at in (UNREAD // 2, UNREAD - 64)]
    expect(memory_with(os.getpid(), patterns), "the test does not find what is there")
    for host in (lab.hostA, lab.hostB):
        expect(
            not (found := memory_with(host.daemon.pid, patterns)), lambda: f"{host.name}: {found}"
        )
    connection.up.receive(connection.ours)


def test_a_daemon_writes_no_core_dump(lab):
    daemon = lab.start_daemon(lab.hostA)
    with open(f"/proc/{daemon.pid}/limits", encoding="ascii") as limits:
        core = next(line for line in limits if line.startswith("Max core file size"))
    expect(core.split()[4:6] == ["0", "0"], core)


def test_unlocked_memory_is_reported(lab):
    """A unit has no LimitMEMLOCK, or too little. Only the protection of secrets from
    swapping is lost, so nothing stops."""
    limited = [
        "setpriv",
        "--bounding-set",
        "-ipc_lock",
        "--inh-caps",
        "-ipc_lock",
        "prlimit",
        "--memlock=0:0",
    ]
    for host, wrap in ((lab.hostA, ()), (lab.hostB, limited)):
        lab.start_daemon(host, wrap=wrap)
        host.app = SocketApp(host, SERVICE)
    lab.client.app = SocketApp(lab.client)
    connection = Connection(lab)
    connection.both_ways()
    connection.move(lab.hostB)
    says = lambda host: [
        each for each in host.api("/v1/status")["warnings"] if "LimitMEMLOCK" in each
    ]
    expect(
        not says(lab.hostA) and len(says(lab.hostB)) == 1,
        "who of the two could not lock its memory?",
    )
    connection.both_ways()
    connection.end()
