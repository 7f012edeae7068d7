"""Threads and children of an application use a connection while it moves: all bytes that
send(2) accepted arrive once, and all that arrived are read once."""
import array
import hashlib
import re

from cases import cases, topology
from lab import PORT
from process import expect, wait_until
from sandbox import without_privilege
from socket_app import SERVICE, imported, start

# EINVAL, EPERM: the call came at an instant of the freeze, and may be repeated.
HARMLESS = {"send": {"22"}, "recv": {"1"}}
# EPIPE, ECONNABORTED, ENOTCONN: it has moved.
SPENT = {"send": {"22", "32", "103"}, "recv": {"1", "103", "107"}}
EXPORTS = 60


def numbers(begin, end):
    """Returns the bytes from `begin` to `end` of a stream of numbers."""
    some = array.array("I", range(begin // 4, end // 4 + 1))
    some.byteswap()
    return some.tobytes()[begin % 4 :][: end - begin]


class Shared:
    def __init__(self, lab, exports, *users):
        program = lab.program("tests/field/sharing")
        self.ours = lab.hostA.popen(
            *without_privilege(),
            program,
            "serve",
            lab.hostA.address,
            PORT,
            lab.hostB.address,
            SERVICE,
            exports,
            *users,
            name="ours",
        )
        self.ours.wait_line("ready")
        self.theirs = lab.client.popen(program, "peer", lab.hostA.address, PORT, name="theirs")

    def finish(self, allowed):
        counts = []
        self.ours.wait_line("written", 60)
        expect(not self.ours.says("stay unsent"), self.ours.tail)
        for process in (self.ours, self.theirs):
            process.wait_line("written", 60)
            written, read, wrong = map(
                int,
                re.search(
                    r"written (\d+) read (\d+) wrong (\d+)", "\n".join(process.lines)
                ).groups(),
            )
            expect(
                wrong == 0, lambda: f"{wrong} of the bytes that came are wrong\n{process.tail()}"
            )
            counts.append((written, read))
        for call, number in re.findall(
            r"(\w+) failed \d+ times: errno (\d+)", "\n".join(self.ours.lines)
        ):
            expect(number in allowed[call], lambda: f"{call}: errno {number}\n{self.ours.tail()}")
        return counts


def arrives(shared, moved):
    """Checks that it has moved, and that all bytes of either end reach the other end,
    once and in order."""
    shared.ours.wait_line("gone")
    shared.ours.wait_line("written")
    moved.shutdown()
    came = moved.do("recv-all")
    (written, read), (peer_wrote, peer_read) = shared.finish(SPENT)
    expect(peer_read == written, f"send(2) took {written} bytes, {peer_read} came")
    expect(
        came["bytes"] == peer_wrote - read,
        f"the peer sent {peer_wrote} bytes; {read} were read before, {came['bytes']} after the "
        "move",
    )
    expect(
        came["sha256"] == hashlib.sha256(numbers(read, peer_wrote)).hexdigest(),
        "they are not those that were sent",
    )


@cases(
    *[
        (users, n)
        for users in ("tiny", "sleeper", "child", "tiny reader", "sleeper reader")
        for n in range(3)
    ]
)
def test_a_socket_moves_while_others_use_it(lab, users, _):
    start(lab)
    shared = Shared(lab, 1, *users.split())
    arrives(shared, imported(lab.hostB, "4"))


def test_bytes_of_a_sleeping_writer_arrive_after_the_decision(lab):
    """A thread sleeps in send(2) when the move is decided, and wakes before its socket is ended."""
    start(lab)
    lab.hostB.arm("before-thaw=stop")
    shared = Shared(lab, 1, "sleeper", "waker")
    shared.ours.wait_line("waked")
    lab.hostB.daemon.resume()
    arrives(shared, imported(lab.hostB, "4"))


@cases("tiny", "child")
def test_bytes_written_in_the_freeze_survive_the_exporters_daemon(lab, users):
    """The daemon dies when the move is decided and the importer does not know the decision yet."""
    start(lab)
    lab.hostA.arm("decided=kill")
    shared = Shared(lab, 1, *users.split())
    wait_until(lambda: not lab.hostA.daemon.running(), "the daemon dies")
    lab.start_daemon(lab.hostA)
    arrives(shared, imported(lab.hostB, "4"))
    expect(not kept(lab), lambda: f"{kept(lab)} is left")


def kept(lab):
    return [file for file in lab.hostA.socket.parent.iterdir() if file.name.startswith("late-")]


def dies_with_bytes_under_way(lab):
    """The exporter's daemon dies when the move is decided and the importer does not know
    the decision yet. What another thread wrote is in COMMIT alone, and the peer may have
    some of it."""
    start(lab)
    lab.hostA.arm("decided=kill")
    shared = Shared(lab, 1, "steady")
    wait_until(lambda: not lab.hostA.daemon.running(), "the daemon dies")
    return shared


@topology("bridge", delay_ms=5)
def test_an_operator_cannot_commit_without_the_bytes_in_flight(lab):
    shared = dies_with_bytes_under_way(lab)
    [doubt] = wait_until(
        lambda: lab.hostB.api("/v1/doubt")["doubts"], "the importer is in doubt", timeout=20
    )
    status, said = lab.hostB.run(lab.sockmictl, "doubt", "commit", doubt["id"], check=False)
    expect(status != 0 and "only hostA has them" in said, (status, said))
    lab.start_daemon(lab.hostA)
    arrives(shared, imported(lab.hostB, "4"))


@topology("bridge", delay_ms=5)
def test_a_connection_stays_if_its_bytes_in_flight_are_lost(lab):
    """It is lost with the folder in which the exporter's daemon had kept it."""
    shared = dies_with_bytes_under_way(lab)
    [file] = kept(lab)
    file.unlink()
    lab.start_daemon(lab.hostA)
    (written, read), (peer_wrote, peer_read) = shared.finish(HARMLESS)
    expect(
        (written, peer_wrote) == (peer_read, read),
        f"send(2) took {written} bytes, {peer_read} came; of the peer's {peer_wrote}, {read}",
    )


@cases("tiny", "sleeper", "tiny reader", "sleeper reader", "child")
def test_a_failed_export_loses_no_bytes_of_others(lab, users):
    start(lab)
    lab.hostA.arm("journal", 60)
    shared = Shared(lab, 60, *users.split())
    (written, read), (peer_wrote, peer_read) = shared.finish(HARMLESS)
    expect(shared.ours.says("here after 60 failures"), "it has gone")
    expect(
        (written, peer_wrote) == (peer_read, read),
        f"send(2) took {written} bytes, {peer_read} came; of the peer's {peer_wrote}, {read}",
    )


@cases("steady", "reader", "steady reader")
def test_a_failed_export_disturbs_no_calls_of_others(lab, users):
    """Except for the first export, which has to read the sequence numbers."""
    start(lab)
    lab.hostA.arm("journal", EXPORTS)
    shared = Shared(lab, EXPORTS, *users.split())
    shared.finish(HARMLESS)
    expect(shared.ours.says(f"here after {EXPORTS} failures"), "it has gone")
    repaired = int(
        re.search(r"failures, (\d+) in repair mode", "\n".join(shared.ours.lines)).group(1)
    )
    expect(
        repaired <= EXPORTS // 10,
        lambda: f"{repaired} exports were such that calls of others fail\n{shared.ours.tail()}",
    )
