"""A trained model is evaluated on a run of ours, on its surprises and on its branches."""

from pathlib import Path

import pytest
from running import recipe

import sandbox
from sandbox.errors import InvalidInputError
from sandbox.evaluation import evaluate
from sandbox.evaluation.imagining import COPY, KEPT, MODEL
from sandbox.training.train import train

SETTINGS = {"batch": 4, "horizon": 4, "windows": 8, "checks": 2, "warm_up": 4}


def generated(path: Path, seed: int) -> Path:
    seen = {"observation": ["pixels", "proprio"], "image_size": 32}
    sandbox.generate(recipe("billiards", seed=seed, episodes=6, **seen), path)
    return path


def test_a_trained_model_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_PRICES", "3")
    seen, apart = generated(tmp_path / "seen", 1), generated(tmp_path / "apart", 2)
    model = tmp_path / "m.safetensors"
    made = train(seen, model, size="nano", updates=30, settings=SETTINGS, track=["csv"])
    sandbox.surprises(apart, tmp_path / "pairs", kinds=["teleport"], pairs=2)
    sandbox.branch(apart, tmp_path / "branches", episode=0, step=5, kinds=["same", "random"], k=2)
    found = evaluate(
        model,
        apart,
        tmp_path / "out",
        train=seen,
        horizons=(1, 2, 4, 8),
        windows=30,
        reading=40,
        surprises=tmp_path / "pairs",
        branches=tmp_path / "branches",
    )
    assert found.checkpoint["digest"] == made.digest
    assert found.data["runs"] == [sandbox.open_run(apart).run]
    assert {*found.numbers["proprio"]} >= {MODEL, COPY, KEPT}
    assert [len(row) for row in found.rows()] == [5] * len(found.rows())
    assert found.surprises is not None
    assert found.surprises[0]["rows"]["1"][COPY]["accuracy"] == 1.0
    assert found.branches is not None
    assert found.branches["pairs"] == [3] * 4
    with pytest.raises(InvalidInputError, match="was trained on"):
        evaluate(model, seen)
    sandbox.surprises(seen, tmp_path / "own", kinds=["teleport"], pairs=1)
    with pytest.raises(InvalidInputError, match="that the model was trained on"):
        evaluate(model, apart, surprises=tmp_path / "own")
