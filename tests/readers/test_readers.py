"""Other people's readers open a default shard as it is: xarray by two engines, pandas.

`make readers` runs this, in a .venv of its own. No plugin for HDF5 is loaded in this process: what
generates the run is another.
"""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import xarray

RECIPE = """
format: 1
environment: two_room
policies: {random: 1}
episodes: 3
labels: true
"""


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shard of a run of numbers, by default compression."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "numbers.yaml").write_text(RECIPE)
    subprocess.run(
        [sys.executable, "-m", "sandbox", "generate", "numbers.yaml", "--out", "run"],
        cwd=folder,
        env={**os.environ, "SANDBOX_HOME": str(folder / "home")},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return folder / "run" / "shards" / "shard-00000.h5"


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_opens_it_and_calls_the_rows_row(engine: str, shard: Path) -> None:
    more = {"phony_dims": "sort"} if engine == "h5netcdf" else {}
    with xarray.open_dataset(shard, engine=engine, **more) as found, h5py.File(shard) as file:
        assert {*found.variables} == {*file}
        assert found["row"].values.tolist() == list(range(len(file["reward"])))
        for name in file:
            own = name in ("ep_len", "ep_offset")
            assert found[name].dims[0] == ("ep_offset" if own else "row"), name
            same = np.asarray(found[name].values).astype(file[name].dtype)
            assert same.tobytes() == file[name][()].tobytes(), name


def test_pandas_holds_its_columns_of_one_number(shard: Path) -> None:
    with h5py.File(shard) as file:
        flat = [name for name in file if file[name].ndim == 1 and not name.startswith("ep_")]
        frame = pandas.DataFrame({name: file[name][()] for name in flat}).set_index("row")
    ends = frame[frame.terminated | frame.truncated]
    assert ends.episode_idx.tolist() == [0, 1, 2]
    assert frame.groupby("episode_idx").seed.nunique().tolist() == [1, 1, 1]
    assert "hdf5plugin" not in sys.modules
