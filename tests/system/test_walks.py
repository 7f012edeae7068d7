"""Connections move over several hosts, and each ends at a random moment of its last move,
while two busy loops run: in the end no host has a record of any of them."""
import os
import random
import sys
import time

import observe
from process import wait_until
from socket_app import CONNECTED, SERVICE, imported, move, start

WALKS = int(os.environ.get("WALKS", 60))  # `make walks` takes 5,000
# Seconds from the beginning of the last move, which takes a few milliseconds.
MOST_HOPS, LATEST_END = 5, 0.015
SETTLED = 15  # seconds: before a home queries the holders of its redirects
RESET = (1, 13, "0100000000000000")  # SO_LINGER: close(2) sends RST


def test_random_walks_leave_no_record(lab):
    start(lab, *lab.hosts)
    busy = [
        lab.hostA.popen(sys.executable, "-c", "while True: pass", name="busy") for _ in range(2)
    ]
    listener = lab.hostA.app.socket("4").listen(backlog=64)
    for number in range(WALKS):
        walk(lab, listener)
        if number % 500 == 499:
            expect_nothing(lab, f"after {number + 1} walks")
    expect_nothing(lab, f"after {WALKS} walks")
    for process in busy:
        process.kill()
    # A connection that ends in a move may be answered by RST.
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")


def walk(lab, listener):
    theirs = lab.client.app.socket("4").connect(lab.hostA)
    ours, at = listener.accept(), lab.hostA
    for _ in range(random.randrange(MOST_HOPS)):
        at, ours = hop(lab, at, ours)
    target = random.choice([host for host in lab.hosts if host is not at])
    leaving = ours.app.begin("export", ours.fd, CONNECTED, SERVICE, target.address)
    time.sleep(random.uniform(0, LATEST_END))
    if random.random() < 0.5:
        theirs.set(*RESET)
    theirs.close()
    if "error" not in leaving():
        imported(target, "4").close()
    ours.close()


def hop(lab, at, ours):
    """Moves to another host. A host that still forwards the connection, because home does
    not know yet, would refuse it (EBUSY)."""
    target = random.choice([host for host in lab.hosts if host is not at])
    wait_until(
        lambda: all(
            each["role"] != "forwarded" for each in target.api("/v1/connections")["connections"]
        ),
        "home knows where it is",
    )
    return target, move(ours, target)


def expect_nothing(lab, when):
    for host in lab.hosts:
        wait_until(
            lambda: not observe.redirects(host),
            f"{when}: no redirect on {host.name}: {observe.redirects(host)}",
            SETTLED,
        )
        wait_until(
            lambda: not host.api("/v1/connections")["connections"],
            f"{when}: {host.name} remembers nothing",
            SETTLED,
        )
        wait_until(
            lambda: host.api("/v1/status")["home"]["pending_ends"] == 0,
            f"{when}: {host.name} has told all",
            SETTLED,
        )
