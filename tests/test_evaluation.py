"""A model is evaluated on runs that it has not seen: worse ones score worse, and bytes repeat."""

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import squares
import torch
from PIL import Image, ImageSequence
from running import python

from sandbox.errors import FormatError, InvalidInputError, LockedError, SimulationError
from sandbox.evaluation import Evaluation, evaluate
from sandbox.evaluation.held_out import opened
from sandbox.evaluation.imagining import COPY, MODEL, REAL, RIDGE, SHUFFLED, VELOCITY, ZEROS
from sandbox.evaluation.page import FRAME_MS, page
from sandbox.evaluation.windows import drawn
from sandbox.ledger.locks import writing
from sandbox.models import Checkpoint
from sandbox.pages import GAP

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
HORIZONS = (1, 2, 4)
NAMES = ("context", "train", "reading", "windows", "horizons", "surprises", "branches")


@pytest.fixture(scope="module")
def squared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of squares, not to be changed."""
    return squares.run(tmp_path_factory.mktemp("squares") / "run", episodes=16)


def evaluated(run: Path, folder: Path, out: Path | None = None, **options: Any) -> Evaluation:
    given = {"horizons": HORIZONS, "windows": 24, "reading": 0}
    for name in [name for name in NAMES if name in options]:
        given[name] = options.pop(name)
    model = squares.checkpoint(folder / "m.safetensors", **options)
    return evaluate(model, run, out, trust_code=True, **given)


@pytest.fixture(scope="module")
def known(squared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[float, Evaluation]:
    """Evaluations of models by their noise."""
    folder = tmp_path_factory.mktemp("known")
    return {noise: evaluated(squared, folder, noise=noise) for noise in (0.0, 0.02, 0.3)}


@pytest.mark.parametrize("measure", ["psnr", "ssim", "psnr_moving", "ssim_moving", "iou"])
def test_pictures_of_a_worse_model_score_worse(
    known: dict[float, Evaluation], measure: str
) -> None:
    good, fair, bad = (np.array(one.pictures[measure][MODEL]) for one in known.values())
    copied = np.array(known[0.0].pictures[measure][COPY])
    assert (good > fair).all()
    assert (fair > bad).all()
    assert (good > copied).all()


def test_numbers_of_a_worse_model_score_worse(known: dict[float, Evaluation]) -> None:
    good, fair, bad = (np.array(one.numbers["state"][MODEL]) for one in known.values())
    assert (good < fair).all()
    assert (fair < bad).all()
    curves = known[0.0].numbers["state"]
    assert {*curves} >= {MODEL, SHUFFLED, ZEROS, COPY, VELOCITY, RIDGE}
    assert (np.array(curves[COPY]) > np.array(curves[RIDGE])).all()
    skills = [one.heads["state"]["skill_moved"][MODEL] for one in known.values()]
    assert skills[0] == [1.0] * 3
    assert (np.array(skills[1]) > np.array(skills[2])).all()


def test_rewards_and_ends_of_a_worse_model_score_worse(known: dict[float, Evaluation]) -> None:
    rewards = [one.reward for one in known.values()]
    errors = [np.array(one["rmse"]) for one in rewards if one is not None]
    assert (errors[0] < errors[1]).all()
    assert (errors[1] < errors[2]).all()
    areas = [[end["auc"] for end in one.terminated or ()] for one in known.values()]
    assert areas[0] == [1.0] * 3
    assert (np.array(areas[0]) > np.array(areas[2])).any()
    assert min(end["ends"] for end in known[0.0].terminated or ()) >= 6


def test_a_model_that_uses_its_actions_is_better_than_with_those_of_other_windows(
    known: dict[float, Evaluation], squared: Path, tmp_path: Path
) -> None:
    gain = next(g for g in known[0.0].gains if (g["over"], g["measure"]) == (SHUFFLED, "psnr"))
    assert all(one["low"] > 0 for one in gain["pooled"])
    deaf = evaluated(squared, tmp_path, ignores=True)
    assert deaf.pictures["psnr"][SHUFFLED] == deaf.pictures["psnr"][MODEL]
    assert deaf.numbers["state"][MODEL] == deaf.numbers["state"][COPY]
    assert "Not better on moving pixels than with its actions shuffled" in deaf.verdict()
    assert "Better at horizons 1, 2, 4 on moving pixels than copying" in known[0.0].verdict()


def test_the_same_evaluation_gives_the_same_bytes(
    squared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"noise": 0.1, "reading": 20}
    first = evaluated(squared, tmp_path, tmp_path / "a", **given)
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    evaluated(squared, tmp_path, tmp_path / "b", **given)
    assert torch.get_num_threads() == threads
    again = (
        f"from sandbox.evaluation import evaluate; evaluate({str(tmp_path / 'm.safetensors')!r}, "
        f"{str(squared)!r}, {str(tmp_path / 'c')!r}, horizons=(1, 2, 4), windows=24, reading=20, "
        "trust_code=True)"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    done = python("-c", again, hash_seed="7")
    assert done.returncode == 0, done.stderr
    for name in ("evaluation.json", "page.html"):
        assert len({(tmp_path / one / name).read_bytes() for one in "abc"}) == 1
    raw = (tmp_path / "a" / "evaluation.json").read_bytes()
    assert raw == first.encode()
    assert (
        json.loads(raw)["checkpoint"]["digest"]
        == Checkpoint.read(tmp_path / "m.safetensors").digest
    )
    evaluated(squared, tmp_path, tmp_path / "a", **given)  # It may be replaced.


def test_poses_are_read_in_pictures(squared: Path, tmp_path: Path) -> None:
    found = evaluated(squared, tmp_path, reading=350, windows=60).poses
    assert found is not None
    assert [one["name"] for one in found["elements"]] == ["x", "y"]
    assert found["skill_moved"][MODEL] == pytest.approx(found["skill_moved"][REAL], abs=1e-3)
    assert min(found["skill_moved"][MODEL][1:]) > 0
    assert found["fitted_on"] == "the other half of the evaluated episodes"
    worse = evaluated(squared, tmp_path, reading=350, windows=60, noise=0.5).poses
    assert worse is not None
    assert (np.array(worse["skill"][MODEL]) < np.array(found["skill"][MODEL])).all()


def test_a_run_that_the_model_was_trained_on_is_refused(squared: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is what the model was trained on"):
        evaluated(squared, tmp_path, trained_on=squared)
    more = squares.run(tmp_path / "more", episodes=17)  # The same run, one episode longer.
    with pytest.raises(InvalidInputError, match="is of run aaaaaaaa"):
        evaluated(more, tmp_path, trained_on=squared)
    branches = squares.branched(tmp_path / "branches", ["noop"])
    with pytest.raises(InvalidInputError, match="has branches of run yyyyyyyy"):
        evaluated(branches, tmp_path, trained_on=squares.run(tmp_path / "past", "y"))
    with pytest.raises(InvalidInputError, match="is not apart from"):
        evaluated(more, tmp_path, trained_on=squared, train=squared)
    other = squares.run(tmp_path / "other", "b")
    with pytest.raises(InvalidInputError, match="is not what the model was trained on"):
        evaluated(squared, tmp_path, trained_on=other, train=more)


def test_what_is_fitted_is_fitted_on_the_training_data_if_that_is_given(
    squared: Path, tmp_path: Path
) -> None:
    other = squares.run(tmp_path / "other", "b")
    found = evaluated(squared, tmp_path, trained_on=other, train=other)
    assert any("fitted on the training data" in note for note in found.notes)
    assert not any("not compared" in note for note in found.notes)
    picked = opened(
        squared,
        Checkpoint.read(squares.checkpoint(tmp_path / "m2.safetensors", held_out=squared)),
        None,
    )
    assert "picked the model's weights" in picked.notes[0]


def test_what_does_not_fit_is_refused_in_a_sentence(squared: Path, tmp_path: Path) -> None:
    small = squares.run(tmp_path / "small", "c", rows=4)
    for wrong, said, options in (
        (squared, "horizons", {"horizons": (0, 1)}),
        (squared, "horizons", {"horizons": ()}),
        (squared, "reading", {"reading": -1}),
        (small, "fits fewer than half of its 6 episodes", {"horizons": (8,)}),
        (squared, "pixels that is not finite 2 rows ahead", {"breaks": 2}),
        (squared, "windows", {"windows": 0}),
    ):
        kind = SimulationError if "breaks" in options else InvalidInputError
        with pytest.raises(kind, match=said):
            evaluated(wrong, tmp_path, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    (tmp_path / "no.safetensors").write_bytes(b"no")
    with pytest.raises(FormatError, match="no checkpoint"):
        evaluate(tmp_path / "no.safetensors", squared)


def test_a_run_of_another_shape_is_refused(tmp_path: Path, twelve_ramps: Path) -> None:
    model = squares.checkpoint(tmp_path / "m.safetensors")
    with pytest.raises(InvalidInputError, match="the model"):
        evaluate(model, twelve_ramps)


def test_a_folder_with_other_files_is_left_alone(squared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="holds other files"):
        evaluated(squared, tmp_path, out)
    (out / "evaluation.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="is another file"):
        evaluated(squared, tmp_path, out)
    assert (out / "evaluation.json").read_text() == "{}"


def test_a_folder_that_another_process_evaluates_into_is_refused(
    squared: Path, tmp_path: Path
) -> None:
    with writing(tmp_path / "out"), pytest.raises(LockedError, match="another process writes it"):
        evaluated(squared, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    evaluated(squared, tmp_path, tmp_path / "out")
    assert [one.name for one in tmp_path.glob(".*.lock")] == []


def test_horizons_that_fit_few_episodes_are_left_out(squared: Path, tmp_path: Path) -> None:
    found = evaluated(squared, tmp_path, horizons=(64, 2, 2, 1))
    assert found.horizons == [1, 2]
    assert found.windows["rows"] == 5


def test_a_context_may_be_shorter_or_longer_than_what_the_model_encodes(
    squared: Path, tmp_path: Path
) -> None:
    one, five = (evaluated(squared, tmp_path, context=rows) for rows in (1, 5))
    assert VELOCITY not in one.pictures["psnr"]
    assert VELOCITY not in one.numbers["state"]
    assert (one.windows["rows"], five.windows["rows"]) == (5, 9)
    assert one.numbers["state"][MODEL] == five.numbers["state"][MODEL] == [0.0] * 3


def test_a_model_of_numbers_alone_has_no_pictures(squared: Path, tmp_path: Path) -> None:
    found = evaluated(squared, tmp_path, tmp_path / "out", gives=["state"])
    assert (found.pictures, found.poses, found.reward, found.terminated) == ({}, None, None, None)
    assert "of state than copying" in found.verdict()
    page = (tmp_path / "out" / "page.html").read_text()
    assert "<img" not in page
    assert "nRMSE of state" in page


def test_a_picture_model_without_numbers_has_pictures_alone(squared: Path, tmp_path: Path) -> None:
    found = evaluated(squared, tmp_path, gives=["pixels"])
    assert (found.numbers, found.heads) == ({}, {})
    assert found.rows()[1][0] == "PSNR [dB], model"


def test_one_episode_is_enough_for_curves(tmp_path: Path) -> None:
    alone = squares.run(tmp_path / "alone", "d", episodes=1)
    found = evaluated(alone, tmp_path, reading=5)
    assert found.poses is None
    assert RIDGE not in found.numbers["state"]
    assert all(one is None for gain in found.gains for one in gain["pooled"])


def test_groups_are_splits_policies_and_factors(known: dict[float, Evaluation]) -> None:
    rows = known[0.02].groups["rows"]
    named = {(row["by"], row["name"]): row for row in rows}
    assert {by for by, _ in named} == {"all", "policy", "t_mass_kg", "t_color"}
    assert ("policy", "right") in named
    assert ("t_color", "#ff0000") in named
    assert sum(row["by"] == "t_mass_kg" for row in rows) == 3  # Terciles.
    for by in ("policy", "t_mass_kg", "t_color"):
        assert sum(row["windows"] for row in rows if row["by"] == by) == 24
    assert all(row["nrmse state model"] < row["nrmse state copy-last"] for row in rows)


def test_windows_are_spread_over_episodes_and_inside_them(squared: Path) -> None:
    from sandbox.dataset.dataset import Dataset

    data = Dataset(squared)
    found = drawn(data, 6, 20, seed=3)
    counts = np.bincount(found.episode, minlength=16)
    assert (len(found), counts.min(), counts.max()) == (20, 1, 2)
    assert (found.row >= 0).all()
    assert (found.row + 6 <= data.lengths[found.episode]).all()
    assert len({*zip(found.episode.tolist(), found.row.tolist(), strict=True)}) == 20
    others = found.others()
    assert others is not None
    assert sorted(others.tolist()) == [*range(20)]
    assert (found.episode[others] != found.episode).all()
    every = drawn(data, 6, 10_000, seed=3)
    assert len(every) == int((data.lengths - 5).sum())
    with pytest.raises(InvalidInputError, match="no episode has the 99 rows"):
        drawn(data, 99, 1, seed=0)


def test_what_is_impossible_surprises_a_model_that_knows_what_is_possible(
    squared: Path, tmp_path: Path
) -> None:
    pairs = squares.branched(tmp_path / "pairs", ["same", "teleport", "same", "recolor"])
    good, bad = (
        evaluated(squared, tmp_path, surprises=pairs, noise=noise).surprises for noise in (0.0, 3.0)
    )
    assert good is not None
    assert [(one["kind"], one["pairs"], one["unseen"]) for one in good] == [
        ("teleport", 3, 0),
        ("recolor", 3, 0),
    ]
    assert all(
        scores[MODEL] == {"accuracy": 1.0, "auc": 1.0}
        for one in good
        for scores in one["rows"].values()
    )
    assert bad is not None
    assert min(one["rows"]["1"][MODEL]["auc"] for one in bad) < 1.0
    blind = evaluated(squared, tmp_path, surprises=pairs, gives=["state"]).surprises
    assert blind is not None  # A state has no colour.
    assert [one["rows"]["1"][MODEL]["accuracy"] for one in blind] == [1.0, 0.5]
    with pytest.raises(InvalidInputError, match="is no branch"):
        evaluated(squared, tmp_path, surprises=squared)
    with pytest.raises(FormatError, match="no pair"):
        evaluated(squared, tmp_path, surprises=squares.branched(tmp_path / "no", ["noop", "same"]))


def test_differences_of_futures_are_those_of_a_model_that_uses_its_actions(
    squared: Path, tmp_path: Path
) -> None:
    kinds = ["same", "noop", "random", "factor"]
    runs = [squares.branched(tmp_path / name, kinds, name=name) for name in "bc"]
    good, noisy, deaf = (
        evaluated(squared, tmp_path, tmp_path / "out", branches=runs, **given).branches
        for given in ({}, {"noise": 0.2}, {"ignores": True})
    )
    assert good is not None
    assert noisy is not None
    assert deaf is not None
    assert good["pairs"] == [18, 18, 18]  # Of each group, three pairs.
    assert good["skill"] == good["correlation"] == pytest.approx([1.0] * 3)
    assert deaf["skill"] == [0.0] * 3
    assert (np.array(noisy["skill"]) < 1).all()
    assert good["hidden factors"]["pairs"] == [6, 6, 6]
    assert max(good["hidden factors"]["psnr"]) < 40
    assert "<h2>Branches</h2>" in (tmp_path / "out" / "page.html").read_text()
    trained = squares.branched(tmp_path / "d", kinds, name="z")  # A Mover's training run.
    with pytest.raises(InvalidInputError, match="that the model was trained on"):
        evaluated(squared, tmp_path, branches=trained)


def test_the_film_of_a_page_has_a_picture_for_each_row(squared: Path, tmp_path: Path) -> None:
    evaluated(squared, tmp_path, tmp_path / "out")
    page = (tmp_path / "out" / "page.html").read_text()
    strips, films = (
        re.findall(rf'src="data:image/{kind};base64,([^"]+)"', page) for kind in ("png", "webp")
    )
    for film in films:
        with Image.open(io.BytesIO(base64.b64decode(film))) as shown:
            lasts = 0  # A picture like the one before is not stored, but lasts longer.
            for frame in ImageSequence.Iterator(shown):
                frame.load()
                lasts += frame.info["duration"]
            assert lasts == FRAME_MS * (HORIZONS[-1] + 1)
            assert shown.size == (3 * squares.SIDE + 2 * GAP, squares.SIDE)
    sizes = {Image.open(io.BytesIO(base64.b64decode(one))).size for one in strips}
    assert len(strips) == len(films) == 9
    assert len(sizes) == 1


def test_a_page_shows_names_that_a_stranger_chose_as_text(known: dict[float, Evaluation]) -> None:
    row = {**known[0.0].groups["rows"][0], "by": "policy", "name": "<script>alert(1)</script>"}
    data = {**known[0.0].data, "environments": ["<img src=x>"]}
    hostile = replace(known[0.0], groups={"horizon": 4, "rows": [row]}, data=data)
    text = page(hostile, [])
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed here")
def test_the_page_of_an_evaluation_opens_in_a_browser(squared: Path, tmp_path: Path) -> None:
    assert BROWSER is not None
    evaluated(squared, tmp_path, tmp_path / "out", noise=0.05, reading=50)
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1000,1600"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'page.png'}"),
            *("--dump-dom", f"file://{tmp_path / 'out' / 'page.html'}"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "squares:Mover on push_t: 24 windows" in done.stdout
    assert done.stdout.count("<img ") == 18  # Nine windows, each with a film.
    assert done.stdout.count("<svg ") == 6
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert (tmp_path / "page.png").stat().st_size > 10_000
