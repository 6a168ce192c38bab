"""WebDataset: tar files in which each episode is a sample, a .npy for each column."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.exports.formats import Job, Kind, Plan, about
from sandbox.trajectory import Schema

MOST_BYTES = 1 << 29  # Of a tar file; the next episode goes into another.


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

    def write(self, job: Job) -> None:
        """Write the samples one after another into tar files of some size."""
        job.path.mkdir()
        tar: tarfile.TarFile | None = None
        try:
            for place, (number, rows) in enumerate(job.episodes()):
                told = json.dumps(about(job.dataset, number)).encode()
                members = {"json": told, **{f"{n}.npy": packed(x) for n, x in rows.items()}}
                size = sum(map(len, members.values()))
                if tar is None or (tar.offset and tar.offset + size > MOST_BYTES):
                    tar = _next(job.path, tar)
                for name, data in members.items():
                    member = tarfile.TarInfo(f"{place:09d}.{name}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        finally:
            if tar is not None:
                tar.close()


def _next(folder: Path, tar: tarfile.TarFile | None) -> tarfile.TarFile:
    """Close a tar file, and begin the next."""
    if tar is not None:
        tar.close()
    count = sum(1 for _ in folder.glob("*.tar"))
    return tarfile.open(folder / f"episodes-{count:06d}.tar", "x", format=tarfile.GNU_FORMAT)


def packed(values: Any) -> bytes:
    """Return an array as a .npy file."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(values), allow_pickle=False)
    return file.getvalue()
