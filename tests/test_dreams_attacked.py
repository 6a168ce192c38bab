"""Dreams that somebody forged, damaged or swapped are found or refused, in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import sandbox
from sandbox import jsonfile
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.imagination.dreamer import Dreamer
from sandbox.imagination.source import Dreams
from sandbox.models import Checkpoint
from sandbox.trajectory import shards
from sandbox.verification.report import Report
from tests.running import cli, content, recipe

FEW = {"batch": 2, "horizon": 3, "windows": 4, "checks": 1, "warm_up": 2}
ASKED: dict[str, Any] = {"episodes": 2, "steps": 4, "seed": 4}


@pytest.fixture(scope="module", autouse=True)
def _prices_of_attacked() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_PRICES", "3")
        yield


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, an exact model of it, and dreams of both; not to be changed."""
    path = tmp_path_factory.mktemp("honest")
    wanted = recipe("cartpole_swingup", episodes=6, observation=["pixels", "proprio"])
    sandbox.generate(wanted.model_copy(update={"image_size": 32}), path / "run")
    given: dict[str, Any] = {"size": "nano", "updates": 3, "settings": FEW, "track": ["csv"]}
    exact = {"exact": True, "width": 16}
    sandbox.train(path / "run", path / "m.safetensors", options=exact, **given)
    sandbox.dream(path / "m.safetensors", path / "run", path / "dreams", **ASKED)
    return path


@pytest.fixture
def forged(honest: Path, tmp_path: Path) -> Path:
    """A copy of the dreams to be changed."""
    return Path(shutil.copytree(honest / "dreams", tmp_path / "forged"))


def verified(dreams: Path, **trust: Any) -> Report:
    return sandbox.verify(dreams, trust=sandbox.Trust(None, **trust))


def test_dreams_begin_with_rows_of_the_run_that_they_name(honest: Path, forged: Path) -> None:
    report = verified(honest / "dreams", source=honest / "run")
    assert report.faults == []
    assert any("2 episodes begin with rows of" in one for one in report.checked)
    without = cli("verify", honest / "dreams")
    assert without.returncode == 0, without.stdout
    assert "were not compared with the run that they are of" in without.stdout
    done = cli("verify", honest / "dreams", "--source", honest / "run")
    assert (done.returncode, "byte for byte" in done.stdout) == (0, True)
    with pytest.raises(InvalidInputError, match="leave --source out"):
        verified(honest / "run", source=honest / "run")
    wrong = verified(forged, source=forged)
    assert "holds other episodes than those with which" in wrong.faults[0]


def test_a_source_that_was_edited_is_found(honest: Path, forged: Path) -> None:
    run = shutil.copytree(honest / "run", forged.parent / "run")
    with h5py.File(shards(Path(run))[0], "r+") as file:
        file["pixels"][:] = 255 - file["pixels"][:]
    report = verified(forged, source=run)
    assert [*report.failed] == [0, 1]
    assert "the run that it begins with is damaged" in report.failed[0]


def lied(honest: Path, out: Path, patch: pytest.MonkeyPatch, name: str, lie: Any) -> Path:
    """Dreams of whoever has the key and the ledger, so that all but the work agrees."""
    owner = Dreams if name == "_record" else Dreamer
    with patch.context() as patched:
        patched.setattr(owner, name, lie(getattr(owner, name)))
        sandbox.dream(honest / "m.safetensors", honest / "run", out, **ASKED)
    return out


def _other_start(begin: Any) -> Any:
    """Begin with rows that nobody recorded."""

    def lie(self: Dreamer, seen: Any, actions: Any) -> None:
        seen["pixels"][:] = np.uint8(9)
        begin(self, seen, actions)

    return lie


def _other_row(record: Any) -> Any:
    """Say that it begins elsewhere."""

    def lie(self: Any, run: str, index: int, begin: Any, *others: Any) -> Any:
        made = record(self, run, index, begin, *others)
        facts = json.loads(json.dumps(dict(made.plain)))
        facts["imagined"]["row"] += 1
        return type(made).parse(facts)

    return lie


