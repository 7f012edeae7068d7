"""Counts what the peer has to retransmit in 200 moves A→B→A…: of its requests, which come
before, during and after the freezes, and of a bulk upload."""
from lab import Lab, expect
from socket_app import Connection, start

MOVES = 200
# Bytes; for each move; at most so many microseconds before each, about as long as a move
# takes.
REQUEST, REQUESTS, THINKING = 64, 3, 10_000
PIECE = 256 << 10


def requests(connection, targets):
    asked = connection.theirs.begin("ask", REQUEST, MOVES * REQUESTS, "requests", THINKING)
    for target in targets:
        connection.ours.do("echo", REQUEST, REQUESTS)
        connection.move(target)
    asked()


def upload(connection, targets):
    """More data is always in flight, or waits for the window."""
    sent = connection.up.begin_send(connection.theirs, MOVES * PIECE)
    for target in targets:
        connection.up.receive(connection.ours, PIECE)
        connection.move(target)
    sent()


def repeated(build, client):
    with Lab(build) as lab:
        start(lab)
        connection = Connection(lab)
        client(connection, [lab.hostB, lab.hostA] * (MOVES // 2))
        count = connection.theirs.info("retransmits")
        lab.assert_clean()
    return count


def retransmits(build):
    return {"peer_retransmits_rr_200": repeated(build, requests), "peer_retransmits_upload_200": repeated(build, upload)}
