"""The lab: four hosts, inside a sandbox of their own (see sandbox.py), by default on one
link; topology.py has other topologies.

      client          hostA           hostB           hostC        each a network namespace
    10.77.0.100     10.77.0.1       10.77.0.2       10.77.0.3
    fd77::100       fd77::1         fd77::2         fd77::3
        | eth0          | eth0          | eth0          | eth0
    ----+---------------+---------------+---------------+----      bridge "lan"

The client is an ordinary host without sockmi, and its kernel is watched for RST. Each other
host may run a sockmid and applications. A Lab is a context: leaving it ends all programs in
order and reports what they left behind.
"""
import http.client
import json
import os
import pathlib
import socket
import tempfile

import observe
import topology
from certificate import make_certificate
from process import Failure, Process, expect, run, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
ADDRESSES = topology.addresses("bridge")
# Of whichever host or container has them.
SERVICE_ADDRESS, CONTAINER_ADDRESS = "10.77.0.50", "10.77.0.60"
PORT = 8443
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


class Host:
    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        link = lab.topology.link_of(name)
        self.address, self.address6 = link.address(name), link.address6(name)
        self.folder = lab.folder / name
        self.folder.mkdir()
        self.socket = self.folder / "sockmid.sock"
        self.daemon = None
        self.app = None  # see socket_app.py

    def command(self, *command):
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *map(str, command)]

    def environment(self):
        return {**os.environ, **SANITIZERS, "SOCKMID_SOCKET": str(self.socket)}

    def at(self, family):
        """Returns the host's address in the family "4", "6", or "mapped": IPv4 as an IPv6
        socket writes it."""
        return {"4": self.address, "6": self.address6, "mapped": f"::ffff:{self.address}"}[family]

    def run(self, *command, **options):
        return run(self.command(*command), env=self.environment(), **options)

    def popen(self, *command, name=None, **options):
        process = Process(
            f"{self.name}:{name or os.path.basename(str(command[0]))}",
            self.command(*command),
            env=self.environment(),
            **options,
        )
        self.lab.processes.append(process)
        return process

    def api(self, path, body=None):
        """GET, or POST of an object. Returns the answer, which must not be an error."""
        status, answer = self.ask(
            "POST" if body is not None else "GET",
            path,
            json.dumps(body) if body is not None else None,
        )
        expect(status == 200, lambda: f"{self.name}: {path}: {status} {answer}")
        return answer

    def ask(self, method, path, body=None):
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def arm(self, fault, count=1):
        self.api("/v1/testing/faults", {"name": fault, "count": count})

    def migrations(self, direction=None):
        found = self.api("/v1/migrations")["migrations"]
        return [m for m in found if direction in (None, m["direction"])]

    def last_error(self):
        """Returns the error of the last export that failed here."""
        failed = [m for m in self.migrations("export") if m["error"]]
        return failed[-1]["error"] if failed else ""

    def export(self, to=None, service="web", **match):
        """Asks the applications here to export. Returns (number exported, number failed)."""
        answer = self.api(
            "/v1/requests",
            {
                "service": service,
                **({"to": to.address if isinstance(to, Host) else to} if to else {}),
                **match,
            },
        )
        return answer["exported"], answer["failed"]


