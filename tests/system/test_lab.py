"""Tests the lab itself: if its instruments were blind, every other test would pass
without showing anything."""
import socket
import struct

import observe
from lab import PORT
from namespace import within
from process import expect


def test_a_reset_is_counted(lab):
    # No socket listens there.
    lab.client.run("curl", "-s", f"http://{lab.hostA.address}:9/", check=False)
    received, _ = observe.resets(lab.client)
    expect(received == 1, f"{received} counted")
    expect(observe.live_resets(lab.client) == 1, "the socket that it met is not seen")
    lab.client.run("nft", "delete", "table", "inet", "observe")
    observe.count_resets(lab.client)  # from zero, otherwise this test would not end clean


def test_a_reset_after_the_end_is_counted_apart(lab):
    """The peer of an ordinary connection repeats its FIN after the last acknowledgement."""
    listener = within(lab.hostA, lambda: socket.create_server((lab.hostA.address, PORT)))
    client = within(lab.client, lambda: socket.create_connection((lab.hostA.address, PORT), 5))
    server, peer = listener.accept()
    client.shutdown(socket.SHUT_WR)
    expect(server.recv(1) == b"", "bytes in place of the end")
    server.close()
    expect(client.recv(1) == b"", "bytes in place of the end")
    client.close()
    with within(lab.client, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)) as raw:
        raw.sendto(fin(peer, (lab.hostA.address, PORT)), (lab.hostA.address, 0))
    received = observe.resets(lab.client)[0], observe.live_resets(lab.client)
    expect(received == (1, 0), f"{received} counted")


def fin(source, target):
    """Returns a TCP header with FIN and ACK, and any sequence numbers."""
    ports = struct.pack("!HH", source[1], target[1])
    rest = struct.pack("!IIBBH", 1, 1, 5 << 4, 0x11, 1000)
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    summed = addresses + struct.pack("!HH", 6, 20) + ports + rest
    total = sum(struct.unpack(f"!{len(summed) // 2}H", summed))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ports + rest + struct.pack("!HH", ~total & 0xFFFF, 0)


def test_leftovers_are_seen(lab):
    expect(not observe.leftovers(lab.hostA), "something is there before anything began")
    lab.hostA.run("nft", "add", "table", "netdev", "sockmi")
    lab.hostA.run("ip", "rule", "add", "fwmark", "7", "lookup", "777")
    lab.hostA.run("ip", "route", "add", "local", "default", "dev", "lo", "table", "777")
    expect(len(observe.leftovers(lab.hostA)) == 3, observe.leftovers(lab.hostA))
