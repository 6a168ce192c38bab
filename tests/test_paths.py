"""A path means what it meant when it was given, as text or as a Path, whatever becomes current."""

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import SHORT, cli, python, recipe

import sandbox
from sandbox.catalogue import environment
from sandbox.errors import InvalidInputError
from sandbox.evidence import keys
from sandbox.evidence.note import SigningKey
from sandbox.goals import calls
from sandbox.ledger import Ledger
from sandbox.run.settle import recover

RECIPE = (
    f"format: 1\nenvironment: billiards\nscenario: {SHORT}\n"
    "policies: {random: 1}\nepisodes: 2\nseed: 1\n"
)
OLDER = Path(__file__).parent / "older" / "format_1"
Calls = dict[str, Callable[[Callable[[str], Any]], Any]]
CALLS: Calls = {  # Every public function, in an order in which each finds what it needs.
    "estimate": lambda at: sandbox.estimate(at("r.yaml")).episodes,
    "quote": lambda at: sandbox.quote(at("r.yaml")).amount,
    "generate": lambda at: sandbox.generate(at("r.yaml"), at("run")).amount,
    "open_run": lambda at: sandbox.open_run(at("run")).count(),
    "verify": lambda at: sandbox.verify(at("run"), sample=1).faults,
    "refund": lambda at: refused(lambda: sandbox.refund(at("run"))),
    "audit": lambda at: sandbox.audit(at("run"), fraction=0.9, nonce="n").report.faults,
    "render": lambda at: sandbox.render(at("run"), at("drawn"), image_size=32).episodes,
    "branch": lambda at: (
        sandbox.branch(at("run"), at("b"), episode=0, step=2, kinds=["noop"]).episodes
    ),
    "surprises": lambda at: (
        sandbox.surprises(at("run"), at("s"), kinds=["recolor"], pairs=1).episodes
    ),
    "extend": lambda at: sandbox.extend(at("run"), 3).episodes,
    "subset": lambda at: sandbox.subset(at("run"), at("few"), policy="random").episodes,
    "merge": lambda at: sandbox.merge([at("run")], at("all")).episodes,
    "split": lambda at: (
        sandbox.split(at("run"), at("two"), fraction=0.5, twins="skip").train.episodes
    ),
    "recompress": lambda at: sandbox.recompress(at("run"), at("raw"), "none").run,
    "card": lambda at: sandbox.card(at("run"), license="mit", pictures=False).not_drawn,
    "publish": lambda at: sandbox.publish(at("run"), at("p"), pictures=False, keep_paths=True).told,
    "settle": lambda at: sandbox.settle(at("run")).episodes,
    "repair": lambda at: sandbox.repair(at("few"), origins=at("run")).shards,
    "migrate": lambda at: sandbox.migrate(str(OLDER), at("m")).run,
    "doctor": lambda at: sandbox.doctor([at("run"), at("raw")]).episodes,
    "diff": lambda at: sandbox.diff(at("run"), at("raw")).same,
    "sweep": lambda at: len(sandbox.sweep(at("r.yaml"), at("g"), {"seed": [1]}).cells),
    "overlap": lambda at: sandbox.overlap(at("run"), at("b")).warnings(),
    "Trust": lambda at: sandbox.Trust.here(key=at("lab.pub")).keys[0].name,
    "Dataset": lambda at: len(sandbox.Dataset([at("run"), at("b")], columns="common")),
    "Batches": lambda at: len(sandbox.Batches(at("run"), 4, 4, ("reward",), cache="ram")),
    "Windows": lambda at: len(sandbox.Windows(at("run"), 4, ("reward",))),
    "export": lambda at: sandbox.export([at("run")], "swm", at("e.h5")).episodes,
    "view": lambda at: sandbox.view(at("run"), "swm", at("v.h5")).episodes,
    "keep_tries": lambda at: tried(at).episodes,
    "train": lambda at: learned(at).digest,
    "evaluate": lambda at: judged(at).windows["count"],
    "experiment": lambda at: experimented(at).cells[0].values,
    "dream": lambda at: (
        sandbox.dream(
            at("m.safetensors"), at("drawn"), at("dreams"), episodes=1, steps=2, prices="3"
        ).episodes
    ),
    "learn": lambda at: acting(at).policy,
    "worth": lambda at: compared(at).amount,
    "import_run": lambda at: sandbox.import_run(at("e.h5"), "swm", at("back")).episodes,
}


