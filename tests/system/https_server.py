"""A file server over TLS as one writes it with Python's standard library: GET sends a file,
PUT answers with the SHA-256 of what arrived.

usage: https_server.py ADDRESS PORT CERTIFICATE KEY FOLDER CONNECTIONS

It ends after that many connections.
"""
import functools
import hashlib
import http.server
import socket
import ssl
import sys


SO_MAX_PACING_RATE = 47  # socket(7); Python does not name it


class Handler(http.server.SimpleHTTPRequestHandler):
    # The client closes. A server that closes first answers the client's close_notify
    # with an RST.
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left and (piece := self.rfile.read(min(left, 1 << 16))):
            digest.update(piece)
            left -= len(piece)
        answer = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


address, port, certificate, key, folder, connections = sys.argv[1:]
server = http.server.HTTPServer((address, int(port)), functools.partial(Handler, directory=folder))
server.socket.setsockopt(
    socket.SOL_SOCKET, SO_MAX_PACING_RATE, 8 << 20
)  # bytes a second: records arrive in pieces
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
for _ in range(int(connections)):
    server.handle_request()
