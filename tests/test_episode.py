"""Episodes: what contradicts itself is refused, and the digest is of all that is in one."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from written import HEADER, SCHEMA, bits, ramp

from sandbox.errors import FormatError
from sandbox.evidence import merkle
from sandbox.trajectory import Episode, EpisodeBuffer, ShardReader, ShardWriter

GOLDEN = "d3f3f6931b27d81bb832005be1d3854ee40acbe2070c4fe2da54da2c8b4844ef"


def test_an_episode_of_another_schema_is_refused_and_nothing_is_done(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "shard-00000.h5", SCHEMA, HEADER, sync=False) as writer:
        good = ramp(0)
        small = {**good.rows, "proprio": good.rows["proprio"].astype("float64")}
        for rows, why in (
            ({**good.rows, "extra": good.rows["reward"]}, "has columns"),
            ({name: a for name, a in good.rows.items() if name != "pixels"}, "has columns"),
            (small, "proprio.* is float64"),
        ):
            with pytest.raises(FormatError, match=why):
                writer.append(Episode(rows, good.record))
        with pytest.raises(FormatError, match="not plain JSON"):
            writer.append(Episode(good.rows, {**good.record, "return": float("nan")}))
        assert writer.records == []
        writer.append(good)
    with ShardReader(tmp_path / "shard-00000.h5") as reader:
        assert len(reader) == 1


@pytest.mark.parametrize(
    ("name", "row", "value", "why"),
    [
        ("reward", 0, 1.0, "reward\\[0\\]"),
        ("action", 2, np.nan, "rows 2, 5 of 6"),
        ("action", 5, 0.5, "rows none of 6"),
        ("terminated", 3, True, "`terminated` is true at row 3"),
        ("truncated", 3, True, "`truncated` is true at row 3"),
        ("step_idx", 4, 7, "count from 0"),
        ("charge", 1, -4, "-4 microcredits at row 1"),
        ("charge", 1, 5, "adds up to"),
    ],
)
def test_an_episode_that_contradicts_itself_is_refused(
    name: str, row: int, value: float, why: str
) -> None:
    rows = {**ramp(0).rows}
    rows[name][row] = value
    with pytest.raises(FormatError, match=why):
        Episode(rows, ramp(0).record)


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(FormatError, match="'proprio' has 5 rows"):
        Episode({**ramp(0).rows, "proprio": ramp(0).rows["proprio"][:-1]}, ramp(0).record)
    rows = {name: a for name, a in ramp(0).rows.items() if name != "charge"}
    with pytest.raises(FormatError, match="no column charge"):
        Episode(rows, ramp(0).record)


def test_an_episode_is_the_part_of_its_buffer_that_was_filled() -> None:
    buffer = EpisodeBuffer(SCHEMA, 6)
    for name, array in ramp(0).rows.items():
        buffer.arrays[name][:] = array
    episode = buffer.episode(5, ramp(0).record)
    assert bits(episode) == bits(ramp(0))
    assert all(np.shares_memory(episode.rows[name], a) for name, a in buffer.arrays.items())
    with pytest.raises(FormatError, match="max_rows=7"):
        buffer.episode(6, {})


STARTS = ("seed", "run", "reset_options")  # The same in every row of an episode.


@pytest.mark.parametrize("more", [(), (*STARTS, "seed_of_another", "runs")])
def test_the_digest_is_what_its_documentation_says(more: tuple[str, ...]) -> None:
    bare, leaves = ramp(0), list[bytes]()
    rows = {n: np.full((len(bare), 3), place, np.uint8) for place, n in enumerate(more)}
    episode = Episode({**bare.rows, **rows}, bare.record)
    whose = json.dumps([episode.record.get("run"), episode.record.get("episode")])
    head = hashlib.sha256(f"{whose}\n".encode())
    named = ("episode_idx", *STARTS)
    constant = [n for n in sorted(episode.rows) if n in named or n.startswith("variation.")]
    for name in constant:
        head.update(episode.rows[name].tobytes("C"))
    for t in range(len(episode)):
        leaf = b"\x01" + head.digest() + t.to_bytes(4, "little")
        for name in (n for n in sorted(episode.rows) if n not in constant):
            row = episode.rows[name][t].tobytes("C")
            leaf += row if len(row) <= 2048 else blake3(row).digest()
        assert episode.leaf(t) == leaf
        leaves.append(merkle.leaf_hash(leaf))
    assert episode.leaves() == leaves
    assert episode.digest == merkle.root(leaves).hex()
    assert (episode.digest == GOLDEN) == (not more)


def test_another_run_or_place_has_another_digest() -> None:
    episode = ramp(0)
    for change in ({"run": "another"}, {"episode": 7}):
        assert Episode(episode.rows, {**episode.record, **change}).digest != episode.digest


def test_the_digest_is_of_values_not_of_memory() -> None:
    rows = {
        name: array.astype(array.dtype.newbyteorder(">")) for name, array in ramp(3).rows.items()
    }
    rows["pixels"] = np.asfortranarray(rows["pixels"])
    assert Episode(rows, ramp(3).record).digest == ramp(3).digest


@pytest.mark.parametrize("name", SCHEMA.names)
def test_the_digest_depends_on_every_column(name: str) -> None:
    episode = ramp(1)
    rows = {**episode.rows, name: episode.rows[name].copy()}
    rows[name].view(np.uint8).reshape(-1)[-1] ^= 1
    changed = object.__new__(Episode)  # Unchecked: the last bit may contradict the rest.
    object.__setattr__(changed, "rows", rows)
    object.__setattr__(changed, "record", episode.record)
    assert changed.digest != episode.digest
