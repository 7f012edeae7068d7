"""Counts what the peer has to retransmit in 200 moves A→B→A…: of its requests, which come
before, during and after the freezes, and of a bulk upload. A bulk upload repeats segments
without any move, too, so the same is counted of one that is read likewise and stays. The
two are not in one lab: the client's program does one transfer at a time."""
from lab import Lab
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
    """More data is always in flight, or waits for the window. A target of None: no move."""
    sent = connection.up.begin_send(connection.theirs, MOVES * PIECE)
    for target in targets:
        connection.up.receive(connection.ours, PIECE)
        if target:
            connection.move(target)
    sent()


def repeated(build, client, moves=True):
    """Returns the number of segments that the client has repeated."""
    with Lab(build) as lab:
        start(lab)
        connection = Connection(lab)
        there_and_back = [lab.hostB, lab.hostA] if moves else [None, None]
        client(connection, there_and_back * (MOVES // 2))
        count = connection.theirs.info("retransmits")
        lab.assert_clean()
    return count


def retransmits(build):
    moved, unmoved = repeated(build, upload), repeated(build, upload, moves=False)
    return {
        "peer_retransmits_rr_200": repeated(build, requests),
        "peer_retransmits_upload_200": moved,
        "peer_retransmits_upload_unmoved": unmoved,
        "peer_retransmits_upload_added": moved - unmoved,
    }
