"""Published runs: complete to read and verify elsewhere, and without what is of this machine."""

import json
import shutil
from pathlib import Path

import pytest
from running import SHORT, cli, clis, content, recipe

import sandbox
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.evidence import keys
from sandbox.ledger import Ledger

WANTED = recipe("two_room", episodes=3, shard_episodes=2)  # Its scenario is found by no path.
ENTRIES = "README.md card checkpoint log manifest.json run.json shards signer.pub".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def signed_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a signed run, one that grew, and a part of both."""
    home = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(home / "home"))
        keys.new()
        sandbox.generate(WANTED, home / "one")
        sandbox.generate(WANTED, home / "two", seed=6, episodes=1)
        sandbox.extend(home / "two", 2)
        sandbox.merge([home / "one", home / "two"], home / "all")
    return home


@pytest.fixture
def yard(signed_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these."""
    found = shutil.copytree(signed_runs, tmp_path / "yard")
    monkeypatch.setenv("SANDBOX_HOME", str(found / "home"))
    return found


def test_what_is_published_is_verified_and_read_where_nothing_else_is(
    yard: Path, tmp_path: Path
) -> None:
    outs = [tmp_path / "out" / name for name in ("two", "all")]
    for out in outs:
        sandbox.publish(yard / out.name, out, license="cc-by-4.0")
        assert "license: cc-by-4.0" in (out / "README.md").read_text()
        assert "--key signer.pub" in (out / "README.md").read_text()
    verify = [("verify", out, "--sample", "1", "--key", out / "signer.pub") for out in outs]
    shutil.move(yard, tmp_path / "gone")
    elsewhere = str(tmp_path / "elsewhere")
    for done in clis(*verify, SANDBOX_HOME=elsewhere):
        assert done.returncode == 0, done.stdout + done.stderr
        assert "VERIFIED" in done.stdout
    assert [len(sandbox.Dataset(out)) for out in outs] == [2, 5]


def test_it_has_the_bytes_of_the_run_and_nothing_of_this_machine(
    yard: Path, tmp_path: Path
) -> None:
    run, out = yard / "one", tmp_path / "out"
    (run / "preview").mkdir()
    (run / "preview" / "film.mp4").write_text("mine")
    (run / ".cache").write_text("mine")
    made = sandbox.publish(run, out)
    assert sorted(one.name for one in out.iterdir()) == ENTRIES
    there = content(out)
    named = [name for name in there if name.split("/")[0] not in ("card", "signer.pub")]
    assert {name: there[name] for name in named} == {
        name: data for name, data in content(run).items() if name != "preview/film.mp4"
    }
    words = [str(tmp_path), str(Path.home()), Ledger().id]
    for path in out.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert [word for word in words if word.encode() in data] == [], path
    assert [text.split(":")[0] for text in made.left_out] == [
        ".cache",
        ".ledger.json",
        ".lock",
        "preview",
    ]
    assert made.told == ["run.json: the account 'local' paid.", "checkpoint: signed by 'default'."]
    assert made.command == f"hf upload USER/NAME {out} . --repo-type dataset"


def test_what_is_damaged_unfinished_or_in_the_way_is_refused_and_nothing_is_there(
    yard: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shard = yard / "one" / "shards" / "shard-00001.h5"
    data = bytearray(shard.read_bytes())
    data[-400] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FormatError, match="does not verify"):
        sandbox.publish(yard / "one", out)
    (yard / "two" / "manifest.json").unlink()
    with pytest.raises(FormatError, match="not finished"):
        sandbox.publish(yard / "two", out)
    with pytest.raises(InvalidInputError, match="--license"):
        sandbox.publish(yard / "all", out, license="Mine!")
    assert [one.name for one in tmp_path.iterdir() if one.name != "home"] == ["yard"]
    out.mkdir()
    with pytest.raises(InvalidInputError, match="exists already"):
        sandbox.publish(yard / "all", out)
    with pytest.raises(InvalidInputError, match="inside the run"):
        sandbox.publish(yard / "all", yard / "one" / "out")


def test_a_path_of_this_machine_is_published_only_if_that_is_asked_for(tmp_path: Path) -> None:
    sandbox.generate(recipe("billiards", episodes=1), tmp_path / "run")  # Its scenario is a path.
    with pytest.raises(InvalidInputError, match="a path of this machine"):
        sandbox.publish(tmp_path / "run", tmp_path / "out")
    done = cli("publish", tmp_path / "run", "--to", tmp_path / "out", "--keep-paths", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == str(tmp_path / "out")
    assert sandbox.verify(tmp_path / "out", sample=0).faults == []


def test_a_relative_path_out_of_the_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(SHORT, tmp_path / "secret.yaml")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    sandbox.generate(recipe("billiards", episodes=1, scenario="../secret.yaml"), "run")
    told = sandbox.publish("run", "out", pictures=False).told
    assert "run.json: it was made with '../secret.yaml', which names folders of yours." in told
    with pytest.raises(SandboxError, match="then run the same command again") as error:
        sandbox.publish("run", "/proc/x", pictures=False)
    assert "export" not in str(error.value)


def test_a_card_that_was_edited_is_published_as_it_is(yard: Path, tmp_path: Path) -> None:
    (yard / "one" / "README.md").write_text("mine")
    with pytest.raises(InvalidInputError, match="edited by hand"):
        sandbox.publish(yard / "one", tmp_path / "out", license="mit")
    sandbox.publish(yard / "one", tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


def test_the_licence_of_a_card_is_kept(yard: Path, tmp_path: Path) -> None:
    sandbox.card(yard / "one", license="mit", name="Rooms", pictures=False)
    done = cli("publish", yard / "one", "--to", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Left out: .ledger.json" in done.stdout
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.startswith('---\nlicense: mit\npretty_name: "Rooms"\n')
    assert "card/coverage.png" in text
