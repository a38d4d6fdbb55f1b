"""A TCP relay on this machine that a test can break and mend."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from typing import Literal, TypeAlias

Address: TypeAlias = tuple[str, int]
State: TypeAlias = Literal["passing", "refusing", "stalled", "closed"]


class _Connection:
    """One client and the server it speaks to."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        #: Bytes of answers that still come through before the connection is cut.
        self.left = math.inf
        self.threads: list[threading.Thread] = []

    def cut(self) -> None:
        # close() alone wakes nobody who waits in recv(), and may send nothing to the other end.
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Relay:
    """Passes bytes between its own port and *target*, and behaves badly when told to.

    A context manager; the port stays the same whatever happens. Methods return when what they
    say is so.

    Args:
        target: host and port of the server behind it.
    """

    def __init__(self, target: Address) -> None:
        self._target = target
        self._state: State = "refusing"
        self._changed = threading.Condition()
        self._answer_bytes = math.inf
        self._connections: set[_Connection] = set()
        self._listener = self._bound(0)
        self._acceptor: threading.Thread | None = None
        self.port: int = self._listener.getsockname()[1]
        #: Connections that came so far.
        self.accepted = 0

    def __enter__(self) -> Relay:
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Host and port, as in a URL."""
        return f"127.0.0.1:{self.port}"

    def go_on(self) -> None:
        """Pass everything; what was stalled gets through now."""
        self._become("passing", math.inf)
        self._listen()

    def refuse(self) -> None:
        """Cut all connections, and have new ones refused at once, as if the server was not up."""
        self._become("refusing", math.inf)
        self._stop_listening()
        self._listener = self._bound(self.port)  # held, so that nobody else takes the port
        self.cut()

    def stall(self) -> None:
        """Accept connections and pass nothing, in either direction."""
        self._become("stalled", math.inf)
        self._listen()

    def cut(self) -> None:
        """Cut all current connections; new ones are dealt with as before."""
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()

    def cut_after(self, answer_bytes: int) -> None:
        """Cut every connection when so many bytes of answers went through it, from now on."""
        self._become("passing", answer_bytes)
        self._listen()

    def close(self) -> None:
        """End it; returns when all its threads have ended."""
        self._become("closed", math.inf)
        self._stop_listening()
        self.cut()
        with self._changed:
            threads = [thread for c in self._connections for thread in c.threads]
        for thread in threads:
            thread.join()

    def _become(self, state: State, answer_bytes: float) -> None:
        with self._changed:
            self._state = state
            self._answer_bytes = answer_bytes
            for connection in self._connections:
                connection.left = answer_bytes
            self._changed.notify_all()

    @staticmethod
    def _bound(port: int) -> socket.socket:
        """Bind a socket; until it listens, connections to it are refused."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def _listen(self) -> None:
        if self._acceptor is None:
            self._listener.listen()
            self._acceptor = threading.Thread(target=self._accept, args=(self._listener,))
            self._acceptor.start()

    def _stop_listening(self) -> None:
        if self._acceptor is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept()
            self._acceptor.join()
            self._acceptor = None
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._join(_Connection(client, server))

    def _join(self, connection: _Connection) -> None:
        ends = connection.client, connection.server
        connection.threads = [
            threading.Thread(target=self._pump, args=(connection, *ends)),
            threading.Thread(target=self._pump, args=(connection, *reversed(ends))),
        ]
        with self._changed:
            connection.left = self._answer_bytes
            self._connections.add(connection)
        for thread in connection.threads:
            thread.start()

    def _pump(self, connection: _Connection, source: socket.socket, sink: socket.socket) -> None:
        answers = source is connection.server
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if answers:
                    data = self._allowed(connection, data)
                self._wait_while_stalled()
                sink.sendall(data)
                # Only who passes answers cuts after the last of them: the other direction may see
                # the count at its end while that answer is still to be sent.
                if answers and connection.left <= 0:
                    connection.cut()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        with self._changed:
            connection.threads.remove(threading.current_thread())
            if not connection.threads:
                self._connections.discard(connection)
                connection.client.close()
                connection.server.close()

    def _allowed(self, connection: _Connection, data: bytes) -> bytes:
        with self._changed:
            allowed = data if connection.left >= len(data) else data[: int(connection.left)]
            connection.left -= len(allowed)
            return allowed

    def _wait_while_stalled(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._state != "stalled")
