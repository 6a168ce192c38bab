"""What it takes to read a dataset from a web server: requests, bytes, and time, by round trip."""

import os
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.reading import COLUMNS, KINDS, written
from benchmarks.tables import show
from sandbox.dataset.batches import Batches
from sandbox.dataset.dataset import Dataset

TRIPS_S = (0.0, 0.03)  # What each answer waits for.
BATCHES = 20


class Server:
    """A web server of a folder that answers ranges, and counts them.

    Args:
        folder: the folder.
        trip_s: how long each answer waits [s].

    Attributes:
        url: its root.
        count, size: requests, and bytes that were sent, since they were last set to 0.
    """

    def __init__(self, folder: Path, trip_s: float) -> None:
        self.count = self.size = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Answer a range."""
                time.sleep(trip_s)
                outer.answer(self, folder)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = _Many(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, to: BaseHTTPRequestHandler, folder: Path) -> None:
        """Send the range that is asked for."""
        first, last = map(int, to.headers["Range"].removeprefix("bytes=").split("-"))
        path = folder / to.path.strip("/")
        with path.open("rb") as file:
            file.seek(first)
            part = file.read(last + 1 - first)
        self.count, self.size = self.count + 1, self.size + len(part)
        to.send_response(206)
        size = path.stat().st_size
        to.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{size}")
        to.send_header("Content-Length", str(len(part)))
        to.end_headers()
        to.wfile.write(part)

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


class _Many(ThreadingHTTPServer):
    request_queue_size = 64


def table(folder: Path) -> list[dict[str, str]]:
    """Return what opening, the first batches, and decoding all of it take."""
    folder.mkdir(parents=True, exist_ok=True)
    path = written(folder, 64)["zstd"]
    _, _, length, batch = KINDS[64]
    rows: list[dict[str, str]] = []
    for trip_s in TRIPS_S:
        server = Server(folder, trip_s)
        url = f"{server.url}/{path.name}"
        made: dict[str, Any] = {}

        def open_it(url: str = url, made: dict[str, Any] = made) -> None:
            made["dataset"] = Dataset(url)

        def read(count: int, made: dict[str, Any] = made) -> None:
            batches = made.setdefault(
                "batches", Batches(made["dataset"], batch, length, COLUMNS, prefetch=0)
            )
            walk = made.setdefault("walk", iter(batches))
            for _ in range(count):
                next(walk)

        def decode(made: dict[str, Any] = made) -> None:
            Batches(made["dataset"], batch, length, COLUMNS, cache="ram").wait_for_cache()

        for name, work, per in (
            ("opened the first time", open_it, 1),
            ("opened again", open_it, 1),
            ("the first batch", lambda: read(1), 1),
            (f"a batch, of {BATCHES}", lambda: read(BATCHES), BATCHES),
            ("all decoded into the cache", decode, 1),
        ):
            server.count = server.size = 0
            begun = time.perf_counter()
            work()
            taken = time.perf_counter() - begun
            rows.append(
                {
                    "round trip [ms]": f"{trip_s * 1e3:.0f}",
                    "what": name,
                    "requests": f"{server.count / per:.1f}",
                    "MB": f"{server.size / per / 1e6:.2f}",
                    "s": f"{taken / per:.3f}",
                }
            )
        server.close()
    return rows


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        show("A dataset on a web server", table(Path(folder)))


if __name__ == "__main__":
    main()
