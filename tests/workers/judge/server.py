"""A real HTTP server that speaks the chat-completions protocol and answers as the test says."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = Callable[[BaseHTTPRequestHandler], None]


class Endpoint:
    """`answer(body, n)` gives the reply to the nth request (from 0); what came in is in `bodies` and `headers`."""

    def __init__(self, answer: Callable[[dict, int], Reply]) -> None:
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.paths: list[str] = []
        self.connections: set[tuple[str, int]] = set()
        self.times: list[float] = []
        self.n_at_once = self.most_at_once = 0
        self._answer = answer
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with endpoint._lock:
                    n = len(endpoint.bodies)
                    endpoint.bodies.append(body)
                    endpoint.headers.append(dict(self.headers))
                    endpoint.paths.append(self.path)
                    endpoint.connections.add(self.client_address)
                    endpoint.times.append(time.monotonic())
                    endpoint.n_at_once += 1
                    endpoint.most_at_once = max(endpoint.most_at_once, endpoint.n_at_once)
                try:
                    endpoint._answer(body, n)(self)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client gave up first
                finally:
                    with endpoint._lock:
                        endpoint.n_at_once -= 1

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()


def n_steps_of(body: dict) -> int:
    return len(trajectory_of(body)["steps"])


def trajectory_of(body: dict) -> dict:
    """The trajectory as it stands in the prompt, with the numbers of its steps under "steps"."""
    text = body["messages"][1]["content"].removeprefix("TRAJECTORY\n")
    found: dict
    found, _ = json.JSONDecoder().raw_decode(text)
    found["steps"] = [message["step"] for message in found["messages"] if "step" in message]
    return found


def labels(*words, **changes):
    """The JSON of a good answer: one label per step."""
    return json.dumps(
        {
            str(step): {"reason": f"Because of {step}.", "label": word, "root": None, "fix": False, **changes}
            for step, word in enumerate(words)
        }
    )


def send(handler, status, content, content_type="application/json", headers=()):
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(content)))
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def said(
    content, *, finish_reason="stop", refusal=None, usage=(1000, 100), logprobs=None, content_type="application/json"
):
    """A completion with one choice."""
    message = {"role": "assistant", "content": content}
    if refusal is not None:
        message["refusal"] = refusal
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    if logprobs is not None:
        choice["logprobs"] = {"content": logprobs}
    body = {"id": "1", "object": "chat.completion", "choices": [choice]}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return lambda handler: send(handler, 200, json.dumps(body).encode(), content_type)


def error(status, message="", *, code=None, headers=()):
    body = {"error": {"message": message, "type": "some_error", "param": None, "code": code}}
    return lambda handler: send(handler, status, json.dumps(body).encode(), headers=headers)


def raw(content, *, status=200, content_type="text/html"):
    return lambda handler: send(handler, status, content, content_type)


def late(seconds: float, reply: Reply) -> Reply:
    def answer(handler):
        time.sleep(seconds)
        reply(handler)

    return answer


def dropped(handler):
    """The connection ends before a byte of the answer."""
    handler.close_connection = True


def broken_off(handler):
    """The connection ends in the middle of the body."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def broken_off_chunked(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'10\r\n{"choices": [{"m\r\n')
    handler.close_connection = True


def trickle(handler):
    """A byte now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def event_stream(handler):
    """A stream of events although none was asked for, with garbage between them."""
    events = b'data: {"choices": [{"delta": {"content": "{"}}]}\n\n\x00\xff\xfe data: [DONE]\n\n'
    send(handler, 200, events, "text/event-stream")


def endless(handler):
    """Garbage in chunks that never ends."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"1000\r\n" + b"\xff" * 4096 + b"\r\n")
