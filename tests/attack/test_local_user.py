"""Checks that a user of a host without privilege cannot harm other users there, nor root."""
import json
import os
import signal
import socket

from lab import PORT, SERVICE_ADDRESS, expect, wait_until
from process import run
from sandbox import without_privilege
from socket_app import BOUND, CONNECTED, Connection, SocketApp, move, start
from socket_app import refused as stays
from test_bad_requests import refused
from test_containers import Container

SQUATTER = """
import socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('\\0sockmid')
print('bound', flush=True)
time.sleep(60)
"""


def python(host, program, *arguments, wrap=None, name="attacker", **options):
    """Starts a program as a user without privilege."""
    return host.popen(
        *(without_privilege() if wrap is None else wrap),
        "/usr/bin/python3",
        "-c",
        program,
        *arguments,
        name=name,
        **options,
    )


# --- the lock ---


def test_a_user_cannot_prevent_the_daemons_start(lab):
    squatter = python(lab.hostA, SQUATTER)
    squatter.wait_line("bound")
    lab.hostA.run(lab.sockmictl, "flush")
    lab.start_daemon(lab.hostA)


def test_a_user_cannot_take_the_daemons_lock(lab):
    daemon = lab.start_daemon(lab.hostA)
    inode = os.stat("/run/netns/hostA").st_ino
    status, output = lab.hostA.run(
        *without_privilege(),
        "flock",
        "--nonblock",
        f"/run/sockmid/netns-{inode}.lock",
        "true",
        check=False,
    )
    expect(status != 0 and "ermission denied" in output, lambda: f"status {status}: {output}")
    status, output = lab.hostA.run(lab.sockmictl, "flush", check=False)
    expect(
        status == 1 and f"process {daemon.pid}" in output,
        lambda: f"status {status}, does not say who it is: {output}",
    )
    # The death of the daemon releases the lock.
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    wait_until(
        lambda: lab.hostA.run(lab.sockmictl, "flush", check=False)[0] == 0, "the lock is free"
    )


# --- requests of the operator ---


def as_nobody(host, method, path, body=""):
    """Returns (status, answer) to a request of a user without privilege."""
    output = host.run(
        *without_privilege(),
        "curl",
        "-s",
        "-m",
        "15",
        "-X",
        method,
        "-d",
        body,
        "-w",
        "\n%{http_code}",
        "--unix-socket",
        host.socket,
        f"http://sockmid{path}",
        check=False,
    )[1]
    answer, _, status = output.rstrip().rpartition("\n")
    return int(status), json.loads(answer) if answer.strip() else {}


EVENTS = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(b"GET /v1/events?service=%s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" % sys.argv[2].encode())
for line in s.makefile("r"):
    if line.strip(): print(line.strip(), flush=True)
