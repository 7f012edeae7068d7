"""A moved session continues for other people's TLS implementations: OpenSSL's own
programs, GnuTLS, wolfSSL, Python, curl."""
from cases import cases
from counterparts import (
    BACKEND,
    LISTEN,
    TLS_RELAY,
    ClientMoves,
    Flow,
    ServerMoves,
    certificate_for,
    serving_movers,
    wait_listening,
)
from process import expect
from transfer import random_bytes

UP, DOWN = random_bytes(1 << 19, 1), random_bytes(1 << 19, 2)
LINES = b"".join(
    UP[at : at + 31].hex().encode() + b"\n\n" for at in range(0, 31 * 1024, 31)
)  # 64 bytes each
EVERY_SUITE = [
    "-cipher",
    "ALL:@SECLEVEL=0",
    "-ciphersuites",
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
    "TLS_AES_128_CCM_SHA256",
]
PRIORITY = "NORMAL:-VERS-ALL:+VERS-TLS{tls}:+AES-128-CCM:+AES-256-CCM:+RSA:+DHE-RSA:+SHA256:+SHA384"

CLIENTS = {
    "s_client": [
        "openssl",
        "s_client",
        "-quiet",
        "-no_ign_eof",
        "-nocommands",
        "-verify_return_error",
        "-CAfile",
        "{ca}",
        "-tls{option}",
        *EVERY_SUITE,
        "-connect",
        "{address}:{port}",
    ],
    "gnutls-cli": [
        "gnutls-cli",
        "--x509cafile={ca}",
        f"--priority={PRIORITY}",
        "--logfile=/dev/null",
        "--port={port}",
        "{address}",
    ],
    "python": ["/usr/bin/python3", TLS_RELAY, "client", "{address}", "{port}", "{tls}", "{ca}"],
    "wolfssl": ["{programs}/wolfssl_relay", "{address}", "{port}", "{tls}", "{ca}"],
}


def without(program, what):
    """Returns the options that make the program offer no encrypt-then-MAC, or no extended
    master secret; empty: it offers both."""
    if not what:
        return []
    return (
        ["-no_etm"]
        if program.startswith("s_")
        else [f"--priority={PRIORITY}:" + {"no etm": "%NO_ETM", "no ems": "%NO_SESSION_HASH"}[what]]
    )


SERVER_MOVES = [
    ("s_client", "1.3", "TLS_AES_128_GCM_SHA256", ""),
    ("s_client", "1.3", "TLS_AES_256_GCM_SHA384", ""),
    ("s_client", "1.3", "TLS_CHACHA20_POLY1305_SHA256", ""),
    ("s_client", "1.3", "TLS_AES_128_CCM_SHA256", ""),
    ("s_client", "1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", ""),
    ("s_client", "1.2", "ECDHE-RSA-CHACHA20-POLY1305", ""),
    ("s_client", "1.2", "DHE-RSA-AES256-CCM", ""),
    ("s_client", "1.2", "AES128-SHA", ""),
    ("s_client", "1.2", "ECDHE-RSA-AES256-SHA384", "no etm"),
    ("gnutls-cli", "1.3", "TLS_AES_256_GCM_SHA384", ""),
    ("gnutls-cli", "1.3", "TLS_CHACHA20_POLY1305_SHA256", ""),
    ("gnutls-cli", "1.3", "TLS_AES_128_CCM_SHA256", ""),
    ("gnutls-cli", "1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", ""),
    ("gnutls-cli", "1.2", "DHE-RSA-CHACHA20-POLY1305", ""),
    ("gnutls-cli", "1.2", "AES256-CCM", ""),
    ("gnutls-cli", "1.2", "DHE-RSA-AES128-SHA256", ""),
    ("gnutls-cli", "1.2", "AES256-SHA", "no etm"),
    ("gnutls-cli", "1.2", "ECDHE-RSA-AES128-SHA", "no ems"),
    ("python", "1.3", "TLS_AES_256_GCM_SHA384", ""),
    ("python", "1.2", "ECDHE-RSA-AES128-GCM-SHA256", ""),
    ("wolfssl", "1.3", "TLS_AES_128_GCM_SHA256", ""),
    ("wolfssl", "1.3", "TLS_CHACHA20_POLY1305_SHA256", ""),
    ("wolfssl", "1.2", "ECDHE-RSA-AES256-GCM-SHA384", ""),
    ("wolfssl", "1.2", "ECDHE-RSA-AES128-SHA", ""),
]


