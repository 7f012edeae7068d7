"""Starts sockmi-proxy, on hostA by default, and connects with it."""
import ssl

from byte_services import TIMEOUT, connect, receive_exactly

PORT = 8080
# The daemon's service of the relays, and what daemons need for them.
SERVICE = "in/app"
POLICY = {f'service."{SERVICE}"': {"export": ["*"], "import": ["*"]}}


def text_of(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(text_of(each) for each in value) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def configure(
    lab, backends, listen=None, listener=None, service=None, top=None, host=None, **tables
):
    """Writes the configuration: a listener `in`, a service `app`, backends by name, and other
    tables, with `__` for a dot in their names."""
    host = host or lab.hostA
    listen = listen or [f"{host.address}:{PORT}"]
    tables = {
        "": {"threads": 2, "access_log": True, **(top or {})},
        "listener.in": {"listen": listen, "service": "app", **(listener or {})},
        "service.app": service or {},
        **{f"service.app.backend.{name}": {"address": to} for name, to in backends.items()},
        **{name.replace("__", "."): keys for name, keys in tables.items()},
    }
    lines = []
    for table, keys in tables.items():
        lines += [f"[{table}]"] * bool(table)
        lines += [f"{key} = {text_of(value)}" for key, value in keys.items()]
    path = host.folder / "proxy.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def start(lab, backends, host=None, **options):
    host = host or lab.hostA
    path = configure(lab, backends, host=host, **options)
    proxy = host.popen(lab.program("src/proxy/sockmi-proxy"), "--config", path)
    proxy.wait_line("sockmi-proxy ready")
    return proxy


def at(service):
    """Returns the address of a backend as the configuration has it."""
    if isinstance(service.address, str):
        return f"unix:{service.address}"
    ip, port = service.address[:2]
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def through(lab, client=None):
    return connect(client or lab.client, (lab.hostA.address, PORT))


def ask(lab):
    """Returns the name of the backend that a new connection gets."""
    with through(lab) as client:
        return receive_exactly(client, 3)


def through_tls(lab, authority, name=None, protocols=(), client=None, version=None):
    """A connection that does not take a TCP end for the end of the data."""
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = name is not None
    if version:
        context.minimum_version = context.maximum_version = version
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Python's default
    if protocols:
        context.set_alpn_protocols(protocols)
    plain = through(lab, client)
    try:
        tls = context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)
    except OSError:
        plain.close()
        raise
    tls.settimeout(TIMEOUT)
    return tls
