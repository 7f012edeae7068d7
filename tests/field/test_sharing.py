"""Threads and children of an application use a connection while it moves: whatever send(2) took arrives, once, and whatever came is read, once."""
import array
import hashlib
import re

from cases import cases
from lab import PORT
from process import expect
from sandbox import without_privilege
from socket_app import SERVICE, imported, start

HARMLESS = {"send": {"22"}, "recv": {"1"}}  # EINVAL, EPERM: the call came at an instant of the freeze, and may be made again
SPENT = {"send": {"22", "32", "103"}, "recv": {"1", "103", "107"}}  # EPIPE, ECONNABORTED, ENOTCONN: it has gone


def numbers(begin, end):
    """The bytes from `begin` to `end` of a stream of numbers."""
    some = array.array("I", range(begin // 4, end // 4 + 1))
    some.byteswap()
    return some.tobytes()[begin % 4:][:end - begin]


class Shared:
    def __init__(self, lab, exports, *users):
        program = lab.program("tests/field/sharing")
        self.ours = lab.hostA.popen(*without_privilege(), program, "serve", lab.hostA.address, PORT, lab.hostB.address, SERVICE, exports, *users, name="ours")
        self.ours.wait_line("ready")
        self.theirs = lab.client.popen(program, "peer", lab.hostA.address, PORT, name="theirs")

    def finish(self, allowed):
        counts = []
        for process in (self.ours, self.theirs):
            process.wait_line("written", 60)
            written, read, wrong = map(int, re.search(r"written (\d+) read (\d+) wrong (\d+)", "\n".join(process.lines)).groups())
            expect(wrong == 0, lambda: f"{wrong} of the bytes that came are wrong\n{process.tail()}")
            counts.append((written, read))
        for call, number in re.findall(r"(\w+) failed \d+ times: errno (\d+)", "\n".join(self.ours.lines)):
            expect(number in allowed[call], lambda: f"{call}: errno {number}\n{self.ours.tail()}")
        return counts


@cases(*[(users, n) for users in ("tiny", "sleeper", "child", "tiny reader", "sleeper reader") for n in range(3)])
def test_it_goes_while_others_use_it(lab, users, _):
    start(lab)
    shared = Shared(lab, 1, *users.split())
    moved = imported(lab.hostB, "4")
    shared.ours.wait_line("gone")
    shared.ours.wait_line("written")
    moved.shutdown()
    came = moved.do("recv-all")
    (written, read), (peer_wrote, peer_read) = shared.finish(SPENT)
    expect(peer_read == written, f"send(2) took {written} bytes, {peer_read} came")
    expect(came["bytes"] == peer_wrote - read, f"the peer sent {peer_wrote} bytes; {read} were read before, {came['bytes']} after the move")
    expect(came["sha256"] == hashlib.sha256(numbers(read, peer_wrote)).hexdigest(), "they are not those that were sent")


@cases("tiny", "sleeper", "tiny reader", "sleeper reader", "child")
def test_it_stays_while_others_use_it(lab, users):
    start(lab)
    lab.hostA.arm("journal", 60)
    shared = Shared(lab, 60, *users.split())
    (written, read), (peer_wrote, peer_read) = shared.finish(HARMLESS)
    expect(shared.ours.says("here after 60 failures"), "it has gone")
    expect((written, peer_wrote) == (peer_read, read), f"send(2) took {written} bytes, {peer_read} came; of the peer's {peer_wrote}, {read}")
