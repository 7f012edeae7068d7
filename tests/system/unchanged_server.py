"""A web server that knows nothing of sockmi, on the host `client`, and proxies for it that
terminate TLS and whose relays move."""
from lab import PORT
from proxy import POLICY, SERVICE, start

SERVER_PORT = 9001


def start_server(lab):
    """Serves the files of the lab."""
    server = lab.client.popen(
        "/usr/bin/python3",
        *["-um", "http.server", "-d", lab.root, "-b", lab.client.address, str(SERVER_PORT)],
    )
    server.wait_line("Serving HTTP")


def start_host(lab, host):
    chain, key = lab.certificate()
    lab.start_daemon(host, **POLICY)
    proxy = start(
        lab,
        {"one": f"{lab.client.address}:{SERVER_PORT}"},
        host=host,
        listen=[f"{host.address}:{PORT}"],
        listener={"tls": "terminate"},
        listener__in__certificate__a={"chain": chain, "key": key},
        moves={"enabled": True},
    )
    proxy.wait_line(f"event=moves_available service={SERVICE}")
