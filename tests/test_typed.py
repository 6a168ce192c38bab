"""A type checker sees the library's types in another project."""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = """
import sandbox

bill = sandbox.generate("push_t_demo", "demo", episodes=3, budget="1.5")
amount: int = bill.amount
sandbox.generate("push_t_demo", "demo", episodes="three")
faults: list[str] = sandbox.verify("demo").faults
steps: list[int] = [record.steps for record in sandbox.open_run("demo").records()]
wrong: str = sandbox.quote("push_t_demo").amount
epoch: int = sandbox.Batches("demo", 32, length=8, pad=True, cache="disk").epoch
length: int = len(sandbox.Windows("demo", length=8))
train, val = sandbox.Dataset("demo", split=["train"], factors={"t_mass_kg": (0.2, 1)}).train_val()
lengths: list[int] = [one.steps for one in train.select(success=True).records]
"""


def test_a_type_checker_sees_the_types_in_another_project(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(PROJECT)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"strict": ["."]}))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    lines = {d["range"]["start"]["line"] for d in found if d["severity"] == "error"}
    wrong = {n for n, line in enumerate(PROJECT.splitlines()) if "wrong" in line or "three" in line}
    assert lines == wrong, found
