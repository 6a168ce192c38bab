"""House rules: layers, owners, sizes, names, and nothing left lying about."""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from running import python, recipe

import sandbox

ROOT = Path(__file__).parent.parent
FLOORS = [  # A room imports from lower floors alone; rooms of one floor do not know each other.
    ["errors"],
    ["files"],
    [
        "arguments",
        "content",
        "digest",
        "durable",
        "estimates",
        "importing",
        "interrupts",
        "mathematics",
        "memory",
        "observation",
        "pages",
        "processes",
        "remote",
        "sb3",
        "simulator",
        "validation",
        "wrappers",
    ],
    ["document", "jsonfile", "outputs", "planning"],
    ["scene", "prices", "evidence", "models"],
    ["scenario", "renderer", "meter", "trajectory"],
    ["world", "ledger"],
    ["env", "run", "till"],
    ["catalogue", "cluster", "dataset"],
    ["exports", "imports", "sources"],
    ["imagination"],
    ["goals", "verification", "report", "training"],
    ["api", "checking", "evaluation", "exporting", "learning", "testing"],
    ["dreaming", "keeping", "publishing", "refunding", "repairing", "sweeping"],
    ["experiments", "valuation"],
    ["cli"],
    ["__main__"],  # `python -m sandbox` is the command line.
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
OF_WORLDS = {"env", "observation", "scenario", "scene"}  # What a file of envs/ may import.
MORE_THAN_NAMES = {  # The packages whose __init__ does more than to offer names.
    "sandbox": "registers the worlds with Gymnasium, and imports its functions on first use",
    "sandbox.envs": "says that its modules are the files of the content folder",
}
OWNERS = {
    "pybullet": ["world"],
    "h5py": ["exports", "imports", "trajectory"],
    "hdf5plugin": ["trajectory"],
    "apsw": ["ledger"],
    "psycopg": ["ledger"],
    "filelock": ["ledger"],
    "fsspec": ["remote"],
    "blake3": ["trajectory"],
    "cryptography": ["evidence"],
    "llvmlite": ["renderer"],
    "numba": ["renderer", "trajectory"],
    "trimesh": ["renderer"],
    "fast_simplification": ["renderer"],
    "av": ["exports", "imports"],
    "lance": ["exports"],
    "pyarrow": ["exports", "imports"],
    "ray": ["cluster"],
    "tensordict": ["exports"],
    "safetensors": ["models", "training"],
    "stable_baselines3": ["learning", "sb3"],
    "mlflow": ["training"],
    "tensorboardX": ["training"],
    "trackio": ["training"],
    "wandb": ["training"],
    "torch": ["dataset", "evaluation", "exports", "imagination", "learning", "models", "training"],
    "yaml": ["document"],
    "zstandard": ["trajectory"],
    "matplotlib": ["report"],
    "imageio_ffmpeg": ["report"],
    "platformdirs": ["content"],
    "typer": ["cli"],
    "rich": ["cli"],
}
OPENERS = re.compile(  # Calls that open a file by its path, and so follow links and wait for pipes.
    r"open|.*\b(open|fopen|read_text|read_bytes|File|FileIO|imread|load_scene|load_mesh|Connection)"
    r"|(ET|ElementTree)\.(iter)?parse|(np|numpy)\.(load|fromfile|memmap|genfromtxt)\w*"
)
NO_FILE = ("self.costs.open", "meter.open", "pages.open")  # These open accounts.
MAY_OPEN = {  # Who opens files otherwise than by `files`, and why that is safe.
    "files": "is the way in",
    "durable": "writes",
    "catalogue": "the files of worlds, which are code that is going to run",
    "cli.entry": "the null device",
    "dataset.index_file": "NumPy reads what `files` has opened",
    "dataset.shared": "memory of this program's own processes",
    "dataset.decoded": "its own cache, in which each episode has a checksum",
    "exports.film": "PyAV writes a film that must not exist",
    "exports.npz": "writes a file that must not exist",
    "exports.r2dreamer": "writes a file that must not exist",
    "exports.staging": "a folder that it has just made, and what it syncs",
    "exports.tdmpc2": "writes a file that must not exist",
    "exports.webdataset": "writes a file that must not exist",
    "imports.decoder": "PyAV reads what `files` has opened; and what the system says of a process",
    "imports.parquet": "Pillow opens bytes in memory",
    "ledger.holder": "what the system says of processes",
    "memory": "what the system says of its control group",
    "ledger.server": "the null device",
    "ledger.schema": "an empty ledger in memory",
    "ledger.sqlite": "the ledger of this user",
    "publishing": "writes files that must not exist",
    "renderer.geometry": "Pillow opens what `files` has opened",
    "renderer.code": "its own source, and its own cache",
    "renderer.mesh": "its own cache; trimesh reads bytes that `files` has read",
    "report.preview": "a film that it has just made, in a folder of its own",
    "report.reference": "pages of this user",
    "trajectory.growing": "writes a file that must not exist",
    "trajectory.layout": "HDF5 makes a file",
    "trajectory.room": "writes a file that it has just made",
    "trajectory.untrusted": "HDF5 opens the descriptor that `files` has opened",
    "world.bullet": "its own program, and the null device",
    "world.determinism": "what the system says of the processor",
}
LONGEST_FUNCTION, LONGEST_FILE = 50, 450
TESTS = sorted(ROOT.glob("tests/*.py"))
SOURCES = sorted([*ROOT.glob("sandbox/**/*.py"), *ROOT.glob("envs/*.py")])


def module(path: Path) -> str:
    """The name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "sandbox" else ("sandbox", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in SOURCES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def room(name: str) -> str:
    """The room of a module: sandbox.run.folder is in `run`; "" for the library itself."""
    return (*name.split("."), "")[1]


@cache
def imports(path: Path, *, late: bool = True) -> tuple[str, ...]:
    """Return what a file imports when it runs; what only a type checker reads does not count.

    Args:
        late: whether to return what its functions import, too.
    """
    return tuple(_imported(path, late=late))


def _imported(path: Path, *, late: bool) -> Iterator[str]:
    waiting: list[ast.AST] = [tree(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef) and not late:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in whole)
        waiting += ast.iter_child_nodes(node)


def ours(path: Path, *, late: bool = True) -> set[str]:
    """What a file imports of the library; the library itself, which has no code, is left out."""
    return {name for name in imports(path, late=late) if name.startswith("sandbox.")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_from_lower_floors_alone(path: Path) -> None:
    mine = room(module(path))
    for name in ours(path):
        if mine == "envs":
            allowed = (
                OF_WORLDS if path.parent.name == "envs" and path.stem != "__init__" else {"content"}
            )
            assert room(name) in allowed, f"{path.name} imports {name}"
        elif mine == "":
            assert name == "sandbox.importing", f"the library imports {name} at once"
        elif room(name) != mine:
            assert FLOOR[room(name)] < FLOOR[mine], f"{module(path)} imports {name}"


def test_every_room_has_a_floor_and_every_floor_its_rooms() -> None:
    assert {room(name) for name in MODULES} == {*FLOOR, "envs", ""}


def test_the_floors_are_those_that_the_map_shows() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (`.*?`) \|", text, re.MULTILINE)
    shown = {int(floor): re.findall(r"`(\w+)`", rooms) for floor, rooms in rows}
    assert shown == dict(enumerate(FLOORS[:-1]))


@pytest.mark.parametrize("late", [False, True])
def test_no_module_imports_itself_by_way_of_others(late: bool) -> None:
    """What functions import counts too: a circle that only a call closes is one."""
    left = {name: ours(path, late=late) & {*MODULES} - {name} for name, path in MODULES.items()}
    while free := [name for name, needed in left.items() if not needed & {*left}]:
        for name in free:
            del left[name]
    assert not left, f"in a circle, or above one: {sorted(left)}"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.stem == "__init__"], ids=module)
def test_an_init_only_offers_names(path: Path) -> None:
    if module(path) in MORE_THAN_NAMES:
        return
    for node in tree(path).body:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                pass
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                pass
            case _:
                pytest.fail(f"{module(path)}, line {node.lineno}: {ast.unparse(node)}")


def test_what_is_kept_is_read_and_verified_without_a_simulator(tmp_path: Path) -> None:
    kept = [name for name in MODULES if room(name) in ("run", "dataset", "trajectory")]
    sandbox.generate(recipe(episodes=2), tmp_path / "run")
    code = (
        "import importlib, sys, sandbox\n"
        f"for name in {kept}: importlib.import_module(name)\n"
        f"report = sandbox.verify({str(tmp_path / 'run')!r}, sample=0)\n"
        "assert (report.episodes, report.faults) == (2, []), report\n"
        "names = {'pybullet', 'numba', 'sandbox.env', 'sandbox.world', 'sandbox.renderer'}\n"
        "print(sorted(names & {*sys.modules}))"
    )
    done = python("-c", code)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(("library", "owners"), OWNERS.items())
def test_a_library_is_imported_by_its_owner_alone(library: str, owners: list[str]) -> None:
    users = {
        room(module(path))
        for path in SOURCES
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= set(owners), users


def opens(path: Path) -> Iterator[str]:
    """Yield the calls of a file that open a file by its path."""
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    for name in (ast.unparse(node.func) for node in calls):
        if OPENERS.fullmatch(name.replace("\n", "")) and name not in NO_FILE:
            yield name


def test_what_a_stranger_may_have_written_is_opened_one_way() -> None:
    """By `files.opened` and `files.read`, which follow no link and wait for no pipe."""
    found = {module(path).removeprefix("sandbox."): {*opens(path)} for path in SOURCES}
    others = {name: calls for name, calls in found.items() if calls and name not in MAY_OPEN}
    assert others == {}
    assert [name for name in MAY_OPEN if not found[name]] == []


def length(function: ast.FunctionDef, path: Path) -> int:
    """The lines of a function; in the API, which has a dozen arguments, those of its body."""
    explains = module(path) in (
        "sandbox.api",
        "sandbox.dreaming",
        "sandbox.evaluation.evaluate",
        "sandbox.experiments.experiment",
        "sandbox.exporting",
        "sandbox.goals.calls",
        "sandbox.goals.floors",
        "sandbox.learning.learn",
        "sandbox.sweeping",
        "sandbox.training.train",
        "sandbox.valuation.worth",
    )
    explained = explains and ast.get_docstring(function) is not None
    first = (function.body[1] if explained else function).lineno
    return (function.end_lineno or 0) - first + 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_and_files_are_short_and_nothing_is_half_done(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            assert length(node, path) <= LONGEST_FUNCTION, node.name
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{node.lineno}: bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print" or room(module(path)) == "cli", f"{node.lineno}: print"
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b", text)
    assert path.stem not in ("utils", "util", "helpers", "common", "base", "manager", "misc")


def test_worlds_are_short() -> None:
    lines = sorted(path.read_text().count("\n") for path in ROOT.glob("envs/*.py"))
    assert lines[-1] <= 252
    assert lines[len(lines) // 2] <= 206


def test_the_content_folders_are_no_packages() -> None:
    for folder in ("envs", "scenarios", "datasets"):
        assert (ROOT / folder).is_dir()
        assert not (ROOT / folder / "__init__.py").exists()


def test_an_environment_is_mentioned_in_its_own_file_its_scenarios_and_recipes_alone() -> None:
    worlds = {path.stem for path in ROOT.glob("envs/*.py")}
    for path in (p for p in SOURCES if room(module(p)) != "envs"):
        assert not {n.id for n in ast.walk(tree(path)) if isinstance(n, ast.Name)} & worlds
        assert not {part for name in imports(path) for part in name.split(".")} & worlds


def fixtures(path: Path) -> Iterator[str]:
    functions = [node for node in tree(path).body if isinstance(node, ast.FunctionDef)]
    for function in functions:
        if any("pytest.fixture" in ast.unparse(one) for one in function.decorator_list):
            yield function.name


def parameters(path: Path) -> Iterator[str]:
    """Yield the names that tests of a file are parametrized by."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.parametrize":
            names = ast.walk(node.args[0])
            yield from (n.value for n in names if isinstance(n, ast.Constant))


def test_a_fixtures_name_means_one_thing() -> None:
    known = Counter(name for path in TESTS for name in fixtures(path))
    assert [name for name, count in known.items() if count > 1] == []
    assert {name for path in TESTS for name in parameters(path)} & {*known} == set()


@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.name)
def test_what_tests_share_is_in_no_test(path: Path) -> None:
    mine = {name for name in imports(path) if name.split(".")[0].startswith("test_")}
    assert not mine, "put it into a module of its own"


