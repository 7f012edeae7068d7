"""Counts what the peer has to retransmit in 200 moves A→B→A…: of its requests, which come
before, during and after the freezes, and of a bulk upload. A bulk upload repeats segments
without any move, too, so the same is counted of one that is read likewise and stays."""
from lab import PORT, Lab
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


def upload(moved, stays, targets):
    """More data is always in flight, or waits for the window."""
    sent = [
        connection.up.begin_send(connection.theirs, MOVES * PIECE) for connection in (moved, stays)
    ]
    for target in targets:
        for connection in (moved, stays):
            connection.up.receive(connection.ours, PIECE)
        moved.move(target)
    for finished in sent:
        finished()


def repeated(build, client, count):
    """Returns the number of segments that each of `count` connections has repeated."""
    with Lab(build) as lab:
        start(lab)
        connections = [Connection(lab, port=PORT + i) for i in range(count)]
        client(*connections, [lab.hostB, lab.hostA] * (MOVES // 2))
        repeats = [connection.theirs.info("retransmits") for connection in connections]
        lab.assert_clean()
    return repeats


def retransmits(build):
    [of_requests] = repeated(build, requests, 1)
    moved, unmoved = repeated(build, upload, 2)
    return {
        "peer_retransmits_rr_200": of_requests,
        "peer_retransmits_upload_200": moved,
        "peer_retransmits_upload_unmoved": unmoved,
        "peer_retransmits_upload_added": moved - unmoved,
    }
