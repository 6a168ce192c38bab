"""A wheel, and a wheel from the sdist, list and make every environment."""

import email
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sandbox import catalogue

ROOT = Path(__file__).parent.parent
CHECK = """
import pathlib, gymnasium, sandbox
from sandbox import catalogue, scenario
from sandbox.run import recipe
assert "site-packages" in sandbox.__file__, sandbox.__file__
for name in catalogue.environments():
    env = gymnasium.make(f"sandbox:{catalogue.gym_id(name)}", account=None)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
for name in catalogue.recipes():
    recipe.load(name)
for name in catalogue.scenarios():
    scenario.load(name)
print(catalogue.environments(), catalogue.scenarios(), catalogue.recipes())
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build a wheel from the checkout, an sdist, and a wheel from that."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    subprocess.run(
        [*build, str(out / "direct"), "--wheel", str(ROOT)], check=True, capture_output=True
    )
    subprocess.run([*build, str(out / "via"), str(ROOT)], check=True, capture_output=True)
    return {
        "wheel": next((out / "direct").glob("*.whl")),
        "wheel from sdist": next((out / "via").glob("*.whl")),
    }


@pytest.mark.parametrize("kind", ["wheel", "wheel from sdist"])
def test_an_installed_wheel_lists_and_makes_everything(
    kind: str, wheels: dict[str, Path], tmp_path: Path
) -> None:
    # The dependencies are this environment's; only the distribution itself is installed anew. A
    # .pth inside a folder that a .pth names is not read, so the checkout is not seen.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    site = next((tmp_path / "v").glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    with zipfile.ZipFile(wheels[kind]) as archive:
        archive.extractall(site)
    done = subprocess.run(
        [str(tmp_path / "v" / "bin" / "python"), "-c", CHECK],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    found = [catalogue.environments(), catalogue.scenarios(), catalogue.recipes()]
    assert done.stdout.strip() == " ".join(map(str, found)), done.stderr


def test_the_wheel_carries_content_and_nothing_else(wheels: dict[str, Path]) -> None:
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        tops = {name.split("/")[0] for name in names}
        assert tops == {"sandbox", next(t for t in tops if t.endswith(".dist-info"))}
        assert "sandbox/envs/push_t.py" in names
        assert "sandbox/prices/1.yaml" in names
        assert "sandbox/py.typed" in names
        assert not [name for name in names if name.endswith((".h5", ".pyc", ".mp4", ".png"))]


def test_newer_pythons_need_no_compiler_unless_simulation_is_asked_for(
    wheels: dict[str, Path],
) -> None:
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            said = email.message_from_bytes(archive.read(name))
        needs = [Requirement(text) for text in said.get_all("Requires-Dist", [])]
        assert said["Requires-Python"] == ">=3.11"
        for version, extra, due in (("3.11", "", True), ("3.13", "", False), ("3.13", "sim", True)):
            here = {"python_version": version, "extra": extra}
            names = {n.name for n in needs if n.marker is None or n.marker.evaluate(here)}
            assert ({"pybullet", "numba"} <= names) is due, (version, extra)
            assert bool({"pybullet", "numba"} & names) is due, (version, extra)
