"""What scenarios may say of factors, and that splits never overlap."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import cli

from sandbox import catalogue
from sandbox.errors import InvalidInputError
from sandbox.scenario import Scenario, load

FACTORS = catalogue.environment("billiards").factors
DRAWS = 300


def scenario(tmp_path: Path, **says: Any) -> Scenario:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"format": 1, "environment": "billiards", **says}))
    found, where = load(str(path))
    found.check(FACTORS, where)
    return found


def draws(it: Scenario, split: str | None, factor: str) -> list[Any]:
    return [it.sample(FACTORS, seed, split)[factor] for seed in range(DRAWS)]


def test_a_range_may_have_parts_and_ends_that_are_other_factors(tmp_path: Path) -> None:
    it = scenario(
        tmp_path,
        factors={
            "ball_mass_kg": {"uniform": [[0.1, 0.15], [0.3, 0.4]]},
            "restitution": {"follows": {"factor": "ball_mass_kg", "times": 1.0, "plus": 0.3}},
            "cloth_friction": {"uniform": [0.1, "restitution"]},
            "n_balls": {"follows": {"factor": "ball_mass_kg", "times": 20.0, "plus": 2.0}},
        },
    )
    masses = draws(it, None, "ball_mass_kg")
    assert all(0.1 <= m <= 0.15 or 0.3 <= m <= 0.4 for m in masses)
    assert 0.2 < sum(m < 0.2 for m in masses) / DRAWS < 0.47  # A third of the length.
    for seed in range(20):
        values = it.sample(FACTORS, seed, None)
        assert values.restitution == pytest.approx(values.ball_mass_kg + 0.3)
        assert 0.1 <= values.cloth_friction <= values.restitution
        assert values.n_balls == round(20 * values.ball_mass_kg + 2)


def test_another_factor_does_not_move_a_draw(tmp_path: Path) -> None:
    one = {"ball_mass_kg": {"uniform": [0.1, 0.4]}}
    alone = scenario(tmp_path, factors=one)
    both = scenario(tmp_path, factors={**one, "restitution": {"uniform": [0.3, 0.7]}})
    assert draws(alone, None, "ball_mass_kg") == draws(both, None, "ball_mass_kg")


SPLITS = {
    "factors": {
        "ball_mass_kg": {"uniform": [0.1, 0.3]},
        "cloth_friction": {"uniform": [0.2, 0.6]},
        "object_color": {"choice": ["crimson", "navy"]},
    },
    "splits": {
        "train": {},
        "interpolation": {"ball_mass_kg": {"uniform": [0.18, 0.22]}},
        "extrapolation": {"ball_mass_kg": {"uniform": [0.31, 0.4]}},
        "combination": {
            "ball_mass_kg": {"uniform": [0.23, 0.3]},
            "object_color": {"choice": ["navy"]},
            "cloth_friction": {"uniform": [0.5, 0.6]},
        },
    },
}


def test_splits_do_not_overlap_and_draws_stay_inside(tmp_path: Path) -> None:
    it = scenario(tmp_path, **SPLITS)
    for seed in range(DRAWS):
        for split in SPLITS["splits"]:
            values = it.sample(FACTORS, seed, split)
            assert it.inside(values, FACTORS) == ([] if split == "train" else [split])
    masses = draws(it, "train", "ball_mass_kg")
    assert all(0.1 <= m <= 0.3 and not 0.18 <= m <= 0.22 for m in masses)
    assert min(draws(it, "extrapolation", "ball_mass_kg")) >= 0.31
    navy = [it.sample(FACTORS, seed, "train") for seed in range(DRAWS)]
    assert any(v.object_color == (0, 0, 128) and v.ball_mass_kg > 0.23 for v in navy)


@pytest.mark.parametrize("name", catalogue.scenarios())
def test_the_splits_of_every_scenario_do_not_overlap(name: str) -> None:
    it, where = load(name)
    factors = catalogue.environment(it.environment).factors
    it.check(factors, where)
    for split in it.splits:
        for seed in range(40):
            found = it.inside(it.sample(factors, seed, split), factors)
            assert found == ([] if split == "train" else [split])


def test_a_scenario_has_all_that_it_extends(tmp_path: Path) -> None:
    it = scenario(
        tmp_path,
        extends="billiards_varied",
        limit_s=5.0,
        factors={"ball_mass_kg": 0.33},
        disturbances=[{"at_s": 1.0, "remove": "ball_1"}],
    )
    base, _ = load("billiards_varied")
    assert it.extends is None
    assert it.factors == {**base.factors, "ball_mass_kg": 0.33}
    assert (it.splits, it.limit_s, len(it.disturbances)) == (base.splits, 5.0, 1)
    env = catalogue.environment("billiards")(
        account=None, scenario=it.model_dump(exclude_none=True)
    )
    assert env.max_steps == 75
    assert env.scenario.digest == it.digest


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ({"extends": "push_t_varied"}, "which is for 'push_t', not 'billiards'"),
        ({"extends": "nobody"}, "no scenario is called 'nobody'"),
        ({"factors": {"ball_mass_kg": {}}}, "give one of uniform, choice and follows"),
        ({"factors": {"ball_mass_kg": {"uniform": [0.3, 0.2]}}}, "the low end comes first"),
        ({"factors": {"ball_mass_kg": {"uniform": [0.1, "mass"]}}}, "no factor with a number"),
        ({"factors": {"ball_mass_kg": {"uniform": [0.1, "cloth_color"]}}}, "factor with a number"),
        ({"factors": {"object_color": {"uniform": [0, 1]}}}, "a colour has no range"),
        (
            {
                "factors": {
                    "ball_mass_kg": {"uniform": [0.1, "restitution"]},
                    "restitution": {"follows": {"factor": "ball_mass_kg"}},
                }
            },
            "need each other's values",
        ),
        (
            {
                "splits": {
                    "a": {"ball_mass_kg": {"uniform": [0.1, 0.3]}},
                    "b": {"ball_mass_kg": {"uniform": [0.2, 0.4]}},
                }
            },
            "the splits 'a' and 'b' overlap",
        ),
        ({"disturbances": [{"at_s": 1.0, "change": {"mass": 1.0}}]}, "disturbances.0: change"),
        ({"cameras": {"main": {"eye": [0, 0], "target": [0, 0, 0]}}}, "at least 3 items"),
        ({"limit_s": -1.0}, "greater than 0"),
    ],
)
def test_a_scenario_that_breaks_a_rule_is_refused(
    tmp_path: Path, says: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        scenario(tmp_path, **says)


def test_a_train_split_of_which_nothing_is_left_is_said(tmp_path: Path) -> None:
    whole = {"ball_mass_kg": {"uniform": [0.1, 0.4]}}
    it = scenario(tmp_path, factors=whole, splits={"train": {}, "all": whole})
    with pytest.raises(InvalidInputError, match="make these smaller"):
        it.sample(FACTORS, 0, "train")


def test_an_episode_longer_than_usual_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"limit_s 99\.0"):
        catalogue.environment("billiards")(
            account=None, scenario={"format": 1, "environment": "billiards", "limit_s": 99.0}
        )


def test_factors_are_listed_and_documents_have_a_schema() -> None:
    rows = json.loads(cli("factors", "billiards", "--json").stdout)
    assert [row["factor"] for row in rows] == list(FACTORS)
    assert "ball_mass_kg" in cli("factors", "billiards").stdout
    for name, key in (("scenario", "disturbances"), ("recipe", "policies")):
        assert key in json.loads(cli("schema", name).stdout)["properties"]
    assert cli("factors", "biliards").stderr.count("Did you mean 'billiards'") == 1
