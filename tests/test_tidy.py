"""House rules: layers, owners, sizes, names, and nothing left lying about."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import python

ROOT = Path(__file__).parent.parent
FLOORS = [  # A room imports from lower floors alone; rooms of one floor do not know each other.
    ["errors"],
    [
        "content",
        "digest",
        "document",
        "durable",
        "importing",
        "jsonfile",
        "observation",
        "validation",
        "wrappers",
    ],
    ["scene", "prices", "evidence"],
    ["scenario", "renderer", "meter", "trajectory"],
    ["world", "ledger"],
    ["env", "run"],
    ["catalogue", "dataset"],
    ["sources"],
    ["verification", "report"],
    ["api", "testing"],
    ["cli"],
]
OWNERS = {
    "pybullet": ["world"],
    "h5py": ["trajectory"],
    "hdf5plugin": ["trajectory"],
    "apsw": ["ledger"],
    "blake3": ["trajectory"],
    "cryptography": ["evidence"],
    "numba": ["render"],
    "trimesh": ["render"],
    "fast_simplification": ["render"],
    "torch": ["loader", "models", "train", "evaluate"],
    "yaml": ["document"],
    "typer": ["cli"],
    "rich": ["cli"],
}
LONGEST_FUNCTION, LONGEST_FILE = 50, 450
SOURCES = sorted([*ROOT.glob("sandbox/**/*.py"), *ROOT.glob("envs/*.py")])


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "content" if parts[1] == "envs" else parts[parts[0] != "envs"]


def imports(path: Path) -> Iterator[str]:
    """Yield what a file imports when it runs; what only a type checker reads does not count."""
    tree = ast.parse(path.read_text())
    unseen = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)
    ]
    hidden = {id(child) for node in unseen for child in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rank(name: str) -> int:
    return next(n for n, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_layer_imports_only_from_those_above_it(path: Path) -> None:
    mine = module(path)
    if mine == "__init__":
        assert {i for i in imports(path) if i.startswith("sandbox.")} == {"sandbox.catalogue"}
        return
    known = {name for layer in LAYERS for name in layer}
    for name in {i.split(".")[1] for i in imports(path) if i.startswith("sandbox.")} & known:
        if mine == "envs":
            assert name in ("env", "factors", "modality", "scene"), f"an environment imports {name}"
        elif name != mine:
            above = rank(name) < rank(mine) or (mine, name) in EXCEPTIONS
            assert above, f"{mine} imports {name}"


def test_every_module_has_a_layer() -> None:
    known = {name for layer in LAYERS for name in layer} | {"envs", "__init__"}
    assert {module(path) for path in SOURCES} == known


@pytest.mark.parametrize(("library", "owners"), OWNERS.items())
def test_a_library_is_imported_by_its_owner_alone(library: str, owners: list[str]) -> None:
    users = {
        module(path)
        for path in SOURCES
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= set(owners), users


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_and_files_are_short_and_nothing_is_half_done(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{node.lineno}: bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print" or module(path) == "cli", f"{node.lineno}: print"
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b", text)
    assert path.stem not in ("utils", "util", "helpers", "common", "base", "manager", "misc")


def test_the_content_folders_are_no_packages() -> None:
    for folder in ("envs", "scenarios", "datasets"):
        assert (ROOT / folder).is_dir()
        assert not (ROOT / folder / "__init__.py").exists()


def test_an_environment_is_mentioned_in_its_own_file_its_scenarios_and_recipes_alone() -> None:
    for path in (p for p in SOURCES if module(p) != "envs"):
        for name in (env.stem for env in ROOT.glob("envs/*.py")):
            code = ast.unparse(ast.parse(path.read_text()))
            names = {n.id for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Name)}
            assert name not in names
            assert not re.search(rf"^\s*(import|from) .*\b{name}\b", code, re.MULTILINE)


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


def test_nothing_is_printed_when_an_environment_is_made() -> None:
    code = (
        "import gymnasium; env = gymnasium.make('sandbox:sandbox/PushT-v0', account=None)\n"
        "env.reset(seed=0); env.close()"
    )
    done = python("-W", "error", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
