"""The command line of runs: one line of what is wrong, JSON for scripts, tables for people."""

import json
from pathlib import Path

from running import KILLED, cli, file_of, recipe

from sandbox import catalogue
from sandbox.ledger import Ledger
from sandbox.trajectory import ShardReader, shards


def test_the_command_line_says_what_is_wrong_in_one_line_and_ends_with_2(tmp_path: Path) -> None:
    file, killed = tmp_path / "file", str(file_of(KILLED, tmp_path))
    file.write_text("I am a file")
    for arguments, says in (
        (("generate", "push_t_dmo"), "Did you mean 'push_t_demo'"),
        (("generate", killed, "--episodes", "0"), "episodes must be at least 1, not 0"),
        (("generate", killed, "--budget", "much"), "is no amount of credits"),
        (("generate", killed, "--account", "nobody"), "no account is called 'nobody'"),
        (("generate", killed, "--out", str(file)), "cannot be"),
        (("verify", str(tmp_path)), "no run.json here"),
        (("inspect", str(file)), "cannot be read as HDF5"),
        (("preview", str(tmp_path / "nothing")), "does not exist"),
        (("ledger", "grant", "lab", "-5"), ""),
        (("ledger", "balance", "nobody"), "no account is called 'nobody'"),
    ):
        done = cli(*arguments)
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert says in " ".join(done.stderr.split()), (arguments, done.stderr)
    assert Ledger().balance("local").posted_micro == 0


def test_the_command_line_prints_json_for_scripts(tmp_path: Path) -> None:
    run, killed = tmp_path / "run", file_of(KILLED, tmp_path)
    bill = json.loads(cli("generate", killed, "--out", run, "--json").stdout)
    quoted = json.loads(cli("quote", killed, "--json").stdout)
    assert bill["charge_micro"] == quoted["charge_micro"]
    assert json.loads(cli("verify", run, "--json").stdout)["ok"] is True
    facts = json.loads(cli("inspect", run, "--json").stdout)
    assert facts["episodes"] == bill["episodes"]
    balance = json.loads(cli("ledger", "balance", "--json").stdout)
    assert balance["balance_micro"] == -bill["charge_micro"]
    names = [row["environment"] for row in json.loads(cli("envs", "--json").stdout)]
    assert names == catalogue.environments()
    listed = json.loads(cli("scenarios", "--json").stdout)
    assert [row["scenario"] for row in listed] == catalogue.scenarios()
    grants = json.loads(cli("ledger", "grant", "lab", "250.5", "--json").stdout)
    assert grants["balance_micro"] == 250_500_000


def test_tables_are_printed_for_people(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = cli("generate", file_of(KILLED, tmp_path), "--out", run)
    for word in ("Quote", "Bill", "physics steps", "total", str(run)):
        assert word in done.stdout.replace("\n", "")
    assert "VERIFIED" in cli("verify", run).stdout
    for command in (("inspect", run), ("envs",), ("scenarios",), ("ledger", "statement")):
        done = cli(*command)
        assert done.returncode == 0, done.stderr
        assert "│" in done.stdout


def test_a_split_is_drawn_from_on_the_command_line(tmp_path: Path) -> None:
    wanted = recipe("push_t", scenario="push_t_varied", policies={"random": 1.0}, episodes=4)
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(wanted.model_dump(exclude_none=True)))
    done = cli("generate", path, "--split", "extrapolation", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    with ShardReader(shards(tmp_path / "run")[0]) as reader:
        records = [reader.read(n).record for n in range(len(reader))]
    assert {record["split"] for record in records} == {"extrapolation"}
    masses = [record["factors"]["t_mass_kg"] for record in records]
    assert not any(0.19 < mass < 1.2 for mass in masses)
    refused = cli("generate", path, "--split", "extra", "--out", tmp_path / "other")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "no split is called 'extra'" in refused.stderr
    assert not (tmp_path / "other").exists()
