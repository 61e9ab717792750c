"""Running the gateway on uvicorn: on the loopback address by default, elsewhere only with TLS."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from assay.core.errors import DependencyError, JobError, SettingError

if TYPE_CHECKING:
    import uvicorn

_START_SECONDS = 10.0


def run(app: Any, *, host: str = "127.0.0.1", port: int = 8080, certificate: str = "", key: str = "") -> None:
    """Serve until interrupted. Raises SettingError for an address beyond this machine without TLS.

    certificate, key: paths of PEM files.
    """
    if not is_loopback(host) and not (certificate and key):
        raise SettingError(
            f"{host} can be reached from other machines, and keys would travel in clear",
            where="--host",
            remedy="Give a certificate and its key, or put a TLS proxy before 127.0.0.1",
        )
    tls = {"ssl_certfile": certificate, "ssl_keyfile": key} if certificate else {}
    _server(app, host=host, port=port, **tls).run()


@contextmanager
def background(app: Any, *, port: int = 0) -> Iterator[str]:
    """Yield the base URL of the application, served from a thread on the loopback address; stop it at the end.

    port: 0 takes a free one. Raises JobError when it does not start.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="assay-gateway", daemon=True)
    try:
        listener.bind(("127.0.0.1", port))
        thread.start()
        until = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > until:
                raise JobError("the gateway did not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        if thread.ident is not None:
            thread.join(_START_SECONDS)
        listener.close()


def is_loopback(host: str) -> bool:
    """Return whether an address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _server(app: Any, **options: Any) -> uvicorn.Server:
    try:
        import uvicorn
    except ImportError as error:
        raise DependencyError("uvicorn is not installed", remedy="pip install 'assay[serve]'") from error
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=3,
        **options,
    )
    return uvicorn.Server(config)
