"""A server on this machine that sends files, or does to them what servers and networks do."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<!DOCTYPE html><html><head><title>Sign in\n to the network</title></head><body></body></html>"


class Handler(BaseHTTPRequestHandler):
    """``server.files``: path -> bytes, or a function of this handler. ``server.asked``: paths."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.files.get(self.path)
        if callable(answer):
            answer(self)
        elif answer is None:
            self.send_error(404)
        else:
            self.begin(len(answer))
            self.wfile.write(answer)

    def begin(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        pass  # a client that has gone is what is tested


@contextmanager
def serving() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.asked, server.ended = {}, [], threading.Event()
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def cuts(content: bytes, after: int, length: int | None = None) -> Callable:
    """Announces the whole length, or another, sends so many bytes, and hangs up."""

    def answer(handler):
        handler.begin(len(content) if length is None else length)
        handler.wfile.write(content[:after])

    return answer


def stalls(content: bytes, after: int) -> Callable:
    """Sends so many bytes, and then nothing."""

    def answer(handler):
        cuts(content, after)(handler)
        handler.server.ended.wait()

    return answer


def refuses(code: int) -> Callable:
    return lambda handler: handler.send_error(code)


def speaks_no_http(handler) -> None:
    handler.wfile.write(b"220 smtp ready\r\n\r\n")


def one_after_the_other(*answers) -> Callable:
    """Each answer once, the last one for ever."""
    left = list(answers)

    def answer(handler):
        now = left.pop(0) if len(left) > 1 else left[0]
        now(handler) if callable(now) else cuts(now, len(now))(handler)

    return answer
