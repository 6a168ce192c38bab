"""WebDataset: tar files in which each episode is a sample, a .npy for each column."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.exports.formats import Job, Kind, Plan, about
from sandbox.exports.pieces import Piece, Told, by_size
from sandbox.trajectory import Schema

MOST_BYTES = 1 << 28  # Of the rows in a tar file; the next episode goes into another.


class WebDataset:
    """A folder of tar files."""

    name = "webdataset"
    reader = "webdataset 1.0.2"
    kinds: tuple[Kind, ...] = ("copy",)
    ending = ""
    shortest = 1
    compressions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def plan(self, schema: Schema, kind: Kind, asked: bool, out: Path) -> Plan:
        """Return a member of the sample for each column: rows as ours."""
        return Plan({name: f"{name}.npy" for name in schema.names})

    def pieces(self, job: Job) -> list[Piece]:
        """Return the tar files, of some size each."""
        return by_size(job, MOST_BYTES)

    def write_piece(self, job: Job, piece: Piece, folder: Path) -> Told:
        """Write the samples of a tar file one after another."""
        path = folder / f"episodes-{piece.number:06d}.tar"
        with tarfile.open(path, "x", format=tarfile.GNU_FORMAT) as tar:
            for place, rows in job.some(piece.places):
                told = json.dumps(about(job.dataset, job.numbers[place])).encode()
                members = {"json": told, **{f"{n}.npy": packed(x) for n, x in rows.items()}}
                for name, data in members.items():
                    member = tarfile.TarInfo(f"{place:09d}.{name}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        return {}

    def finish(self, job: Job, pieces: Sequence[Piece], told: Sequence[Told]) -> None:
        """Write nothing more: each sample says all about itself."""


def packed(values: Any) -> bytes:
    """Return an array as a .npy file."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(values), allow_pickle=False)
    return file.getvalue()
