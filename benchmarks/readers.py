"""Windows a second of other people's readers and ours: the same frames, lossless, in turn.

Each reader runs in a process of its own, with the Python that has it, and reads while the others
wait. `make rivals` makes the Pythons.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.tables import show

EPISODES, LENGTH, BATCH = 30, 16, 32
ROUNDS, SECONDS = 5, 1.0
HERE = Path(__file__).parent.parent
PYTHONS = {
    "ours": Path(sys.executable),
    "rivals": Path(os.environ.get("SANDBOX_RIVALS", HERE / ".venv-rivals/bin/python")),
    "lerobot": Path(os.environ.get("SANDBOX_LEROBOT", HERE / ".venv-lerobot/bin/python")),
}
MAKE = f"""
import sys
from pathlib import Path
import sandbox
folder = Path(sys.argv[1])
recipe = {{"format": 1, "environment": "push_t", "episodes": {EPISODES}, "image_size": 64,
          "policies": {{"play": 1}}, "observation": ["proprio", "pixels"]}}
sandbox.generate(recipe, folder / "run")
names = ("pixels", "proprio", "action", "reward", "terminated", "truncated", "step_idx")
names += ("episode_idx",)
for to, out, packing in (
    ("swm", "swm.h5", "none"), ("lance", "run.lance", None),
    ("lerobot", "lerobot", None),
    ("minari", "push-v0", "none"), ("robomimic", "robomimic.hdf5", "none"),
):
    sandbox.export(folder / "run", to, folder / out, columns=names, compression=packing)
"""
SERVE = f"""
import sys, time
from pathlib import Path

LENGTH, BATCH = {LENGTH}, {BATCH}
folder, how = Path(sys.argv[1]), sys.argv[2]


def loaded(windows, **more):
    from torch.utils.data import DataLoader

    workers = int(how[-1]) if how[-1].isdigit() else 0
    return DataLoader(
        windows, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0, **more
    )


def endless(batches):
    while True:
        yield from batches


def serve(batches, pixels, first):
    import torch

    torch.set_num_threads(1)  # What they do is small: more threads wait for each other.
    print("ready", int(first.sum()), flush=True)
    walk = endless(batches)
    for line in sys.stdin:
        for _ in range(10 if how[-1] == "2" else 2):  # What workers had read ahead does not count.
            next(walk)
        count, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < float(line):
            batch = next(walk)
            count += 1
        seen = pixels(batch)
        assert seen.shape[0] * (seen.shape[1] if seen.ndim > 4 else 1) == BATCH * LENGTH
        print("windows", count * BATCH / (time.perf_counter() - begun), flush=True)


if __name__ == "__main__":
"""
NAMES = '("pixels", "proprio", "action")'
OURS = f"""
    from sandbox import Batches, Windows
    import sandbox

    cache = "ram" if "cache" in how else None
    path = folder / "run"
    if how.startswith("Batches"):
        batches = Batches(path, BATCH, LENGTH, {NAMES}, cache=cache)
        batches.wait_for_cache()
    else:
        windows = Windows(path, LENGTH, {NAMES}, cache=cache)
        windows.wait_for_cache()
        batches = loaded(windows)
    serve(batches, lambda batch: batch["pixels"], Windows(path, LENGTH, {NAMES})[0]["pixels"])
"""
COPIES = """
    import numpy, sandbox, torch

    data = sandbox.Dataset(folder / "run")
    rows = numpy.concatenate([data.rows(n, ("pixels",))["pixels"] for n in range(len(data))])
    made = numpy.empty((BATCH, LENGTH, *rows.shape[1:]), rows.dtype)
    batch = {"pixels": torch.from_numpy(made)}

    class Copies:
        def __iter__(self):
            draw = numpy.random.default_rng(0)
            while True:
                for k, start in enumerate(draw.integers(0, len(rows) - LENGTH, BATCH).tolist()):
                    made[k] = rows[start : start + LENGTH]
                yield batch

    serve(Copies(), lambda batch: batch["pixels"], rows[:LENGTH].astype("int64"))
