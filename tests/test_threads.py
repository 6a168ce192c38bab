"""Environments and readers in several threads, and processes without output streams."""

import subprocess
import sys
from pathlib import Path

import pytest
from running import python

IN_THREADS = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from sandbox import catalogue

before = [os.fstat(fd) for fd in (1, 2)]
over = threading.Event()
told = 0

def tell():
    global told
    while not over.is_set() and told < 5000:
        os.write(1, b"a line\\n")
        print("said", file=sys.stderr)
        told += 1

def live(n):
    env = catalogue.environment(("panda_reach", "cartpole_swingup")[n % 2])(account=None)
    for seed in range(3):
        env.reset(seed=seed)
    env.close()

teller = threading.Thread(target=tell)
teller.start()
try:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(live, range(12)))
finally:
    over.set()
teller.join()
after = [os.fstat(fd) for fd in (1, 2)]
assert [(s.st_dev, s.st_ino) for s in before] == [(s.st_dev, s.st_ino) for s in after]
print(told)
"""
NO_ROBOT = """
from sandbox import scene as sc
from sandbox.errors import SandboxError
from sandbox.world import World
world = World()
try:
    world.build(sc.Scene(bodies=(sc.robot("it", "{path}"),)))
except SandboxError:
    import os; os.write({told}, b"refused")
"""


def test_environments_of_several_threads_leave_stdout_and_stderr_as_they_are() -> None:
    done = python("-c", IN_THREADS)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    told = int(lines.pop())
    assert (lines.count("a line"), done.stderr.split().count("said")) == (told, told)
    assert len(lines) == told > 0


@pytest.mark.parametrize("streams", ["", ">&-", "2>&-", ">&- 2>&-"])
def test_a_world_needs_no_stdout_and_no_stderr(streams: str) -> None:
    code = "from sandbox.world import World; World().close()"
    done = subprocess.run(["sh", "-c", f"'{sys.executable}' -c '{code}' {streams}"], check=False)
    assert done.returncode == 0


def test_a_world_is_imported_where_pythons_streams_are_none_or_closed() -> None:
    code = "import sys; sys.stderr = None; sys.stdout.close(); from sandbox.world import World"
    done = python("-c", f"{code}; World()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bullets_importers_say_nothing_even_when_the_process_ends(tmp_path: Path) -> None:
    """C keeps what it prints into a pipe until the process ends."""
    path = tmp_path / "no.urdf"
    path.write_text("<robot name='it'><link name='a'/><joint name='j' type='none'/></robot>")
    done = python("-c", NO_ROBOT.format(path=path, told=2))
    assert (done.stdout, done.stderr) == ("", "refused")
