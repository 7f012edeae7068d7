"""A WebSocket between Chromium and a Python server, through proxies whose hosts are drained."""
import pathlib

from cases import long
from chromium import Page
from lab import PORT, ROOT
from process import expect, wait_until
from real_programs import BACKEND_PORT, Circle, require_module, start_proxies

HERE = pathlib.Path(__file__).parent
DRAINS = 3
PICTURE = ROOT / "build" / "websocket.png"


@long
def test_a_page_sees_no_close_event_in_three_drains(lab):
    """A picture of the page remains in the build folder."""
    require_module("websockets", "python3-websockets")
    page, circle = Page(lab, HERE / "websocket.html"), Circle(lab)
    server = lab.client.popen(
        *("/usr/bin/python3", HERE / "websocket_echo.py", lab.client.address, BACKEND_PORT)
    )
    server.wait_line("listening")
    start_proxies(lab, tls=True)

    def state():
        return page.evaluate("state")

    def wait_more():
        """Both directions work at this moment."""
        before = state()
        wait_until(
            lambda: all(state()[key] >= before[key] + 10 for key in ("echoes", "ticks")),
            f"the page gets more than {before}",
        )

    page.evaluate(f"begin('wss://{lab.hostA.address}:{PORT}/page')")
    wait_until(lambda: state()["opens"] == 1, "the WebSocket is open")
    for _ in range(DRAINS):
        wait_more()
        circle.drain()
    wait_more()
    PICTURE.parent.mkdir(exist_ok=True)
    page.picture(PICTURE)
    last = state()
    expect([last[key] for key in ("opens", "closes", "errors", "wrong")] == [1, 0, 0, 0], last)
    expect([line.split()[0] for line in server.lines] == ["listening", "opened"], server.tail)
    server.stop()
    wait_until(lambda: state()["closes"] == 1, "the page sees the end of the server")
    page.close()
