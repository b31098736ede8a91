"""A training run that is killed (SIGKILL: no goodbye) again and again ends with the weights of one that was not.

``COURSE_KILLS=20 make test ARGS=tests/core/test_kill.py`` kills twenty times instead of three.
"""

import os
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from helpers.config import ROOT

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("COURSE_KILLS") or 3)
TRAIN = textwrap.dedent(
    """
    import sys
    sys.path[:0] = [{root!r}, {tests!r}]
    import torch
    torch.set_num_threads(1)
    from toy import ToyQuartets
    from helpers.dataset import split
    from helpers.model import build
    from helpers.recipes import Stage, recipe
    from helpers.train import train

    parts = split(ToyQuartets(rooms=6, cats=6, placements=2), 0.3)
    stages = (Stage(32, 8, 1), Stage(48, 8, 1), Stage(64, 16, 1))
    print("begin", flush=True)
    recipe = recipe("course", "tiny", stages=stages, precision="fp32")
    train(build("DuoNet", 0), *parts, recipe, sys.argv[1], checkpoint_seconds=0.3)
    """
)


@pytest.fixture
def start(tmp_path):
    path = tmp_path / "run.py"
    path.write_text(TRAIN.format(root=str(ROOT), tests=str(Path(__file__).parents[1])))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}

    def begin(folder):
        process = subprocess.Popen([sys.executable, path, folder], env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "begin\n"
        return process

    return begin


def weights(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("weights*.safetensors"))}


def without_times(weights):
    """The tensors and the recipe; how long it took stands in the files' headers."""
    return {name: data[8 + int.from_bytes(data[:8], "little") :] for name, data in weights.items()}


def test_killed_runs_end_with_the_weights_of_one_that_was_not(start, tmp_path):
    process, started = start(tmp_path / "whole"), time.monotonic()
    assert process.wait(timeout=300) == 0
    seconds, whole = time.monotonic() - started, without_times(weights(tmp_path / "whole"))
    assert len(whole) == 4
    chance, kills, finished, stages = random.Random(0), 0, 0, set()
    while kills < KILLS or not finished:
        folder = tmp_path / f"killed-{finished}"
        process = start(folder)
        try:
            process.wait(timeout=chance.uniform(0.02, 0.7) * seconds if kills < KILLS else 300)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            stages.add(len(list(folder.glob("weights-stage-*"))))
            continue
        assert process.returncode == 0
        assert without_times(weights(folder)) == whole
        assert not [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != ".lock"]  # what was half-written is gone
        finished += 1
    print(f"{kills} kills, {finished} runs finished, stages done when killed: {sorted(stages)}")