def preloading(library, **variables):
    """Returns a wrap for a program that uses this library's functions in place of the C
    library's."""
    settings = {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": f"{SANITIZERS['ASAN_OPTIONS']}:verify_asan_link_order=0",
        **variables,
    }
    return "env", *(f"{name}={value}" for name, value in settings.items())


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("sockmid", timeout=70)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Lab:
    """`options`: of the topology, see topology.py; its name is `kind`."""

    def __init__(self, build=None, **options):
        self.build = pathlib.Path(
            build or os.environ.get("LAB_BUILD") or ROOT / "build" / "release"
        ).resolve()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lab.", dir="/run"))
        self.folder.chmod(0o755)
        self.processes = []
        self.topology = topology.Topology(**options)
        self.topology.make()
        if delay_box := self.topology.delay_box(str(self.program("tests/system/delay_box"))):
            box = Process("delay_box", delay_box)
            self.processes.append(box)
            box.wait_line("ready")
        self.client, self.hostA, self.hostB, self.hostC = (
            Host(self, name) for name in topology.HOSTS
        )
        self.hosts = [self.hostA, self.hostB, self.hostC]
        self.root = self.folder / "www"
        self.root.mkdir()
        observe.count_resets(self.client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.topology.remove()
        run(["rm", "-rf", str(self.folder)])

    # --- what runs on the hosts ---

    def program(self, path):
        return self.build / path

    @property
    def sockmictl(self):
        return self.program("src/sockmictl/sockmictl")

    def identity(self, host):
        """Returns the host's folder of keys, issued by the one authority of this sandbox."""
        cluster, out = pathlib.Path("/run/cluster"), pathlib.Path("/run/identity") / host.name
        if not cluster.exists():
            run([str(self.sockmictl), "cluster", "init", str(cluster)], env=host.environment())
        if not out.exists():
            out.parent.mkdir(exist_ok=True)
            run(
                [
                    str(self.sockmictl),
                    "cluster",
                    "issue",
                    host.name,
                    "--cluster",
                    str(cluster),
                    "--out",
                    str(out),
                ],
                env=host.environment(),
            )
        return out

    def configure(self, host, **changes):
        """Writes the daemon's configuration: defaults of the lab, and `changes` by
        section ({} removes one)."""
        settings = {
            "": {
                "socket": str(host.socket),
                "identity": str(self.identity(host)),
                "state": str(host.folder / "state"),
                "interfaces": ["eth0"],
                "address": host.address,
                "testing": True,
            },
            "steer": {"linger_ms": 200},
            "discovery": {
                # A host of a busy machine may answer late; a search ends when all have answered.
                "timeout_ms": 1500,
                **({"hosts": self.others(host)} if self.topology.routed else {}),
            },
            "service.web": {"export": ["*"], "import": ["*"]},
            "service.dl": {"export": ["*"], "import": ["*"]},
        }
        for section, values in changes.items():
            section = section.replace("__", ".")
            settings[section] = {**settings.get(section, {}), **values} if values else {}
        lines = []
        for section, values in settings.items():
            if values:
                lines += [f"[{section}]"] * bool(section) + [
                    f"{key} = {json.dumps(value)}" for key, value in values.items()
                ]
        (host.folder / "state").mkdir(exist_ok=True)
        path = host.folder / "sockmid.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def start_daemon(self, host, wrap=(), **changes):
        """`wrap`: a command that runs the daemon."""
        path = self.configure(host, **changes)
        host.daemon = host.popen(
            *wrap, self.program("src/sockmid/sockmid"), "--config", path, name="sockmid"
        )
        host.daemon.wait_line("sockmid ready")
        return host.daemon

    def certificate(self):
        certificate, key = pathlib.Path("/run/lab.crt"), pathlib.Path("/run/lab.key")
        if not certificate.exists():
            names = ",".join(
                f"IP:{address}"
                for address in [
                    *topology.addresses("bridge").values(),
                    *topology.addresses("routed").values(),
                    SERVICE_ADDRESS,
                    CONTAINER_ADDRESS,
                ]
            )
            make_certificate(certificate, key, names)
            key.chmod(0o644)  # for applications without privilege
        return certificate, key

    def start_httpsd(self, host, listen=None, service="web", wrap=(), extra=(), address=None):
        """`listen`: whether connections may begin here (default: on hostA alone). `wrap`:
        a command that runs the server. `address`: where it listens (default: the host's)."""
        certificate, key = self.certificate()
        listen = host is self.hostA if listen is None else listen
        server = host.popen(
            *wrap,
            self.program("examples/httpsd"),
            "--listen",
            f"{address or host.address}:{PORT}",
            "--root",
            self.root,
            "--cert",
            certificate,
            "--key",
            key,
            "--service",
            service,
            "--name",
            host.name,
            *extra,
            *([] if listen else ["--no-listen"]),
            name="httpsd",
        )
        server.wait_line("httpsd ready")
        return server

    def others(self, host):
        """Returns the control addresses of the other hosts."""
        return [f"{other.address}:7077" for other in self.hosts if other is not host]

    def start_all(self, *hosts, **changes):
        """Starts a daemon and an httpsd on each host (default: all three). Returns the servers."""
        hosts = hosts or self.hosts
        for host in hosts:
            self.start_daemon(host, **changes)
        return [self.start_httpsd(host) for host in hosts]

    def move(self, source, target, service="web", connections=1, **match):
        """Moves all connections of the service from source to target. What has just
        arrived at source may still be on its way to the application, which then has
        nothing to export: it is asked again."""
        went, failed = wait_until(
            lambda: (answer := source.export(target, service, **match)) != (0, 0) and answer,
            "an application has it",
        )
        expect(
            (went, failed) == (connections, 0),
            lambda: f"{source.name} to {getattr(target, 'name', target)}: {went} went, "
            f"{failed} did not, wanted {connections}: {source.last_error()}",
        )

    def file(self, name, content):
        path = self.root / name
        path.write_bytes(content)
        return path

    # --- the end ---

    def stop(self):
        for process in reversed(self.processes):
            process.stop()

    def assert_clean(self):
        """Ends all programs, and checks that each ends well and that nothing of sockmi is
        left. Sockets of an application may still be open, and do not end in order then:
        what the client sees of that does not count."""
        received = observe.live_resets(self.client) if self.client.app else None
        statuses = [(process, process.stop()) for process in reversed(self.processes)]
        for process, status in statuses:
            sanitizer = [
                line for line in process.lines if "Sanitizer" in line or "runtime error" in line
            ]
            expect(not sanitizer, lambda: f"{process.name}: {sanitizer[0]}\n{process.tail(60)}")
            expect(status is not None, f"{process.name} had to be killed")
        for host in [self.client, *self.hosts]:
            if host.daemon:
                expect(
                    host.daemon.wait() in (0, -9),
                    lambda: f"{host.daemon.name}: status {host.daemon.wait()}\n"
                    f"{host.daemon.tail()}",
                )
                expect(
                    not host.socket.exists() or host.daemon.wait() == -9,
                    f"{host.name}: socket file left",
                )
                # For a connection that a test has left open.
                if any("event=rules_kept" in line for line in host.daemon.lines):
                    host.run(self.sockmictl, "flush")
                expect(
                    not (left := observe.leftovers(host)),
                    lambda: f"{host.name}: left behind: {left}",
                )
        received = observe.live_resets(self.client) if received is None else received
        expect(received == 0, f"the client's kernel saw {received} RST of live connections")


__all__ = [
    "ADDRESSES",
    "CONTAINER_ADDRESS",
    "Failure",
    "Host",
    "Lab",
    "PORT",
    "ROOT",
    "SERVICE_ADDRESS",
    "expect",
    "wait_until",
]
