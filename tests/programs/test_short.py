"""What `make test` runs of the tests of real programs: it is short, and needs no package more."""
import http2
from process import expect
from ssh import shell_through_drains


def test_an_http2_download_by_curl_continues_through_two_drains(lab):
    http2.transfer_through_drains(lab, http2.Download, 12 << 20, drains=2)


def test_an_interactive_shell_continues_through_two_drains(lab):
    """It is skipped where no sshd is installed."""
    expect(shell_through_drains(lab, ["proxy"], drains=2) == 1, "another login")
