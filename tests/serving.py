"""A server on this machine that sends files, or does to them what servers and networks do."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<!DOCTYPE html><html><head><title>Sign in\n to the network</title></head><body></body></html>"
STALL = 20.0  # seconds; the tests let a client wait for less


class Handler(BaseHTTPRequestHandler):
    """``server.files``: path -> bytes, or a function of this handler. ``server.asked``: (path, Range)."""

    def do_GET(self):
        answer = self.server.files.get(self.path)
        self.server.asked.append((self.path, self.headers.get("Range")))
        if callable(answer):
            answer(self)
        elif answer is None:
            self.send_error(404)
        else:
            self.send_whole(answer)

    @property
    def asked_from(self) -> int:
        """The byte that a Range asks for, 0 without one."""
        return int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def begin(self, content: bytes, ranges: bool = True, length: int | None = None) -> bytes:
        """Send the head of an answer; gives what is to follow."""
        start = self.asked_from if ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return b""
        rest = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(rest) if length is None else length))
        self.end_headers()
        return rest

    def send_whole(self, content: bytes) -> None:
        self.wfile.write(self.begin(content))

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an answer that stalls would hold up the end of its test

    def handle_error(self, *_):
        pass  # a client that has gone is what is tested


@contextmanager
def serving() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.asked = {}, []
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def cuts(content: bytes, after: int, ranges: bool = True) -> Callable:
    """Sends so many bytes at most, and hangs up."""
    return lambda handler: handler.wfile.write(handler.begin(content, ranges)[:after])


def cuts_chunks(content: bytes, after: int) -> Callable:
    def answer(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n" % len(content) + content[:after])
        handler.close_connection = True

    return answer


def stalls(content: bytes, after: int) -> Callable:
    """Sends so many bytes, and then nothing."""

    def answer(handler):
        handler.wfile.write(handler.begin(content)[:after])
        time.sleep(STALL)

    return answer


def trickles(content: bytes) -> Callable:
    """A byte every tenth of a second: never silent, never done."""

    def answer(handler):
        for byte in handler.begin(content):
            handler.wfile.write(bytes([byte]))
            time.sleep(0.1)

    return answer


def lies(content: bytes, length: int | str) -> Callable:
    """Announces another length than it sends."""
    return lambda handler: handler.wfile.write(handler.begin(content, length=length))


def refuses(code: int, **headers: str) -> Callable:
    def answer(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def sends_from(content: bytes, start: int) -> Callable:
    """Answers a Range with bytes from elsewhere."""

    def answer(handler):
        if not handler.asked_from:
            return handler.send_whole(content)
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start:])

    return answer


def speaks_no_http(handler) -> None:
    handler.wfile.write(b"220 smtp ready\r\n\r\n")


def one_after_the_other(*answers) -> Callable:
    """Each answer once, the last one for ever."""
    left = list(answers)

    def answer(handler):
        now = left.pop(0) if len(left) > 1 else left[0]
        now(handler) if callable(now) else handler.send_whole(now)

    return answer
