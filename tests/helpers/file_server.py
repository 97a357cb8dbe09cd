"""A local server of files that behaves like real ones: it can resume a download, refuse to, break off, or fail."""

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file, and how it is served.

    Attributes:
        content: its bytes.
        tag: its ETag; None: none is sent.
        ranges: whether a part of it can be requested.
        cut: close the connection after so many bytes of a response; None: never.
        status: answer with this status instead.
        wait: responses wait for this event after their first byte; None: they do not wait.
        to: redirect to this address instead.
    """

    content: bytes
    tag: str | None = '"1"'
    ranges: bool = True
    cut: int | None = None
    status: int = 200
    wait: threading.Event | None = None
    to: str | None = None


@dataclass
class Log:
    """A request and how it was answered."""

    path: str
    range: str | None
    status: int
    sent: int = 0


@dataclass
class Site:
    """The served files, and a log of the requests."""

    address: str = ""
    files: dict[str, Served] = field(default_factory=dict)
    log: list[Log] = field(default_factory=list)

    def put(self, name: str, content: bytes, **settings) -> str:
        """Serves a file and returns its address."""
        self.files["/" + name] = Served(content, **settings)
        return f"{self.address}/{name}"


@contextlib.contextmanager
def serving():
    """Serves a site as long as the context is entered."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            served = site.files.get(self.path)
            if served is None or served.status != 200 or served.to:
                status = 404 if served is None else 302 if served.to else served.status
                site.log.append(Log(self.path, self.headers["Range"], status))
                self.send_response(status)
                if served is not None and served.to:
                    self.send_header("Location", served.to)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content, first, total = served.content, 0, len(served.content)
            asked, condition = self.headers["Range"], self.headers["If-Range"]
            partial = asked and served.ranges and condition in (None, served.tag)
            if partial:
                first = int(asked.removeprefix("bytes=").rstrip("-"))
                content = content[first:]
            entry = Log(self.path, asked, 206 if partial else 200)
            site.log.append(entry)
            self.send_response(entry.status)
            self.send_header("Content-Length", str(len(content)))
            if partial:
                self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
            if served.tag:
                self.send_header("ETag", served.tag)
            self.end_headers()
            if served.wait is not None:
                self.wfile.write(content[:1])
                self.wfile.flush()
                served.wait.wait(10)
                content, entry.sent = content[1:], 1
            if served.cut is not None:
                content = content[: served.cut]
                self.close_connection = True
            with contextlib.suppress(ConnectionError):  # the client was stopped
                self.wfile.write(content)
                entry.sent += len(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
