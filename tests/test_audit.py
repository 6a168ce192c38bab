"""What an audit may say, that liars are caught as often as it says, and proofs for one episode."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from liars import (
    LIES,
    another_class,
    copied_episode,
    edited_reward,
    idle_policy,
    lie,
    made_up_record,
    one_chance,
)
from running import cli, recipe

import sandbox
from sandbox import jsonfile
from sandbox.errors import FormatError, InvalidInputError, LedgerError
from sandbox.evidence import keys, log
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Ledger
from sandbox.ledger.statement import statement
from sandbox.run.folder import BOOKING, Folder
from sandbox.trajectory import shards
from sandbox.verification import prove
from sandbox.verification.audit import (
    Audit,
    as_json,
    draw,
    missed,
    sample_size,
    wrong_below,
)
from sandbox.verification.refunds import Refunds
from sandbox.verification.refunds import refund as refund_of
from sandbox.verification.trust import Trust


def refund(folder: Folder, found: Audit, ledger: Ledger) -> tuple[int, list[int]]:
    """What is refunded after an audit, and which failed episodes are left."""
    done: Refunds = refund_of(folder, found.report, ledger)
    return done.refunded_micro, [*done.left]


def strict(path: Path, trust: Trust) -> Audit:
    """An audit that replays everything."""
    return sandbox.audit(path, confidence=0.99, fraction=0.01, trust=trust)


@pytest.mark.parametrize("how", LIES)
def test_a_liar_is_invisible_without_replay_and_caught_with_it(how: Any, tmp_path: Path) -> None:
    lie(tmp_path / "run", how)
    trust = Trust(Ledger(read_only=True), keys.trusted(), signed=True)
    assert sandbox.verify(tmp_path / "run", sample=0, trust=trust).faults == []
    found = strict(tmp_path / "run", trust)
    assert sorted(found.report.failed) == [1, 4]
    assert found.statement.startswith("FAILED: 6 of 6")
    assert found.report.diverged == [1, 4]
    says = {
        edited_reward: r"step 30 in column 'reward'",
        copied_episode: r"step \d+ in column '",
        one_chance: r"its record says seed \d+, and the recipe \d+",
        idle_policy: r"its action at step 0 is not what 'random' takes",
        made_up_record: r"its record says return 1000000.0, and a replay",
    }
    assert all(re.search(says.get(how, "."), text) for text in found.report.failed.values())


def test_a_record_of_another_class_than_its_run_is_noticed(tmp_path: Path) -> None:
    lie(tmp_path / "run", another_class)
    trust = Trust(Ledger(read_only=True), keys.trusted(), signed=True)
    failed = sandbox.verify(tmp_path / "run", sample=0, trust=trust).failed
    assert sorted(failed) == [1, 4]
    assert "its record says engine" in failed[1]


def test_audits_of_a_lying_run_fail_exactly_when_a_lie_is_drawn(tmp_path: Path) -> None:
    """40 audits that draw 1 of 6 episodes, 2 of which lie: as many catch one as is promised."""
    lie(tmp_path / "run", edited_reward)
    trust = Trust(Ledger(read_only=True), keys.trusted(), signed=True)
    ways: dict[str, Any] = {"confidence": 0.3, "fraction": 0.34, "trust": trust}
    audits = [sandbox.audit(tmp_path / "run", nonce=str(n), **ways) for n in range(40)]
    for found in audits:
        assert sorted(found.report.failed) == sorted({1, 4} & set(found.replayed))
    assert {found.random for found in audits} == {1}
    promised = 1 - missed(6, 2, 1)
    error = math.sqrt(promised * (1 - promised) / len(audits))
    caught = sum(bool(found.report.failed) for found in audits) / len(audits)
    assert caught == pytest.approx(promised, abs=3 * error)


def test_a_failed_audit_refunds_the_episodes_that_failed_and_once(tmp_path: Path) -> None:
    lie(tmp_path / "run", edited_reward)
    trust = Trust(Ledger(read_only=True), keys.trusted(), signed=True)
    before = Ledger().balance("local").posted_micro
    found = strict(tmp_path / "run", trust)
    given, left = refund(Folder(tmp_path / "run"), found, Ledger())
    assert left == []
    lines = statement(Ledger(), "local")
    posts = {line["episode"]: line for line in lines if line["kind"] == "post"}
    assert given == -posts[1]["amount_micro"] - posts[4]["amount_micro"]
    assert Ledger().balance("local").posted_micro == before + given
    refunds = [line for line in lines if line["kind"] == "refund"]
    assert [line["corrects"] for line in refunds] == [posts[1]["id"], posts[4]["id"]]
    booked = Ledger().find(bytes.fromhex(refunds[0]["id"]))
    assert booked is not None
    assert booked.move.facts["reason"] == "episode 1 failed its audit"
    again = cli("audit", tmp_path / "run", "--confidence", "0.99", "--fraction", "0.01", "--refund")
    assert again.returncode == 1
    assert Ledger().balance("local").posted_micro == before + given


def test_a_refund_by_hand_before_is_counted_and_another_ledgers_run_is_not_refunded(
    tmp_path: Path,
) -> None:
    lie(tmp_path / "run", edited_reward)
    trust = Trust(Ledger(read_only=True), keys.trusted(), signed=True)
    found = strict(tmp_path / "run", trust)
    book = Ledger()
    posts = [one for one in book.of_run(found.run) if one.move.facts["episode"] in (1, 4)]
    whole = sum(post.move.amount for post in posts)
    book.refund(posts[0].move.id, reason="by hand")
    book.refund(posts[1].move.id, 1000, reason="a part by hand")
    given, left = refund(Folder(tmp_path / "run"), found, book)
    assert (given, left) == (whole - posts[0].move.amount - 1000, [])
    assert refund(Folder(tmp_path / "run"), found, book) == (0, [])
    known = jsonfile.read(tmp_path / "run" / BOOKING).data
    jsonfile.write(tmp_path / "run" / BOOKING, {**known, "ledger": "0" * 32})
    with pytest.raises(LedgerError, match="charged in the ledger 0000"):
        refund(Folder(tmp_path / "run"), found, book)
    done = cli("audit", tmp_path / "run", "--fraction", "0.01", "--no-ledger", "--refund", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, "refund" in said) == (1, False)
    assert "charged in the ledger 0000" in said["refund_error"]


def test_damaged_bytes_and_another_machine_are_no_reason_to_refund(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie(tmp_path / "run", edited_reward)
    trust = Trust(Ledger(read_only=True), keys.trusted(), signed=True)
    with monkeypatch.context() as patch:
        patch.setattr("sandbox.world.determinism.variables", lambda theirs: None)
        found = strict(tmp_path / "run", trust)
        assert refund(Folder(tmp_path / "run"), found, Ledger()) == (0, [1, 4])
    lie(tmp_path / "honest", None)
    with h5py.File(shards(tmp_path / "honest")[0], "r+") as file:
        file["reward"][60] += 1.0
    found = strict(tmp_path / "honest", trust)
    assert list(found.report.failed) == [1]
    assert found.report.diverged == []
    assert refund(Folder(tmp_path / "honest"), found, Ledger()) == (0, [1])


@pytest.mark.parametrize("wrong", [1, 5, 20])
def test_liars_are_drawn_as_often_as_the_formula_promises(wrong: int) -> None:
    """2,000 audits of 200 episodes, the lies in any places: the share caught is as promised."""
    count, sample, audits = 200, 30, 2000
    liars = set(range(7, 7 + wrong))
    roots = [n.to_bytes(32, "big") for n in range(audits)]
    caught = sum(bool(liars & set(draw(count, sample, "nonce", root, 9))) for root in roots)
    promised = 1 - missed(count, wrong, sample)
    error = math.sqrt(promised * (1 - promised) / audits)
    assert caught / audits == pytest.approx(promised, abs=4 * error)


def test_the_formula_is_the_one_that_is_written_down() -> None:
    for count, wrong, sample in [(20, 3, 5), (100, 5, 45), (7, 7, 1), (50, 1, 50), (9, 4, 6)]:
        exactly = math.comb(count - wrong, sample) / math.comb(count, sample)
        assert missed(count, wrong, sample) == pytest.approx(exactly, abs=1e-12)
    assert sample_size(10**8, 0.95, 0.05) in (58, 59)
    assert sample_size(10**8, 0.95, 0.01) in (298, 299)


@given(st.integers(1, 400), st.floats(0.5, 0.999), st.floats(0.001, 0.5))
def test_as_many_are_drawn_as_are_needed_and_no_more(
    count: int, confidence: float, fraction: float
) -> None:
    sample = sample_size(count, confidence, fraction)
    wrong = max(1, math.ceil(fraction * count))
    assert 1 - missed(count, wrong, sample) >= confidence
    assert sample == 0 or 1 - missed(count, wrong, sample - 1) < confidence
    assert wrong_below(count, sample, confidence) <= wrong


@given(st.integers(1, 300), st.data())
def test_a_draw_has_no_number_twice_and_depends_on_all_that_it_is_made_of(
    count: int, data: st.DataObject
) -> None:
    sample = data.draw(st.integers(0, count))
    drawn = draw(count, sample, "nonce", bytes(32), 5)
    assert len(set(drawn)) == sample
    assert all(0 <= n < count for n in drawn)
    assert drawn == draw(count, sample, "nonce", bytes(32), 5)


def test_a_draw_is_even_and_another_for_another_nonce_root_or_size() -> None:
    drawn = [n for k in range(300) for n in draw(10, 3, str(k), bytes(32), 1)]
    assert np.bincount(drawn, minlength=10).min() > 60
    base = draw(1000, 20, "a", bytes(32), 5)
    assert base != draw(1000, 20, "b", bytes(32), 5)
    assert base != draw(1000, 20, "a", b"\x01" * 32, 5)
    assert base != draw(1000, 20, "a", bytes(32), 6)


# What an audit says.


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(recipe("billiards", episodes=12), folder / "run", key=keys.new("lab"))
    return folder


@pytest.fixture
def lab_run(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SANDBOX_HOME", str(lab / "home"))
    return lab / "run"


def test_an_audit_replays_the_last_and_the_dearest_and_says_what_it_supports(lab_run: Path) -> None:
    ways: dict[str, Any] = {"confidence": 0.8, "fraction": 0.3, "nonce": "my nonce"}
    found = sandbox.audit(lab_run, trust=Trust(Ledger(read_only=True), keys.trusted()), **ways)
    assert found.report.faults == []
    assert 11 in found.replayed
    assert len(found.replayed) < 12
    assert found.report.replayed == len(found.replayed)
    assert found.wrong_below <= math.ceil(0.3 * 12)
    assert f"fewer than {found.wrong_below} " in found.statement
    again = sandbox.audit(lab_run, trust=Trust(None, keys.trusted()), **ways)
    assert again.replayed == found.replayed


def test_an_audit_as_json_names_nonce_root_and_statement(lab_run: Path) -> None:
    done = cli(
        "audit", lab_run, "--confidence", "0.5", "--fraction", "0.5", "--nonce", "x", "--json"
    )
    said = json.loads(done.stdout)
    assert (said["ok"], said["nonce"], said["size"]) == (True, "x", 14)
    assert "of the episodes are wrong" in said["statement"]
    assert said["replayed"]


@pytest.mark.parametrize(("confidence", "fraction"), [(0, 0.5), (1, 0.5), (0.5, 0), (0.5, 1)])
def test_a_confidence_or_fraction_that_is_none_is_refused(
    lab_run: Path, confidence: float, fraction: float
) -> None:
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        sandbox.audit(lab_run, confidence=confidence, fraction=fraction)


def test_a_nonce_that_is_no_text_is_refused(lab_run: Path) -> None:
    with pytest.raises(InvalidInputError, match="not UTF-8"):
        sandbox.audit(lab_run, nonce="\udcff")


def test_an_audit_of_a_damaged_run_fails_and_says_so(lab_run: Path, tmp_path: Path) -> None:
    for name in ("checkpoint", "shards/shard-00000.h5"):
        copy = Path(shutil.copytree(lab_run, tmp_path / name.replace("/", "-")))
        (copy / name).unlink()
        done = cli("audit", copy, "--json")
        said = json.loads(done.stdout)
        assert (done.returncode, said["ok"]) == (1, False)
        assert said["statement"].startswith("FAILED: 0 of 12")


def test_what_another_renderer_drew_is_not_claimed(tmp_path: Path) -> None:
    wanted = recipe("billiards", observation=["proprio", "pixels"], image_size=16)
    sandbox.generate(wanted, tmp_path / "run")
    assert sandbox.open_run(tmp_path / "run").identity.renderer is not None
    with pytest.MonkeyPatch.context() as patch:
        other = {"name": "raster", "class": "of tomorrow"}
        patch.setattr("sandbox.env.pictures.Pictures.drawn_by", other)
        found = sandbox.audit(tmp_path / "run", trust=Trust(Ledger(read_only=True)))
    assert "(pixels could not be compared)" in found.statement
    assert as_json(found)["not_compared"] == ["pixels"]


def test_a_run_that_is_not_finished_is_not_audited(lab_run: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "shards").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_bytes((lab_run / "run.json").read_bytes())
    with pytest.raises(FormatError, match="not finished"):
        sandbox.audit(tmp_path / "run")


# Proofs for one episode.


def shown(proof: dict[str, Any], run: Path) -> prove.Proof:
    return prove.check(proof, keys.trusted(), signed=True)


def test_a_proof_of_an_episode_and_a_row_holds_without_run_and_ledger(
    lab_run: Path, tmp_path: Path
) -> None:
    done = cli("prove", lab_run, "--episode", "3", "--step", "7", "--out", tmp_path / "proof.json")
    assert done.returncode == 0, done.stderr
    key = keys.load("lab").verifier.text
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(moved))
        done = cli("verify", tmp_path / "proof.json", "--key", key)
        assert done.returncode == 0, done.stdout
        assert "its row 7 is the one given" in done.stdout
        done = cli("verify", tmp_path / "proof.json")
        assert (done.returncode, "the signature of lab was not checked" in done.stdout) == (0, True)
        other = SigningKey.new("lab").verifier.text
        done = cli("verify", tmp_path / "proof.json", "--key", other)
        assert (done.returncode, "by no key that is required" in done.stdout) == (1, True)
        done = cli("verify", tmp_path / "proof.json", "--ledger")
        assert (done.returncode, "leave --ledger out" in done.stderr) == (2, True)


def test_whatever_is_changed_in_a_proof_is_noticed(lab_run: Path) -> None:
    proof = prove.episode(Folder(lab_run), 3, 7)
    assert shown(proof, lab_run).faults == []
    text = json.dumps(proof)
    for change in (
        text.replace('"seed": ', '"seed": 1'),
        text.replace('"episode": 3', '"episode": 4'),
        text.replace(f'"charge_micro": {proof["record"]["charge_micro"]}', '"charge_micro": 1'),
        text.replace(proof["record_path"][0], "0" * 64),
        text.replace(proof["leaf"], proof["leaf"][:-2] + "7f"),
        text.replace('"step": 7', '"step": 8'),
        text.replace("\\n14\\n", "\\n15\\n"),
        text.replace('"billiards"', '"push_t"'),
    ):
        assert change != text
        assert shown(json.loads(change), lab_run).faults, change[:200]
    for rubbish in ({}, {"format": 1, "kind": "episode"}, {**proof, "record_path": 5}):
        assert shown(rubbish, lab_run).faults


def test_growth_is_proved_from_an_older_checkpoint_and_not_from_another(lab_run: Path) -> None:
    leaves = log.read(lab_run)
    name = Folder(lab_run).run
    older = log.checkpoint(name, leaves[:5]).text
    proof = prove.growth(Folder(lab_run), older)
    assert shown(proof, lab_run).faults == []
    lying = log.checkpoint(name, [bytes(32), *leaves[1:5]]).text
    assert "rewritten" in shown({**proof, "older": lying}, lab_run).faults[0]
    with pytest.raises(InvalidInputError, match="the tree has 14 leaves"):
        prove.growth(Folder(lab_run), log.checkpoint(name, [*leaves, bytes(32)]).text)


def test_what_is_not_there_is_not_proved(lab_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="the run has 12"):
        prove.episode(Folder(lab_run), 12)
    with pytest.raises(InvalidInputError, match="the episode has 31"):
        prove.episode(Folder(lab_run), 0, 151)
    assert cli("prove", lab_run, "--out", tmp_path / "p.json").returncode == 2
