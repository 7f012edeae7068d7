"""Makes self-signed certificates for test servers."""
from process import run

KINDS = {
    "ec": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    "rsa": ["rsa:2048"],
}


def make_certificate(certificate, key, names="", kind="ec"):
    """Writes a certificate and its key. `names`: as subjectAltName wants them."""
    run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            *KINDS[kind],
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=sockmi lab",
            *(["-addext", f"subjectAltName={names}"] if names else []),
            "-keyout",
            str(key),
            "-out",
            str(certificate),
        ]
    )