def _other_latent(step: Any) -> Any:
    """Push the model's state, of which a picture may show nothing."""

    def lie(self: Any, *told: Any) -> Any:
        rows = step(self, *told)
        self._state["latent"] = self._state["latent"] + 2.0**-4
        return rows

    return lie


def _other_pixels(step: Any) -> Any:
    """Draw over the last row."""

    def lie(self: Any, *told: Any) -> Any:
        rows = step(self, *told)
        rows["pixels"][0, 2, 3, 1] ^= 1
        return rows

    return lie


@pytest.mark.parametrize(
    ("name", "lie", "said", "needs_source"),
    [
        ("_record", _other_row, "its record says that it begins at row", True),
        ("step", _other_latent, "its latent 'latent' at step 3 is not", False),
        ("step", _other_pixels, "its pixels at step 3 is not what the model imagines: 1 of", False),
        ("step", _other_pixels, "differ, the first at [2, 3, 1]: recorded", False),
    ],
)
def test_what_was_not_imagined_so_is_named_by_step_and_tensor(
    honest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    lie: Any,
    said: str,
    needs_source: bool,
) -> None:
    dreams = lied(honest, tmp_path / "dreams", monkeypatch, name, lie)
    assert bool(verified(dreams).faults) != needs_source
    report = verified(dreams, source=honest / "run")
    assert [*report.failed] == [0, 1]
    assert said in report.failed[0]


