"""Numbers have units that measure motion, not the trembling of a body that lies on a table."""

from pathlib import Path

import numpy as np
import pytest

import sandbox
from sandbox.dataset.scales import LEAST, scales
from sandbox.evaluation.numbers import deviations
from sandbox.models import Checkpoint
from tests.running import recipe


@pytest.fixture(scope="module")
def slid(tmp_path_factory: pytest.TempPathFactory) -> sandbox.Dataset:
    """Episodes of PushT: the T slides and turns; it rises and tilts by micrometres."""
    folder = tmp_path_factory.mktemp("slid")
    sandbox.generate(recipe("push_t", episodes=2, policies={"scripted": 1}), folder / "run")
    return sandbox.Dataset(folder / "run")


def units(dataset: sandbox.Dataset, column: str) -> list[float]:
    """Return the unit of each element of a column."""
    return scales(dataset.schema[column], dataset.statistics([column])[column].std).tolist()


def test_an_element_counts_in_no_less_than_a_part_of_its_vector(slid: sandbox.Dataset) -> None:
    names = slid.schema["state"].elements
    own = dict(zip(names, slid.statistics(["state"])["state"].std, strict=True))
    found = dict(zip(names, units(slid, "state"), strict=True))
    for vector in (("t.x", "t.y", "t.z"), ("t.qx", "t.qy", "t.qz", "t.qw")):
        whole = np.sqrt(np.mean([own[one] ** 2 for one in vector]))
        for one in vector:
            assert found[one] == pytest.approx(max(own[one], LEAST * whole))
    assert own["t.z"] < 0.1 * found["t.z"]  # It trembles.
    for one in ("t.x", "t.y", "finger.x.position", "finger.y.velocity"):
        assert found[one] == own[one]


def test_what_is_constant_has_no_unit(slid: sandbox.Dataset) -> None:
    names = slid.schema["proprio"].elements
    found = dict(zip(names, units(slid, "proprio"), strict=True))
    assert found["goal_x [m]"] == found["goal_y [m]"] == 0
    assert found["t_x [m]"] > 0
    left_out = dict(zip(names, np.isnan(deviations(slid, "proprio")), strict=True))
    assert left_out["goal_x [m]"]
    assert not left_out["t_x [m]"]


def test_a_model_computes_in_these_units(slid: sandbox.Dataset, tmp_path: Path) -> None:
    few = {"batch": 2, "horizon": 3, "windows": 8, "checks": 2, "warm_up": 4}
    asked = {"size": "nano", "updates": 2, "settings": few, "prices": "3"}
    sandbox.train(slid.name, tmp_path / "m.safetensors", "mlp", **asked)
    read = Checkpoint.read(tmp_path / "m.safetensors").model()
    units = {name: one for name, one in read.state_dict().items() if name == "normal.state.std"}
    (found,) = units.values()
    names = slid.schema["state"].elements
    assert found[names.index("t.z")] > 0.1 * LEAST * found[names.index("t.x")]
