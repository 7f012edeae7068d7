"""Draining a host: its connections go elsewhere, and nothing comes."""
import json
import signal

from daemons import KILLED, TERMINATED, end_daemon, records, restart
from lab import PORT
from many_clients import ManyClients
from process import expect, wait_until
from sandbox import without_privilege
from transfer import HeldDownload, random_bytes

CONTENT = random_bytes(1 << 19)
DONE, SOME_STAY, USAGE, DEADLINE = 0, 1, 2, 3


def drain(host, *options):
    """Begins `sockmictl drain` on the host."""
    return host.popen(host.lab.sockmictl, "drain", *options, name="sockmictl")


def drain_to_end(host, *options, status=DONE):
    """Returns what `sockmictl drain` says."""
    tool = drain(host, *options)
    ended = tool.wait(timeout=120)
    expect(ended == status, lambda: f"status {ended}, wanted {status}\n{tool.tail(30)}")
    return tool.lines


def drain_status(host):
    return host.api("/v1/drain")


def moved(host):
    """Returns how many connections have moved to each host."""
    return {each["host"]: each["moved"] for each in drain_status(host)["hosts"]}


def wait_moved(host, count):
    wait_until(lambda: drain_status(host)["moved"] >= count, f"{count} have moved")


def refusal(host, to):
    """Returns why a host refuses to take a connection of another one; "" if it does not."""
    went, failed = host.export(to)
    expect(went + failed == 1, f"{went} went, {failed} did not")
    return host.last_error() if failed else ""


def test_connections_are_spread_over_the_willing_hosts(lab):
    lab.start_all()
    clients = ManyClients(lab, 200, CONTENT)
    said = drain_to_end(lab.hostA)
    counts = moved(lab.hostA)
    expect(sum(counts.values()) == 200, counts)
    expect(min(counts["hostB"], counts["hostC"]) >= 60, counts)
    expect(any("200 of 200 moved" in line for line in said), said)
    clients.finish_whole()


def test_a_cordoned_host_is_not_chosen_and_says_so(lab):
    lab.start_all()
    expect(lab.hostA.ask("GET", "/v1/health") == (200, {"status": "ok"}), "it is not healthy")
    drain_to_end(lab.hostA)
    expect(lab.hostA.ask("GET", "/v1/health") == (503, {"status": "cordoned"}), "it seems healthy")
    first = lab.hostA.run(lab.sockmictl, "status").splitlines()[0].split()
    expect(first == ["cordoned", "true"], first)

    def seen_at_b():
        hosts = {each["host"]: each for each in lab.hostB.api("/v1/hosts")["hosts"]}
        return hosts.get("hostA", {}).get("cordoned")

    wait_until(seen_at_b, "hostB knows it")
    transfer = HeldDownload(lab, CONTENT)  # a connection may still begin
    lab.move(lab.hostA, lab.hostB)
    expect("hostA is cordoned" in refusal(lab.hostB, lab.hostA), lab.hostB.last_error())
    lab.move(lab.hostB, None)  # to any host: not to A
    expect(lab.hostB.migrations("export")[-1]["to"] == "hostC", lab.hostB.migrations("export")[-1])
    transfer.finish_whole()


def test_a_cordon_survives_a_restart_and_ends_by_undrain(lab):
    lab.start_all(lab.hostA, lab.hostB)
    drain_to_end(lab.hostA)
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    for how in (TERMINATED, KILLED):
        restart(lab, lab.hostA, how)
        expect("hostA is cordoned" in refusal(lab.hostB, lab.hostA), lab.hostB.last_error())
    lab.hostA.run(lab.sockmictl, "undrain")
    expect(lab.hostA.ask("GET", "/v1/health") == (200, {"status": "ok"}), "it is not healthy")
    lab.move(lab.hostB, lab.hostA)
    restart(lab, lab.hostA)
    expect(not drain_status(lab.hostA)["cordoned"], "the cordon has come back")
    transfer.finish_whole()


def test_a_connection_that_nobody_imports_returns_to_a_cordoned_home(lab):
    lab.start_daemon(lab.hostA)
    lab.start_daemon(lab.hostB, **{"import": {"require_importer": False, "wait_ms": 1000}})
    server = lab.start_httpsd(lab.hostA)
    transfer = HeldDownload(lab, CONTENT)
    lab.move(lab.hostA, lab.hostB)
    lab.hostA.api("/v1/drain", {"services": ["dl"]})
    server.wait_line("event=imported")
    expect(drain_status(lab.hostA)["cordoned"], "the cordon has ended")
    transfer.finish_whole()


def test_a_full_host_gets_nothing_and_its_share_goes_elsewhere(lab):
    lab.start_daemon(lab.hostA)
    lab.start_daemon(lab.hostB, **{"import": {"max_connected": 0}})
    lab.start_daemon(lab.hostC)
    for host in lab.hosts:
        lab.start_httpsd(host)
    clients = ManyClients(lab, 20, CONTENT)
    drain_to_end(lab.hostA)
    expect(moved(lab.hostA) == {"hostB": 0, "hostC": 20}, moved(lab.hostA))
    clients.finish_whole()


