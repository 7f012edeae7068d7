"""A drain ends, and says what is true, whatever applications answer and whatever fails here."""
import pathlib
import signal
import socket

from cases import cases
from daemons import KILLED, end_daemon
from lab import PORT
from many_clients import ManyClients
from namespace import within
from process import expect
from sandbox import without_privilege
from test_drain import CONTENT, DEADLINE, SOME_STAY, drain, drain_status, drain_to_end, wait_moved
from test_journal import fill, small_disk
from transfer import random_bytes

PROGRAM = pathlib.Path(__file__).parent / "false_application.py"
FEW = random_bytes(1 << 10)


def start_false(lab, behaviour, *wrap, holds=False, service="web"):
    """Starts a false application at hostA. Returns it, and the client of its connection."""
    address = (lab.hostA.address, PORT + 1)
    application = lab.hostA.popen(
        *wrap,
        "/usr/bin/python3",
        PROGRAM,
        lab.hostA.socket,
        service,
        behaviour,
        *(address if holds else ()),
        name=behaviour,
    )
    client = None
    if holds:
        application.wait_line("listening")
        # At hostC, because the lab counts the resets that the client gets.
        client = within(lab.hostC, lambda: socket.create_connection(address))
    application.wait_line("registered")
    return application, client


def hold_as_root(lab):
    """Returns the client of a connection that a program of root holds, without sockmi."""
    address = (lab.hostA.address, PORT + 2)
    listener = within(lab.hostA, lambda: socket.create_server(address))
    client = within(lab.client, lambda: socket.create_connection(address))
    return client, listener, listener.accept()


def left(host):
    return [(each["local"], each["held"], each["reason"]) for each in drain_status(host)["left"]]


@cases("claims", "says-it-exported", "says-too-much")
def test_a_connection_of_root_that_a_user_claims_stays_and_is_not_cut(lab, behaviour):
    """Whether root's program has given it to the user is not known."""
    lab.start_all(lab.hostA, lab.hostB)
    foreign = hold_as_root(lab)
    application, _ = start_false(lab, behaviour, *without_privilege())
    drain_to_end(lab.hostA, "--on-stuck", "cut", status=SOME_STAY)
    expect(application.says("answered 200"), application.tail())
    [(local, held, reason)] = left(lab.hostA)
    expect((local, held) == (f"{lab.hostA.address}:{PORT + 2}", True), left(lab.hostA))
    expect(reason.startswith("an application of user "), reason)
    expect(reason.endswith(" may hold it"), reason)
    foreign[0].close()


@cases("claims", "says-it-exported", "says-too-much")
def test_no_user_can_claim_the_connection_of_another_one(lab, behaviour):
    lab.start_all(lab.hostA, lab.hostB)
    _, client = start_false(lab, "has-nothing", *without_privilege(), holds=True)
    application, _ = start_false(lab, behaviour, *without_privilege(65533))
    drain_to_end(lab.hostA)
    expect(not application.says("ordered"), application.tail())
    expect(
        left(lab.hostA)
        == [(f"{lab.hostA.address}:{PORT + 1}", False, "no program holds it by sockmi")],
        left(lab.hostA),
    )
    client.close()


def test_a_connection_of_root_that_nobody_claims_does_not_stay(lab):
    lab.start_all(lab.hostA, lab.hostB)
    foreign = hold_as_root(lab)
    application, _ = start_false(lab, "has-nothing", *without_privilege())
    drain_to_end(lab.hostA)
    expect(application.says("answered 200"), application.tail())
    expect(drain_status(lab.hostA)["not_held"] == 1, drain_status(lab.hostA))
    foreign[0].close()


