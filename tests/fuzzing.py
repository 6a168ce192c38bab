"""Files of a run that are changed where their structure is: JSON, logs, notes, keys, HDF5."""

import json
import os
import random
import re
import resource
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sandbox.errors import SandboxError

LONGEST_S = 10.0  # That a file may take, and how many bytes of memory.
LARGEST = 1 << 30
WANTED_MORE = re.compile("MemoryError|memory|allocat", re.IGNORECASE)  # What says that it did.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1.5, -0.0, 1e308, "", "x", "0"),
    *("\ud800", "\x1b[31m", "../../x", "a" * 5000, "é", [], {}, [[]], [None], {"": None}),
    *({"a": {"b": {"c": []}}}, [1] * 2000, "2026-13-01", "random", "push_t", "os:system"),
)


@contextmanager
def room_for(more: int) -> Generator[None]:
    """Refuse this process, and those it starts, memory beyond what it has and `more` bytes."""
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (has + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refusal(read: Callable[[], Any]) -> str:
    """What a reader says that refuses a file, or ""; it has the time and memory of one file."""
    began, said = time.monotonic(), ""
    try:
        with room_for(LARGEST):
            read()
    except SandboxError as error:
        said = str(error)
    assert time.monotonic() - began < LONGEST_S, said
    assert not WANTED_MORE.search(said), said
    return said


def become(path: Path, form: str) -> None:
    """Make a path a pipe, a device, a folder, a link or a huge file; `elsewhere` has its bytes."""
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    if form == "pipe":
        os.mkfifo(path)
    elif form == "folder":
        path.mkdir()
    elif form == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        path.symlink_to(elsewhere if form == "link" else "/dev/zero")


FORMS = ("pipe", "device", "folder", "link", "huge")


def anywhere(data: Any, chance: random.Random) -> Any:
    """Return plain data with something somewhere in it replaced, removed, added or doubled."""
    if isinstance(data, dict) and data and chance.random() < 0.85:
        key = chance.choice(sorted(data))
        action = chance.random()
        if action < 0.12:
            return {name: value for name, value in data.items() if name != key}
        if action < 0.2:
            return {**data, str(chance.choice(VALUES))[:300]: chance.choice(VALUES)}
        return {**data, key: anywhere(data[key], chance)}
    if isinstance(data, list) and data and chance.random() < 0.8:
        place = chance.randrange(len(data))
        return [*data[:place], anywhere(data[place], chance), *data[place + 1 :]]
    if isinstance(data, int) and not isinstance(data, bool) and chance.random() < 0.3:
        return data + chance.choice((-1, 1, 10**6, -(10**6)))
    return chance.choice(VALUES)


def json_text(text: str, chance: random.Random) -> bytes:
    """Return a JSON text changed somewhere, as data or as bytes."""
    if chance.random() < 0.25:
        return torn(text.encode(), chance)
    changed = anywhere(json.loads(text), chance)
    return json.dumps(changed, ensure_ascii=chance.random() < 0.8).encode("utf-8", "surrogatepass")


def torn(data: bytes, chance: random.Random) -> bytes:
    """Return bytes of which some are changed, cut off, doubled or put elsewhere."""
    made, action = bytearray(data), chance.randrange(5)
    place = chance.randrange(max(1, len(made)))
    if action == 0:
        return bytes(made[:place])
    if action == 1:
        return bytes(made) + bytes(made[place : place + 200])
    for _ in range(chance.choice((1, 1, 8, 64))):
        if made:
            made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made)


def sidecar(data: bytes, chance: random.Random) -> bytes:
    """Return lines of JSON of which one is changed."""
    lines = data.decode().splitlines()
    if not lines:
        return b"{}\n"
    place = chance.randrange(len(lines))
    lines[place] = json_text(lines[place], chance).decode("utf-8", "replace")
    return "".join(f"{line}\n" for line in lines).encode()


def shard(path: Path, chance: random.Random) -> None:
    """Change a shard: its bytes, its texts with a seal that fits, its columns, their values."""
    from sandbox.trajectory import layout

    if chance.random() < 0.25:
        path.write_bytes(torn(path.read_bytes(), chance))
        return
    with h5py.File(path, "r+") as file:
        if chance.random() < 0.6:
            texts = {name: bytes(file.attrs[name]).decode() for name in layout.TEXTS}
            name = chance.choice(("episodes", "episodes", "schema", "header"))
            texts[name] = json_text(texts[name], chance).decode("utf-8", "replace")
            for key, text in {**texts, layout.SEAL: layout.seal(texts)}.items():
                del file.attrs[key]
                file.attrs.create(key, np.bytes_(text.encode()))
            return
        name = chance.choice(sorted(file))
        if chance.random() < 0.4:
            shape, kind = chance.choice(((3,), (93, 2), (0,), (93,))), chance.choice("fiSbO")
            del file[name]
            types = {"f": "f8", "i": "i8", "S": "S3", "b": "?", "O": h5py.string_dtype()}
            file.create_dataset(name, shape, types[kind])
            return
        rows = file[name]
        rows[chance.randrange(len(rows))] = chance.choice((0, 1, 2, 99))


def change(run: Path, chance: random.Random) -> str:
    """Change one file of a run; return its name."""
    names = sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file())
    names = [name for name in names if not name.endswith(".lock")]
    shards = [name for name in names if name.endswith(".h5")]
    name = chance.choice([*names, *shards, *shards])
    path = run / name
    if name.endswith(".h5"):
        shard(path, chance)
    elif name.endswith(".jsonl"):
        path.write_bytes(sidecar(path.read_bytes(), chance))
    elif name.endswith(".json"):
        path.write_bytes(json_text(path.read_text(), chance))
    else:
        path.write_bytes(torn(path.read_bytes(), chance))
    return name


def yaml_text(text: str, chance: random.Random) -> bytes:
    """Return a YAML document changed somewhere."""
    odd = (
        "&a [*a]",
        "!!int ''",
        "<<: {a: 1}",
        "010",
        "1:30",
        ".nan",
        ".inf",
        "? [a]",
        "\x07",
        "|\n x",
    )
    lines = text.splitlines()
    place = chance.randrange(len(lines))
    if chance.random() < 0.5:
        key = lines[place].partition(":")[0]
        lines[place] = f"{key}: {chance.choice((*odd, *map(str, VALUES[:26])))}"
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    return torn(text.encode(), chance)


Maker = Callable[[Path, random.Random], str]


def copied(run: Path, to: Path) -> Path:
    """Return a fresh copy of a run."""
    shutil.rmtree(to, ignore_errors=True)
    return shutil.copytree(run, to)
