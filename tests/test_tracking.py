"""The numbers of a training reach trackers once each, and what was killed goes on in its run."""

import csv
import importlib
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.training.tracking import KINDS, Tracked, trackers

NAMES = ("held_out", "loss")
ROWS = [{"update": n, "loss": 1.0 / n, **({"held_out": 0.5} if n == 2 else {})} for n in (1, 2, 4)]
TOLD = [(1, "loss", 1.0), (2, "held_out", 0.5), (2, "loss", 0.5), (4, "loss", 0.25)]


def track(kind: str, out: Path) -> None:
    """Track a training that is killed after its second row, and goes on."""
    for done, rows in ((0, ROWS[:2]), (2, ROWS)):
        with trackers(Tracked(out, "a" * 32, done), [kind]) as (one,):
            one.write(rows)
            one.write(rows)


def in_csv(out: Path) -> Any:
    with open(out.with_suffix(".csv")) as file:
        return [
            (int(row["update"]), name, float(row[name]))
            for row in csv.DictReader(file)
            for name in NAMES
            if row[name]
        ]


def in_jsonl(out: Path) -> Any:
    rows = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    return [(r["update"], name, r[name]) for r in rows for name in NAMES if name in r]


def in_wandb(out: Path) -> Any:
    proto: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    found, record = list[tuple[int, str, float]](), proto.Record()
    for path in out.with_suffix(".wandb").glob("wandb/offline-run-*/run-*.wandb"):
        assert path.name == f"run-{'a' * 32}.wandb"
        data, at = path.read_bytes(), 7  # A log of LevelDB: checksum, size and kind before each.
        while at < len(data):
            size = int.from_bytes(data[at + 4 : at + 6], "little")
            record.ParseFromString(data[at + 7 : at + 7 + size])
            at += 7 + size
            items = record.history.item
            row = {"".join(one.nested_key) or one.key: json.loads(one.value_json) for one in items}
            found += [(row["_step"], name, row[name]) for name in NAMES if name in row]
    return found


def in_mlflow(out: Path) -> Any:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{out.with_suffix('.mlflow.db')}")
    experiment = client.get_experiment_by_name("sandbox")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    return [
        (one.step, name, one.value)
        for name in NAMES
        for one in client.get_metric_history(run.info.run_id, name)
    ]


def in_trackio(out: Path) -> Any:
    (path,) = (out.parent / "trackio").glob("sandbox*.db")
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT DISTINCT step, metrics FROM metrics ORDER BY id").fetchall()
        names = database.execute("SELECT DISTINCT run_name FROM metrics").fetchall()
    assert names == [("m-aaaaaaaa",)]
    return [
        (step, name, json.loads(row)[name])
        for step, row in rows
        for name in NAMES
        if name in json.loads(row)
    ]


READ = {"csv": in_csv, "jsonl": in_jsonl, "wandb": in_wandb, "mlflow": in_mlflow}
READ["trackio"] = in_trackio


@pytest.mark.parametrize("kind", READ)
@pytest.mark.filterwarnings("ignore")  # Packages of others.
def test_a_tracker_has_each_number_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    if kind not in ("csv", "jsonl"):
        pytest.importorskip(kind)
    track(kind, tmp_path / "m.safetensors")
    assert sorted(READ[kind](tmp_path / "m.safetensors")) == TOLD
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", [*KINDS][2:])
def test_a_tracker_whose_package_is_missing_says_so(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, {"tensorboard": "tensorboardX"}.get(kind, kind), None)
    with (
        pytest.raises(InvalidInputError, match=f"tracker {kind}: .* not installed. `pip install"),
        trackers(Tracked(tmp_path / "m.safetensors", "a", 0), [kind]),
    ):
        pass
    with pytest.raises(UnknownNameError), trackers(Tracked(tmp_path / "m", "a", 0), ["paper"]):
        pass
