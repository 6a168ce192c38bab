"""Futures with other hidden factors: what is drawn, whose branches they are, what a page shows."""

from pathlib import Path

import pytest
from running import recipe

import sandbox
from sandbox import catalogue
from sandbox.errors import FormatError
from sandbox.evaluation import evaluate
from sandbox.evaluation.imagining import SPREAD
from sandbox.evaluation.spread import Simulators, drawn
from sandbox.training.train import train

SETTINGS = {"batch": 4, "horizon": 2, "windows": 8, "checks": 1}
ONE = {"factors": {"restitution": {"uniform": [0.3, 0.7]}}, "observation": ["pixels"]}


@pytest.fixture(scope="module")
def bounced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which one hidden factor varies; not to be changed."""
    path = tmp_path_factory.mktemp("bounced") / "run"
    sandbox.generate(recipe("billiards", seed=2, episodes=4, image_size=32, **ONE), path)
    return path


def test_what_is_drawn_is_hidden_and_can_change() -> None:
    env = catalogue.environment("billiards")(scenario="billiards_varied", split="train")
    env.reset(seed=3)
    found = drawn(env, "train", 7)
    assert {*found} == {"ball_mass_kg", "restitution", "rolling_friction_m"}
    assert all(found[name] != env.values[name] for name in found)
    assert drawn(env, "train", 7) == found != drawn(env, "train", 8)
    env.close()


def test_a_future_is_that_of_a_branch_with_the_same_factor(bounced: Path, tmp_path: Path) -> None:
    dataset, step, end = sandbox.Dataset(bounced), 5, 30
    true = dataset.rows(1)
    with Simulators(bounced, trust_code=False) as simulators:
        found = simulators.future(dataset.record(1), true, step, end, 5)
        edited = {**true, "state": true["state"] + 1e-12}
        assert found is not None
        with pytest.raises(FormatError, match="column 'state' of a past differs"):
            simulators.future(dataset.record(1), edited, step, end, 5)
    (value,) = found.factors.values()
    kinds = [f"factor:restitution={value}"]
    sandbox.branch(bounced, tmp_path / "branches", episode=1, step=step, kinds=kinds)
    branch = sandbox.Dataset(tmp_path / "branches").rows(0)
    for name in ("state", "pixels"):
        assert len(found.rows[name]) == end - step + 1
        assert found.rows[name].tobytes() == branch[name][step : end + 1].tobytes(), name
    assert found.rows["state"].tobytes() != true["state"][step : end + 1].tobytes()


def test_it_stands_beside_the_curves(bounced: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    sandbox.generate(recipe("billiards", seed=1, episodes=4, image_size=32, **ONE), seen)
    model = tmp_path / "m.safetensors"
    train(seen, model, size="nano", updates=4, settings=SETTINGS, track=["csv"], prices="3")
    asked = {"horizons": (1, 4, 8), "windows": 33, "reading": 0}
    found = evaluate(model, bounced, tmp_path / "out", **asked)
    for curve in (found.pictures["psnr"][SPREAD], found.pictures["psnr_moving"][SPREAD]):
        first, *_, last = [one for one in curve if one is not None]
        assert first > last  # Futures part as time goes by.
    assert "32 of the windows" in found.notes[-1]
    assert "restitution drawn anew" in found.notes[-1]
    assert f">{SPREAD}<" in (tmp_path / "out" / "page.html").read_text()
    shards = evaluate(model, sorted((bounced / "shards").glob("*.h5")), **asked)
    assert SPREAD not in shards.pictures["psnr"]
    assert "no run.json" in shards.notes[-1]


def test_where_no_hidden_factor_varies_it_says_so(tmp_path: Path) -> None:
    runs, given = [tmp_path / "a", tmp_path / "b"], {"observation": ["proprio"]}
    for seed, run in enumerate(runs):
        sandbox.generate(recipe("cartpole_swingup", seed=seed, episodes=4, **given), run)
    model = tmp_path / "m.safetensors"
    options = {"settings": SETTINGS, "track": ["csv"], "prices": "3"}
    train(runs[0], model, model="mlp", size="nano", updates=2, **options)
    found = evaluate(model, runs[1], horizons=(1, 2), windows=8)
    assert "No hidden factor that can change varies" in found.notes[-1]
    assert {*found.numbers["state"]} >= {"model"}
    assert SPREAD not in found.numbers["state"]
