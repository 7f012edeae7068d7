"""A page in a headless Chromium on the host `client`, controlled by its DevTools protocol."""
import base64
import json
import pathlib
import queue
import subprocess
import threading

from byte_services import TIMEOUT
from process import Failure, expect
from real_programs import program

# The protocol's descriptors are 3 (in) and 4 (out).
BY_PIPE = ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >&2', "chromium"]
OPTIONS = [
    "--headless=new",
    "--no-sandbox",  # it is root
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--ignore-certificate-errors",  # the certificate is self-signed
    "--remote-debugging-pipe",
]


class Page:
    def __init__(self, lab, path):
        chromium = program("chromium")
        profile = lab.folder / "chromium"
        self._browser = lab.client.popen(
            *("env", f"HOME={profile}", *BY_PIPE, chromium, *OPTIONS, f"--user-data-dir={profile}"),
            "about:blank",
            name="chromium",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._asked, self._answers = 0, queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        target = self._ask("Target.createTarget", url=path.as_uri())["targetId"]
        self._session = None
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]

    def _read(self):
        """Each message ends with a zero byte."""
        rest = b""
        while piece := self._browser.stdout.read1(1 << 16):
            *messages, rest = (rest + piece).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:  # else it is an event
                    self._answers.put(message)

    def _ask(self, method, **parameters):
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        if session := getattr(self, "_session", None):
            message["sessionId"] = session
        self._browser.stdin.write(json.dumps(message).encode() + b"\0")
        self._browser.stdin.flush()
        try:
            answer = self._answers.get(timeout=TIMEOUT)
        except queue.Empty:
            raise Failure(f"no answer to {method}:\n{self._browser.tail()}") from None
        expect(answer["id"] == self._asked and "result" in answer, f"{method}: {answer}")
        return answer["result"]

    def evaluate(self, expression):
        """Returns the value of an expression of JavaScript in the page."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        expect("exceptionDetails" not in answer, f"{expression}: {answer}")
        return answer["result"].get("value")

    def picture(self, path):
        """Writes a PNG file."""
        data = self._ask("Page.captureScreenshot")["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        self._ask("Browser.close")
        self._browser.wait()