def refused(call: Callable[[], Any]) -> str:
    """What refuses a call, without the path that it names."""
    with pytest.raises(InvalidInputError) as error:
        call()
    return str(error.value).partition(": ")[2]


def tried(at: Any) -> Any:
    """Keep the tries of an agent on a goal set of its own."""
    world = recipe("two_room", policies={"play": 1.0}, seed=900, episodes=50)
    calls.make(world, at("goals.json"), pairs=1, offset=10, account=None)
    calls.run(at("goals.json"), at("tries.json"), "noop", account=None)
    return sandbox.keep_tries(at("tries.json"), at("goals.json"), at("kept"))


def learned(at: Any) -> Any:
    """Train a model for an update."""
    few = {"batch": 1, "horizon": 2, "windows": 1, "checks": 1}
    given: dict[str, Any] = {"size": "nano", "updates": 1, "settings": few, "track": ["csv"]}
    return sandbox.train(at("drawn"), at("m.safetensors"), prices="3", **given)


def acting(at: Any) -> Any:
    """Learn to act for a step."""
    given: dict[str, Any] = {"settings": {"n_steps": 2, "batch_size": 2}, "film": False}
    given |= {"scenario": SHORT, "steps": 2, "evaluations": 1, "episodes": 1}
    return sandbox.learn("billiards", at("actor"), **given)


def experimented(at: Any) -> Any:
    """Carry out an experiment of an update."""
    few = {"batch": 1, "horizon": 2, "windows": 1, "checks": 1}
    model = {"name": "mlp", "size": "nano", "updates": 1, "settings": few}
    given = {"format": 1, "name": "it", "train": str(at("r.yaml")), "model": model}
    Path(at("e.yaml")).expanduser().write_text(json.dumps(given))
    return sandbox.experiment(at("e.yaml"), at("x"), prices="3")


def judged(at: Any) -> Any:
    """Evaluate the model on episodes of another seed."""
    Path(at("seen.yaml")).expanduser().write_text(
        RECIPE.replace("seed: 1", "seed: 2\nobservation: [pixels]\nimage_size: 32")
    )
    sandbox.generate(at("seen.yaml"), at("seen"))
    return sandbox.evaluate(at("m.safetensors"), at("seen"), horizons=[1], windows=2, reading=0)


def compared(at: Any) -> Any:
    """Train and evaluate a model on what credits pay of a recipe."""
    few = {"batch": 1, "horizon": 2, "windows": 1, "checks": 1}
    asked: dict[str, Any] = {"updates": 1, "settings": few, "tests": [at("seen.yaml")], "seeds": 1}
    asked |= {"horizons": [1], "windows": 2, "prices": "3"}
    return sandbox.worth([at("r.yaml")], at("w"), [150], "mlp", "nano", **asked)


def test_public_functions_take_text_paths_and_a_tilde_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {*CALLS} == {*sandbox.__all__}
    found: list[list[Any]] = []
    for number, kind in enumerate((str, Path, lambda p: str(Path("~") / p.name))):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / f"home-{number}"))  # One run, extended.
        (folder / "r.yaml").write_text(RECIPE)
        (folder / "lab.pub").write_text(SigningKey.new("lab").verifier.text)
        monkeypatch.setenv("HOME", str(folder))

        def at(name: str, of: Any = kind, under: Path = folder) -> Any:
            return of(under / name)

        found.append([call(at) for call in CALLS.values()])
        made = "actor all b back drawn dreams e.h5 e.yaml few g goals.json kept lab.pub m m.csv "
        made += "m.safetensors p r.yaml raw run s seen seen.yaml tries.json two v.h5 w x"
        shown = [name for name in os.listdir(folder) if name[0] != "."]  # Matplotlib has a cache.
        assert sorted(shown) == made.split()
    assert found[0] == found[1] == found[2]


