"""Every recipe gives the bytes, the records and the bill that it gave before."""

from pathlib import Path

import golden
import pytest


@pytest.mark.parametrize("recipe", golden.recipes())
def test_a_recipe_gives_the_bytes_it_always_gave(recipe: str, tmp_path: Path) -> None:
    found, cpu = golden.made(recipe, tmp_path)
    differ = golden.differences(recipe, found)
    assert not differ, f"on {cpu}; recorded on {golden.known()['cpus']}:\n" + "\n".join(differ)


def test_every_recipe_has_a_golden_entry_and_no_other() -> None:
    assert sorted(golden.known()["recipes"]) == golden.recipes()
