"""Sockets of applications (app/main.cc), one application per host, and the bytes that
pass between two of them, each identified by its position.

The applications run without privilege, unless a test sets `privileged`.
"""
import hashlib
import json
import subprocess

from lab import PORT
from process import expect, wait_until
from sandbox import without_privilege

SERVICE = "web"
BOUND, LISTENING, CONNECTED = 1, 2, 4  # sockmi.h
BLOCK = 1 << 20


class SocketApp:
    def __init__(self, host, service=None, privileged=False, user=None):
        """`user`: its number, if it is not that of the other applications."""
        self.host, self._asked, self._seen = host, 0, 0
        wrap = [] if privileged else without_privilege(user)
        self.process = host.popen(
            *wrap,
            host.lab.program("tests/system/app/socket_app"),
            *([service] if service else []),
            name="socket_app",
            stdin=subprocess.PIPE,
        )
        self.process.wait_line("socket_app ready")

    def begin(self, *words):
        """Sends a command, which may take long. Returns a function that waits for the
        answer. Answers come in the order of the commands."""
        number, self._asked = self._asked, self._asked + 1
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()

        def answer(timeout=30.0):
            line = self.process.wait_line(f"reply {number} ", timeout)
            return json.loads(line.split(" ", 2)[2])

        return answer

    def tries(self, *words):
        return self.begin(*words)()

    def do(self, *words):
        return worked(self, words, self.tries(*words))

    def socket(self, family):
        return Socket(self, self.do("socket", 4 if family == "4" else 6)["fd"], family)


def worked(app, words, answer):
    expect(
        "error" not in answer,
        lambda: f"{app.host.name}: {' '.join(map(str, words))[:80]}: errno "
        f"{answer.get('error')}, {answer.get('reason')}",
    )
    return answer


class Socket:
    """A descriptor of an application. `family`: "4", "6", or "mapped": an IPv6 socket
    with IPv4 addresses."""

    def __init__(self, app, fd, family="4"):
        self.app, self.fd, self.family = app, fd, family

    @property
    def host(self):
        return self.app.host

    def do(self, command, *words):
        return self.app.do(command, self.fd, *words)

    def begin(self, command, *words):
        answer = self.app.begin(command, self.fd, *words)
        return lambda timeout=30.0: worked(self.app, (command, *words), answer(timeout))

    def listen(self, port=PORT, backlog=8):
        self.bind(port)
        self.do("listen", backlog)
        return self

    def bind(self, port=PORT):
        self.do("bind", self.host.at(self.family), port)
        return self

    def connect(self, host, port=PORT):
        self.do("connect", host.at(self.family), port)
        return self

    def accept(self, milliseconds=20_000):
        return Socket(self.app, self.do("accept", milliseconds)["fd"], self.family)

    def shutdown(self):
        self.do("shutdown")

    def close(self):
        self.do("close")

    def info(self, *names):
        """Returns TCP_INFO, the queues, and the addresses: everything, or the values of
        these names."""
        found = self.do("state")
        return (
            found
            if not names
            else found[names[0]]
            if len(names) == 1
            else [found[name] for name in names]
        )

    def state(self):
        return self.info("state")

    def get(self, level, name):
        """Returns an option's value in hexadecimal; None if there is no such option."""
        return self.app.tries("getopt", self.fd, level, name).get("value")

    def set(self, level, name, value):
        self.do("setopt", level, name, value)


class Stream:
    """What one end sends and the other receives, on whichever hosts the two ends are at
    the time."""

    def __init__(self, seed):
        self.seed, self.sent, self.received = seed, 0, 0

    def send(self, socket, count):
        self.begin_send(socket, count)()

    def begin_send(self, socket, count):
        self.sent += count
        return socket.begin("send", self.seed, self.sent - count, count)

    def fill(self, socket, most=32 << 20):
        """Sends until no more is accepted. Returns how much that was."""
        went = socket.do("fill", self.seed, self.sent, most)["bytes"]
        expect(went < most, f"{most} bytes went, and more would")
        self.sent += went
        return went

    def receive(self, socket, count=None):
        """Receives that much, or all that was sent and is not received yet."""
        self.begin_receive(socket, self.sent - self.received if count is None else count)()

    def begin_receive(self, socket, count):
        answer = socket.begin("recv", count)
        return lambda timeout=30.0: self._check(answer(timeout), count, end=False)

    def receive_end(self, socket):
        """Receives all that was sent, and then the end of the stream."""
        self._check(socket.do("recv-all"), self.sent - self.received, end=True)

    def _check(self, got, count, end):
        expect(
            (got["bytes"], got["end"]) == (count, end),
            lambda: f"{self.seed}: {got['bytes']} bytes came behind byte {self.received}, "
            f"wanted {count}; "
            f"end: {got['end']}, wanted {end}",
        )
        expect(
            got["sha256"] == self._hash(self.received, count),
            lambda: f"{self.seed}: the {count} bytes behind byte {self.received} are not those "
            "that were sent",
        )
        self.received += count

    def _hash(self, at, count):
        """Hashes that many bytes of the stream; app/bytes.cc says how they are made."""
        digest, end = hashlib.sha256(), at + count
        while at < end:
            block, skipped = divmod(at, BLOCK)
            size = min(BLOCK, skipped + end - at)
            digest.update(hashlib.shake_128(f"{self.seed}/{block}".encode()).digest(size)[skipped:])
            at += size - skipped
        return digest.hexdigest()


