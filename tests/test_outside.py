"""Worlds of other packages work as ours do, and what is broken in one harms no other."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import clis

from sandbox import catalogue

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "add_a_world.md"
BLOCK = re.compile(r"^```(\w+)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPE = """
format: 1
environment: {environment}
policies: {{scripted: 1}}
episodes: 2
observation: [proprio]
"""
Done = subprocess.CompletedProcess[str]


def page_files() -> dict[str, str]:
    """Return the files that the page writes; a file's blocks follow each other."""
    files: dict[str, str] = {}
    for _, name, text in BLOCK.findall(PAGE.read_text()):
        if name:
            apart = "\n" if text.startswith(" ") else "\n\n"
            files[name] = f"{files[name]}{apart}{text}" if name in files else text
    return files


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(*command: str | Path, cwd: Path, path: Path | None = None, **env: str) -> Done:
    """Run a command with modules on `path` besides those of this Python."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    seen = {} if path is None else {"PYTHONPATH": str(path)}
    return subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**known, **seen, **env},
        check=False,
        timeout=300,
    )


def python(code: str, folder: Path) -> Done:
    return run(sys.executable, "-c", code, cwd=folder, path=folder)


def cli(folder: Path, *commands: str) -> list[Done]:
    """Run commands, each written as in a shell, in one fresh process for all."""
    return clis(*map(shlex.split, commands), cwd=folder, PYTHONPATH=str(folder))


def alone(folder: Path, *arguments: str) -> Done:
    """Run one command in a process of its own, with what is printed before it begins."""
    code = "from sandbox.cli import main; main()"
    return run(sys.executable, "-c", code, *arguments, cwd=folder, path=folder)


def offer(folder: Path, entry_points: str, name: str = "fake", version: str = "1.0") -> None:
    """Make a folder look as if a package were installed there."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    write(folder, {f"{info}/METADATA": metadata, f"{info}/entry_points.txt": entry_points})


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package of the page, as if it were installed."""
    offer(
        write(tmp_path, page_files()),
        "[sandbox.environments]\nbeam_ball = beam_ball.world:BeamBall\n"
        "[sandbox.scenarios]\nbeam_ball = beam_ball.scenarios\n"
        "[sandbox.datasets]\nbeam_ball = beam_ball.datasets\n",
    )
    return tmp_path


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A module that nobody installed, and that leaves a trace when it is imported."""
    trace = f"\nopen({str(tmp_path / 'imported')!r}, 'w').close()\n"
    world = page_files()["beam_ball/world.py"] + trace
    recipe = RECIPE.format(environment="strange:BeamBall")
    return write(tmp_path, {"strange.py": world, "own.yaml": recipe})


