"""Runs a command that the kernel kills at certain system calls, as a service under
systemd's SystemCallFilter=:

    denied_calls.py NUMBER... -- COMMAND...
"""
import ctypes
import os
import struct
import sys

SET_SECCOMP, MODE_FILTER, SET_NO_NEW_PRIVILEGES = 22, 2, 38
LOAD, IS_EQUAL, RETURN = 0x20, 0x15, 0x06
KILL, ALLOW = 0x80000000, 0x7FFF0000


def deny(numbers):
    program = [(LOAD, 0, 0, 0)]  # the number of the call
    for number in numbers:
        program += [(IS_EQUAL, 0, 1, number), (RETURN, 0, 0, KILL)]
    program.append((RETURN, 0, 0, ALLOW))
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    whole = struct.pack("HxxxxxxP", len(program), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    if (
        libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0
        or libc.prctl(SET_SECCOMP, MODE_FILTER, whole) != 0
    ):
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    end = sys.argv.index("--")
    deny(map(int, sys.argv[1:end]))
    os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])
