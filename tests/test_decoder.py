"""The process that decodes films: however it ends, that is one sentence, and it is over."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sandbox.errors import FormatError, SandboxError, UnreadableError
from sandbox.imports import decoder
from sandbox.imports.decoder import Decoder, Wanted

WANTED = Wanted("observation.images.main", "a.mp4", 0.0, 10.0, 2, 4, 6)
ANSWERS = "import sys; sys.stdin.readline(); out = sys.stdout.buffer; "


def read(code: str, patch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    """What comes of a request if this code answers it."""
    patch.setattr(decoder, "_STARTS", code)
    one = Decoder()
    try:
        return one.read(WANTED)
    finally:
        one.close()


def test_frames_come_as_they_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    code = ANSWERS + "[out.write(b'F' + bytes([n]) * 72) for n in (7, 9)]"
    found = read(code, monkeypatch)
    assert found.shape == (2, 4, 6, 3)
    assert (found[0] == 7).all()
    assert (found[1] == 9).all()


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("out.write(b'Da.mp4: is damaged.')", FormatError, "a.mp4: is damaged"),
        ("out.write(b'Ua.mp4: not now.')", UnreadableError, "a.mp4: not now"),
        ("out.write(b'F' + bytes(60))", SandboxError, "ended with exit status 0"),
        ("out.write(b'F' * 73); 1 / 0", SandboxError, "ended with exit status 1"),
        ("import os; os.kill(os.getpid(), 11)", FormatError, r"ended the process .*signal 11"),
        ("import nothing_of_this_name", SandboxError, "can import av"),
    ],
)
def test_however_the_process_ends_it_is_a_sentence(
    code: str, kind: type[SandboxError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(kind, match=said) as error:
        read(ANSWERS + code, monkeypatch)
    assert error.type is kind
    assert "\n" not in str(error.value)


def test_it_imports_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    answers = decoder._STARTS.partition("from sandbox")[0] + ANSWERS  # pyright: ignore[reportPrivateUsage]
    assert read(answers + "[out.write(b'F' + bytes(72)) for _ in range(2)]", monkeypatch).any() == 0
