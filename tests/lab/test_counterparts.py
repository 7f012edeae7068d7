"""A moved session goes on, in the eyes of other people's TLS: OpenSSL's own programs, GnuTLS, curl, Python."""
from cases import cases
from counterparts import Flow, ServerMoves
from transfer import random_bytes

UP, DOWN = random_bytes(1 << 20, 1), random_bytes(1 << 20, 2)

S_CLIENT = ["openssl", "s_client", "-quiet", "-no_ign_eof", "-nocommands", "-verify_return_error", "-CAfile", "{ca}", "-tls{option}", "-connect", "{address}:{port}"]


@cases(("1.2",), ("1.3",))
def test_s_client(lab, tls):
    session = ServerMoves(lab, S_CLIENT, tls)
    flows = [Flow(session.far, session.plain, UP), Flow(session.plain, session.far, DOWN)]
    for flow in flows:
        flow.arrives()
    session.finish()
