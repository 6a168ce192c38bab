"""An operator's own prices: checked, installed, fixed in a run's identity, and never changed."""

import datetime
import json
import resource
from pathlib import Path
from typing import Any

import fuzzing
import gymnasium
import pytest
from running import cli, recipe

import sandbox
from sandbox import prices
from sandbox.errors import (
    BudgetExhaustedError,
    InvalidInputError,
    RunConflictError,
    UnknownNameError,
    UnreadableError,
)
from sandbox.ledger import AccountFunds, Ledger
from sandbox.ledger.statement import statement
from sandbox.meter import Meter
from sandbox.prices import local

SCHEDULE = """format: 1
version: {version}
effective_from: 2026-01-01
rates:
  physics_step: {step}
  pixel: 7
  raw_byte: 0
  reset: 1000
"""
LOADS = SCHEDULE.format(version="lab", step=3)
LOADS += """  simulation_us: 1000000000000
loads:
  billiards: {{reset_us: 0, step_us: {step}, picture_us: 0, pixel_ns: 0}}
"""


def written(folder: Path, version: str = "lab-2026", step: int = 20_000) -> Path:
    path = folder / f"{version}.yaml"
    path.write_text(SCHEDULE.format(version=version, step=step))
    return path


def test_a_run_keeps_the_prices_of_its_operator(tmp_path: Path) -> None:
    path, wanted = written(tmp_path), recipe("billiards", episodes=2)
    quoted = sandbox.quote(wanted, prices=str(path))
    work = {"physics_step": quoted.quantities["physics_step"], "reset": 2}
    assert quoted.amount == work["physics_step"] * 20_000 + 2 * 1000
    bill = sandbox.generate(wanted, tmp_path / "run", prices=str(path))
    assert (bill.amount, bill.price_version) == (quoted.amount, "lab-2026")
    identity = sandbox.open_run(tmp_path / "run").identity
    assert identity.prices == prices.load("lab-2026").digest
    assert sandbox.verify(tmp_path / "run").faults == []
    assert sandbox.generate(wanted, tmp_path / "run").amount == bill.amount  # As it began.
    with pytest.raises(RunConflictError, match="price_version"):
        sandbox.generate(wanted, tmp_path / "run", prices="1")
    other = sandbox.generate(wanted, tmp_path / "other")
    assert other.amount == prices.load("1").cost(other.quantities)
    assert sandbox.open_run(tmp_path / "other").run != identity.run
    assert Ledger().check() == []


def test_a_schedule_that_has_priced_something_cannot_be_replaced(tmp_path: Path) -> None:
    first = written(tmp_path)
    sandbox.generate(recipe(episodes=1), tmp_path / "run", prices=str(first))
    (tmp_path / "b").mkdir()
    with pytest.raises(InvalidInputError, match="another price schedule 'lab-2026'"):
        sandbox.quote(recipe(episodes=1), prices=str(written(tmp_path / "b", step=5)))
    written(local.folder(), step=5)  # By hand: it shows.
    report = sandbox.verify(tmp_path / "run", sample=0)
    assert any(fault.startswith("ledger: ") for fault in report.faults)
    assert any("none of that name with these prices" in note for note in report.notes)
    with pytest.raises(InvalidInputError, match="was changed after it was installed"):
        sandbox.generate(recipe(episodes=1), tmp_path / "run")
    wanted = ("cartpole_swingup_states", "--episodes", "1", "--prices", "lab-2026")
    for command in (("quote", *wanted), ("generate", *wanted, "--out", tmp_path / "new")):
        done = cli(*command)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert "lab-2026.yaml: was changed after it was installed" in done.stderr
    assert not (tmp_path / "new").exists()
    assert "was changed" in cli("prices", "list").stderr
    prices.chosen(str(first))  # It may be put back.
    assert sandbox.verify(tmp_path / "run", sample=0).faults == []
    assert sandbox.generate(recipe(episodes=1), tmp_path / "run").already == 1


def test_a_schedule_that_was_put_there_by_hand_is_sealed_when_it_is_chosen(tmp_path: Path) -> None:
    local.folder().mkdir(parents=True)
    written(local.folder())
    assert cli("prices", "use", "lab-2026").returncode == 0
    written(local.folder(), step=5)
    with pytest.raises(InvalidInputError, match="was changed after it was installed"):
        prices.current()


