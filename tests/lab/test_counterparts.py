"""A moved session goes on, in the eyes of other people's TLS: OpenSSL's own programs, GnuTLS, wolfSSL, Python, curl."""
from cases import cases
from counterparts import ClientMoves, Flow, ServerMoves, TLS_RELAY
from transfer import random_bytes

UP, DOWN = random_bytes(1 << 19, 1), random_bytes(1 << 19, 2)
LINES = b"".join(UP[at:at + 31].hex().encode() + b"\n\n" for at in range(0, 31 * 1024, 31))  # 64 bytes each
EVERY_SUITE = ["-cipher", "ALL:@SECLEVEL=0", "-ciphersuites",
               "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256"]
PRIORITY = "NORMAL:-VERS-ALL:+VERS-TLS{tls}:+AES-128-CCM:+AES-256-CCM:+RSA:+DHE-RSA:+SHA256:+SHA384"

CLIENTS = {
    "s_client": ["openssl", "s_client", "-quiet", "-no_ign_eof", "-nocommands", "-verify_return_error", "-CAfile", "{ca}", "-tls{option}",
                 *EVERY_SUITE, "-connect", "{address}:{port}"],
    "gnutls-cli": ["gnutls-cli", "--x509cafile={ca}", f"--priority={PRIORITY}", "--logfile=/dev/null", "--port={port}", "{address}"],
    "python": ["/usr/bin/python3", TLS_RELAY, "client", "{address}", "{port}", "{tls}", "{ca}"],
    "wolfssl": ["{programs}/wolfssl_relay", "{address}", "{port}", "{tls}", "{ca}", ""],
}
WITHOUT_ETM = {"s_client": ["-no_etm"], "s_server": ["-no_etm"], "gnutls-cli": [f"--priority={PRIORITY}:%NO_ETM"],
               "gnutls-serv": [f"--priority={PRIORITY}:%NO_ETM"]}
SERVER_MOVES = [
    ("s_client", "1.3", "TLS_AES_128_GCM_SHA256"),
    ("s_client", "1.3", "TLS_AES_256_GCM_SHA384"),
    ("s_client", "1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    ("s_client", "1.3", "TLS_AES_128_CCM_SHA256"),
    ("s_client", "1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("s_client", "1.2", "ECDHE-RSA-CHACHA20-POLY1305"),
    ("s_client", "1.2", "DHE-RSA-AES256-CCM"),
    ("s_client", "1.2", "AES128-SHA"),
    ("s_client", "1.2", "ECDHE-RSA-AES256-SHA384", "no etm"),
    ("gnutls-cli", "1.3", "TLS_AES_256_GCM_SHA384"),
    ("gnutls-cli", "1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    ("gnutls-cli", "1.3", "TLS_AES_128_CCM_SHA256"),
    ("gnutls-cli", "1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("gnutls-cli", "1.2", "DHE-RSA-CHACHA20-POLY1305"),
    ("gnutls-cli", "1.2", "AES256-CCM"),
    ("gnutls-cli", "1.2", "DHE-RSA-AES128-SHA256"),
    ("gnutls-cli", "1.2", "AES256-SHA", "no etm"),
    ("python", "1.3", "TLS_AES_256_GCM_SHA384"),
    ("python", "1.2", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("wolfssl", "1.3", "TLS_AES_128_GCM_SHA256"),
    ("wolfssl", "1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    ("wolfssl", "1.2", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("wolfssl", "1.2", "ECDHE-RSA-AES128-SHA"),
]


@cases(*SERVER_MOVES)
def test_server_moves(lab, client, tls, suite, without=None):
    session = ServerMoves(lab, CLIENTS[client] + (WITHOUT_ETM[client] if without else []), tls, suite)
    session.both_ways(UP, DOWN)
    session.finish(session.far)


SERVERS = {
    "s_server": ["openssl", "s_server", "-quiet", "-naccept", "1", "-cert", "{certificate}", "-key", "{key}", "-tls{option}", *EVERY_SUITE,
                 "-accept", "{address}:{port}"],
    "python": ["/usr/bin/python3", TLS_RELAY, "server", "{address}", "{port}", "{tls}", "{certificate}", "{key}"],
    "gnutls-serv": ["gnutls-serv", "--quiet", "--echo", "--x509certfile={certificate}", "--x509keyfile={key}", f"--priority={PRIORITY}",
                    "--port={port}"],
}
CLIENT_MOVES = [
    ("s_server", "1.3", "TLS_AES_128_GCM_SHA256"),
    ("s_server", "1.3", "TLS_AES_256_GCM_SHA384"),
    ("s_server", "1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    ("s_server", "1.3", "TLS_AES_128_CCM_SHA256"),
    ("s_server", "1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("s_server", "1.2", "DHE-RSA-CHACHA20-POLY1305"),
    ("s_server", "1.2", "AES128-CCM"),
    ("s_server", "1.2", "DHE-RSA-AES256-SHA256"),
    ("s_server", "1.2", "AES256-SHA", "no etm"),
    ("python", "1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    ("python", "1.2", "ECDHE-RSA-AES128-GCM-SHA256"),
]


@cases(*CLIENT_MOVES)
def test_client_moves(lab, server, tls, suite, without=None):
    session = ClientMoves(lab, SERVERS[server] + (WITHOUT_ETM[server] if without else []), tls, suite)
    session.both_ways(UP, DOWN)
    session.finish(session.plain)


@cases(("1.3", "TLS_AES_256_GCM_SHA384"), ("1.3", "TLS_CHACHA20_POLY1305_SHA256"), ("1.3", "TLS_AES_128_CCM_SHA256"),
       ("1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"), ("1.2", "AES256-CCM"), ("1.2", "DHE-RSA-AES256-SHA"), ("1.2", "AES128-SHA256", "no etm"))
def test_client_moves_from_an_echo(lab, tls, suite, without=None):
    """gnutls-serv sends lines back, and can take no more before it has."""
    session = ClientMoves(lab, SERVERS["gnutls-serv"] + (WITHOUT_ETM["gnutls-serv"] if without else []), tls, suite, every=10_007)
    for at in range(0, len(LINES), 2048):
        Flow(session.plain, session.plain, LINES[at:at + 2048]).arrives()
    session.finish(session.plain, ends=False)