def test_a_host_that_becomes_full_is_left_out(lab):
    lab.start_daemon(lab.hostA)
    lab.start_daemon(lab.hostB, **{"import": {"max_connected": 4}})
    lab.start_daemon(lab.hostC)
    servers = [lab.start_httpsd(host) for host in lab.hosts]
    servers[1].pause()  # what arrives at B waits there
    clients = ManyClients(lab, 40, CONTENT)
    drain_to_end(lab.hostA)
    counts = moved(lab.hostA)
    expect(counts["hostB"] <= 4 and sum(counts.values()) == 40, counts)
    servers[1].resume()
    clients.finish_whole()


def test_a_host_that_dies_is_left_out(lab):
    lab.start_all()
    clients = ManyClients(lab, 60, CONTENT)
    first = drain(lab.hostA, "--rate", 20)
    wait_moved(lab.hostA, 6)
    lab.hostA.run(lab.sockmictl, "drain", "stop")
    expect(first.wait() == SOME_STAY, first.tail())
    for host in (lab.hostB, lab.hostC):
        wait_until(lambda: host.api("/v1/status")["lists"]["connected"]["used"] == 0, "it is taken")
    lab.hostB.arm("restore=kill")  # before anything of the connection lives there
    drain_to_end(lab.hostA)
    expect(lab.hostB.daemon.wait() == -signal.SIGKILL, lab.hostB.daemon.tail())
    # Its share is zero, or it was gone before the drain asked who takes connections.
    expect(moved(lab.hostA).get("hostB", 0) == 0, moved(lab.hostA))
    expect(drain_status(lab.hostA)["failures"], "no failure was counted")
    clients.finish_whole()
    lab.start_daemon(lab.hostB)


def test_a_drain_continues_after_a_restart(lab):
    lab.start_all()
    clients = ManyClients(lab, 60, CONTENT)
    tool = drain(lab.hostA, "--rate", 30)
    for count, how in ((10, TERMINATED), (25, KILLED)):
        wait_moved(lab.hostA, count)
        end_daemon(lab.hostA, how)
        lab.start_daemon(lab.hostA)
    expect(tool.wait(timeout=120) == DONE, tool.tail(30))
    expect(drain_status(lab.hostA)["open"] == 0, drain_status(lab.hostA))
    held = lab.hostB.api("/v1/connections")["total"] + lab.hostC.api("/v1/connections")["total"]
    expect(held == 60, f"{held} connections are elsewhere")
    clients.finish_whole()


def test_the_rate_is_kept_and_ctrl_c_only_detaches(lab):
    lab.start_all()
    clients = ManyClients(lab, 30, CONTENT)
    first = drain(lab.hostA, "--rate", 10)
    wait_moved(lab.hostA, 2)
    first.signal(signal.SIGINT)
    expect(first.wait() == SOME_STAY and first.says("the drain continues"), first.tail())
    status = drain_status(lab.hostA)
    expect(status["state"] == "running" and status["moved"] < 30, status)
    second = drain(lab.hostA)  # attaches, and does not change the rate
    expect(second.wait(timeout=120) == DONE, second.tail())
    expect(second.says("a drain is under way"), second.tail())
    status = drain_status(lab.hostA)
    expect(status["ended_ms"] - status["began_ms"] >= 2_800, status)  # 29 intervals of 100 ms
    clients.finish_whole()


def test_the_progress_is_json_on_request(lab):
    lab.start_all()
    clients = ManyClients(lab, 10, CONTENT)
    lines = [json.loads(line) for line in drain_to_end(lab.hostA, "--json")]
    expect(lines[-1]["state"] == "done" and lines[-1]["moved"] == 10, lines[-1])
    expect(lines[-1]["freeze_us"]["count"] == 10 and lines[-1]["freeze_us"]["p50"] > 0, lines[-1])
    clients.finish_whole()


def test_only_the_hosts_and_services_that_are_named_take_part(lab):
    lab.start_all()
    clients = ManyClients(lab, 8, CONTENT)
    drain_to_end(lab.hostA, "--service", "dl")
    expect(drain_status(lab.hostA)["moved"] == 0, drain_status(lab.hostA))
    drain_to_end(lab.hostA, "--service", "web", "--to", "hostC")
    expect(moved(lab.hostA).get("hostC") == 8, moved(lab.hostA))
    clients.finish_whole()


