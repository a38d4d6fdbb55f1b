"""A TCP relay on this machine that a test can break and mend."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

Address: TypeAlias = tuple[str, int]
State: TypeAlias = Literal["passing", "refusing", "stalled", "closed"]


class _Connection:
    """One client and the server it speaks to."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        #: Bytes of answers that still come through before the connection is cut.
        self.left = math.inf
        #: Directions in which bytes may still go.
        self.open_directions = 2

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
        self._threads: list[threading.Thread] = []
        # Held to the end, so that nobody else ever takes the port; it never listens.
        self._holder = self._bound(0)
        self.port: int = self._holder.getsockname()[1]
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
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
        self.cut()

    def stall(self) -> None:
        """Accept connections and pass nothing, in either direction."""
        self._become("stalled", math.inf)
        self._listen()

    def cut(self) -> None:
        """Cut all current connections; new ones are dealt with as before."""
        # Under the lock, as a number that is closed meanwhile may be somebody else's socket.
        with self._changed:
            for connection in self._connections:
                connection.cut()

    def cut_after(self, answer_bytes: int) -> None:
        """Cut every connection when so many bytes of answers went through it, from now on."""
        self._become("passing", answer_bytes)
        self._listen()

    def close(self) -> None:
        """End it; returns when all its threads have ended."""
        self._become("closed", math.inf)
        self._stop_listening()
        self._holder.close()
        self.cut()
        for thread in self._threads:
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
        if self._listener is None:
            self._listener = self._bound(self.port)
            self._listener.listen()
            self._acceptor = self._thread(self._accept, self._listener)
            self._acceptor.start()

    def _stop_listening(self) -> None:
        if self._listener is not None and self._acceptor is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept()
            self._acceptor.join()
            self._listener.close()
            self._listener = self._acceptor = None

    @staticmethod
    def _thread(target: Callable[..., None], *args: object) -> threading.Thread:
        return threading.Thread(target=target, args=args, name=f"relay {target.__name__}")

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
        threads = [
            self._thread(self._pump, connection, *ends),
            self._thread(self._pump, connection, *reversed(ends)),
        ]
        with self._changed:
            connection.left = self._answer_bytes
            self._connections.add(connection)
        for thread in threads:
            thread.start()
        self._threads = [t for t in self._threads if t.is_alive()] + threads

    def _pump(self, connection: _Connection, source: socket.socket, sink: socket.socket) -> None:
        answers = source is connection.server
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                last = False
                if answers:
                    data, last = self._allowed(connection, data)
                if not self._may_pass():
                    break
                sink.sendall(data)
                # Only who passes answers cuts after the last of them: the other direction may see
                # the count at its end while that answer is still to be sent.
                if last:
                    connection.cut()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        with self._changed:
            connection.open_directions -= 1
            if not connection.open_directions:
                self._connections.discard(connection)
                connection.client.close()
                connection.server.close()

    def _allowed(self, connection: _Connection, data: bytes) -> tuple[bytes, bool]:
        """Return what of *data* may still come through, and whether it is the last.

        Once told it stays so: when a test lets everything pass a moment later, an answer of which
        a part is missing must end all the same, or its client would wait for the rest for ever.
        """
        with self._changed:
            allowed = data if connection.left >= len(data) else data[: int(connection.left)]
            connection.left -= len(allowed)
            return allowed, connection.left <= 0

    def _may_pass(self) -> bool:
        """Wait while all is stalled; False if it is over then, and what was held back is lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._state != "stalled")
            return self._state == "passing"