def test_the_default_prices_new_runs_and_environments(tmp_path: Path) -> None:
    written(tmp_path)
    assert cli("prices", "use", tmp_path / "lab-2026.yaml").returncode == 0
    assert prices.current().version == "lab-2026"
    env: Any = gymnasium.make("sandbox:sandbox/PushT-v0")
    env.reset(seed=0)
    assert env.step([0.0, 0.0])[4]["charged"] == 24 * 20_000
    env.close()
    posts = [line for line in statement(Ledger(), "local") if line["kind"] == "post"]
    assert posts[0]["price_version"] == "lab-2026"
    assert sandbox.generate(recipe(episodes=1), tmp_path / "run").price_version == "lab-2026"
    listed = json.loads(cli("prices", "list", "--json").stdout)
    assert [row["version"] for row in listed if row["current"]] == ["lab-2026"]
    assert {row["version"]: row["whose"] for row in listed}["1"] == "the package's"
    assert cli("prices", "use").returncode == 0
    assert prices.current().version != "lab-2026"
    (local.folder() / "default").write_text("gone\n")
    with pytest.raises(UnknownNameError, match="no price schedule is called 'gone'"):
        prices.current()


def test_commands_show_and_check_and_take_prices(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert json.loads(cli("prices", "show", "1", "--json").stdout)["rates"]["pixel"] == 50
    assert json.loads(cli("prices", "check", path, "--json").stdout)["version"] == "lab-2026"
    assert not local.folder().exists()  # Nothing was installed.
    made = ("cartpole_swingup_states", "--episodes", "1", "--prices", str(path), "--json")
    quoted = json.loads(cli("quote", *made).stdout)
    done = cli("generate", *made, "--out", tmp_path / "run")
    assert quoted["price_version"] == "lab-2026"
    assert json.loads(done.stdout)["charge_micro"] <= quoted["charge_micro"]
    assert "20,000" in cli("quote", *made[:-1]).stdout
    again = cli("generate", *made[:3], "--out", tmp_path / "run").stdout
    assert "20,000" in again  # The bill is printed at the run's own prices.


@pytest.mark.parametrize(
    ("version", "text", "says"),
    [
        ("1", SCHEDULE.format(version='"1"', step=3), "another price schedule '1'"),
        ("other", SCHEDULE.format(version="lab", step=3), "is not the file's name"),
        ("lab", SCHEDULE.format(version="lab", step=-3), "rates"),
        ("lab", SCHEDULE.format(version="lab", step=3) + "  joule: 3\n", "joule"),
        ("lab", SCHEDULE.format(version="lab", step=3).replace("  reset: 1000\n", ""), "reset"),
        ("lab", "format: 1\n", "version"),
        ("-lab", SCHEDULE.format(version="-lab", step=3), "the first a letter or digit"),
        ("lab", SCHEDULE.format(version="lab", step=10**12 + 1), "rates.physics_step: must be at"),
        ("lab", LOADS.format(step=10**12 + 1), "loads.billiards.step_us: must be at most"),
    ],
)
def test_a_schedule_that_is_not_valid_is_refused_in_one_line(
    tmp_path: Path, version: str, text: str, says: str
) -> None:
    path = tmp_path / f"{version}.yaml"
    path.write_text(text)
    done = cli("prices", "check", "--", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())
    with pytest.raises(InvalidInputError):
        sandbox.quote(recipe(episodes=1), prices=str(path))
    assert not local.folder().exists()


def test_an_unknown_schedule_says_which_there_are(tmp_path: Path) -> None:
    for name in ("3000", "../../etc/passwd", "x/y"):
        with pytest.raises(UnknownNameError, match="no price schedule is called"):
            prices.load(name)
    done = cli("prices", "show", "11")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Known: 1" in " ".join(done.stderr.split())


def test_a_run_carries_its_operators_prices_wherever_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, proof = tmp_path / "run", tmp_path / "proof.json"
    wanted = recipe(episodes=3, shard_episodes=2)
    bill = sandbox.generate(wanted, run, prices=str(written(tmp_path)))
    assert cli("prove", run, "--episode", "1", "--out", proof).returncode == 0
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "elsewhere"))
    for workers in ("1", "2"):
        done = cli("verify", run, "--workers", workers)
        assert (done.returncode, "as the run carries it" in done.stdout) == (0, True), done.stdout
    assert prices.credits(bill.amount) in done.stdout
    assert cli("audit", run, "--fraction", "0.9").returncode == 0
    assert cli("verify", proof).returncode == 0
    assert cli("preview", run, "--image-size", "16", "--episodes", "1").returncode == 0
    for name, price in (("run.json", 20_000), ("proof.json", 20_000)):
        path = (run if name == "run.json" else tmp_path) / name
        text = path.read_text()
        path.write_text(text.replace(f'"physics_step": {price}', '"physics_step": 1'))
        assert path.read_text() != text
        done = cli("verify", run if name == "run.json" else proof)
        assert done.returncode in (1, 2)
        assert "is not the one that it names" in done.stdout + done.stderr
        path.write_text(text)


