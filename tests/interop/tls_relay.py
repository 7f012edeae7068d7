#!/usr/bin/python3
"""Python's ssl module as a peer: standard input is sent over TLS, and what arrives is
written to standard output, as with openssl s_client.

usage: tls_relay.py client ADDRESS PORT TLS CA
       tls_relay.py server ADDRESS PORT TLS CERTIFICATE KEY      (TLS: 1.2 or 1.3)

At the end of its input, and of the peer's, it sends close_notify and ends.
"""
import os
import select
import socket
import ssl
import sys

PIECE = 1 << 14


def begin(role, address, port, tls, *files):
    context = ssl.SSLContext(
        ssl.PROTOCOL_TLS_CLIENT if role == "client" else ssl.PROTOCOL_TLS_SERVER
    )
    context.minimum_version = context.maximum_version = (
        ssl.TLSVersion.TLSv1_2 if tls == "1.2" else ssl.TLSVersion.TLSv1_3
    )
    context.set_ciphers("ALL:@SECLEVEL=0")
    if role == "client":
        context.load_verify_locations(files[0])
        return context.wrap_socket(
            socket.create_connection((address, int(port))), server_hostname=address
        )
    context.load_cert_chain(*files)
    with socket.create_server((address, int(port))) as listener:
        print("ready", file=sys.stderr, flush=True)
        return context.wrap_socket(listener.accept()[0], server_side=True)


def attempt(call, *arguments):
    """Returns None if the call is not possible yet; poll() reports when it is."""
    try:
        return call(*arguments)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


def relay(tls):
    tls.setblocking(False)
    # What is to be sent; whether more comes from here, and from there.
    out, mine, theirs = b"", True, True
    while theirs and (mine or out):
        select.select([tls] if out or not mine else [tls, 0], [tls] if out else [], [])
        while theirs and (piece := attempt(tls.recv, PIECE)) is not None:
            os.write(1, piece)
            theirs = bool(piece)
        if out:
            out = out[attempt(tls.send, out) or 0 :]
        elif mine and select.select([0], [], [], 0)[0]:
            out = os.read(0, PIECE)
            mine = bool(out)
    tls.setblocking(True)
    tls.unwrap()


if __name__ == "__main__":
    relay(begin(*sys.argv[1:]))