"""


def subscribe(host, service="web", wrap=None, name="subscriber"):
    """Opens an event stream, by default as a user without privilege."""
    process = python(host, EVENTS, host.socket, service, wrap=wrap, name=name)
    process.wait_line("HTTP/1.1 200")
    return process


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


# --- what one user can hold ---

HOARD = """
import array, os, socket, sys, time
path, sessions, each, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
import resource
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held, refused = [], 0
for n in range(sessions):
    s = socket.socket(socket.AF_UNIX); s.connect(path)
    try:
        if mode == "descriptors":
            # Its own end among them: a process that holds it keeps the connection open for ever.
            passed = array.array("i", [s.fileno()] * each)
            s.sendmsg([b"POST /v1/exports HTTP/1.1\\r\\nContent-Length: 100\\r\\n"],
                      [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
        elif mode == "bodies":
            s.sendall(b"POST /v1/exports HTTP/1.1\\r\\nHost: x\\r\\n"
                      b"Content-Length: 1300000\\r\\n\\r\\n")
        elif mode == "answers":
            s.sendall(b"GET /v1/migrations HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" * each)
    except (BrokenPipeError, ConnectionResetError):
        refused += 1
    held.append(s)
print("done", refused, flush=True)
time.sleep(120)
"""


def descriptors_of(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def memory_of(process, name="VmRSS"):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name + ":")) // 1024


def hoard(host, sessions, each, mode):
    process = python(host, HOARD, host.socket, str(sessions), str(each), mode, name="hoarder")
    process.wait_line("done", timeout=60)
    return process


def test_descriptors_of_unfinished_requests_are_bounded_and_freed(lab):
    daemon = lab.start_daemon(lab.hostA)
    lab.hostA.api("/v1/status")
    before = descriptors_of(daemon)
    hoarder = hoard(lab.hostA, 320, 62, "descriptors")  # nearly 20,000
    held = descriptors_of(daemon)
    expect(held < before + 6000, f"{held} descriptors")
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "root is not served")
    hoarder.kill()
    wait_until(lambda: descriptors_of(daemon) <= before + 1, "they are given back", timeout=30)


def test_announced_bodies_take_no_memory(lab):
    daemon = lab.start_daemon(lab.hostA)
    before = memory_of(daemon, "VmLck")
    hoarder = hoard(lab.hostA, 200, 0, "bodies")
    grown = memory_of(daemon, "VmLck") - before
    expect(grown < 20, f"{grown} MB are locked for 200 requests without a body")
    hoarder.kill()


def test_unread_answers_take_little_memory(lab):
    daemon = lab.start_daemon(lab.hostA)
    before = memory_of(daemon)
    hoarder = hoard(lab.hostA, 600, 40, "answers")
    grown = memory_of(daemon) - before
    expect(grown < 100, f"the daemon has grown by {grown} MB")
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "root is not served")
    hoarder.kill()


def test_the_sessions_of_one_user_are_limited(lab):
    daemon = lab.start_daemon(lab.hostA)
    hoarder = hoard(lab.hostA, 1500, 0, "nothing")
    expect(descriptors_of(daemon) < 1100, f"{descriptors_of(daemon)} descriptors")
    status, answer = as_nobody(lab.hostA, "GET", "/v1/status")
    expect(
        status == 503 and answer["name"] == "EDQUOT" and "sessions" in answer["error"],
        lambda: f"{status} {answer}",
    )
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "root is not served")
    hoarder.kill()
    wait_until(
        lambda: as_nobody(lab.hostA, "GET", "/v1/status")[0] == 200, "nobody is served again"
    )


def test_descriptors_are_accepted_with_exports_only(lab):
    daemon = lab.start_daemon(lab.hostA)
    lab.hostA.api("/v1/status")
    before = descriptors_of(daemon)
    with socket.socket() as plain:
        refused(
            lab,
            b"POST /v1/requests HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n",
            "descriptors",
            [plain.fileno()],
            status=400,
        )
    wait_until(lambda: descriptors_of(daemon) <= before, "they are given back")


def test_half_a_request_is_ended_by_a_deadline(lab):
    lab.start_daemon(lab.hostA)
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(20)
        line.connect(str(lab.hostA.socket))
        line.sendall(b"GET /v1/status HTTP/1.1\r\nHos")
        expect(line.recv(100) == b"", "half a request is answered")


# --- root of a container ---


def test_the_root_of_a_container_is_not_root(lab):
    lab.start_daemon(lab.hostA)
    for container in (
        ["unshare", "--pid", "--fork", "--kill-child"],
        ["unshare", "--user", "--map-root-user"],
    ):
        output = lab.hostA.run(*container, lab.sockmictl, "fault", "freeze", check=False)[1]
        expect("EACCES" in output, lambda: f"{container}: {output}")
    lab.hostA.run(lab.sockmictl, "fault", "nothing")


def test_a_file_at_the_socket_path_is_not_removed(lab):
    precious = lab.hostA.folder / "precious"
    precious.write_text("x")
    path = lab.configure(lab.hostA, **{"": {"socket": str(precious)}})
    status, output = lab.hostA.run(
        lab.program("src/sockmid/sockmid"), "--config", path, check=False
    )
    expect(status != 0 and precious.read_text() == "x", lambda: f"status {status}: {output}")


# --- ports and addresses of others ---


def test_a_wildcard_port_of_another_user_is_not_exported(lab):
    """IPV6_V6ONLY lets a user bind the wildcard in addition to root's listener."""
    start(lab)
    root = SocketApp(lab.hostA, "web", privileged=True).socket("4")
    root.do("bind", "0.0.0.0", PORT)
    root.do("listen", 8)
    beside = lab.hostA.app.socket("6")
    beside.set(41, 26, "01000000")  # IPV6_V6ONLY
    beside.do("bind", "::", PORT)
    expect("IPV6_V6ONLY" in stays(beside, lab.hostB, BOUND), "refused for another reason")
    lab.client.app.socket("4").connect(lab.hostA)
    root.accept()


def test_a_socket_bound_to_a_foreign_address_is_not_exported(lab):
    """IP_FREEBIND does not need a privilege."""
    start(lab)
    foreign = lab.hostA.app.socket("4")
    foreign.set(0, 15, "01000000")  # IP_FREEBIND
    foreign.do("bind", lab.client.address, PORT)
    expect(
        "is not in the socket's network namespace" in stays(foreign, lab.hostB, BOUND),
        "refused for another reason",
    )


def test_a_port_where_another_user_listens_is_not_exported(lab):
    start(lab)
    bound = lab.hostA.app.socket("4").bind()
    root = SocketApp(lab.hostA, "web", privileged=True).socket("6")
    root.set(41, 26, "01000000")
    root.do("bind", "::", PORT)
    root.do("listen", 8)
    expect("another user" in stays(bound, lab.hostB, BOUND), "refused for another reason")


# --- namespaces that a user makes ---


class OwnNamespace:
    """A network namespace that a user without privilege has made on hostA, with an
    address of its choice."""

    name = "own"

    def __init__(self, lab, address):
        self.lab, self.address = lab, address

    def popen(self, *command, name, **options):
        setup = (
            "ip link set lo up && ip link add own0 type veth peer name own1 && ip addr add "
            f"{self.address}/24 dev own0 && "
            f'ip link set own0 up && ip link set own1 up && exec "$@"'
        )
        return self.lab.hostA.popen(
            *without_privilege(),
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            setup,
            "sh",
            *command,
            name=f"own:{name}",
            **options,
        )

    def at(self, _):
        return self.address


def test_a_users_own_namespace_is_not_served(lab):
    """The namespace could have any address. Connections that come home to that address
    would be restored in it, and the daemon would work in it."""
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    own = OwnNamespace(lab, lab.hostA.address)
    attacker = SocketApp(own, "web", privileged=True)
    bound = attacker.socket("4").bind(7000)
    expect("belongs to user 65534" in stays(bound, lab.hostB, BOUND), "refused for another reason")
    other = OwnNamespace(lab, "10.99.0.1")
    bound = SocketApp(other, "web", privileged=True).socket("4").bind(7000)
    expect("belongs to user 65534" in stays(bound, lab.hostB, BOUND), "refused for another reason")
    rules = run(["nsenter", "-t", str(attacker.process.pid), "-n", "nft", "list", "tables"])
    expect("sockmi" not in rules, lambda: f"the daemon has been there: {rules}")
    connection.move(lab.hostA)
    expect(
        f"{lab.hostA.address}:{PORT}" in lab.hostA.run("ss", "-Htn"),
        "it has come home to somewhere else",
    )
    connection.both_ways()
    connection.end()


def test_a_container_cannot_claim_the_hosts_address(lab):
    """It does not get the host's connections, either."""
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    with Container(lab, f"{lab.hostA.address}/24") as container:
        bound = SocketApp(container, "web").socket("4")
        bound.do("bind", lab.hostA.address, 7000)
        expect("host's own" in stays(bound, lab.hostB, BOUND), "refused for another reason")
        connection.move(lab.hostA)
        connection.both_ways()
    connection.end()


# --- what a moved socket may ---


def test_a_moved_socket_cannot_bind_to_another_address(lab):
    """On another host it has IP_TRANSPARENT, which its user could not set: with this
    option it may bind to any address."""
    start(lab)
    fresh = lab.hostB.app.socket("4")
    expect(
        lab.hostB.app.tries("setopt", fresh.fd, 0, 19, "01000000").get("error") == 1,
        "nobody may set it",
    )
    connection = Connection(lab)
    connection.move(lab.hostB)
    connection.ours.do("disconnect")
    wait_until(lambda: connection.theirs.state() == "CLOSE", "the peer hears of it")
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")  # that RST was right
    bound = move(lab.hostA.app.socket("4").bind(7000), lab.hostB, BOUND)
    for socket_ in (connection.ours, bound):
        expect(socket_.get(0, 19) == "01000000", "it has no privilege at all")
        for address in (lab.hostC.address, lab.hostB.address):
            expect(
                lab.hostB.app.tries("bind", socket_.fd, address, 7001).get("error") == 22,
                f"it can be bound to {address}",
            )


def test_privileged_options_of_a_container_do_not_move(lab):
    start(lab)
    with Container(lab) as container:
        app = SocketApp(container, "web", privileged=True)
        listener = app.socket("4").listen()
        lab.client.app.socket("4").connect(container)
        ours = listener.accept()
        ours.set(socket.SOL_SOCKET, socket.SO_MARK, "07000000")
        ours.set(socket.SOL_SOCKET, socket.SO_PRIORITY, "63000000")
        moved = move(ours, lab.hostB)
        expect(
            moved.get(socket.SOL_SOCKET, socket.SO_MARK) == "00000000", "its mark has come along"
        )
        expect(
            moved.get(socket.SOL_SOCKET, socket.SO_PRIORITY) == "00000000",
            "its priority has come along",
        )


# --- keys ---


def test_a_daemon_does_not_start_with_keys_that_others_can_read_or_replace(lab):
    folder = lab.hostA.folder / "identity"
    lab.hostA.run("cp", "-a", lab.identity(lab.hostA), folder)
    path = lab.configure(lab.hostA, **{"": {"identity": str(folder)}})

    def refused(reason):
        status, output = lab.hostA.run(
            lab.program("src/sockmid/sockmid"), "--config", path, check=False
        )
        expect(status == 1 and reason in output, lambda: f"status {status}: {output}")

    for key in ("host.key", "cluster.key"):
        (folder / key).chmod(0o640)
        refused(f"{key} can be read by others")
        (folder / key).chmod(0o600)
        os.chown(folder / key, 65534, 65534)
        refused(f"{key} belongs to user 65534")
        os.chown(folder / key, 0, 0)
    folder.chmod(0o777)
    refused("can be changed by others")
    folder.chmod(0o700)
    lab.start_daemon(lab.hostA, **{"": {"identity": str(folder)}})