"""
SWM = """
    from stable_worldmodel.data import load_dataset

    names = ["pixels", "proprio", "action"]
    name = "run.lance" if "Lance" in how else "swm.h5"
    windows = load_dataset(
        str(folder / name), num_steps=LENGTH, keys_to_load=names,
        keys_to_cache=names if "memory" in how else None,
    )
    serve(loaded(windows), lambda batch: batch["pixels"], windows[0]["pixels"])
"""
ROBOMIMIC = """
    import robomimic.utils.obs_utils as keys
    from robomimic.utils.dataset import SequenceDataset

    keys.initialize_obs_utils_with_obs_specs(
        [{"obs": {"rgb": ["pixels"], "low_dim": ["proprio"]}}]
    )
    mode = "all" if "all" in how else "low_dim" if "low" in how else None
    windows = SequenceDataset(
        str(folder / "robomimic.hdf5"), ["pixels", "proprio"], ["actions"], seq_length=LENGTH,
        pad_seq_length=False, load_next_obs=False, hdf5_cache_mode=mode,
    )
    serve(loaded(windows), lambda batch: batch["obs"]["pixels"], windows[0]["obs"]["pixels"])
"""
MINARI = """
    import os, random
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    import minari, numpy, torch

    data = minari.load_dataset("push-v0")

    class Episodes(torch.utils.data.Dataset):
        starts = [
            (n, t)
            for n, one in enumerate(data.storage.get_episode_metadata(range(data.total_episodes)))
            for t in range(one["total_steps"] - LENGTH + 1)
        ]

        def __init__(self):
            self.kept = {n: data[n] for n in range(len(data))} if "memory" in how else data

        def __len__(self):
            return len(self.starts)

        def __getitem__(self, place):
            n, t = self.starts[place]
            one = self.kept[n]
            seen = {name: rows[t : t + LENGTH] for name, rows in one.observations.items()}
            return {**seen, "action": one.actions[t : t + LENGTH]}

    windows = Episodes()
    serve(loaded(windows), lambda batch: batch["pixels"], windows[0]["pixels"])
"""
TORCHRL = """
    import numpy, torch, sandbox
    from tensordict import TensorDict
    from torchrl.data import LazyMemmapStorage, ReplayBuffer, SliceSampler

    data = sandbox.Dataset(folder / "run")
    names = ("pixels", "proprio", "action", "episode_idx")
    each = [data.rows(n, names) for n in range(len(data))]
    joined = {name: numpy.concatenate([one[name] for one in each]) for name in names}
    whole = {name: torch.from_numpy(one) for name, one in joined.items()}
    rows = TensorDict({**whole, "episode": whole.pop("episode_idx")}, [len(whole["pixels"])])
    storage = LazyMemmapStorage(len(rows), scratch_dir=str(folder / str(time.time_ns())))
    buffer = ReplayBuffer(
        storage=storage, batch_size=BATCH * LENGTH,
        sampler=SliceSampler(slice_len=LENGTH, traj_key="episode", cache_values=True),
        prefetch=3 if "prefetch" in how else None,
    )
    buffer.extend(rows)

    class Samples:
        def __iter__(self):
            while True:
                yield buffer.sample()

    serve(Samples(), lambda batch: batch["pixels"], rows["pixels"][:LENGTH])
"""
LEROBOT = """
    import os
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_CACHE"] = str(folder / "hf")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    names = ("observation.images.main", "observation.state", "action")
    times = LeRobotDataset("sandbox/run", root=folder / "lerobot").fps
    windows = LeRobotDataset(
        "sandbox/run", root=folder / "lerobot",
        delta_timestamps={name: [t / times for t in range(LENGTH)] for name in names},
    )
    first = windows[0][names[0]] * 255
    serve(loaded(windows), lambda batch: batch[names[0]], first.round().long())
