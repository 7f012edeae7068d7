"""A real curl downloads and uploads while its server's end moves from A to B to C, at random
moments."""
import hashlib
import random

from cases import cases
from process import expect
from transfer import Download, HeldDownload, Upload, begin_all, finish_all, random_bytes

SIZE, RATE, ROUNDS = 4 << 20, 10 << 20, 20
CONTENT = random_bytes(SIZE)
NO_MULTICAST = (
    b"table inet cloud {\n chain c {\n type filter hook output priority 0\n"
    b" ip daddr 224.0.0.0/4 drop\n }\n}"
)
AHEAD = 1 << 20  # how far a transfer may advance while it is moved
# And not so far that the rest fits into curl's pipe: curl would be done, and close.
IN_PIPE = 256 << 10


@cases(*[(direction, tls) for direction in ("download", "upload") for tls in ("1.2", "1.3")])
def test_a_transfer_survives_moves_at_random_moments(lab, direction, tls):
    lab.file("f", CONTENT)
    lab.start_all()
    for moments in [sorted(random.choices(range(SIZE - IN_PIPE), k=2)) for _ in range(ROUNDS)]:
        transfer = (
            Download(lab, "f", tls, RATE, gate=0)
            if direction == "download"
            else Upload(lab, CONTENT, tls, RATE, gate=0)
        )
        for moment, (source, target) in zip(
            moments, [(lab.hostA, lab.hostB), (lab.hostB, lab.hostC)]
        ):
            transfer.allow(min(moment + AHEAD, SIZE - IN_PIPE))
            transfer.wait_offset(moment)
            lab.move(source, target)
        transfer.allow(None)
        expect(
            transfer.finish() == hashlib.sha256(CONTENT).hexdigest(),
            f"the hash is wrong after moves at bytes {moments}",
        )


def test_a_download_survives_a_return_home(lab):
    lab.file("f", CONTENT)
    lab.start_all(lab.hostA, lab.hostB)
    transfer = Download(lab, "f", gate=0)
    for moment, source, target in [
        (100_000, lab.hostA, lab.hostB),
        (SIZE // 3, lab.hostB, lab.hostA),
        (SIZE // 2, lab.hostA, lab.hostB),
    ]:
        transfer.allow(moment + AHEAD)
        transfer.wait_offset(moment)
        lab.move(source, target)
    transfer.allow(None)
    expect(transfer.finish() == hashlib.sha256(CONTENT).hexdigest(), "the hash is wrong")


def test_many_connections_move_together(lab):
    lab.file("f", CONTENT)
    lab.start_all(lab.hostA, lab.hostB)
    transfers = begin_all(lab, CONTENT, 20, 0, lab.hostA.address)
    lab.move(lab.hostA, lab.hostB, connections=20)
    finish_all(transfers, CONTENT)


def test_only_the_connection_of_the_named_peer_moves(lab):
    lab.file("f", CONTENT)
    lab.start_all(lab.hostA, lab.hostB)
    transfers = begin_all(lab, CONTENT, 2, 0, lab.hostA.address)
    lab.move(lab.hostA, lab.hostB, peer=transfers[0].curl_address(lab))
    moved = [c["peer"] for c in lab.hostA.api("/v1/connections")["connections"]]
    expect(moved == [transfers[0].curl_address(lab)], f"moved: {moved}")
    finish_all(transfers, CONTENT)


def test_any_host_takes_a_connection_without_a_target(lab):
    lab.file("f", CONTENT)
    lab.start_all()
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, None)
    expect(lab.hostA.migrations()[-1]["to"] in ("hostB", "hostC"), lab.hostA.migrations())
    transfer.finish_whole()


def test_hosts_find_each_other_without_multicast(lab):
    lab.file("f", CONTENT)
    for host in (lab.hostA, lab.hostB):
        host.run("nft", "-f", "-", stdin=NO_MULTICAST)
    others = {lab.hostA: lab.hostB, lab.hostB: lab.hostA}
    for host, other in others.items():
        lab.start_daemon(host, discovery={"hosts": [f"{other.address}:7077"]})
        lab.start_httpsd(host)
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    transfer.finish_whole()