def start(lab, *hosts, privileged=False, **changes):
    """Starts a daemon and an application on each host (default: hostA and hostB), and an
    application on the client, without a daemon."""
    hosts = hosts or (lab.hostA, lab.hostB)
    for host in hosts:
        lab.start_daemon(host, **changes)
        host.app = SocketApp(host, SERVICE, privileged)
    if lab.client not in hosts:
        lab.client.app = SocketApp(lab.client, privileged=privileged)


def plain(family):
    """Returns the family of the socket at the other end, which has no mapped addresses."""
    return "4" if family == "mapped" else family


class Connection:
    """A connection between the client and an application on hostA, which accepted it:
    `ours` is the end that moves, `theirs` the other."""

    def __init__(self, lab, family="4", prepare=lambda ours, theirs: None, port=PORT):
        """`prepare` is called with both sockets before they are connected."""
        self.listener, self.theirs = lab.hostA.app.socket(family), lab.client.app.socket(
            plain(family)
        )
        prepare(self.listener, self.theirs)
        self.listener.listen(port)
        self.theirs.connect(lab.hostA, port)
        self.ours = self.listener.accept()
        self._begin()

    def _begin(self):
        self.up, self.down = Stream("up"), Stream("down")  # theirs to ours, ours to theirs

    def move(self, *targets):
        for target in targets:
            self.ours = move(self.ours, target)

    def both_ways(self, count=100_000):
        """Sends bytes up, then down, and checks that they arrive; whatever was on its way
        arrives before them."""
        for stream, source, target in [
            (self.up, self.theirs, self.ours),
            (self.down, self.ours, self.theirs),
        ]:
            sent = stream.begin_send(source, count)
            stream.receive(target)
            sent()

    def travel(self, *targets, size=200_000):
        """Moves the connection from host to host while the other end sends requests and
        gets answers, so that something is in flight or in a queue at every moment. There
        are two requests on each host: the second one reaches only a host that could
        answer the first one."""
        asked = self.theirs.begin("ask", size, 2 * (len(targets) + 1), "requests", 0)
        for target in [*targets, None]:
            self.ours.do("echo", size, 2)
            if target:
                self.move(target)
        asked()

    def end(self):
        """Both ends finish in order, and each sees the other's end after the last byte."""
        self.theirs.shutdown()
        self.ours.shutdown()
        self.up.receive_end(self.ours)
        self.down.receive_end(self.theirs)
        wait_until(lambda: self.ours.state() == "CLOSE", "the last acknowledgement comes")
        self.ours.close()
        self.theirs.close()


class Between(Connection):
    """Two ends that are already connected."""

    def __init__(self, ours, theirs):
        self.ours, self.theirs = ours, theirs
        self._begin()


def at_home(lab, host):
    """Returns a connection of the client with the host's application."""
    listener = host.app.socket("4").listen()
    theirs = lab.client.app.socket("4").connect(host)
    return Between(listener.accept(), theirs)


class OwnConnection(Connection):
    """A connection whose moving end is the one that connected, from hostA; the client accepted."""

    def __init__(self, lab, family="4", source=None):
        self.listener = lab.client.app.socket(plain(family)).listen()
        self.ours = (source or lab.hostA).app.socket(family).connect(lab.client)
        self.theirs = self.listener.accept()
        self._begin()


def move(socket, target, state=CONNECTED):
    """Moves the socket. Returns it on its new host."""
    begin_export(socket, target, state)()
    return imported(target, socket.family, state)


def begin_export(socket, target, state=CONNECTED):
    answer = socket.begin("export", state, SERVICE, target.address)

    def finish():
        answer()
        socket.close()

    return finish


def export_together(sockets, target):
    """Returns the errno of each; 0: it has moved."""
    host = sockets[0].host
    errors = host.app.do(
        "export-together", SERVICE, target.address, *(socket.fd for socket in sockets)
    )["errors"]
    for socket, error in zip(sockets, errors):
        if error == 0:
            socket.close()
    return errors


def imported(host, family, state=CONNECTED):
    got = host.app.do("import", state, SERVICE, 20_000)
    expect(got["state"] == state, lambda: f"state {got['state']} came, wanted {state}")
    return Socket(host.app, got["fd"], family)


def refused(socket, target, state=CONNECTED):
    """Checks that it does not move. Returns the reason that the application gets."""
    answer = socket.app.tries("export", socket.fd, state, SERVICE, target.address)
    expect(answer.get("error"), "it moved")
    return answer["reason"]
