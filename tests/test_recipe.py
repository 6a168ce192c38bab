"""Recipes and scenarios that break a rule are refused by file, line and key."""

from pathlib import Path

import pytest
from running import recipe

from sandbox import catalogue
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.run.recipe import changed
from sandbox.run.recipe import load as load_recipe


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "format: 2\nenvironment: push_t\npolicies: {random: 1}\nepisodes: 1",
            ":1: format: must be 1",
        ),
        ("environment: push_t\npolicies: {random: 1}\nepisodes: 1", "format: is missing"),
        (GOOD := "format: 1\nenvironment: push_t\npolicies: {random: 1}\nepisodes: 1\n", ""),
        (GOOD + "episode: 3", ":5: episode: is not a known key"),
        (
            GOOD.replace("policies", "policy"),
            "policy: is not a known key. Did you mean",
        ),
        (GOOD + "seed: -1", ":5: seed: .*not -1"),
        (GOOD + "seed: 1.5", ":5: seed: .*not 1.5"),
        (GOOD + "budget: .nan", ":5: budget: .*finite"),
        (GOOD + "image_size: 4", ":5: image_size: .*8"),
        (GOOD + "observation: [pixel]", ":5: observation.0: "),
        (GOOD + "observation: []", ":5: observation: "),
        (GOOD + "episodes: 2", "the key 'episodes' is there twice"),
        (GOOD.replace("random: 1", "random: 0"), ":3: policies.random: .*greater than 0"),
        (GOOD.replace("{random: 1}", "{}"), ":3: policies: "),
        (GOOD.replace("random", "randon"), ":3: policies.randon"),
        ("[1, 2", "this is not YAML"),
        ("!!python/object/apply:os.system [ls]", "this is not YAML"),
        ("", "the document: "),
        ("x" * 1_000_001, "larger than"),
        ("\x00\x01", "this is not YAML"),
    ],
)
def test_a_recipe_that_breaks_a_rule_is_refused_by_file_line_and_key(
    text: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    if not says:
        assert load_recipe(str(path)).episodes == 1
        return
    with pytest.raises(InvalidInputError, match=says) as error:
        load_recipe(str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("factors: {t_mas_kg: 1}", "Did you mean 't_mass_kg'"),
        ("factors: {t_mass_kg: 5}", "factors.t_mass_kg: 5.* is not a number from 0.1 to 2.0"),
        ("factors: {t_mass_kg: {uniform: [0.5, 9]}}", "9.* is not a number from"),
        ("factors: {t_mass_kg: {uniform: [2.0, 0.5]}}", "the low end comes first"),
        ("factors: {t_mass_kg: {uniform: [1]}}", "factors.t_mass_kg"),
        ("factors: {t_mass_kg: {choice: []}}", "factors.t_mass_kg"),
        ("factors: {t_mass_kg: {}}", "give one of uniform, choice and follows"),
        ("factors: {t_mass_kg: .nan}", "is not a number"),
        ("factors: {t_color: reddish}", "is no colour"),
        ("factors: {t_color: {uniform: [0, 1]}}", "a colour has no range"),
        ("splits: {x: {t_mass: 1}}", r"splits.x: no factor of push_t is called 't_mass'"),
    ],
)
def test_a_scenario_that_breaks_a_rule_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"format: 1\nenvironment: push_t\n{text}\n")
    with pytest.raises(InvalidInputError, match=says):
        catalogue.environment("push_t")(scenario=str(path), account=None)


def test_options_are_checked_like_the_file() -> None:
    with pytest.raises(InvalidInputError, match="episodes must be at least 1, not 0"):
        changed(recipe(), episodes=0)
    with pytest.raises(UnknownNameError, match="Did you mean 'push_t_demo'"):
        load_recipe("push_t_dmo")
