"""Three episodes of every recipe and two pairs of every goal set, as digests that never change.

`python tests/golden.py` generates them and compares them with `golden.json`; with names of recipes,
it compares only these. With `--write` it writes what it found, and adds this machine to those that
gave the same bytes, by the fingerprint of its mathematics.
The shards are read with h5py alone, so that a fault in our reader cannot hide one in the writer.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  # Registers the Zstandard filter.
from running import cli

from sandbox.world import determinism

FILE = Path(__file__).with_name("golden.json")
DATASETS = Path(__file__).parent.parent / "datasets"
EPISODES, SEED, PAIRS = 3, 13, 2
NAMES_CODE = ("run", "digest")  # Of a record and a row: change with the environment's source text.
NAMES_MACHINE = ("engine", "renderer")  # And those that name the machine.


def recipes() -> list[str]:
    """Return the names of the recipes."""
    return sorted(path.stem for path in DATASETS.glob("*.yaml"))


def is_of_goals(recipe: str) -> bool:
    """Return whether a recipe is of a goal set."""
    return recipe.endswith("_goals")


def made(recipe: str, home: Path) -> tuple[dict[str, Any], str]:
    """Make what a recipe says, in small; return its digests, and whose mathematics it were."""
    return _pairs(recipe, home) if is_of_goals(recipe) else _episodes(recipe, home)


def _pairs(recipe: str, home: Path) -> tuple[dict[str, Any], str]:
    """Make a goal set of a few pairs."""
    out = home / f"{recipe}.json"
    done = cli("goals", "make", recipe, "--pairs", str(PAIRS), "--out", str(out))
    assert done.returncode == 0, f"goals make {recipe}: {done.stderr}"
    goals = json.loads(out.read_text())["set"]
    pairs = [_sha(json.dumps(pair, sort_keys=True).encode()) for pair in goals["pairs"]]
    return {"pairs": pairs, "filtered": goals["filtered"]}, goals["engine"]["mathematics"]


def _episodes(recipe: str, home: Path) -> tuple[dict[str, Any], str]:
    """Generate a recipe's first episodes."""
    out = home / recipe
    options = [
        "--episodes",
        str(EPISODES),
        "--seed",
        str(SEED),
        "--json",
        "--prices",
        "1",
        "--out",
        str(out),
    ]
    done = cli("generate", recipe, *options)
    assert done.returncode == 0, f"generate {recipe}: {done.stderr}"
    bill = json.loads(done.stdout.splitlines()[-1])
    (shard,) = sorted(out.glob("shards/*.h5"))
    with h5py.File(shard, "r") as file:
        named = [name for name in file if name not in NAMES_CODE]
        columns = {name: _sha(file[name][()].tobytes()) for name in named}
        records = json.loads(bytes(file.attrs["episodes"]))
    mathematics = records[0]["engine"]["mathematics"]
    records = [{k: v for k, v in r.items() if k not in NAMES_CODE + NAMES_MACHINE} for r in records]
    kept = ("episodes", "quantities", "charge_micro")
    return {
        "columns": columns,
        "records": [_sha(json.dumps(record, sort_keys=True).encode()) for record in records],
        "bill": {key: bill[key] for key in kept},
    }, mathematics


def known() -> dict[str, Any]:
    """Return what the file says; nothing yet if there is none."""
    return json.loads(FILE.read_text()) if FILE.exists() else {"machines": {}, "recipes": {}}


def differences(recipe: str, found: dict[str, Any]) -> list[str]:
    """Return what differs from the file, by its path."""
    return _unlike(recipe, known()["recipes"].get(recipe), found)


def _unlike(path: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [line for k in keys for line in _unlike(f"{path}.{k}", old.get(k), new.get(k))]
    return [] if old == new else [f"{path}: {old!r} before, {new!r} now"]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main() -> None:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="*", help="compare only these")
    parser.add_argument("--write", action="store_true", help="write what was found")
    given = parser.parse_args()
    chosen, write = given.recipe or recipes(), given.write
    before, found, machines, differ = known(), {}, set[str](), list[str]()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SANDBOX_HOME"] = home
        for recipe in chosen:
            found[recipe], mathematics = made(recipe, Path(home))
            machines.add(mathematics)
            differ += differences(recipe, found[recipe])
            same = "differs" if differences(recipe, found[recipe]) else "same"
            print(recipe, same, mathematics, flush=True)
    if write and chosen == recipes():
        agreed = before["machines"] if found == before["recipes"] else {}
        (mathematics,) = machines
        here = sorted({*agreed.get(mathematics, []), determinism.machine()})
        agreed = {**agreed, mathematics: here}
        FILE.write_text(json.dumps({"machines": agreed, "recipes": found}, indent=1) + "\n")
    elif differ:
        sys.exit("\n".join(differ))


if __name__ == "__main__":
    main()
