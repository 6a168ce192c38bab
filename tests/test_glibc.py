"""Another glibc, in a chroot: where its mathematics have the fingerprint, the bytes are the same.

`make soak` runs this (SANDBOX_SOAK=1), as root on a Debian where `debootstrap` is installed: it
makes a small system of another release, shows it this Python with its packages, and generates the
golden recipes there.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import golden
import pytest

SOAK = bool(os.environ.get("SANDBOX_SOAK"))
RELEASE = "trixie"
NEEDED = "libffi8,libssl3t64,zlib1g,libbz2-1.0,liblzma5,libsqlite3-0,libuuid1,libreadline8t64"
NAMES = "import platform; print(*platform.libc_ver())"


def shown() -> list[str]:
    """The folders that this Python needs: itself, its packages, this checkout."""
    root = Path(__file__).parent.parent
    found = {sys.base_prefix, sys.prefix, str(root), *(path for path in sys.path if path)}
    real = sorted({os.path.realpath(path) for path in found if os.path.isdir(path)})
    return [p for p in real if not any(p.startswith(f"{other}/") for other in real)]


def chrooted(system: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in another system, with mounts that end with the process."""
    places = [*shown(), "/proc", "/dev"]
    lines = [f"mkdir -p {system}{p} && mount --bind {p} {system}{p}" for p in places]
    command = shlex.join(["chroot", str(system), sys.executable, *arguments])
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", "\n".join([*lines, f"exec {command}"])],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(0)
@pytest.mark.skipif(not SOAK, reason="it installs a small system: run `make soak`")
def test_another_glibc_gives_the_same_bytes_where_it_computes_alike(tmp_path: Path) -> None:
    assert shutil.which("debootstrap"), "install it: apt-get install debootstrap"
    assert os.geteuid() == 0, "only root can make another system and mount into it"
    assert sys.base_prefix != "/usr", "this Python would bring its glibc along: use one elsewhere"
    system = tmp_path / RELEASE
    made = ["debootstrap", "--variant=minbase", f"--include={NEEDED}", RELEASE, str(system)]
    subprocess.run(made, check=True, capture_output=True)
    theirs = chrooted(system, "-c", NAMES)
    assert theirs.stdout.split() != [*platform.libc_ver()], theirs.stderr
    done = chrooted(system, golden.__file__)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == golden.recipes(), done.stderr
    print(f"{theirs.stdout.strip()}: {done.stdout}")
    for recipe, same, fingerprint in lines:
        assert same == "same" or fingerprint not in golden.known()["machines"], recipe