def test_pictures_of_a_run_are_priced_by_whoever_draws_them(tmp_path: Path) -> None:
    wanted = recipe(episodes=1)
    sandbox.generate(wanted, tmp_path / "run", prices=str(written(tmp_path)))
    bill = sandbox.render(tmp_path / "run", tmp_path / "drawn", image_size=16)
    assert bill.price_version == prices.current().version
    (record,) = sandbox.open_run(tmp_path / "drawn").records()
    assert record.price_version == bill.price_version
    assert sandbox.verify(tmp_path / "drawn").faults == []
    wanted = recipe(episodes=1, observation=["proprio", "pixels"], image_size=16)
    sandbox.generate(wanted, tmp_path / "at_once")
    assert sandbox.open_run(tmp_path / "at_once").run == sandbox.open_run(tmp_path / "drawn").run


def test_a_default_that_is_gone_is_no_business_of_a_run_that_has_its_prices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, wanted = tmp_path / "run", recipe("billiards", episodes=2)
    bill = sandbox.generate(wanted, run, prices="1")
    monkeypatch.setenv("SANDBOX_PRICES", "nope")
    assert sandbox.verify(run).faults == []
    assert "wrong episodes" not in cli("audit", run, "--fraction", "0.9").stdout
    assert sandbox.generate(wanted, run).amount == bill.amount
    small = ("--image-size", "16")
    new = ("--prices", "1", "--out")
    for command in (
        ("preview", run, *small, "--episodes", "1"),
        ("render", run, *small, *new, tmp_path / "drawn"),
        ("branch", run, "--episode", "0", "--step", "5", "--with", "same", *new, tmp_path / "b"),
        ("quote", "latch_tries", "--prices", "1"),
    ):
        done = cli(*command)
        assert done.returncode == 0, done.stderr
    assert "'nope'" in cli("render", run, *small, "--out", tmp_path / "unpriced").stderr


def test_a_list_of_prices_has_those_that_are_good_and_names_the_others(tmp_path: Path) -> None:
    prices.chosen(str(written(tmp_path)))
    (local.folder() / "bad.yaml").write_text("format: 1\n")
    (local.folder() / "default").write_text("gone\n")
    done = cli("prices", "list", "--json")
    assert done.returncode == 0
    assert [row["version"] for row in json.loads(done.stdout)] == ["1", "2", "3", "lab-2026"]
    bad, gone = done.stderr.splitlines()
    assert "bad.yaml" in bad
    assert "'gone'" in gone


@pytest.mark.parametrize("how", ["rates", "load"])
def test_what_costs_more_than_can_be_booked_is_refused_in_one_line(
    how: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "lab", 10**12)
    if how == "load":
        path.write_text(LOADS.format(step=10**9))
    large = ("generate", "two_room_pixels", "--episodes", 10**8, "--prices", path)
    done = cli(*map(str, large), "--out", tmp_path / "run")
    says = "under the price schedule 'lab' this work costs"
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert says in done.stderr
    assert "nothing may cost more than 1,000,000,000,000" in done.stderr
    assert "Grant" not in done.stderr  # The account is postpaid.
    meter = Meter(prices.chosen("lab"), AccountFunds(Ledger(), "local"))
    if how == "load":
        with pytest.raises(InvalidInputError, match="this work costs"):
            gymnasium.make("sandbox:sandbox/Billiards-v0", meter=meter)
    else:
        env: Any = gymnasium.make("sandbox:sandbox/Billiards-v0", meter=meter)
        env.reset(seed=0)
        assert env.step([0.0, 0.0])[4]["charged"] > 10**12
        env.close()
    assert Ledger().check() == []


