"""Datasets elsewhere: the same rows as here, by few requests, and errors that say what is wrong."""

import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from ramps import LENGTHS, SCHEMA, write

import sandbox
from sandbox import Batches, Dataset, Windows
from sandbox.errors import FormatError, InvalidInputError, SandboxError, UnreadableError

COLUMNS = ("pixels", "action", "reward", "step_idx", "episode_idx")


class Many(ThreadingHTTPServer):
    request_queue_size = 64  # Sixteen connections come at once.


class Server:
    """A web server of a folder that answers ranges, and notes them.

    Attributes:
        url: its root.
        asked: path, first byte and byte after the last of each request.
        mode: "ranges", "whole" (ignores ranges), "cut" (breaks off), "refuse" (HTTP 403).
        left: how many requests are cut before it answers as it should.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.mode, self.left = "ranges", 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self, folder)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = Many(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, to: BaseHTTPRequestHandler, folder: Path) -> None:
        path = folder / to.path.strip("/")
        if self.mode == "refuse" or not path.is_file():
            to.send_error(403 if self.mode == "refuse" else 404)
            return
        data = path.read_bytes()
        first, last = map(int, to.headers["Range"].removeprefix("bytes=").split("-"))
        part = data[first : last + 1]
        self.asked.append((to.path, first, last + 1))
        cut = self.mode == "cut" and last > 0 and self.left > 0
        self.left -= cut
        whole = self.mode == "whole"
        to.send_response(200 if whole else 206)
        to.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        if not whole:
            to.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        sent = data if whole else part
        to.send_header("Content-Length", str(len(sent)))
        to.send_header("Connection", "close")
        to.end_headers()
        to.wfile.write(sent[: len(sent) // 2] if cut else sent)
        to.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two shards, which has a manifest."""
    root = tmp_path_factory.mktemp("remote")
    run = write(root / "run")
    names = ", ".join(f'"{path.name}": ""' for path in sorted(run.glob("shards/*.h5")))
    (run / "manifest.json").write_text(f'{{"shards": {{{names}}}}}')
    return root


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    made = Server(folder)
    yield made
    made.close()


@pytest.fixture
def memory(folder: Path) -> Iterator[str]:
    """The same folder in fsspec's memory."""
    system: Any = fsspec.filesystem("memory")
    system.put(str(folder), "/bucket", recursive=True)
    yield "memory://bucket"
    system.rm("/bucket", recursive=True)


def same(ours: Dataset, theirs: Dataset) -> None:
    """Assert that two datasets have the same episodes, and give the same batches."""
    assert len(ours) == len(theirs) == len(LENGTHS)
    for number in range(len(ours)):
        one, other = ours.episode(number), theirs.episode(number)
        assert one.digest == other.digest
        assert one.record == other.record
        for name in SCHEMA.names:
            assert np.array_equal(one.rows[name], other.rows[name], equal_nan=True), name
    asked: Any = {"batch": 7, "length": 3, "columns": COLUMNS, "seed": 1}
    for one, other in zip(Batches(ours, **asked), Batches(theirs, **asked), strict=True):
        for name, tensor in one.items():
            assert torch.equal(tensor.nan_to_num(-1), other[name].nan_to_num(-1))


def test_a_web_server_gives_the_rows_that_lie_here(folder: Path, server: Server) -> None:
    same(Dataset(f"{server.url}/run"), Dataset(folder / "run"))
    shard = "run/shards/shard-00001.h5"
    assert len(Dataset(f"{server.url}/{shard}")) == len(Dataset(folder / shard))


@pytest.mark.parametrize("path", ["bucket/run", "bucket", "bucket/r*", "bucket/run/shards/*.h5"])
def test_fsspec_gives_the_rows_that_lie_here(folder: Path, memory: str, path: str) -> None:
    same(Dataset(f"memory://{path}"), Dataset(folder / "run"))


def test_a_batch_asks_for_whole_chunks_once_and_opening_again_asks_for_no_index(
    tmp_path: Path,
) -> None:
    write(tmp_path / "run")
    server = Server(tmp_path)
    try:
        url = f"{server.url}/run/shards/shard-00000.h5"
        first = Dataset(url)
        batches = Batches(first, 8, 3, COLUMNS, shuffle=False, prefetch=0)
        server.asked.clear()
        walk = iter(batches)
        next(walk)
        opened = len(server.asked)
        next(walk)
        # The rest of the small columns is kept, and a shard of one chunk has it.
        assert len(server.asked) - opened <= len(COLUMNS)
        server.asked.clear()
        assert len(Dataset(url)) == len(first)
        assert [span for _, *span in server.asked] == [[0, 1]]  # Its size and version.
    finally:
        server.close()


def test_a_shard_that_changes_is_read_again(tmp_path: Path) -> None:
    system: Any = fsspec.filesystem("memory")
    write(tmp_path / "a")
    write(tmp_path / "b", first=100)
    where = "/changing/shards/shard-00000.h5"
    for name, first in (("a", 0), ("b", 100)):
        system.pipe(where, (tmp_path / name / "shards" / "shard-00000.h5").read_bytes())
        dataset = Dataset("memory://changing")
        batches = Batches(dataset, 4, 2, COLUMNS, cache=tmp_path / "cache", shuffle=False)
        assert batches.wait_for_cache()
        assert next(iter(batches))["episode_idx"].min() == first
    assert len(list((tmp_path / "cache").iterdir())) == 1  # What it was before is removed.
    system.rm("/changing", recursive=True)


