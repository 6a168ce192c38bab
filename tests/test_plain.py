"""Numbers are stored so that every HDF5 library reads them; only pictures need a plugin."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from running import python, recipe

import sandbox
from sandbox.observation import PICTURES
from sandbox.trajectory import COMPRESSIONS, ShardReader
from sandbox.verification.trust import Trust

SHARD = Path("shards") / "shard-00000.h5"
READ = """
import hashlib, json, sys
import h5py
told, refused = {}, []
with h5py.File(sys.argv[1]) as file:
    for name in file:
        try:
            told[name] = hashlib.sha256(file[name][()].tobytes()).hexdigest()
        except OSError:
            refused.append(name)
assert "hdf5plugin" not in sys.modules
print(json.dumps([told, refused]))
"""


def made(folder: Path, world: str = "two_room", **changes: Any) -> Path:
    """Generate a short run; return its shard."""
    given = {"policies": {"random": 1.0}, "episodes": 2, **changes}
    sandbox.generate(recipe(world, **given), folder)
    return folder / SHARD


def read_plainly(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return digests of the columns that h5py reads without plugins, and those it does not."""
    done = python("-c", READ, str(path))
    assert done.returncode == 0, done.stderr
    told, refused = json.loads(done.stdout)
    return told, refused


@pytest.mark.parametrize("world", ["two_room", "pour"])  # The second has rows of 6 KB.
def test_a_default_shard_of_numbers_is_read_without_a_plugin(world: str, tmp_path: Path) -> None:
    path = made(tmp_path / "run", world, labels=True, episodes=1)
    told, refused = read_plainly(path)
    assert refused == []
    with ShardReader(path) as reader:
        assert {*told} == {*reader.schema.names, "ep_len", "ep_offset", "row"}


def test_only_pictures_need_a_plugin_and_none_of_gzip_does(tmp_path: Path) -> None:
    seen: dict[str, Any] = {"observation": ["proprio", *PICTURES], "image_size": 16, "episodes": 1}
    _, refused = read_plainly(made(tmp_path / "default", **seen))
    assert sorted(refused) == sorted(PICTURES)
    for kind in ("gzip", "none"):
        _, refused = read_plainly(made(tmp_path / kind, compression=kind, **seen))
        assert refused == []


def test_every_compression_holds_the_same(tmp_path: Path) -> None:
    seen: dict[str, Any] = {"observation": ["proprio", "pixels"], "image_size": 16}
    kinds = [made(tmp_path / kind, compression=kind, **seen) for kind in COMPRESSIONS]
    arrays: list[dict[str, bytes]] = []
    for path in kinds:
        with ShardReader(path) as reader:
            rows = reader.arrays(1)
            arrays.append({n: a.tobytes() for n, a in rows.items() if n not in ("run", "charge")})
    assert arrays[0] == arrays[1] == arrays[2]


def test_a_dimension_scale_names_the_rows(tmp_path: Path) -> None:
    with h5py.File(made(tmp_path / "run"), "r") as file:
        count = len(file["row"])
        assert file["row"].is_scale
        assert np.array_equal(file["row"], np.arange(count))
        for name in {*file} - {"row", "ep_offset"}:
            first = file[name].dims[0]
            scales, label = [scale.name for scale in first.values()], first.label
            if name == "ep_len":
                assert scales == ["/ep_offset"]
            elif file[name].ndim == 1:
                assert scales == ["/row"], name
            else:  # NetCDF's readers want a scale for each dimension, or for none.
                assert (scales, label) == ([], "row"), name


def test_rows_that_are_counted_wrong_do_not_verify(tmp_path: Path) -> None:
    path = made(tmp_path / "run", compression="none")
    with h5py.File(path, "r+") as file:
        file["row"][5] = 6
    report = sandbox.verify(tmp_path / "run", trust=Trust(None))
    assert f"{path.name}: its column 'row' does not count its rows." in report.faults