def test_an_episode_stops_before_it_costs_more_than_can_be_booked() -> None:
    rates = {"physics_step": 10**12, "pixel": 10**12}
    meter = Meter(prices.PriceSchedule("lab", prices.schedules()[0].effective_from, rates))
    with pytest.raises(InvalidInputError, match="an episode may cost"):
        meter.open(meter.price({}), meter.price({"physics_step": 1}), 10**6 + 1, b"")
    meter.open(meter.price({}), meter.price({"physics_step": 1}), 10**6, b"")
    picture = meter.price({"pixel": 900_000})
    assert meter.charge_extra(picture) == 9 * 10**17
    assert meter.remaining == meter.balance
    with pytest.raises(BudgetExhaustedError, match="an episode may cost at most"):
        meter.charge_extra(picture)
    assert meter.spent == 9 * 10**17
    capped = Meter(meter.schedule, budget=10)
    capped.top_up(10**30)
    assert capped.balance == meter.balance


def test_a_schedule_is_not_used_before_its_day(tmp_path: Path) -> None:
    tomorrow = datetime.date.today() + datetime.timedelta(days=1)
    path = written(tmp_path)
    path.write_text(path.read_text().replace("2026-01-01", tomorrow.isoformat()))
    assert cli("prices", "check", path).returncode == 0
    for named in (path, "lab-2026"):
        for command in (("prices", "use", named), ("quote", "push_t_demo", "--prices", named)):
            done = cli(*command)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
            assert f"'lab-2026' applies from {tomorrow} on, and it is" in done.stderr
        assert local.folder().exists() == (named != path)  # Nothing was installed.
        local.folder().mkdir(parents=True, exist_ok=True)
        path.rename(local.folder() / path.name) if named == path else None
    (local.folder() / "default").write_text("lab-2026\n")
    with pytest.raises(InvalidInputError, match="applies from"):
        prices.current()
    assert prices.current(tomorrow) == prices.load("lab-2026")  # Bills are checked as ever.
    rows = json.loads(cli("prices", "list", "--json").stdout)
    assert [row["version"] for row in rows if row["current"]] == []


@pytest.mark.parametrize("form", fuzzing.FORMS)
def test_what_lies_in_the_place_of_a_schedule_is_named_and_hides_no_other(
    form: str, tmp_path: Path
) -> None:
    assert cli("prices", "use", written(tmp_path)).returncode == 0
    for name in ("other.yaml", "default", "lab-2026.digest"):
        path = local.folder() / name
        path.write_bytes(path.read_bytes() if path.exists() else b"")
        kept = path.read_bytes()
        fuzzing.become(path, form)
        says = ": has 1,099,511,627,776 bytes" if form == "huge" else ": is a "
        listed = cli("prices", "list")
        assert listed.returncode == 0
        assert "the package's" in listed.stdout
        assert f"{path}{says}" in listed.stderr, listed.stderr
        used = "other" if name == "other.yaml" else "lab-2026"
        for command in (("prices", "show", used), ("quote", "push_t_demo", "--prices", used)):
            done = cli(*command)
            wrong = name != "default"
            assert (done.returncode, len(done.stderr.splitlines())) == (2 * wrong, wrong), done
        path.rmdir() if form == "folder" else path.unlink()
        path.write_bytes(kept) if name == "default" else None


def test_a_default_that_cannot_be_read_now_is_not_to_be_deleted(
    tmp_path: Path,
) -> None:
    assert cli("prices", "use", written(tmp_path)).returncode == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(UnreadableError, match=r"default: .*Too many open files; .*ulimit -n"):
            prices.current()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert prices.current().version == "lab-2026"
