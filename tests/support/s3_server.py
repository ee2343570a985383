"""An S3 API in this process."""

from __future__ import annotations

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer
from werkzeug.serving import make_server


class AtomicS3Server(ThreadedMotoServer):  # type: ignore[misc]  # moto ships no types
    """moto checks a condition and writes in two steps; one request at a time makes it atomic."""

    def _server_entry(self) -> None:
        app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(self._ip_address, self._port, app, threaded=False)
        self._server_ready_event.set()
        self._server.serve_forever()