def test_the_page_is_a_package_that_installs_generates_and_verifies(tmp_path: Path) -> None:
    files, demo = page_files(), "beam_ball/datasets/beam_ball_demo.yaml"
    tried = files["tests/test_world.py"]
    files["tests/test_world.py"] = f"{tried.rstrip()}\n    seeds = 3\n"  # Not 20, to be quick.
    files[demo] = files[demo].replace("episodes: 4", "episodes: 2")  # The same.
    venv, project = tmp_path / "venv", write(tmp_path / "project", files)
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    site = next(venv.glob("lib/python*/site-packages"))
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(borrowed))  # A .pth there is not read.
    pip = (sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install")
    alone = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    done = run(*pip, *alone, "-e", ROOT, project, cwd=tmp_path)  # Its renderer is compiled already.
    assert done.returncode == 0, done.stderr
    shutil.rmtree(project / "beam_ball")  # What runs is what is installed.
    env = {"PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    ours: list[str] = []  # Commands, of which one alone shows what others show, too.
    for kind, name, text in BLOCK.findall(PAGE.read_text()):
        if name or kind not in ("sh", "python"):
            continue
        lines = [line for line in text.splitlines() if not line.startswith("pip install")]
        if all(line.startswith("sandbox ") for line in lines):
            ours += lines
            continue
        script = ("bash", "-euo", "pipefail", "-c", "\n".join(lines))
        command = script if kind == "sh" else (venv / "bin" / "python", "-c", text)
        done = run(*command, cwd=project, **env)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    done = run("bash", "-c", ours[0], cwd=project, **env)
    assert (done.returncode, "beam_ball" in done.stdout) == (0, True), done.stderr
    words = [shlex.split(line)[1:] for line in ours[1:]]
    for done in clis(*words, cwd=project, by=venv / "bin" / "python", **env):
        assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    assert (project / "demo" / "coverage.png").exists()


def test_the_code_of_the_page_has_the_house_style(tmp_path: Path) -> None:
    write(tmp_path, page_files())  # Its class stands in several blocks, which ruff cannot check.
    for check in (("format", "--check"), ("check", "--ignore=D,I", "--no-cache")):
        config = ("--config", ROOT / "pyproject.toml")
        done = run(sys.executable, "-m", "ruff", *check, *config, tmp_path, cwd=tmp_path)
        assert done.returncode == 0, done.stdout


def test_names_are_understood_as_people_write_them(package: Path) -> None:
    names = ("beam_ball", "BeamBall", "beam-ball", "BeamBall-v0", "sandbox/BeamBall-v0")
    for done in cli(package, *(f"factors {name} --json" for name in names)):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["factor"] == "ball_mass_kg"
    for name in ("PushT", "push-t", "PushT-v0", "sandbox:sandbox/PushT-v0", "Cheetah2D"):
        assert catalogue.environment(name).name() in ("push_t", "cheetah_2d")


def test_a_world_is_made_by_gymnasium_and_not_imported_before(package: Path) -> None:
    code = (
        "import sys, gymnasium, sandbox\n"
        "assert 'beam_ball' not in sys.modules\n"
        "env = gymnasium.make('sandbox:sandbox/BeamBall-v0', account=None)\n"
        "assert env.spec.max_episode_steps == 160 and env.spec.to_json()\n"
        "assert env.unwrapped.name() == 'beam_ball'\n"
        "env.reset(seed=0)\n"
    )
    done = python(code, package)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_episode_ends_in_time_where_its_length_cannot_be_read(package: Path) -> None:
    path = package / "beam_ball" / "world.py"
    path.write_text(path.read_text().replace("limit_s = 8.0", "limit_s = 2 * 4.0"))
    code = (
        "import gymnasium, sandbox\n"
        "env = gymnasium.make('sandbox/BeamBall-v0', account=None)\n"
        "assert env.spec.max_episode_steps is None\n"
        "env.reset(seed=0)\n"
        "while not env.step(env.action_space.sample() * 0)[3]: pass\n"
        "print(env.unwrapped.t)"
    )
    done = python(code, package)
    assert done.stdout.split() == ["160"], done.stderr


def test_the_code_of_a_world_is_every_python_file_of_its_package(package: Path) -> None:
    ask = "from sandbox import catalogue; print(catalogue.code('beam_ball'))"
    before = python(ask, package).stdout
    assert len(before.strip()) == 64
    write(package, {"beam_ball/notes.txt": "a", "other/x.py": "", "beam_ball/.hidden/x.py": ""})
    assert python(ask, package).stdout == before
    write(package, {"beam_ball/deep/helper.py": "A = 1"})
    after = python(ask, package).stdout
    assert after != before
    write(package, {"beam_ball/deep/helper.py": "A = 2"})
    assert python(ask, package).stdout not in (before, after)
    done = python(f"import sandbox, sys\n{ask}\nassert 'beam_ball' not in sys.modules", package)
    assert done.returncode == 0, done.stderr


def test_the_code_of_a_lone_module_is_its_file(stranger: Path) -> None:
    ask = "from sandbox import catalogue; print(catalogue.code('strange:BeamBall'))"
    before = python(ask, stranger).stdout
    write(stranger, {"beside.py": "A = 1"})
    assert python(ask, stranger).stdout == before
    (stranger / "strange.py").write_text((stranger / "strange.py").read_text() + "\n")
    assert python(ask, stranger).stdout != before


def test_broken_packages_are_named_in_a_line_each_and_harm_no_other(package: Path) -> None:
    write(package, {"bad/__init__.py": "", "bad/raises.py": "raise RuntimeError('no\\nway')"})
    write(package, {"bad/empty.py": "", "bad/scenarios/bad.yaml": "format: 2"})
    points = {
        "gone": "nothing.here:Gone",
        "bad_gone": "bad.nothing:Gone",
        "Bad-Name": "bad.empty:World",
        "no_class": "bad.empty",
        "push_t": "bad.empty:PushT",
        "raises": "bad.raises:Raises",
        "empty": "bad.empty:Empty",
        "base": "bad.other:BeamBall",
    }
    write(package, {"bad/other.py": "from beam_ball.world import BeamBall"})
    listed = "\n".join(f"{name} = {value}" for name, value in points.items())
    more = "[sandbox.scenarios]\nbad = bad.scenarios\nnone = bad.none\n"
    offer(package, f"[sandbox.environments]\n{listed}\n{more}", "broken", "2.0")
    done = alone(package, "envs", "--json")
    names = [row["environment"] for row in json.loads(done.stdout)]
    assert names == sorted([*catalogue.environments(), "beam_ball"])
    for says in (
        "gone = nothing.here:Gone of broken 2.0 is not used: there is no module nothing.here.",
        "bad_gone = bad.nothing:Gone of broken 2.0 is not used: there is no module bad.nothing.",
        "Bad-Name = bad.empty:World of broken 2.0 is not used: write its name in snake_case",
        "no_class = bad.empty of broken 2.0 is not used: write its value as module:Class.",
        "push_t (bad.empty:PushT of broken 2.0) is not used: its name is that of envs/push_t.py",
        "bad.raises:Raises of broken 2.0: cannot be imported: RuntimeError: no way.",
        "bad.empty:Empty of broken 2.0: Empty is no class that inherits from SandboxEnv.",
        "BeamBall is defined in another module; write beam_ball.world:BeamBall.",
        "none = bad.none of broken 2.0 is not used: there is no package bad.none.",
    ):
        assert sum(says in line for line in done.stderr.splitlines()) == 1, (says, done.stderr)
    assert len(done.stderr.splitlines()) == 9, done.stderr
    told, made = cli(package, "scenarios --json", "factors raises")
    assert "beam_ball_varied" in told.stdout
    assert "bad.yaml:1: " in told.stderr
    assert (made.returncode, made.stderr.count("error:")) == (2, 1)


def test_a_broken_file_of_envs_is_named_and_harms_no_other(tmp_path: Path) -> None:
    for name in ("sandbox", "envs", "scenarios", "datasets"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    files = {
        "no_class": "class Other: pass\n",
        "no_number": "class NoNumber:\n    control_hz = 10\n    limit_s = 2 * 3.0\n",
        "no_python": "class NoPython(:\n    control_hz = 10\n    limit_s = 2.0\n",
        "no_success": "from sandbox.env import SandboxEnv\n\n\nclass NoSuccess(SandboxEnv):\n"
        "    control_hz = 10\n    limit_s = 2.0\n",
    }
    write(tmp_path, {f"envs/{name}.py": text for name, text in files.items()})
    done = alone(tmp_path, "envs", "--json")
    assert [row["environment"] for row in json.loads(done.stdout)] == catalogue.environments()
    lines = done.stderr.splitlines()
    assert len(lines) == 4, done.stderr
    for says in (
        "envs/no_class.py is not used: it has no class NoClass.",
        "envs/no_number.py is not used: NoNumber gives no number as its limit_s.",
        "envs/no_python.py: cannot be imported: SyntaxError: invalid syntax (no_python.py, line 1)",
        "envs/no_success.py: NoSuccess (no_success.py): has no scene(); write `def scene(",
    ):
        assert sum(says in line for line in lines) == 1, (says, done.stderr)
    code = "import gymnasium, sandbox; gymnasium.make('sandbox/PushT-v0', account=None).close()"
    assert (
        run(sys.executable, "-W", "error", "-c", code, cwd=tmp_path, path=tmp_path).returncode == 0
    )


def test_a_stranger_is_imported_for_its_own_recipe_and_otherwise_only_if_told(
    stranger: Path,
) -> None:
    imported, branch = (
        stranger / "imported",
        "branch run --episode 0 --step 3 --with same --out new",
    )
    (done,) = cli(stranger, "generate own.yaml --out run")
    assert done.returncode == 0, done.stderr
    assert imported.exists()
    imported.unlink()
    others = ("audit run", "preview run", "coverage run", "render run --out new", branch)
    verified, *refused = cli(stranger, "verify run --json", *others, "surprises run --out new")
    report = json.loads(verified.stdout)
    assert (report["ok"], report["episodes"], report["replayed"]) == (True, 2, 0)
    assert "no episode was simulated again: the environment strange:BeamBall" in report["notes"][0]
    for done in refused:
        assert done.returncode == 2, done
        assert done.stderr.count("is somebody's code and was not imported. Give --trust-code") == 1
        assert "Traceback" not in done.stderr
    assert not imported.exists()
    assert not (stranger / "new").exists()
    trusted = ("verify run --json", "audit run", "coverage run", branch, "verify new")
    told = cli(stranger, *(f"{command} --trust-code" for command in trusted))
    report = json.loads(told[0].stdout)
    assert (report["ok"], report["replayed"], imported.exists()) == (True, 2, True)
    assert [done.returncode for done in told] == [0] * 5, told


def test_a_listed_class_needs_no_trust_however_its_recipe_calls_it(package: Path) -> None:
    write(package, {"own.yaml": RECIPE.format(environment="beam_ball.world:BeamBall")})
    made, verified = cli(package, "generate own.yaml --out run", "verify run --json")
    assert made.returncode == 0, made.stderr
    report = json.loads(verified.stdout)
    assert (report["ok"], report["replayed"]) == (True, 2)
    shutil.rmtree(package / "fake-1.0.dist-info")  # And where it is not installed, with trust.
    (verified,) = cli(package, "verify run --trust-code --json")
    report = json.loads(verified.stdout)
    assert (report["ok"], report["replayed"]) == (True, 2)


def test_a_recipe_and_its_scenario_call_their_world_the_same(package: Path) -> None:
    text = RECIPE.format(environment="beam_ball.world:BeamBall")
    write(package, {"own.yaml": f"{text}scenario: beam_ball_varied\n"})
    (done,) = cli(package, "generate own.yaml --out run")
    assert done.returncode == 2
    assert "write the same in both" in done.stderr.replace("\n", " ")
    assert not (package / "run").exists()


NOT_THERE = {
    "nothing.here:World": "there is no module 'nothing.here' in a .py file",
    "sys:path": "there is no module 'sys' in a .py file",
    "json:JSONDecoder": "JSONDecoder is no class that inherits from SandboxEnv",
    "beam_ball.world:Nothing": "Nothing is no class that inherits from SandboxEnv",
    "beam_bal": "no environment is called 'beam_bal'. Did you mean 'beam_ball'?",
}


def test_a_recipe_of_what_is_not_there_is_one_line(package: Path) -> None:
    recipes = {f"{n}.yaml": RECIPE.format(environment=name) for n, name in enumerate(NOT_THERE)}
    write(package, recipes)
    found = cli(package, *(f"generate {recipe} --out run" for recipe in recipes))
    for done, says in zip(found, NOT_THERE.values(), strict=True):
        assert done.returncode == 2
        assert says in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
    assert not (package / "run").exists()


def test_a_broken_promise_is_named_by_its_sentence(package: Path) -> None:
    path = package / "beam_ball" / "world.py"
    path.write_text(
        path.read_text().replace('"ball_vx", "m/s", -5.0, 5.0', '"ball_vx", "m/s", 0, 1')
    )
    done = python(
        "import sys; from sandbox.testing import WorldContract, check_world\n"
        "assert 'pytest' not in sys.modules\n"
        "WorldContract.seeds = 3\n"  # Not 20, to be quick.
        "from beam_ball.world import BeamBall; check_world(BeamBall)",
        package,
    )
    assert done.returncode == 1
    assert (
        "BeamBall: the extremes of the action space stay inside the observation space: at step"
        in (done.stderr)
    )
    assert "ball_vx is " in done.stderr
