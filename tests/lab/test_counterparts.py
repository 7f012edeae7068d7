"""A moved session goes on, in the eyes of other people's TLS: OpenSSL's own programs, GnuTLS, wolfSSL, Python, curl."""
from cases import cases
from counterparts import ClientMoves, Flow, ServerMoves, TLS_RELAY
from transfer import random_bytes

UP, DOWN = random_bytes(1 << 19, 1), random_bytes(1 << 19, 2)
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
WITHOUT_ETM = {"s_client": ["-no_etm"], "gnutls-cli": [f"--priority={PRIORITY}:%NO_ETM"]}
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
