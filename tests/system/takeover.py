"""A service address with a server at it, and what a takeover of it needs and shows."""
from lab import PORT, SERVICE_ADDRESS as SERVICE
from transfer import begin_all, finish_all, random_bytes

CONTENT = random_bytes(4 << 20)

TAKEOVER = {"takeover": {"addresses": [SERVICE]}, "steer": {"linger_ms": 2000}}


def start(lab, *hosts, **changes):
    """Adds the service address to hostA, and starts a daemon and a server of every
    address on each host."""
    lab.file("f", CONTENT)
    lab.hostA.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    servers = []
    for host in hosts or (lab.hostA, lab.hostB):
        lab.start_daemon(host, **{**TAKEOVER, **changes})
        servers.append(lab.start_httpsd(host, listen=True, address="0.0.0.0"))
    return servers


def begin(lab, downloads=2, uploads=1):
    return begin_all(lab, CONTENT, downloads, uploads, SERVICE)


def finish(transfers):
    finish_all(transfers, CONTENT)


def take_over(lab, source, target, *options, check=True):
    return source.run(
        lab.sockmictl, "takeover", SERVICE, "--to", target.name, *options, check=check
    )


def holders(lab):
    return [
        host.name
        for host in lab.hosts
        if f" {SERVICE}/" in host.run("ip", "-4", "addr", "show", "dev", "eth0")
    ]


def who_answers(lab, *options):
    """Returns the Server header of a new connection to the address. `options` of curl."""
    certificate, _ = lab.certificate()
    head = lab.client.run(
        "curl",
        "-sS",
        "--fail",
        "-D",
        "-",
        "-o",
        "/dev/null",
        "--max-time",
        20,
        *options,
        "--cacert",
        certificate,
        f"https://{SERVICE}:{PORT}/f",
    )
    return next(
        line.split(":")[1].strip()
        for line in head.splitlines()
        if line.lower().startswith("server:")
    )


def unplug(host):
    """Unplugs the host without a notice to others."""
    host.run("ip", "link", "set", "eth0", "down")
    host.daemon.kill()