@cases(*SERVER_MOVES)
def test_a_server_end_moves_for_each_client_program(lab, client, tls, suite, lacks):
    session = ServerMoves(lab, CLIENTS[client] + without(client, lacks), tls, suite)
    session.both_ways(UP, DOWN)
    session.finish(session.far)


SERVERS = {
    "s_server": [
        "openssl",
        "s_server",
        "-quiet",
        "-naccept",
        "1",
        "-cert",
        "{certificate}",
        "-key",
        "{key}",
        "-tls{option}",
        *EVERY_SUITE,
        "-accept",
        "{address}:{port}",
    ],
    "python": [
        "/usr/bin/python3",
        TLS_RELAY,
        "server",
        "{address}",
        "{port}",
        "{tls}",
        "{certificate}",
        "{key}",
    ],
    "gnutls-serv": [
        "gnutls-serv",
        "--quiet",
        "--echo",
        "--x509certfile={certificate}",
        "--x509keyfile={key}",
        f"--priority={PRIORITY}",
        "--port={port}",
    ],
}
CLIENT_MOVES = [
    ("s_server", "1.3", "TLS_AES_128_GCM_SHA256", ""),
    ("s_server", "1.3", "TLS_AES_256_GCM_SHA384", ""),
    ("s_server", "1.3", "TLS_CHACHA20_POLY1305_SHA256", ""),
    ("s_server", "1.3", "TLS_AES_128_CCM_SHA256", ""),
    ("s_server", "1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", ""),
    ("s_server", "1.2", "DHE-RSA-CHACHA20-POLY1305", ""),
    ("s_server", "1.2", "AES128-CCM", ""),
    ("s_server", "1.2", "DHE-RSA-AES256-SHA256", ""),
    ("s_server", "1.2", "AES256-SHA", "no etm"),
    ("python", "1.3", "TLS_CHACHA20_POLY1305_SHA256", ""),
    ("python", "1.2", "ECDHE-RSA-AES128-GCM-SHA256", ""),
]


@cases(*CLIENT_MOVES)
def test_a_client_end_moves_for_each_server_program(lab, server, tls, suite, lacks):
    session = ClientMoves(lab, SERVERS[server] + without(server, lacks), tls, suite)
    session.both_ways(UP, DOWN)
    session.finish(session.plain)


@cases(
    ("1.3", "TLS_AES_256_GCM_SHA384", ""),
    ("1.3", "TLS_CHACHA20_POLY1305_SHA256", ""),
    ("1.3", "TLS_AES_128_CCM_SHA256", ""),
    ("1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", ""),
    ("1.2", "AES256-CCM", ""),
    ("1.2", "DHE-RSA-AES256-SHA", ""),
    ("1.2", "AES128-SHA256", "no etm"),
)
def test_a_client_end_moves_for_gnutls_serv(lab, tls, suite, lacks):
    """gnutls-serv sends lines back, and does not accept more before it has."""
    session = ClientMoves(
        lab, SERVERS["gnutls-serv"] + without("gnutls-serv", lacks), tls, suite, every=10_007
    )
    for at in range(0, len(LINES), 2048):
        Flow(session.plain, session.plain, LINES[at : at + 2048]).arrives()
    session.finish(session.plain, ends=False)


def curl(lab, backend, tls, alpn, *arguments, each=()):
    """curl fetches twice over one connection, whose server's end moves; behind it is a
    web server without TLS."""
    address, answers = lab.hostA.address, [lab.folder / "first", lab.folder / "second"]
    lab.hostA.popen(*backend)
    wait_listening(lab.hostA, BACKEND)
    certificate, key = certificate_for(lab)
    movers = serving_movers(lab, (certificate, key), "--tls", tls, "--alpn", alpn)
    twice = [
        word
        for answer in answers
        for word in (*each, "-o", answer, f"https://{address}:{LISTEN}/f")
    ]
    lab.client.run("curl", "-sS", "--fail", "--cacert", certificate, *arguments, *twice)
    movers.finish()
    movers.established(tls, alpn=alpn.split(",")[0])
    expect(all(answer.read_bytes() == UP for answer in answers), "what came is not what was sent")


