"""Sockets of a host for the test itself: a socket stays in the network namespace where it was made."""
import ctypes
import os
import threading

_CLONE_NEWNET = 0x40000000


def within(host, function):
    """What `function` returns, or raises, in the host's network namespace. A thread may enter one alone."""
    outcome = []

    def enter_and_call():
        try:
            with open(f"/run/netns/{host.name}", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            outcome.append((function(), None))
        except OSError as error:
            outcome.append((None, error))

    thread = threading.Thread(target=enter_and_call)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error:
        raise error
    return result