@cases("claims", "says-it-exported", "says-too-much")
def test_a_connection_stays_that_its_application_only_claims_to_export(lab, behaviour):
    lab.start_all(lab.hostA, lab.hostB)
    clients = ManyClients(lab, 4, CONTENT)
    _, client = start_false(lab, behaviour, *without_privilege(), holds=True)
    drain_to_end(lab.hostA, status=SOME_STAY)
    status = drain_status(lab.hostA)
    expect((status["moved"], status["stay"], status["open"]) == (4, 1, 0), status)
    client.close()
    clients.finish_whole()


def test_an_answer_to_an_order_that_another_one_got_is_refused(lab):
    lab.start_all(lab.hostA, lab.hostB)
    application, client = start_false(lab, "answers-others", holds=True)
    drain_to_end(lab.hostA)
    answers = [line for line in application.lines if line.startswith("answered")]
    expect(answers[:4] == [f"answered {code}" for code in (404, 404, 200, 404)], answers)
    expect(drain_status(lab.hostA)["not_held"] == 1, drain_status(lab.hostA))
    client.close()


def test_an_application_that_comes_and_goes_does_not_keep_a_drain_alive(lab):
    lab.start_all(lab.hostA, lab.hostB)
    _, client = start_false(lab, "comes-and-goes", holds=True)
    drain_to_end(lab.hostA)
    expect(drain_status(lab.hostA)["not_held"] == 1, drain_status(lab.hostA))
    client.close()


def test_an_application_whose_service_no_host_takes_holds_nothing_up(lab):
    lab.start_all(lab.hostA, lab.hostB)
    clients = ManyClients(lab, 4, CONTENT)
    start_false(lab, "has-nothing", service="dl")
    drain_to_end(lab.hostA, "--deadline", "10s")
    expect(drain_status(lab.hostA)["moved"] == 4, drain_status(lab.hostA))
    clients.finish_whole()


def test_an_application_that_never_answers_holds_nothing_up_but_its_own(lab):
    lab.start_all(lab.hostA, lab.hostB)
    lab.start_httpsd(lab.hostB, service="dl")
    clients = ManyClients(lab, 4, CONTENT)
    silent, client = start_false(lab, "is-silent", *without_privilege(), holds=True, service="dl")
    drain_to_end(lab.hostA, "--deadline", "5s", status=DEADLINE)
    status = drain_status(lab.hostA)
    expect((status["moved"], status["open"]) == (4, 1), status)
    tool = drain(lab.hostA)
    silent.wait_line("ordered", after=len(silent.lines))
    silent.signal(signal.SIGKILL)
    silent.wait()
    client.close()
    expect(tool.wait() == 0, tool.tail())
    clients.finish_whole()


def test_a_drain_without_a_list_of_connections_ends_with_the_reason(lab):
    lab.start_all(lab.hostA, lab.hostB)
    clients = ManyClients(lab, 2, CONTENT)
    lab.hostA.arm("drain-list", 1_000_000)
    said = drain_to_end(lab.hostA, status=SOME_STAY)
    expect(any("it ended early: cannot list the connections" in line for line in said), said)
    expect("fault point drain-list" in drain_status(lab.hostA)["reason"], drain_status(lab.hostA))
    clients.finish_whole()


def test_a_stop_that_cannot_be_stored_is_refused(lab):
    with small_disk(lab.hostA) as folder:
        lab.start_all(lab.hostA, lab.hostB)
        clients = ManyClients(lab, 30, FEW)
        lab.hostA.api("/v1/drain", {"rate": 2})
        wait_moved(lab.hostA, 1)
        fill(folder)
        code, answer = lab.hostA.ask("POST", "/v1/drain/stop")
        expect(code != 200 and "drain" in answer["error"], answer)
        expect(drain_status(lab.hostA)["state"] == "running", drain_status(lab.hostA))
        (folder / "filling").unlink()
        lab.hostA.api("/v1/drain/stop", {})
        end_daemon(lab.hostA, KILLED)
        lab.start_daemon(lab.hostA)
        expect(drain_status(lab.hostA)["state"] == "stopped", drain_status(lab.hostA))
        clients.finish_whole()
        lab.assert_clean()
