#!/usr/bin/python3
"""The main job, live: curl downloads from hostA over TLS 1.3, and the server's end of its
connection moves to hostB, then to hostC; then an upload does the same. At last, sockmi-proxy serves
a web server that knows nothing of sockmi, and the hosts are drained one after the other. Everything
is real and runs in network namespaces of its own (tests/system). Status 1 if a hash differs, the
client's kernel saw an RST, or something is left behind."""
import hashlib
import os
import pathlib
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/system")]
sys.dont_write_bytecode = True

import observe  # noqa: E402
import sandbox  # noqa: E402
import timeline  # noqa: E402
import unchanged_server  # noqa: E402
from lab import ADDRESSES, Failure, Lab, expect  # noqa: E402
from transfer import Download, Upload, random_bytes  # noqa: E402

SIZE = int(os.environ.get("DEMO_MIB", "256")) << 20
RATE = "40M"  # slow enough to watch
MOVES = [(0.33, "hostA", "hostB"), (0.66, "hostB", "hostC")]
DRAINS = [(0.25, "hostA", "hostB"), (0.5, "hostB", "hostC"), (0.75, "hostC", "hostA")]
OUT = ROOT / "demo-out"


class Watch:
    """Samples the transfer for the picture, and prints which host serves and how far it is."""

    def __init__(self, transfer):
        self.transfer, self.began, self.samples = transfer, time.monotonic(), []
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def now(self):
        return time.monotonic() - self.began

    def _sample(self):
        for offset in range(0, SIZE, SIZE // 1000):
            self.transfer.wait_offset(offset)
            self.samples.append((self.now(), self.transfer.offset))

    def until(self, offset, host):
        """Returns when so many bytes have passed; `host` serves meanwhile."""
        live = sys.stdout.isatty()
        step = SIZE // (200 if live else 12)
        while self.transfer.offset < offset:
            self.transfer.wait_offset(min(offset, self.transfer.offset + step))
            done = 30 * self.transfer.offset // SIZE
            bar = "#" * done + "." * (30 - done)
            line = f"  {host} serves  [{bar}] {self.transfer.offset >> 20:4} of {SIZE >> 20} MiB"
            print("\r" + line if live else line, end="" if live else "\n", flush=True)
        if live:
            print(flush=True)

    def finish(self):
        """All samples, once everything has passed."""
        self._sampler.join()
        return [*self.samples, (self.now(), self.transfer.offset)]


def show_kernels(lab):
    received, _ = observe.resets(
        lab.client
    )  # curl itself sends one when it is done: it does not wait for the server's close_notify
    again = ", ".join(f"{host.name} {observe.resent(host)}" for host in [lab.client, *lab.hosts])
    print(
        f"  the client's kernel: {received} RST received. Segments sent again: {again}", flush=True
    )


def carry_out(lab, title, transfer):
    """Moves the transfer twice and watches it to its end. Returns its panel of the picture, and the
    hash of curl's side."""
    curl = transfer.curl.command
    print(f"\n{title}\n  $ {' '.join(curl[curl.index('--') + 1:])}", flush=True)
    watch, moves, serving = Watch(transfer), [], "hostA"
    for part, source, target in MOVES:
        watch.until(int(SIZE * part), serving)
        before = watch.now()
        lab.move(getattr(lab, source), getattr(lab, target))
        record = getattr(lab, source).migrations("export")[-1]
        moves.append((before, source, target, record["freeze_us"]))
        serving = target
        print(
            f"  MOVED {source} -> {target}: frozen for {record['freeze_us']} us, "
            f"{record['bytes']} bytes of state and queues travelled in it, "
            f"{record['pre_copied']} before",
            flush=True,
        )
        show_kernels(lab)
    watch.until(SIZE, serving)
    samples = watch.finish()
    digest = transfer.finish()
    show_kernels(lab)
    return timeline.Panel(f"{title}: bytes as curl saw them", samples, moves), digest


def compare(sent, received):
    print(
        f"  sha256 sent     {sent}\n  sha256 received {received}  "
        f"{'the same' if sent == received else 'NOT THE SAME'}",
        flush=True,
    )
    return sent == received


def demo(lab):
    content = random_bytes(SIZE)
    digest = hashlib.sha256(content).hexdigest()
    lab.file("file", content)
    lab.start_all()
    for name, address in ADDRESSES.items():
        runs = (
            "curl"
            if name == "client"
            else "sockmid, httpsd" + (", which curl connects to" if name == "hostA" else "")
        )
        print(f"  {name:6}  {address:11}  {runs}")
    panel, received = carry_out(
        lab, f"Download of {SIZE >> 20} MiB, TLS 1.3", Download(lab, "file", rate=RATE)
    )
    same = compare(digest, received)
    panels = [panel]
    upload = Upload(lab, content, rate=RATE)
    panel, received = carry_out(lab, f"Upload of {SIZE >> 20} MiB, TLS 1.3", upload)
    same = compare(digest, received) and same
    panels.append(panel)
    expect(same, "a hash differs")
    lab.assert_clean()
    return panels


def drain(source, target):
    """Shows the progress of `sockmictl drain`. Returns its migration of the client's connection."""
    arguments = ["drain", "--to", target]
    print(f"  {source.name}$ sockmictl {' '.join(arguments)}", flush=True)
    command = source.command(source.lab.sockmictl, *arguments)
    subprocess.run(command, env=source.environment(), check=True)
    source.run(source.lab.sockmictl, "undrain")
    return source.migrations("export")[-1]


def drain_all(lab):
    """Drains three hosts under a download from a server that knows nothing of sockmi. Returns the
    panel of the picture."""
    content = random_bytes(SIZE)
    lab.file("file", content)
    unchanged_server.start_server(lab)
    for host in lab.hosts:
        unchanged_server.start_host(lab, host)
    title = "Drains, with an unchanged server behind sockmi-proxy"
    print(f"\n{title}: python3 -m http.server", flush=True)
    transfer = Download(lab, "file", rate=RATE)
    watch, moves, serving = Watch(transfer), [], "hostA"
    for part, source, target in DRAINS:
        watch.until(int(SIZE * part), serving)
        before = watch.now()
        record = drain(getattr(lab, source), target)
        moves.append((before, source, target, record["freeze_us"]))
        serving = target
    watch.until(SIZE, serving)
    samples = watch.finish()
    digest = transfer.finish()
    show_kernels(lab)
    expect(compare(hashlib.sha256(content).hexdigest(), digest), "a hash differs")
    lab.assert_clean()
    return timeline.Panel(f"{title}: bytes as curl saw them", samples, moves)


def main():
    sandbox.enter()
    print(
        "sockmi: a server moves from host to host under a live transfer, and the client "
        "notices nothing\n",
        flush=True,
    )
    try:
        with Lab() as lab:
            panels = demo(lab)
        with Lab() as lab:
            panels.append(drain_all(lab))
        OUT.mkdir(exist_ok=True)
        (OUT / "timeline.svg").write_text(timeline.draw(panels))
    except Failure as failure:
        print(f"\nFAILED: {failure}", file=sys.stderr)
        return 1
    print(
        "\nBoth hashes are right, no RST was seen, nothing is left behind. The picture: "
        f"{OUT.relative_to(ROOT)}/timeline.svg"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
