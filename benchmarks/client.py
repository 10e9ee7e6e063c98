"""One process of HTTP clients, without Django: reads a plan from standard input, writes what happened to its output.

Each annotator is a thread with one keep-alive connection that sends its requests one after the other. They are made
before the clock starts, so that the clients take little from the cores that they share with the server.
"""

import json
import socket
import sys
import threading
import time
from typing import Any


class Connection:
    def __init__(self, port: int) -> None:
        self._port = port
        self.n_opened = 0
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.n_opened += 1

    def send(self, request: bytes) -> int:
        """The status of the answer. Repeats once on a new connection if the server closed the idle one."""
        try:
            return self._exchange(request)
        except (ConnectionError, EOFError):
            self._open()
            return self._exchange(request)

    def _exchange(self, request: bytes) -> int:
        self._socket.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._receive()
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        n_body = len(body)
        while n_body < length:
            n_body += len(self._receive())
        if b"connection: close" in lines:
            self._open()
        return int(head.split()[1])

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise EOFError
        return data


def work(annotator: dict[str, Any], port: int, start: float, seconds: float) -> None:
    """Goes through the annotator's requests, again from the first with the other body, until the time is over."""
    connection = Connection(port)
    requests = [[text.encode() for text in bodies] for bodies in annotator.pop("requests")]
    last_saved: list[int | None] = [None] * len(requests)
    latencies, failures, n = [], [], 0
    while time.time() < start:
        time.sleep(0.005)
    while time.time() < start + seconds:
        version, which = divmod(n, len(requests))
        begun = time.perf_counter()
        status = connection.send(requests[which][version % 2])
        latencies.append((time.perf_counter() - begun) * 1000)
        if status == 200:
            last_saved[which] = version % 2
        else:
            failures.append(status)
        n += 1
    annotator |= {
        "latencies": latencies,
        "failures": failures,
        "last_saved": last_saved,
        "n_connections": connection.n_opened,
        "ended": time.time(),
    }


def main() -> None:
    plan = json.load(sys.stdin)
    threads = [
        threading.Thread(target=work, args=(annotator, plan["port"], plan["start"], plan["seconds"]))
        for annotator in plan["annotators"]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(plan["annotators"], sys.stdout)


if __name__ == "__main__":
    main()