@cases("1.2", "1.3")
def test_curl_keeps_an_http1_connection_that_moves(lab, tls):
    lab.file("f", UP)
    server = [
        "/usr/bin/python3",
        "-m",
        "http.server",
        "--protocol",
        "HTTP/1.1",
        "--bind",
        lab.hostA.address,
        "--directory",
        lab.root,
        BACKEND,
    ]
    curl(lab, server, tls, "http/1.1", "--http1.1")


@cases(*[(tls, how) for tls in ("1.2", "1.3") for how in ("download", "upload")])
def test_curl_keeps_an_http2_connection_that_moves(lab, tls, how):
    """Two downloads share the connection; an upload is sent back while it is still being sent."""
    file = lab.file("f", UP)
    server = [
        "nghttpd",
        "--no-tls",
        "--echo-upload",
        "-a",
        lab.hostA.address,
        "-d",
        lab.root,
        BACKEND,
    ]
    if how == "upload":
        curl(lab, server, tls, "h2,http/1.1", "--http2", "-X", "POST", each=["-T", file])
    else:
        curl(lab, server, tls, "h2,http/1.1", "--http2", "--parallel")


S_CLIENT_WITH_LETTERS = [word for word in CLIENTS["s_client"] if word != "-nocommands"]
GNUTLS_CLI_WITH_COMMANDS = [*CLIENTS["gnutls-cli"], "--inline-commands", "--logfile=/dev/stderr"]


@cases(("s_client", "k"), ("s_client", "K"), ("gnutls-cli", "^rekey1^"), ("gnutls-cli", "^rekey^"))
def test_key_updates_of_the_peer_work_between_moves(lab, client, update):
    """The second of each pair requests an update of our keys, too. Lines are sent up,
    because none of them begins like a request."""
    command, done = (
        (S_CLIENT_WITH_LETTERS, "KEYUPDATE")
        if client == "s_client"
        else (GNUTLS_CLI_WITH_COMMANDS, "Rekey was completed")
    )
    session = ServerMoves(lab, command, "1.3", "TLS_AES_128_GCM_SHA256")
    for _ in range(3):
        down = Flow(session.plain, session.far, DOWN)
        Flow(session.far, session.plain, LINES).arrives()
        said = len(session.far.process.lines)
        session.far.write(update.encode() + b"\n")
        if client == "s_client":  # it discards what it reads together with a letter
            session.far.process.wait_line(done, after=said)
        Flow(session.far, session.plain, LINES).arrives()
        down.arrives()
    session.finish(session.far)
    updates = [line for line in session.far.process.lines if done in line]
    expect(len(updates) == 3, session.far.process.tail)


SMALL = ["net.ipv4.tcp_wmem=4096 8192 8192", "net.ipv4.tcp_rmem=4096 8192 8192"]


@cases(
    ("1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    ("1.2", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("1.2", "AES128-SHA"),
)
def test_a_session_moves_inside_a_record(lab, tls, suite):
    """No record fits into the socket: a hop finds a record that is half sent, or half received."""
    for host in (lab.hostA, lab.client):
        host.run("sysctl", "-qw", *SMALL)
    session = ServerMoves(lab, CLIENTS["s_client"], tls, suite, every=10_007)
    session.both_ways(UP, DOWN)
    session.finish(session.far)
    expect(session.movers.says("write taken"), "no write was interrupted by a hop")


@cases(("1.3", "TLS_AES_256_GCM_SHA384"), ("1.2", "AES128-SHA"))
def test_a_session_moves_often_inside_one_record(lab, tls, suite):
    """The rest of a record that was read in part moves again before it is read to its end."""
    session = ServerMoves(lab, CLIENTS["s_client"], tls, suite, every=3001)
    session.both_ways(UP[:200_000], DOWN[:200_000])
    session.finish(session.far)
