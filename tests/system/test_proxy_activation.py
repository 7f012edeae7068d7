"""sockmi-proxy accepts at sockets that systemd has opened. The test opens them in its place."""
import signal

from byte_services import Service, connect, named, receive_exactly
from process import expect
from proxy import PORT, at, configure

# Opens a socket for each address, all with the name `web`, and becomes the proxy.
ACTIVATE = """
import fcntl, os, socket, sys
addresses, command = sys.argv[1].split(","), sys.argv[2:]
sockets = []
for address in addresses:
    ip, _, port = address.rpartition(":")
    sockets.append(socket.create_server((ip, int(port))))
high = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD, 100) for each in sockets]
for i, each in enumerate(high):
    os.dup2(each, 3 + i, inheritable=True)
os.environ.update(
    LISTEN_PID=str(os.getpid()),
    LISTEN_FDS=str(len(sockets)),
    LISTEN_FDNAMES=":".join(["web"] * len(sockets)),
)
os.execv(command[0], command)
"""


def activate(lab, path, *addresses):
    return lab.hostA.popen(
        *("/usr/bin/python3", "-c", ACTIVATE, ",".join(addresses)),
        *(lab.program("src/proxy/sockmi-proxy"), "--config", path),
    )


def test_a_listener_accepts_at_all_sockets_of_a_name(lab):
    with Service(lab.hostB, (lab.hostB.address, 9001), named(b"one")) as backend:
        path = configure(lab, {"one": at(backend)}, listen=["systemd:web"])
        ports = (PORT, PORT + 1)
        proxy = activate(lab, path, *(f"{lab.hostA.address}:{port}" for port in ports))
        proxy.wait_line("sockmi-proxy ready")
        for port in ports:
            with connect(lab.client, (lab.hostA.address, port)) as client:
                expect(receive_exactly(client, 3) == b"one", port)


def test_sockets_of_systemd_come_back_when_a_listener_uses_them_again(lab):
    with Service(lab.hostB, (lab.hostB.address, 9001), named(b"one")) as backend:
        listen = ["systemd:web"]
        path = configure(lab, {"one": at(backend)}, listen=listen)
        proxy = activate(lab, path, f"{lab.hostA.address}:{PORT}")
        proxy.wait_line("sockmi-proxy ready")
        for other in ([f"{lab.hostA.address}:81"], listen):
            configure(lab, {"one": at(backend)}, listen=other)
            before = len(proxy.lines)
            proxy.signal(signal.SIGHUP)
            proxy.wait_line("event=configuration_reloaded", after=before)
        with connect(lab.client, (lab.hostA.address, PORT)) as client:
            expect(receive_exactly(client, 3) == b"one", "the socket of before")


def test_a_name_without_a_socket_is_an_error(lab):
    path = configure(lab, {"one": "127.0.0.1:9001"}, listen=["systemd:other"])
    proxy = activate(lab, path, f"{lab.hostA.address}:{PORT}")
    expect(proxy.wait() == 1, proxy.tail())
    expect(proxy.says("systemd has opened no socket of the name other"), proxy.tail())
