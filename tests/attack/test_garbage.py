"""Meaningless bytes, wherever a daemon reads: it continues to serve."""
import random
import socket
import ssl

from lab import expect
from member import Member, alive
from namespace import within


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def test_garbage_without_tls_on_the_control_port_harms_nothing(lab):
    lab.start_daemon(lab.hostA)
    for seed in range(50):
        with within(
            lab.hostB, lambda: socket.create_connection((lab.hostA.address, 7078), 5)
        ) as connection:
            try:
                connection.sendall(noise(seed, 1 + seed * 37))
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1000)
            except OSError:
                pass  # the daemon has closed the connection
    alive(lab.hostA)


def test_garbage_frames_of_a_member_harm_nothing(lab):
    """Sends frames of any length and kind, within a member's own TLS."""
    lab.start_daemon(lab.hostA)
    context = ssl.create_default_context(cafile=str(lab.identity(lab.hostC) / "ca.crt"))
    context.load_cert_chain(
        str(lab.identity(lab.hostC) / "host.crt"), str(lab.identity(lab.hostC) / "host.key")
    )
    for seed in range(30):
        raw = within(lab.hostC, lambda: socket.create_connection((lab.hostA.address, 7078), 5))
        try:
            with context.wrap_socket(raw, server_hostname="hostA") as line:
                line.sendall(noise(seed, 13 + seed * 100))
                # Also a frame that announces more than is allowed, or more than follows.
                line.sendall((0xFFFFFFFF if seed % 2 else 0x0FFFFFFF).to_bytes(4, "big") + bytes(9))
        except OSError:
            pass
    alive(lab.hostA)


def test_garbage_messages_of_a_member_are_refused(lab):
    lab.start_daemon(lab.hostA)
    answers = Member(lab, lab.hostC, lab.hostA).says("garbage", 1, 500)
    expect(
        len(answers) == 500 and all(code != 0 for code, _, _ in answers),
        lambda: f"{len(answers)} answers",
    )
    alive(lab.hostA)


def test_garbage_datagrams_harm_nothing(lab):
    lab.start_daemon(lab.hostA)
    sender = within(lab.hostB, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    for seed in range(2000):
        sender.sendto(noise(seed, seed % 1472), (lab.hostA.address, 7077))
    for seed in range(500):  # with the right version
        sender.sendto(b"\x02" + noise(seed, seed), (lab.hostA.address, 7077))
    sender.close()
    alive(lab.hostA)


def test_garbage_on_the_local_socket_harms_nothing(lab):
    lab.start_daemon(lab.hostA)
    for seed in range(50):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(lab.hostA.socket))
            try:
                connection.sendall(noise(seed, 1 + seed * 100))
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1000)
            except OSError:
                pass
    alive(lab.hostA)
