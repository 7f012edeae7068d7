"""Executes docs/tutorial.md as it is: its commands in one shell, from top to bottom.
Comments <!-- until: … --> stand for the time that a reader takes."""
import re

from lab import ROOT
from process import expect, run

BUILD = "release"
WAIT = (
    "n=0; until {condition}; do n=$((n + 1)); "
    '[ $n -lt 300 ] || {{ echo "in vain: {quoted}"; cat $W/*.log; exit 1; }}; sleep 0.05; done'
)


def script(text):
    lines = ["set -e"]
    for commands, condition in re.findall(
        r"^```sh\n(.*?)^```|^<!-- until: (.*?) -->", text, re.S | re.M
    ):
        lines.append(
            commands
            or WAIT.format(condition=condition, quoted=condition.replace('"', "'").replace("$", ""))
        )
    return "\n".join(lines)


def test_the_tutorials_commands_print_what_it_promises(lab):
    text = (ROOT / "docs/tutorial.md").read_text()
    # What is built is what is tested. `wait` reports how the jobs ended: by our signal,
    # as intended.
    commands = script(text).replace("make build\n", "").replace("\nwait\n", "\nwait || true\n")
    output = run(["/bin/bash", "-c", f"cd {ROOT}\n{commands}"])
    for line in re.search(r"## 6.*?```text\n(.*?)```", text, re.S)[1].splitlines():
        expect(line in output, lambda: f"the tutorial promises '{line}':\n{output}")
    expect("two: hello" in output, output)
    expect(" . 10.78.0.3" in output or "10.78.0.3 ." in output, output)