def test_whatever_takes_a_path_takes_text_too() -> None:
    """By their annotations: what is offered to others never wants a Path alone."""
    from sandbox import document, files, jsonfile
    from sandbox.report import coverage_picture, gallery, preview, reference
    from sandbox.run import folder, run
    from sandbox.trajectory import ShardReader, ShardWriter, shards

    offered: list[Any] = [getattr(sandbox, name) for name in sandbox.__all__]
    offered += [Ledger, recover, folder.Folder, run.Run, ShardReader, ShardWriter, shards]
    offered += [document.read, jsonfile.read, jsonfile.write, files.place]
    offered += [coverage_picture.draw, gallery.gallery, preview.preview, reference.write]
    for one in offered:
        for name, parameter in inspect.signature(one).parameters.items():
            said = str(parameter.annotation)
            assert "Path" not in said or "str" in said, f"{one.__name__}({name}: {said})"


def test_another_current_folder_changes_no_path_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "s.yaml").write_text("format: 1\nenvironment: billiards\nlimit_s: 1.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SANDBOX_HOME", "here")
    made = keys.new()
    sandbox.generate(recipe(episodes=2), "run")
    folder, ledger = sandbox.open_run("run"), Ledger("here/ledger.db")
    env = environment("billiards")(scenario="s.yaml")
    env.reset(seed=1)
    monkeypatch.chdir(tmp_path / "elsewhere")
    env.step(env.action_space.sample())
    twin = env.branch()
    assert (twin.row, twin.max_steps) == (env.row, env.max_steps)
    twin.close()
    env.close()
    assert folder.count() == 2
    assert ledger.balance("local") == Ledger().balance("local")
    assert ledger.balance("local").posted_micro < 0
    assert keys.load().text == made.text
    assert sandbox.verify(tmp_path / "run").faults == []
    assert os.listdir() == []


def test_workers_find_the_scenario_of_a_relative_path(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("format: 1\nenvironment: billiards\nlimit_s: 1.0\n")
    (tmp_path / "r.yaml").write_text(f"{RECIPE.replace(SHORT, 's.yaml')}shard_episodes: 1\n")
    code = (
        "import os, sandbox\n"
        "if __name__ == '__main__':\n"
        f"    os.chdir({str(tmp_path)!r})\n"
        "    print(sandbox.generate('r.yaml', 'run', workers=2).episodes)\n"
    )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "it.py").write_text(code)
    done = python("it.py", cwd=tmp_path / "elsewhere")
    assert done.stdout == "2\n", done.stderr


def test_commands_take_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE)
    done = cli("generate", "~/r.yaml", "--out", "~/run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 2
    for command in (
        ("inspect", "~/run"),
        ("verify", "~/run"),
        ("coverage", "~/run", "--out", "~/c.png"),
        ("preview", "~/run", "--out", "~/preview", "--image-size", "16", "--episodes", "1"),
        ("prove", "~/run", "--episode", "0", "--out", "~/proof.json"),
        ("verify", "~/proof.json"),
        ("verify", "~/run", "--checkpoint", "~/run/checkpoint"),
        ("prove", "~/run", "--since", "~/run/checkpoint", "--out", "~/grown.json"),
        ("settle", "~/run"),
    ):
        done = cli(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    assert sorted(name for name in os.listdir() if name[0] != ".") == [
        *("c.png", "grown.json", "home", "preview", "proof.json", "r.yaml", "run")
    ]


def test_a_relative_home_means_the_same_in_processes_that_are_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SANDBOX_HOME", "here")
    assert Ledger().balance("local").posted_micro == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    where = "from sandbox import content; print(content.home(), content.cache())"
    done = python("-c", where, cwd=tmp_path / "elsewhere")
    assert done.stdout.split() == [str(tmp_path / "here"), str(tmp_path / "here" / "cache")]
