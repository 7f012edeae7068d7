"""A program of the lab. Its output is read line by line as it arrives, so that a test can
wait for a line instead of sleeping."""
import fcntl
import signal
import subprocess
import threading
import time

PIPE_SIZE = 1 << 20  # bytes; the most that Linux gives by default


class Failure(Exception):
    """What a test expected did not happen."""


def expect(condition, message):
    __tracebackhide__ = True  # pytest shows the caller's line
    if not condition:
        raise Failure(message() if callable(message) else message)


def wait_until(condition, what, timeout=30.0):
    """Polls a state that has no event to wait for, such as another program's tables in
    the kernel."""
    __tracebackhide__ = True
    end = time.monotonic() + timeout
    while not (value := condition()):
        expect(time.monotonic() < end, lambda: f"not within {timeout} s: {what}")
        time.sleep(0.01)
    return value


class Process:
    """Standard error and output are one stream of lines, unless `stdout` says otherwise (then lines
    are those of standard error)."""

    def __init__(self, name, command, env=None, stdin=subprocess.DEVNULL, stdout=None):
        self.name, self.command, self.lines = name, command, []
        self._changed, self._ended = threading.Condition(), False
        self._popen = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE if stdout else subprocess.STDOUT,
            env=env,
        )
        self.pid, self.stdin, self.stdout = self._popen.pid, self._popen.stdin, self._popen.stdout
        output = self._popen.stderr or self._popen.stdout
        # Our programs drop lines when the pipe is full, and a test would wait for them in vain.
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._reader = threading.Thread(target=self._read, args=[output], daemon=True)
        self._reader.start()

    def _read(self, stream):
        for line in stream:
            with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_line(self, text, timeout=30.0, after=0):
        """Returns the first line from number `after` on that contains `text`."""
        seen = after
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if text in line:
                        return line
                seen = len(self.lines)
                expect(
                    not self._ended, lambda: f"{self.name} ended without '{text}':\n{self.tail()}"
                )
                left = end - time.monotonic()
                expect(
                    left > 0,
                    lambda: f"{self.name} did not say '{text}' in {timeout} s:\n{self.tail()}",
                )
                self._changed.wait(left)

    def says(self, text):
        return any(text in line for line in list(self.lines))

    def tail(self, lines=15):
        return "\n".join(f"    {self.name}| {line}" for line in list(self.lines)[-lines:])

    def running(self):
        return self._popen.poll() is None

    def signal(self, number):
        self._popen.send_signal(number)

    def pause(self):
        """Returns when the kernel has stopped it."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: state(self.pid) in "TtZ", f"{self.name} stops")

    def resume(self):
        if state(self.pid) in "Tt":
            self.signal(signal.SIGCONT)

    def wait(self, timeout=60.0):
        """Returns the exit status, after all of its output has been read."""
        try:
            status = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not end in {timeout} s:\n{self.tail()}") from None
        self._reader.join(timeout)
        return status

    def stop(self, timeout=45.0):
        """Asks the program to end. Returns its exit status, or None if it had to be killed.
        A daemon may finish its moves first, for 20 s: the time-out is that of its unit file."""
        if self.running():
            # First: LeakSanitizer stops the process at its end, and a SIGCONT then would
            # discard that SIGSTOP, and the process would hang.
            self.resume()
            self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except Failure:
            self.kill()
            return None

    def kill(self):
        self._popen.kill()
        self._popen.wait()


def state(pid):
    """Returns the state of /proc: "T" is stopped, "t" stopped by a tracer."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "Z"


def run(command, env=None, check=True, stdin=None):
    """Runs a program to its end. Returns its output, or with check=False (status, output)."""
    done = subprocess.run(
        command, env=env, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = done.stdout.decode(errors="replace")
    if not check:
        return done.returncode, output
    expect(
        done.returncode == 0,
        lambda: f"{' '.join(map(str, command))}: status {done.returncode}\n{output}",
    )
    return output