"""
READERS = (  # What it is called, who has it, what it runs, its settings.
    ("`Batches`", "ours", OURS, ("Batches, cache", "Batches, zstd")),
    ("a plain copy of pixels", "ours", COPIES, ("all in memory",)),
    ("`Windows`", "ours", OURS, ("Windows, cache, workers 0", "Windows, zstd, workers 2")),
    (
        "stable-worldmodel 0.1.1 HDF5",
        "rivals",
        SWM,
        (
            "all in memory, workers 0",
            "all in memory, workers 2",
            "uncompressed, workers 2",
        ),
    ),
    ("stable-worldmodel 0.1.1 Lance, PNG", "rivals", SWM, ("Lance, workers 2",)),
    ("LeRobot 0.6.1, PNG", "lerobot", LEROBOT, ("workers 0", "workers 2")),
    ("TorchRL memmap, SliceSampler", "rivals", TORCHRL, ("plain", "prefetch")),
    (
        "Minari 0.5.4",
        "rivals",
        MINARI,
        ("all in memory, workers 0", "all in memory, workers 2", "workers 2"),
    ),
    (
        "robomimic 0.3.0",
        "rivals",
        ROBOMIMIC,
        (
            "cache all, workers 0",
            "cache low_dim, workers 2",
        ),
    ),
)


class Reader:
    """A process that reads when it is told to.

    Args:
        folder: where the datasets are.
        kind: whose Python runs it.
        code: what it runs.
        how: its setting.

    Attributes:
        first: the sum of the first window's pixels; None if it cannot run here.
    """

    def __init__(self, folder: Path, kind: str, code: str, how: str) -> None:
        pipe = subprocess.PIPE
        path = folder / f"{kind}-{abs(hash((code, how)))}.py"
        path.write_text(SERVE + code)
        with (folder / "errors.txt").open("a") as errors:
            self._process = subprocess.Popen(
                [str(PYTHONS[kind]), "-W", "ignore", str(path), str(folder), how],
                stdin=pipe,
                stdout=pipe,
                stderr=errors,
                text=True,
                env={**os.environ, "SANDBOX_HOME": str(folder / "home")},
            )
        self.first: int | None = None
        line = self._line("ready")
        if line:
            self.first = int(line.split()[1])

    def speed(self) -> float:
        """Return how many windows a second it reads; 0 if it fails."""
        assert self._process.stdin is not None
        try:
            print(SECONDS, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return 0.0
        line = self._line("windows")
        return float(line.split()[1]) if line else 0.0

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _line(self, begin: str) -> str:
        """Return the next line that begins so; "" if there is none."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(begin):
                return line
        return ""


def installed() -> bool:
    """Return whether the rivals are here; `make rivals` installs them."""
    return PYTHONS["rivals"].exists()


def table(folder: Path) -> list[dict[str, str]]:
    """Return windows a second of every reader at every setting: medians of rounds in turn."""
    maker = PYTHONS["rivals" if installed() else "ours"]
    environ = {**os.environ, "SANDBOX_HOME": str(folder / "home")}
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(maker), "-c", MAKE, str(folder)], check=True, env=environ, cwd=HERE)
    rows: list[dict[str, str]] = []
    started = {
        (name, how): Reader(folder, kind, code, how)
        for name, kind, code, settings in READERS
        if PYTHONS[kind].exists()
        for how in settings
    }
    found = {key: list[float]() for key, one in started.items() if one.first is not None}
    for _ in range(ROUNDS):
        for key, speeds in found.items():
            speeds.append(started[key].speed())
    best = READERS[0][0], READERS[0][3][0]
    ours, cached = started[best].first, found[best]
    for name, how in started:
        speeds = found.get((name, how), [0.0])
        rows.append(
            {
                "read by": name,
                "setting": how.partition("Batches, ")[2] or how.partition("Windows, ")[2] or how,
                "windows/s": f"{statistics.median(speeds):,.0f}",
                "of ours, cache": f"{_median_share(speeds, cached):.3f}",
                "least": f"{min(speeds):,.0f}",
                "most": f"{max(speeds):,.0f}",
                "same frames": "yes" if started[name, how].first == ours else "no",
            }
        )
    for one in started.values():
        one.end()
    return rows


def _median_share(speeds: list[float], others: list[float]) -> float:
    """Return the median of the shares of the same round."""
    return statistics.median(a / b for a, b in zip(speeds, others, strict=False) if b)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        show("Windows read a second, by reader", table(Path(folder)))


if __name__ == "__main__":
    main()