def test_recorded_rows_that_nobody_recorded_are_found(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imagining them again shows nothing: only their source does."""
    known = sandbox.Dataset.rows

    def lie(self: Any, number: int, columns: Any = None) -> Any:
        rows = dict(known(self, number, columns))
        return {n: np.full_like(one, 9) if n == "pixels" else one for n, one in rows.items()}

    with monkeypatch.context() as patch:
        patch.setattr("sandbox.dataset.dataset.Dataset.rows", lie)
        sandbox.dream(honest / "m.safetensors", honest / "run", tmp_path / "d", **ASKED)
    assert verified(tmp_path / "d").faults == []
    report = verified(tmp_path / "d", source=honest / "run")
    assert [*report.failed] == [0, 1]
    assert "its pixels at step 0 is not that of the run that it begins with" in report.failed[0]


def _edit(dreams: Path, column: str, row: int) -> None:
    with h5py.File(shards(dreams)[0], "r+") as file:
        one = file[column][row]
        file[column][row] = one + 1 if file[column].dtype != bool else ~one


@pytest.mark.parametrize("column", ["pixels", "proprio", "latents", "action", "charge"])
def test_an_edited_column_is_found(forged: Path, column: str) -> None:
    _edit(forged, column, 4)
    assert [*verified(forged).failed] == [0]


def _model(change: Callable[[Checkpoint], Any]) -> Callable[[Path], Any]:
    """Change the model of a run of dreams, in place."""

    def changed(dreams: Path) -> None:
        known = Checkpoint.read(dreams / "model.safetensors")
        change(known).write(dreams / "model.safetensors")

    return changed


def _weighed(
    change: Callable[[torch.Tensor], torch.Tensor], name: str = "see.weight"
) -> Callable[[Path], Any]:
    """Change weights of the convolution that sees pictures, or its bias."""

    def changed(known: Checkpoint) -> Checkpoint:
        weights = {**known.weights, name: change(known.weights[name].clone())}
        return Checkpoint(known.facts, weights, {})

    return _model(changed)


def _linked(dreams: Path) -> None:
    """Put a link to another place where the model is."""
    path = dreams / "model.safetensors"
    path.rename(dreams.parent / "elsewhere")
    path.symlink_to(dreams.parent / "elsewhere")


def _planned(**changes: Any) -> Callable[[Path], Any]:
    def changed(dreams: Path) -> None:
        known = jsonfile.read(dreams / "run.json").data
        known["plan"]["imagined"].update(changes)
        jsonfile.write(dreams / "run.json", known)

    return changed


def _no_object(dreams: Path) -> None:
    known = jsonfile.read(dreams / "run.json").data
    jsonfile.write(dreams / "run.json", {**known, "plan": {"imagined": [1]}})


def _sized(known: Checkpoint) -> Checkpoint:
    shapes = {**known.facts.shapes, "pixels": [3, 16, 16]}
    return Checkpoint(known.facts.model_copy(update={"shapes": shapes}), known.weights, {})


@pytest.mark.parametrize(
    "change",
    [
        _weighed(lambda one: one + 2.0**-7),
        _weighed(lambda one: one * float("nan")),
        _weighed(lambda one: one + 2.0**20, "see.bias"),
        _weighed(lambda one: one[:1]),
        _model(_sized),
        _linked,
        _no_object,
        _planned(steps=10**12),
        _planned(steps="4"),
        _planned(steps=True),
        _planned(tier="sure"),
        _planned(tier="audit"),
        _planned(policy="kind"),
        _planned(model=None),
        _planned(model="0" * 64),
        _planned(name=7),
        _planned(source=7),
        _planned(episodes=None),
    ],
    ids=lambda one: getattr(one, "__qualname__", ""),
)
def test_a_swapped_model_or_plan_is_found_in_lines(
    honest: Path, forged: Path, change: Callable[[Path], Any]
) -> None:
    change(forged)
    done = cli("verify", forged, "--no-ledger", "--source", honest / "run")
    assert done.returncode in (1, 2), done.stdout
    assert "VERIFIED" not in done.stdout
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_weighed(lambda one: one * float("nan")), "weights that are not finite"),
        (_weighed(lambda one: one + 2.0**30, "see.bias"), "is not exact: sums of its layer"),
        (_weighed(lambda one: one[:1]), "weights are of another model"),
        (_model(_sized), "weights are of another model"),
    ],
)
def test_nobody_dreams_with_a_model_that_cannot(
    honest: Path, tmp_path: Path, change: Callable[[Path], Any], said: str
) -> None:
    shutil.copy(honest / "m.safetensors", tmp_path / "model.safetensors")
    change(tmp_path)
    before = content(honest / "run")
    with pytest.raises(SandboxError, match=said):
        sandbox.dream(tmp_path / "model.safetensors", honest / "run", tmp_path / "d", **ASKED)
    assert not (tmp_path / "d" / "run.json").exists()
    assert content(honest / "run") == before


def test_nobody_dreams_of_pictures_of_another_size(honest: Path, tmp_path: Path) -> None:
    sandbox.render(honest / "run", tmp_path / "small", image_size=16)
    with pytest.raises(InvalidInputError, match=r"has pixels of shape \(32, 32, 3\), and the run"):
        sandbox.dream(honest / "m.safetensors", tmp_path / "small", tmp_path / "d", **ASKED)
    assert not (tmp_path / "d" / "run.json").exists()


def test_dreams_are_no_beginning_of_dreams_and_judge_no_model(honest: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="imported or imagined"):
        sandbox.dream(honest / "m.safetensors", honest / "dreams", tmp_path / "d", **ASKED)
    with pytest.raises(InvalidInputError, match="has episodes that a model imagined"):
        sandbox.evaluate(honest / "m.safetensors", honest / "dreams", tmp_path / "e")
    assert not [one for one in tmp_path.iterdir() if one.name != "home"]


def test_a_column_that_is_not_there_is_one_line(honest: Path, tmp_path: Path) -> None:
    """A run that was made without the digests of the state, and otherwise like these dreams."""
    from sandbox.imagination.imaginer import Imaginer

    with pytest.MonkeyPatch.context() as patch:
        made = Imaginer.__init__

        def without(self: Any, *given: Any, **more: Any) -> None:
            made(self, *given, **more)
            self.tensors = ()
            names = [one for one in self.schema.columns if one.name != "latents"]
            self.schema = type(self.schema)(tuple(names))

        patch.setattr(Imaginer, "__init__", without)
        sandbox.dream(honest / "m.safetensors", honest / "run", tmp_path / "d", **ASKED)
    report = verified(tmp_path / "d")
    assert "it has no column latents" in report.failed[0]


def test_a_run_that_cannot_be_read_is_one_line(honest: Path, forged: Path) -> None:
    with pytest.raises(FormatError):
        verified(honest / "dreams", source=forged.parent / "nothing")
