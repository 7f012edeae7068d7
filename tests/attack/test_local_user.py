"""Checks that a user of a host without privilege cannot act for other users there, nor for root."""
import json

from lab import PORT, SERVICE_ADDRESS, expect, wait_until
from local_user import as_nobody, subscribe
from sandbox import without_privilege
from socket_app import CONNECTED, Connection, SocketApp, move, start


def test_a_user_cannot_request_exports_of_others(lab):
    lab.start_daemon(lab.hostA)
    root = subscribe(lab.hostA, wrap=(), name="root's application")
    status, answer = as_nobody(lab.hostA, "POST", "/v1/requests", json.dumps({"service": "web"}))
    expect(status == 503 and answer["name"] == "ESRCH", lambda: f"{status} {answer}")
    expect(not root.says("event: export"), "root's application was asked to export by nobody")
    # The user may send requests to applications of its own.
    own = subscribe(lab.hostA, name="own application")
    asked = lab.hostA.popen(*without_privilege(), lab.sockmictl, "export", "--service", "web")
    own.wait_line("event: export")
    expect(not root.says("event: export"), "root's application was asked to export by nobody")
    own.kill()
    asked.wait()
    root.kill()


def test_a_user_cannot_list_doubts(lab):
    lab.start_daemon(lab.hostA)
    status, answer = as_nobody(lab.hostA, "GET", "/v1/doubt")
    expect(status == 403, lambda: f"{status} {answer}")
    expect(lab.hostA.api("/v1/doubt")["doubts"] == [], "root does not see it")


def test_a_user_cannot_answer_requests_of_others(lab):
    lab.start_daemon(lab.hostA)
    root = subscribe(lab.hostA, wrap=(), name="root's application")
    operator = lab.hostA.popen(lab.sockmictl, "--json", "export", "--service", "web")
    number = json.loads(root.wait_line("data: {").removeprefix("data: "))["request"]
    expect(number > 1 << 20, f"request number {number} can be guessed")
    for guess in (1, number):
        status, answer = as_nobody(
            lab.hostA, "POST", f"/v1/requests/done?request={guess}&exported=100&failed=0"
        )
        expect(status == 404, lambda: f"{status} {answer}")
    expect(operator.running(), "the operator believes it")
    lab.hostA.api(f"/v1/requests/done?request={number}&exported=3&failed=0", {})
    expect(operator.wait() == 0 and operator.says('"exported":3'), operator.tail())
    root.kill()


def test_a_silent_application_delays_a_takeover_by_a_bounded_time(lab):
    """The application holds nothing at the address: the takeover continues without it."""
    lab.hostA.run("ip", "addr", "add", f"{SERVICE_ADDRESS}/24", "dev", "eth0")
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host, takeover={"addresses": [SERVICE_ADDRESS]})
    wait_until(
        lambda: any(each["host"] == "hostB" for each in lab.hostA.api("/v1/hosts")["hosts"]),
        "hostA knows hostB",
    )
    silent = subscribe(lab.hostA)
    output = lab.hostA.run(
        "timeout", "40", lab.sockmictl, "takeover", SERVICE_ADDRESS, "--to", "hostB"
    )
    expect("is an address of hostB now" in output, output)
    silent.kill()


def test_a_user_cannot_arm_faults_or_see_connections_of_others(lab):
    start(lab)
    connection = Connection(lab)
    connection.both_ways()
    lab.hostA.api("/v1/testing/faults", {"name": "nothing"})
    status, answer = as_nobody(lab.hostA, "POST", "/v1/testing/faults", '{"name": "nothing"}')
    expect(status == 403, lambda: f"{status} {answer}")
    # The applications of the lab run as nobody: this user sees those, and not those of
    # root.
    connection.ours = move(connection.ours, lab.hostB)
    expect(
        len(as_nobody(lab.hostA, "GET", "/v1/migrations")[1]["migrations"]) == 1,
        "it does not see its own",
    )
    lab.hostB.app = SocketApp(lab.hostB, "web", privileged=True)
    root_app = SocketApp(lab.hostA, "web", privileged=True)
    listener, theirs = root_app.socket("4"), lab.client.app.socket("4")
    listener.bind(PORT + 1).do("listen", 8)
    theirs.connect(lab.hostA, PORT + 1)
    move(listener.accept(), lab.hostB)
    expect(len(lab.hostA.migrations()) == 2, "root does not see both")
    for view in ("connections", "migrations"):
        rows = as_nobody(lab.hostA, "GET", f"/v1/{view}")[1][view]
        expect(len(rows) == (1 if view == "migrations" else 0), lambda: f"{view}: {rows}")


# --- whose importers make a host willing ---

OWN = {"service__own": {"export": ["*"]}}  # imports are for the user that exported, and for root


def test_a_subscriber_without_rights_attracts_no_endpoint(lab):
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host, **OWN)
    lab.client.app = SocketApp(lab.client)
    lab.hostA.app = SocketApp(lab.hostA, "own", privileged=True)
    watcher = subscribe(lab.hostB, "own")
    connection = Connection(lab)
    connection.both_ways()
    answer = lab.hostA.app.tries("export", connection.ours.fd, CONNECTED, "own", "any")
    expect("error" in answer, "root's connection went to where only nobody waits")
    connection.both_ways()
    expect(not watcher.says("event: import"), "it is told of what it may not have")
    watcher.kill()
    connection.end()


def test_the_root_of_a_container_is_not_root(lab):
    lab.start_daemon(lab.hostA)
    for container in (
        ["unshare", "--pid", "--fork", "--kill-child"],
        ["unshare", "--user", "--map-root-user"],
    ):
        output = lab.hostA.run(*container, lab.sockmictl, "fault", "freeze", check=False)[1]
        expect("EACCES" in output, lambda: f"{container}: {output}")
    lab.hostA.run(lab.sockmictl, "fault", "nothing")