def test_the_disk_keeps_what_was_decoded(folder: Path, server: Server, tmp_path: Path) -> None:
    batches = Batches(Dataset(f"{server.url}/run"), 8, 3, COLUMNS, cache=tmp_path / "cache")
    assert batches.wait_for_cache()
    again = Batches(Dataset(f"{server.url}/run"), 8, 3, COLUMNS, cache=tmp_path / "cache")
    assert again.wait_for_cache()
    server.asked.clear()
    local = Batches(folder / "run", 8, 3, COLUMNS)
    for one, other in zip(again, local, strict=True):
        assert torch.equal(one["pixels"], other["pixels"])
    assert not server.asked


def test_datasets_can_be_pickled_and_read_in_another_process(server: Server) -> None:
    windows = Windows(f"{server.url}/run", 3, COLUMNS)
    again: Windows = pickle.loads(pickle.dumps(windows))
    assert torch.equal(again[0]["pixels"], windows[0]["pixels"])
    loader = torch.utils.data.DataLoader(windows, batch_size=4, num_workers=1)
    assert sum(len(batch["reward"]) for batch in loader) == len(windows)


@pytest.mark.parametrize("times", [1, 3])
def test_a_connection_that_is_cut_is_tried_again(
    server: Server, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.remote.asking._PAUSE_S", 0.001)
    server.mode, server.left = "cut", times
    assert Dataset(f"{server.url}/run").lengths[6] == LENGTHS[6]
    assert not server.left


def test_a_connection_that_stays_cut_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.remote.asking._PAUSE_S", 0.001)
    server.mode, server.left = "cut", 10**6
    with pytest.raises(UnreadableError, match="cannot be read after 4 tries"):
        Dataset(f"{server.url}/run/shards/shard-00000.h5").episode(0)
    server.mode = "ranges"
    dataset = Dataset(f"{server.url}/run")
    server.close()
    with pytest.raises(UnreadableError, match="look at the connection"):
        dataset.episode(0)


def test_a_server_that_ignores_ranges_is_refused_before_it_sends_the_file(server: Server) -> None:
    server.mode = "whole"
    with pytest.raises(FormatError, match=r"gives no parts of files \(HTTP 200\)"):
        Dataset(f"{server.url}/run/shards/shard-00000.h5")


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("SERVER/none", FormatError, "no finished shards"),
        ("SERVER/none.h5", FormatError, "there is no such file: HTTP 404"),
        ("SERVER/r*", InvalidInputError, "does not list its files"),
        ("SERVER/run/manifest.json", FormatError, "no finished shards"),
        ("memory://no-bucket/run", FormatError, "no finished shards"),
        ("memory://no-bucket/a.h5", FormatError, "there is no such file"),
        ("s3://bucket/run", SandboxError, r"Install .*'worldmodel-sandbox\[remote\]'"),
        ("nonsense://bucket/run", InvalidInputError, "give a URL that fsspec reads"),
        ("file:///tmp/run", InvalidInputError, "give a file of this machine by its path"),
        ("simplecache::memory://run", InvalidInputError, "by one protocol alone"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(
    server: Server, url: str, kind: type[SandboxError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        Dataset(url.replace("SERVER", server.url))


def test_a_server_that_refuses_is_told_from_a_file_that_is_not_there(server: Server) -> None:
    server.mode = "refuse"
    with pytest.raises(UnreadableError, match="access is refused: HTTP 403"):
        Dataset(f"{server.url}/run")


def test_a_manifest_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"shards": {"../../secret.h5": ""}}')
    server = Server(tmp_path)
    try:
        with pytest.raises(FormatError, match="no finished shards"):
            Dataset(f"{server.url}/run")
        assert not [path for path, *_ in server.asked if "secret" in path]
    finally:
        server.close()


def test_damage_anywhere_in_a_remote_shard_is_one_error_or_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path / "run")
    whole = (tmp_path / "run" / "shards" / "shard-00000.h5").read_bytes()
    system: Any = fsspec.filesystem("memory")
    right = [Dataset(tmp_path / "run").episode(n).digest for n in range(5)]
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60).tolist():
        harmed = bytearray(whole)
        harmed[place] ^= 0xFF
        system.pipe("/harmed/a.h5", bytes(harmed))
        found = right
        with suppress(FormatError):
            dataset = Dataset("memory://harmed/a.h5")
            found = [dataset.episode(n).digest for n in range(5)]
        assert found == right
    system.pipe("/harmed/a.h5", whole[: len(whole) // 2])
    with pytest.raises(FormatError):
        Dataset("memory://harmed/a.h5")
    system.rm("/harmed", recursive=True)


def test_a_run_elsewhere_cannot_become_a_view_or_a_derived_run(memory: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not on this machine"):
        sandbox.subset(f"{memory}/run", tmp_path / "part")
    with pytest.raises(InvalidInputError, match="not on this machine"):
        sandbox.view(Dataset(f"{memory}/run"), "minari", tmp_path / "view-v0")
