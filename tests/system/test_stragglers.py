"""A connection moves 500 times back and forth while its peer uploads as fast as it can,
and no byte is lost.

A packet that is past the freeze's hooks when the socket is captured could be acknowledged
and then missing: this test looks for that. The sender is held only to a few more MiB for
each move, so that the connection lasts for all of them and is never idle for long.
"""
from cases import long
from process import expect
from transfer import Upload, random_bytes

BUILD = "release"  # a sanitized server is too slow to be under pressure
MOVES, A_MOVE = 500, 2 << 20


@long
def test_no_byte_is_lost_in_500_moves_under_heavy_upload(lab):
    lab.start_all(lab.hostA, lab.hostB)
    upload = Upload(lab, random_bytes(A_MOVE), repeat=MOVES, gate=3 * A_MOVE)
    source, target = lab.hostA, lab.hostB
    for move in range(MOVES):
        upload.wait_offset(move * A_MOVE + 1)
        lab.move(source, target)
        upload.allow(min((move + 4) * A_MOVE, MOVES * A_MOVE - 1))
        source, target = target, source
    upload.allow(None)
    upload.finish(timeout=120)
    counted = lab.hostA.api("/v1/status")["migrations"]
    expect(counted["exported"] == MOVES // 2, counted)
