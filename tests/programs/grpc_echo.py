"""A service of gRPC, and a client of it, as anybody would write them with grpcio (without generated
code): a stream of numbers in both directions, and single calls.

grpc_echo.py serve ADDRESS:PORT
grpc_echo.py call ADDRESS:PORT CERTIFICATE    Calls until its input ends.
"""
import concurrent.futures
import itertools
import sys
import threading

import grpc

PIECE = bytes(1000)


def echo_all(messages, _):
    yield from messages


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/Echo/Stream":
            return grpc.stream_stream_rpc_method_handler(echo_all)
        return grpc.unary_unary_rpc_method_handler(lambda message, _: message)


def serve(address):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([Echo()])
    server.add_insecure_port(address)
    server.start()
    print("listening", flush=True)
    server.wait_for_termination()


def call(address, certificate):
    with open(certificate, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    channel = grpc.secure_channel(address, credentials)
    channel.subscribe(lambda state: print(f"state {state.name}", flush=True))
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    messages = (b"%d " % number + PIECE for number in itertools.count(1))
    sent = itertools.takewhile(lambda _: not ended.wait(0.02), messages)
    single = channel.unary_unary("/Echo/Single")
    for number, answer in enumerate(channel.stream_stream("/Echo/Stream")(sent), 1):
        expected = b"%d " % number + PIECE
        print("right" if answer == expected == single(expected) else "wrong", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