LISTENER = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
connection, _ = listener.accept()
print("accepted", flush=True)
connection.recv(1)
"""


def test_a_dry_run_says_what_would_go_where_and_what_would_stay(lab):
    lab.start_all()
    clients = ManyClients(lab, 10, CONTENT)
    foreign = lab.hostA.popen("/usr/bin/python3", "-c", LISTENER, lab.hostA.address, PORT + 1)
    foreign.wait_line("listening")
    peer = lab.client.popen(
        "/usr/bin/python3",
        "-c",
        "import socket, sys\nsocket.create_connection((sys.argv[1], int(sys.argv[2]))).recv(1)",
        lab.hostA.address,
        PORT + 1,
    )
    foreign.wait_line("accepted")
    plan = json.loads("\n".join(drain_to_end(lab.hostA, "--dry-run", "--json")))
    [web] = plan["services"]
    expect(web["service"] == "web" and web["connections"] == 10, web)
    expect(web["hosts"] == {"hostB": 5, "hostC": 5} and web["stay"] == 0, web)
    [stays] = plan["not_held"]
    expect(
        (stays["pid"], stays["local"]) == (foreign.pid, f"{lab.hostA.address}:{PORT + 1}"), stays
    )
    text = "\n".join(drain_to_end(lab.hostA, "--dry-run"))
    expect("5 to hostB" in text and f"{foreign.pid} python3" in text, text)
    expect(not drain_status(lab.hostA)["cordoned"], "it was no dry run")
    expect(drain_status(lab.hostA)["moved"] == 0, "something has moved")
    clients.finish_whole()
    drain_to_end(lab.hostA)
    expect(drain_status(lab.hostA)["not_held"] == 1, drain_status(lab.hostA))
    peer.signal(signal.SIGKILL)
    peer.wait()
    foreign.wait()


def test_the_exit_status_says_how_it_ended(lab):
    lab.start_all(lab.hostA, lab.hostB)
    clients = ManyClients(lab, 1, CONTENT)
    drain_to_end(lab.hostA, "--deadline", "soon", status=USAGE)
    drain_to_end(lab.hostA, "--to", "hostX", status=SOME_STAY)  # not known
    expect(not drain_status(lab.hostA)["cordoned"], "a refused order cordons")
    lab.hostA.arm("find_host", 1000)
    said = drain_to_end(lab.hostA, status=SOME_STAY)
    expect(any("fault point find_host" in line for line in said), said)
    end_daemon(lab.hostB, TERMINATED)
    drain_to_end(lab.hostA, "--deadline", "1s", status=DEADLINE)
    clients.finish_whole()


def test_a_damaged_state_keeps_the_cordon_and_is_reported(lab):
    lab.start_all(lab.hostA, lab.hostB)
    drain_to_end(lab.hostA)
    end_daemon(lab.hostA, TERMINATED)
    (lab.hostA.folder / "state" / "drain").write_text('{"phase": "run')
    lab.start_daemon(lab.hostA)
    lab.hostA.daemon.wait_line("event=drain_state_damaged")
    expect(
        any("drain is damaged" in each for each in lab.hostA.api("/v1/status")["warnings"]),
        lab.hostA.api("/v1/status")["warnings"],
    )
    expect(lab.hostA.ask("GET", "/v1/health")[0] == 503, "the cordon has ended")
    lab.hostA.run(lab.sockmictl, "undrain")
    restart(lab, lab.hostA)
    expect(lab.hostA.api("/v1/status")["warnings"] == [], "it is still reported")


def test_connections_of_an_application_without_privilege_move(lab):
    for host in lab.hosts:
        lab.start_daemon(host)
        lab.start_httpsd(host, wrap=without_privilege())
    clients = ManyClients(lab, 6, CONTENT)
    drain_to_end(lab.hostA)
    expect(sum(moved(lab.hostA).values()) == 6, moved(lab.hostA))
    lab.hostA.run(lab.sockmictl, "undrain")
    drain_to_end(lab.hostB)  # what was imported moves on
    wait_until(lambda: not records(lab.hostB), "nothing is left at hostB")
    clients.finish_whole()


def test_connections_that_begin_during_a_drain_work_and_move(lab):
    lab.start_all()
    clients = ManyClients(lab, 20, CONTENT)
    tool = drain(lab.hostA, "--rate", 20)
    wait_moved(lab.hostA, 5)
    later = ManyClients(lab, 20, CONTENT)
    expect(tool.wait(timeout=120) == DONE, tool.tail())
    drain_to_end(lab.hostA)  # those that began too late for the first one
    held = lab.hostB.api("/v1/connections")["total"] + lab.hostC.api("/v1/connections")["total"]
    expect(held == 40, f"{held} connections are elsewhere")
    clients.finish_whole()
    later.finish_whole()


def test_a_terminal_shows_a_bar(lab):
    lab.start_all()
    clients = ManyClients(lab, 10, CONTENT)
    command = f"{lab.sockmictl} drain --rate 10"
    shown = lab.hostA.run("script", "--quiet", "--return", "--command", command, "/dev/null")
    expect("[####" in shown and "10/10" in shown and "\x1b[J" in shown, shown)
    clients.finish_whole()
