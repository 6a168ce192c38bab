"""What credits of PushT are worth, by policy, factors, branches: `python -m benchmarks.worth`.

States by default; `--pictures` takes pictures of 32 pixels and the model conv. A folder and a
number of seeds may follow: `python -m benchmarks.worth --pictures runs/worth 3`. The same command
goes on where it was stopped. docs/worth.md has what came of it.
"""

import sys
from typing import Any

import sandbox
from benchmarks.tables import show

MIXTURES = {
    "random": {"random": 1},
    "noise": {"ou_noise": 1},
    "scripted": {"scripted": 1},
    "play": {"play": 1},
    "demo": {"scripted": 3, "scripted_noisy": 2, "ou_noise": 1},
    "even": {"random": 1, "ou_noise": 1, "scripted": 1, "play": 1},
}
EVERY = dict.fromkeys(("random", "ou_noise", "scripted", "scripted_noisy", "play"), 1)
VARIED = {"scenario": "push_t_varied", "split": "train"}
SEED, TEST_SEED = 1, 7001


def recipes(observation: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is compared, by name, and what all models are evaluated on."""
    shared = {"format": 1, "environment": "push_t", "observation": observation, "image_size": 32}
    shared |= {"episodes": 20, "seed": SEED}
    found = {name: {**shared, **VARIED, "policies": one} for name, one in MIXTURES.items()}
    found["even_narrow"] = {**shared, "policies": MIXTURES["even"]}  # Only the layout varies.
    test = {**shared, **VARIED, "split": "interpolation", "policies": EVERY, "seed": TEST_SEED}
    return found, test


def main(pictures: bool, folder: str, seeds: int) -> None:
    """Compare, and print the table."""
    given, test = recipes(["proprio", "pixels"] if pictures else ["proprio"])
    model = ("conv", "nano") if pictures else ("mlp", "tiny")
    asked: dict[str, Any] = {"seeds": seeds, "updates": 600, "branches": {"even": 0.5}}
    asked |= {"tests": [test], "horizons": [1, 2, 4, 8, 16], "settings": {"checks": 5}}

    def tell(done: int, total: int, what: str) -> None:
        print(f"{done} of {total}: {what}", file=sys.stderr)

    found = sandbox.worth(given, folder, [2000, 16000], *model, **asked, progress=tell)
    show("PushT: means with intervals of 95 % over seeds", found.rows())


if __name__ == "__main__":
    words = [one for one in sys.argv[1:] if one != "--pictures"]
    with_pictures = "--pictures" in sys.argv
    place = words[0] if words else f"runs/worth-{'pictures' if with_pictures else 'states'}"
    main(with_pictures, place, int(words[1]) if len(words) > 1 else 3)
