"""Signed notes, checkpoints and keys as C2SP writes them."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from running import cli

from sandbox import content
from sandbox.errors import FormatError, InvalidInputError
from sandbox.evidence import keys
from sandbox.evidence.note import (
    MAX_BYTES,
    Checkpoint,
    SigningKey,
    VerifierKey,
    body,
    sign,
    split,
    verified,
)

# Published with C2SP's signed-note and golang.org/x/mod/sumdb/note.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANNS = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNED = (
    f"{TEXT}\n\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2"
    "pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example in C2SP's tlog-checkpoint; its key is not published.
SOFA = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\N{EM DASH} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/\
Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""
KEY = SigningKey("lab.example/alice", bytes(range(32)))
CHECKPOINT = Checkpoint("sandbox/run", 42, bytes(range(32)))


def test_the_published_note_verifies_and_is_what_we_sign() -> None:
    key = VerifierKey.parse(NEUMANN)
    assert verified(SIGNED, [key]) == (TEXT, [key])
    assert key.text == NEUMANN
    secret = SigningKey.parse(NEUMANNS)
    assert secret.verifier == key
    assert secret.text == NEUMANNS
    assert sign(TEXT, secret) == SIGNED


def test_the_published_checkpoint_is_read_and_written_alike() -> None:
    text, signatures = split(SOFA)
    found = Checkpoint.parse(text)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.text == text
    assert [(one.name, one.id.hex()) for one in signatures] == [(found.origin, "033de0ae")]
    assert len(signatures[0].signature) == 64


def test_a_checkpoint_is_three_lines_and_keeps_those_after_them() -> None:
    text = "sandbox/run\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    assert CHECKPOINT.text == text
    assert Checkpoint.parse(text) == CHECKPOINT
    longer = Checkpoint.parse(f"{text}an extension\n")
    assert longer == replace(CHECKPOINT, extra=("an extension",))
    assert longer.text == f"{text}an extension\n"


def test_the_body_of_a_checkpoint_is_its_text_whether_it_is_signed_or_not() -> None:
    assert body(sign(CHECKPOINT.text, KEY)) == CHECKPOINT.text
    assert body(CHECKPOINT.text) == CHECKPOINT.text
    with pytest.raises(FormatError, match="signature"):
        body(f"{CHECKPOINT.text}\nno signature\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sandbox/run\n42\n",
        "\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "sandbox/run\n042\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "sandbox/run\n-1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "sandbox/run\n\N{SUPERSCRIPT TWO}\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "sandbox/run\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
        "sandbox/run\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
        "sandbox/run\n42\nAAEC\n",
        "sandbox/run\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "sandbox/run\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="checkpoint"):
        Checkpoint.parse(text)


def test_every_flipped_bit_of_a_signed_checkpoint_is_noticed() -> None:
    signed = sign(CHECKPOINT.text, KEY).encode()
    for place in range(len(signed)):
        for bit in range(8):
            data = bytearray(signed)
            data[place] ^= 1 << bit
            try:
                text, signers = verified(data.decode(), [KEY.verifier])
            except (FormatError, UnicodeDecodeError):
                continue
            assert not signers, (place, bit, text)


def test_a_note_of_several_says_who_of_the_known_signed() -> None:
    other = SigningKey("other", bytes(32))
    both = sign(TEXT, KEY) + sign(TEXT, other).split("\n\n")[1]
    assert [one.name for one in split(both)[1]] == ["lab.example/alice", "other"]
    assert verified(both, [other.verifier])[1] == [other.verifier]
    assert verified(both, [])[1] == []


def test_a_key_that_signed_twice_counts_once() -> None:
    note = sign(TEXT, KEY)
    twice = note + note.split("\n\n")[1]
    assert len(split(twice)[1]) == 2
    assert verified(twice, [KEY.verifier, KEY.verifier])[1] == [KEY.verifier]


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        TEXT,
        f"{TEXT}\n",
        SIGNED[:-1],
        f"{SIGNED}\n",
        SIGNED.replace("\N{EM DASH}", "-"),
        SIGNED.replace("x08go", "x08go "),
        SIGNED.replace("JnAM=", "JnAN="),
        SIGNED.replace("JnAM=", "JnAM"),
        SIGNED.replace("cryptography", "crypto\tgraphy"),
        SIGNED.replace("cryptography", "crypto\ud800graphy"),
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(FormatError, match=r"note|signature"):
        verified(note, [VerifierKey.parse(NEUMANN)])


def test_a_note_is_limited_in_bytes_and_not_in_characters() -> None:
    room = MAX_BYTES - len(sign("\n", KEY).encode())
    split(sign("x" * room + "\n", KEY))
    for text in ("x" * (room + 1), "\N{EM DASH}" * (room // 2)):
        with pytest.raises(FormatError, match="at most 1,000,000 bytes"):
            split(sign(f"{text}\n", KEY))


@pytest.mark.parametrize("text", ["", "no line feed", "a tab\t\n", "a nul\0\n", "half \ud800\n"])
def test_what_cannot_be_a_note_is_not_signed(text: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be signed"):
        sign(text, KEY)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "x" * 101, "a\u00a0b", "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="key name"):
        SigningKey.new(name)


@pytest.mark.parametrize("text", ["", "a", NEUMANN[:-1], NEUMANN.replace("c7", "c8"), NEUMANNS])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="key"):
        VerifierKey.parse(text)


def test_a_secret_is_never_shown() -> None:
    assert "seed" not in repr(KEY)
    with pytest.raises(InvalidInputError) as error:
        SigningKey.parse(NEUMANNS[:-3])
    assert NEUMANNS[40:60] not in str(error.value)
    with pytest.raises(InvalidInputError, match="this is a secret key") as error:
        VerifierKey.parse(NEUMANNS)
    assert NEUMANNS[40:60] not in str(error.value)


@pytest.mark.parametrize("text", [NEUMANNS[12:], NEUMANN, NEUMANNS.replace("c7", "c8"), "", "a"])
def test_what_is_no_secret_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="the secret key"):
        SigningKey.parse(text)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    for kind in (SigningKey, VerifierKey):
        with pytest.raises(InvalidInputError, match=f"has 32 bytes, not {size}"):
            kind("lab", bytes(size))


def test_a_key_is_its_owners_alone_and_is_never_replaced() -> None:
    made = keys.new("lab", "lab.example")
    path = content.home() / "keys" / "lab.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert keys.load("lab") == made
    assert keys.trusted() == [made.verifier]
    assert keys.verifier("lab") == keys.verifier(made.verifier.text) == made.verifier
    assert keys.verifier(str(path.with_suffix(".pub"))) == made.verifier
    with pytest.raises(InvalidInputError, match="there is a key already; nothing was written"):
        keys.new("lab")
    assert keys.load("lab") == made
    assert sorted(p.name for p in path.parent.iterdir()) == ["lab.key", "lab.pub"]


def test_a_key_that_others_can_read_or_that_is_damaged_or_missing_is_refused() -> None:
    keys.new()
    path = content.home() / "keys" / "default.key"
    path.chmod(0o640)
    with pytest.raises(InvalidInputError, match="chmod 600"):
        keys.load()
    path.chmod(0o600)
    path.write_text("rubbish")
    with pytest.raises(InvalidInputError, match=r"default\.key: the secret key"):
        keys.load()
    with pytest.raises(InvalidInputError, match="Make one with `sandbox keys new other`"):
        keys.load("other")
    with pytest.raises(InvalidInputError, match="use 1 to 64"):
        keys.new("../escape")


def test_a_public_key_in_the_way_leaves_no_secret_one() -> None:
    keys.new("lab")
    folder = content.home() / "keys"
    (folder / "lab.key").unlink()
    with pytest.raises(InvalidInputError, match=r"lab\.pub: there is a key already; nothing was"):
        keys.new("lab")
    assert [path.name for path in folder.iterdir()] == ["lab.pub"]


def test_what_a_kill_left_of_a_key_is_not_in_the_way_of_another() -> None:
    folder = content.home() / "keys"
    folder.mkdir(parents=True)
    (folder / f".lab.key.{os.getpid()}").write_text("PRIVATE+KE")
    made = keys.new("lab")
    assert keys.load("lab") == made


def test_trusted_keys_are_sorted_by_their_names() -> None:
    keys.new("a", "z.example")
    keys.new("b", "a.example")
    assert [key.name for key in keys.trusted()] == ["a.example", "z.example"]


@pytest.mark.parametrize("rubbish", ["bytes", "folder", "text"])
def test_a_public_key_that_cannot_be_read_hinders_only_who_asks_for_it(rubbish: str) -> None:
    made = keys.new("lab")
    path = keys.folder() / "junk.pub"
    if rubbish == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"\xff" if rubbish == "bytes" else b"rubbish")
    assert keys.trusted() == [made.verifier]
    assert [said for said in keys.unreadable() if said.startswith(f"{path}: no public key")]
    assert len(keys.unreadable()) == 1
    with pytest.raises(InvalidInputError, match=r"junk\.pub: no public key"):
        keys.verifier("junk")


def test_a_public_key_that_a_crash_left_out_is_written_when_the_secret_one_is_loaded() -> None:
    made = keys.new("lab", "lab.example")
    public = keys.folder() / "lab.pub"
    text = public.read_text()
    public.unlink()
    with pytest.raises(InvalidInputError, match=r"lab --exist-ok` writes it"):
        keys.new("lab")
    assert keys.trusted() == []
    assert cli("keys", "new", "lab", "--exist-ok").returncode == 0
    assert (public.read_text(), keys.trusted()) == (text, [made.verifier])
    public.unlink()
    assert keys.load("lab") == made
    assert public.read_text() == text


def test_an_empty_name_is_no_name_and_an_unknown_label_is_no_key() -> None:
    with pytest.raises(InvalidInputError, match="key name ''"):
        keys.new("lab", "")
    assert not keys.exists("lab")
    with pytest.raises(InvalidInputError, match=r"lab\.pub: no public key"):
        keys.verifier("lab")


def test_a_key_that_is_not_text_is_restored_and_not_made() -> None:
    keys.new()
    path = content.home() / "keys" / "default.key"
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidInputError, match="restore it from a copy"):
        keys.load()


def test_keys_are_made_and_listed_by_the_command_line(tmp_path: Path) -> None:
    assert cli("keys", "new", "lab").returncode == 0
    assert cli("keys", "new", "lab").returncode == 2
    again = cli("keys", "new", "lab", "--exist-ok")
    assert again.returncode == 0
    assert keys.load("lab").verifier.text in again.stdout.replace("\n", "")
    assert "lab" in cli("keys", "list", "--json").stdout
    assert (
        cli("generate", "push_t_demo", "--key", "nobody", "--out", tmp_path / "r").returncode == 2
    )
    assert not (tmp_path / "r").exists()
