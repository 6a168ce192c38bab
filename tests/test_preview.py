"""Previews: what is on the sheet, of runs with pictures and without."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import recipe

import sandbox
from sandbox import catalogue
from sandbox.errors import InvalidInputError
from sandbox.report.gallery import gallery, picture, text
from sandbox.report.preview import KELLY, colored, movie, preview
from sandbox.run.folder import Folder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def previewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(recipe("cartpole_swingup", episodes=2), folder / "state")
        seen: dict[str, Any] = {"camera": ["main", "side"], "image_size": 16}
        sandbox.generate(
            recipe("cartpole_swingup", episodes=2, observation=["pixels", "depth"], **seen),
            folder / "seen",
        )
    return folder


def size(sheet: Path) -> tuple[int, int]:
    with Image.open(sheet) as opened:
        return opened.size


def test_every_camera_and_modality_has_a_strip(previewed: Path, tmp_path: Path) -> None:
    sheet, film = preview(Folder(previewed / "seen"), tmp_path)
    assert size(sheet)[1] == 2 * (20 + 4 * 132) + 4
    assert film.stat().st_size > 1000


def test_a_run_without_pictures_is_replayed_and_nothing_is_written_to_it(
    previewed: Path, tmp_path: Path
) -> None:
    before = sorted(path for path in (previewed / "state").rglob("*"))
    sheet, _ = preview(
        Folder(previewed / "state"), tmp_path, 1, ["pixels", "segmentation"], ["side"]
    )
    assert size(sheet)[1] == 20 + 2 * 132 + 4
    with Image.open(sheet) as opened:
        assert len(opened.getcolors(1 << 20) or []) > 20
    assert sorted(path for path in (previewed / "state").rglob("*")) == before


def test_unknown_cameras_and_columns_are_refused(previewed: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no camera is called 'back'"):
        preview(Folder(previewed / "state"), tmp_path, 1, None, ["back"])
    with pytest.raises(InvalidInputError, match="no column of pictures is called 'normals'"):
        preview(Folder(previewed / "state"), tmp_path, 1, ["normals"])
    assert list(tmp_path.iterdir()) == []


def test_depth_is_coloured_from_near_to_far_and_nothing_is_grey() -> None:
    shown = colored(np.array([[[1.0, 2.0, 3.0, 10.0]]], np.float32), far_m=10.0)
    assert shown[0, 0].tolist() == [[68, 1, 84], [33, 144, 141], [253, 231, 37], [200, 200, 200]]


def test_bodies_have_colours_of_their_own() -> None:
    shown = colored(np.array([[[0, 1, 20, 21]]], np.int16), far_m=10.0)
    assert [tuple(c) for c in shown[0, 0].tolist()] == [KELLY[0], KELLY[1], KELLY[20], KELLY[1]]


@pytest.mark.filterwarnings("error")
def test_what_cameras_of_others_may_have_seen_is_drawn() -> None:
    odd = np.array([[[np.nan, np.inf, -np.inf, 1e308], [-1e308, 0.0, 1.0, 2.0]]])
    assert colored(odd, far_m=np.inf)[0, 0, 0].tolist() == [200, 200, 200]
    for dtype in ("int8", "uint64", "bool"):
        low = np.zeros((1, 2, 2)).astype(dtype)
        assert colored(low, far_m=1.0)[0, 0, 0].tolist() == list(KELLY[0])


def test_a_film_of_many_episodes_has_the_first_of_them() -> None:
    pictures = {"pixels": np.zeros((1, 8, 8, 3), np.uint8)}
    assert movie([pictures] * 200, 10.0) == movie([pictures] * 48, 10.0)


def test_the_page_of_environments_is_what_the_gallery_writes() -> None:
    page = ROOT / "docs" / "environments.md"
    assert page.read_text() == text(catalogue.environments()), "run `sandbox gallery docs`"
    for name in catalogue.environments():
        for shown in (f"{name}.png", f"{name}_strip.png", f"{name}.gif"):
            assert (ROOT / "docs" / shown).exists(), "run `sandbox gallery docs`"


def test_a_picture_has_a_row_for_each_camera_and_factor() -> None:
    env = catalogue.environment("cartpole_swingup")
    assert picture("cartpole_swingup").size[1] == 4 + (3 + len(env.factors)) * (112 + 20)


def test_the_page_of_environments_says_what_a_goal_state_is() -> None:
    page = text(["push_t", "cartpole_swingup", "tower"])
    assert "(moderate, strict): t.x, t.y: 3, 1.5 cm; t yaw: 0.349, 0.175 rad.\n" in page
    assert "Goal state: none; one poke decides, and then nobody steers. It has its" in page
    for name in catalogue.environments():
        aim = catalogue.environment(name).aim
        assert (aim if isinstance(aim, str) else aim.parts[-1].what) in text([name])


def test_the_gallery_has_a_film_and_a_strip_of_an_episode(tmp_path: Path) -> None:
    assert gallery(tmp_path, ["billiards"]).read_text() == text(["billiards"])
    assert size(tmp_path / "billiards_strip.png") == (5 * 132 - 4, 128)
    assert size(tmp_path / "gallery.png") == (2 * (5 * 132 + 4), 128 + 18)
    with Image.open(tmp_path / "billiards.gif") as film:
        frames = film.n_frames  # pyright: ignore
        film.seek(frames - 1)
        assert film.info["duration"] >= 1000
    assert 20 < frames <= 60
