"""Data is everywhere at the moment of the move: in both queues, in half a record, in
plaintext that is not read yet."""
import hashlib
import random
import threading

from cases import cases
from lab import PORT
from process import expect, wait_until
from tls_client import TlsClient
from transfer import Download, Upload, random_bytes

CONTENT = random_bytes(16 << 20)
WANTED = hashlib.sha256(CONTENT).hexdigest()


def queue(host, column):
    """Returns the receive (0) or send (1) queue of the host's one connection to the
    client, in bytes."""
    for line in host.run("ss", "-Htn").splitlines():
        if ":%d " % PORT in line:
            return int(line.split()[1:3][column])
    return 0


def window_is_closed(host):
    return "timer:(persist," in host.run("ss", "-Htno", f"sport = {PORT}")


@cases("1.2", "1.3")
def test_unsent_and_unacknowledged_data_moves(lab, tls):
    lab.file("f", CONTENT)
    lab.start_all(lab.hostA, lab.hostB)
    transfer = Download(lab, "f", tls, gate=65536)
    # The client's kernel takes data as long as its receive buffer has room, though nobody reads it.
    wait_until(lambda: window_is_closed(lab.hostA), "the client's kernel closes its window")
    wait_until(lambda: queue(lab.hostA, 1) > 500_000, "the send queue fills")
    lab.move(lab.hostA, lab.hostB)
    carried = lab.hostA.migrations()[-1]["bytes"]
    expect(carried > 500_000, f"the image had {carried} bytes only")
    transfer.allow(None)
    expect(transfer.finish() == WANTED, "the hash is wrong")


@cases("1.2", "1.3")
def test_unread_data_moves(lab, tls):
    first, _ = lab.start_all(lab.hostA, lab.hostB)
    transfer = Upload(lab, CONTENT, tls, gate=1 << 20)
    transfer.wait_offset(1 << 20)  # the handshake ended long ago
    first.pause()
    transfer.allow(None)
    # The kernel may not have enlarged it yet.
    wait_until(lambda: queue(lab.hostA, 0) > 40_000, "the receive queue fills")
    asked = threading.Thread(target=lab.hostA.export, args=[lab.hostB])
    asked.start()
    first.resume()
    asked.join()
    expect(lab.hostA.migrations()[-1]["result"] == "committed", lab.hostA.last_error())
    transfer.finish()


@cases("1.2", "1.3")
def test_a_record_cut_at_any_byte_arrives_whole(lab, tls):
    lab.start_all(lab.hostA, lab.hostB)
    body = random_bytes(3000)
    client = TlsClient(lab, (lab.hostA.address, PORT), tls)
    client.handshake()
    source, target = lab.hostA, lab.hostB
    at, cut = 0, 1
    client.send(client.request("POST", "/upload", len(body)))
    while at < len(body):
        piece = body[at : at + 30]
        record = client.record(piece)
        client.send_raw(record[:cut])
        lab.move(source, target)
        client.send_raw(record[cut:])
        source, target = target, source
        at, cut = at + len(piece), cut % (len(record) - 1) + 1
    expect(hashlib.sha256(body).hexdigest() in client.response().decode(), "the hash is wrong")
    client.close()


@cases("1.2", "1.3")
def test_a_large_record_cut_at_random_arrives_whole(lab, tls):
    lab.start_all(lab.hostA, lab.hostB)
    client = TlsClient(lab, (lab.hostA.address, PORT), tls)
    client.handshake()
    body = random_bytes(16384)
    for source, target in [(lab.hostA, lab.hostB), (lab.hostB, lab.hostA)] * 3:
        client.send(client.request("POST", "/upload", len(body)))
        record = client.record(body)
        cut = random.randrange(1, len(record))
        client.send_raw(record[:cut])
        lab.move(source, target)
        client.send_raw(record[cut:])
        expect(
            hashlib.sha256(body).hexdigest() in client.response().decode(),
            f"the hash is wrong, cut at {cut}",
        )
    client.close()


@cases("1.2", "1.3")
def test_partly_read_plaintext_moves(lab, tls):
    """Two requests in one record: while the first is answered, the second is in libssl or
    the server, decrypted."""
    lab.file("f", CONTENT)
    lab.file("g", b"the second answer\n")
    lab.start_all(lab.hostA, lab.hostB)
    client = TlsClient(lab, (lab.hostA.address, PORT), tls)
    client.handshake()
    client.send(client.request("GET", "/f") + client.request("GET", "/g"))
    client.read_until(b"\r\n\r\n")
    wait_until(lambda: queue(lab.hostA, 1) > 100_000, "the first answer blocks")
    lab.move(lab.hostA, lab.hostB)
    expect(
        hashlib.sha256(client.read_exactly(len(CONTENT))).hexdigest() == WANTED,
        "the first answer's hash is wrong",
    )
    expect(client.response() == b"the second answer\n", "the second answer is wrong")
    client.close()
