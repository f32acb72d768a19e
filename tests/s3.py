"""A real S3 server on this machine (moto's), and a way to it that is slow, fails, refuses and cuts as tests want."""

import http.client
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUCKET = "pictures"
SECRET = "not-to-be-written-anywhere"  # noqa: S105 - the server takes any


@dataclass
class Way:
    """What the way does to each request; `faults` are taken one by one: "503", "403", "cut", or "" for none."""

    latency_seconds: float = 0
    faults: list[str] = field(default_factory=list)
    is_down: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    address: tuple[str, int] = ("", 0)
    server: tuple[str, int] = ("", 0)

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to come this way."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.address[1]}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def gets(self, ending: str) -> list[str]:
        """Paths of the requests for contents that end so."""
        return [path for method, path in self.requests if method == "GET" and path.endswith(ending)]

    def client(self) -> Any:
        """A client of boto3's that goes straight to the server."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.server[1]}",
            aws_access_key_id="tests",
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def upload(self, folder: Path, prefix: str) -> str:
        """The URL of a copy of the files directly in the folder."""
        client = self.client()
        for path in sorted(folder.iterdir()):
            client.upload_file(str(path), BUCKET, f"{prefix}/{path.name}")
        return f"s3://{BUCKET}/{prefix}"


@contextmanager
def running() -> Iterator[Way]:
    """The server with an empty bucket, and the way to it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    way = Way(server=moto.get_host_and_port())
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"way": way}))
    way.address = ("127.0.0.1", proxy.server_port)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    way.client().create_bucket(Bucket=BUCKET)
    try:
        yield way
    finally:
        proxy.shutdown()
        proxy.server_close()
        moto.stop()


class _Handler(BaseHTTPRequestHandler):
    """What the way does to a request."""

    protocol_version = "HTTP/1.1"
    way: Way

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        way, body = self.way, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        way.requests.append((self.command, self.path))
        time.sleep(way.latency_seconds)
        fault = "503" if way.is_down else way.faults.pop(0) if way.faults else ""
        if fault in ("503", "403"):
            self._send(int(fault), {}, b"" if self.command == "HEAD" else _problem(fault))
        else:
            self._pass_on(body, is_cut=fault == "cut")

    def _pass_on(self, body: bytes, *, is_cut: bool) -> None:
        connection = http.client.HTTPConnection(*self.way.server, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        self._send(answer.status, dict(answer.getheaders()), content, is_cut=is_cut)
        connection.close()

    def _send(self, status: int, headers: dict[str, str], content: bytes, *, is_cut: bool = False) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", len(content)) if self.command == "HEAD" else len(content)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if is_cut else content)
        self.close_connection = self.close_connection or is_cut


for _method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler.answer)


def _problem(code: str) -> bytes:
    name = {"503": "SlowDown", "403": "AccessDenied"}[code]
    return f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>as the test wants</Message></Error>".encode()