def test_the_makefile_lists_tests_that_are_there_and_all_that_have_a_long_version() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    listed = {
        name: {*rest.split()} for name, rest in re.findall(r"^([A-Z]+) := (.*)$", makefile, re.M)
    }
    tests = [path for path in TESTS if path.stem.startswith("test_")]
    there = {path.stem.removeprefix("test_"): path.read_text() for path in tests}
    assert listed["LONG"] | listed["READING"] | listed["TRAINING"] <= {*there}
    assert listed["LONG"] == {name for name in there if "SOAK" in there[name]} - {"tidy"}


def test_every_tracked_file_has_a_home() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    homes = {
        *("sandbox", "envs", "scenarios", "datasets", "tests", "benchmarks", "examples"),
        *("docs", "typings", ".ci", ".gitignore", "Makefile", "constraints.txt", ".editable"),
        *("pyproject.toml", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    }
    assert {name.split("/")[0] for name in listed} <= homes


def test_importing_the_library_is_light_and_registers_every_environment() -> None:
    code = (
        "import sys, gymnasium, sandbox\n"
        "from sandbox import catalogue\n"
        "heavy = [m for m in ('pybullet', 'torch', 'numba', 'h5py') if m in sys.modules]\n"
        "named = [gymnasium.spec(catalogue.gym_id(n)).id for n in catalogue.environments()]\n"
        "print(heavy, len(named))"
    )
    done = python("-c", code)
    count = len(list(ROOT.glob("envs/*.py")))
    assert done.stdout.split() == ["[]", str(count)], done.stderr
    assert done.stderr == ""


def test_a_command_imports_what_it_needs_and_no_more() -> None:
    done = python("-X", "importtime", "-m", "sandbox", "ledger", "balance")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert (done.returncode, "sandbox.ledger.book" in imported) == (0, True)
    heavy = {"gymnasium", "h5py", "numba", "numpy", "pybullet", "pydantic", "torch", "yaml"}
    assert heavy & imported == set()


def test_nothing_is_printed_when_an_environment_is_made() -> None:
    code = (
        "import gymnasium; env = gymnasium.make('sandbox:sandbox/PushT-v0', account=None)\n"
        "env.reset(seed=0); env.close()"
    )
    done = python("-W", "error", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
