"""One loop in several processes: the same batches, the same numbers drawn, one who writes."""

import os
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from toy import ToyQuartets

from helpers.augment import Augment
from helpers.config import ROOT, CourseError
from helpers.model import build
from helpers.predict import load
from helpers.recipes import Stage, recipe
from helpers.train import train

pytestmark = pytest.mark.slow

loop = import_module("helpers.train")  # the attribute helpers.train is the function

TRAIN = textwrap.dedent(
    """
    import sys
    sys.path[:0] = [{root!r}, {tests!r}]
    import torch
    from toy import ToyQuartets
    from importlib import import_module
    from helpers.callbacks import TensorBoardLogger
    from helpers.dataset import split
    from helpers.model import build
    from helpers.recipes import Stage, recipe

    loop = import_module("helpers.train")
    loop.LOG_EVERY = 1

    def run(folder, kill_after=None):
        torch.set_num_threads(1)
        parts = split(ToyQuartets(rooms=4, cats=4, placements=4), 0.3)
        net = build("DuoNet", 0)
        if kill_after:
            forward, calls = net.forward, []
            def dying(*pair):
                calls.append(1)
                if len(calls) > kill_after:
                    raise RuntimeError("killed")
                return forward(*pair)
            net.forward = dying
        stages = (Stage(32, 8, 2), Stage(48, 12, 1))
        choice = recipe("course", "tiny", stages=stages, precision="fp32")
        loop.train(net, *parts, choice, folder, [TensorBoardLogger()], checkpoint_seconds=-1)  # saved after every step
    """
)


LEAVE = "    from accelerate import PartialState\n    PartialState().destroy_process_group()\n"


def script(folder):
    path = folder / "run.py"
    text = TRAIN.format(root=str(ROOT), tests=str(Path(__file__).parents[1]))
    path.write_text(text + "\nif __name__ == '__main__':\n    run(sys.argv[1], *map(int, sys.argv[2:]))\n" + LEAVE)
    return path


def launch(folder, name, processes, *arguments, check=True):
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *several, script(folder), folder / name, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return folder / name


def curve(folder, key="loss"):
    header, *rows = [line.split(",") for line in (folder / "steps.csv").read_text().splitlines()]
    return [float(row[header.index(key)]) for row in rows]


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return launch(folder, "one", 1), launch(folder, "two", 2)


def test_two_processes_follow_the_curve_of_one(one_and_two):
    """Batch normalisation sees half of each batch in each of two processes: hence a tolerance."""
    one, two = one_and_two
    assert len(curve(one)) == len(curve(two)) > 8
    assert curve(one, "samples") == curve(two, "samples")
    assert curve(two)[0] == pytest.approx(curve(one)[0], rel=0.02)
    assert curve(two) == pytest.approx(curve(one), rel=0.1)


def test_one_process_writes_and_its_network_can_be_loaded(one_and_two):
    one, two = one_and_two
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    assert len(list((two / "tensorboard").iterdir())) == 1
    pair = ToyQuartets(size=48).get_batch([1, 7])
    outputs = [load(folder).eval()(pair["bg"], pair["bg_fg"]) for folder in (one, two)]
    assert all(torch.isfinite(logits).all() for logits in (*outputs[0], *outputs[1]))


def test_two_processes_go_on_where_they_died_with_the_same_curve(one_and_two, tmp_path):
    launch(tmp_path, "again", 2, 3, check=False)
    assert 0 < len(curve(tmp_path / "again")) < len(curve(one_and_two[1]))
    assert curve(launch(tmp_path, "again", 2)) == pytest.approx(curve(one_and_two[1]), rel=1e-3)


def test_each_process_draws_its_part_of_what_one_would_draw():
    batch = ToyQuartets(placements=10, size=64).get_batch(range(0, 40, 5))
    whole = Augment()(batch, torch.Generator().manual_seed(3))
    for rank in range(2):
        mine = {key: value[rank::2] for key, value in batch.items()}
        part = Augment()(mine, torch.Generator().manual_seed(3), (rank, 2))
        assert all(torch.equal(part[key], whole[key][rank::2]) for key in whole)


def test_the_network_of_notebook_05_is_trained_by_two_processes_from_the_command_line(tmp_path):
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "",
        "COURSE_PROFILE": "tiny", "COURSE_CACHE": str(tmp_path / "cache"), "COURSE_RUNS": str(tmp_path / "runs"),
    }  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "helpers.session"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert load(tmp_path / "runs" / "rooms-tiny-course").trained_size == 48
    assert len(list((tmp_path / "cache").glob("quartets-*"))) == 2  # a training set and a test set, made once


def test_a_batch_that_cannot_be_shared_is_told(tmp_path, monkeypatch):
    class Crowd(loop.Accelerator):
        num_processes = 9

    monkeypatch.setattr(loop, "Accelerator", lambda cpu: Crowd(cpu=True))
    with pytest.raises(CourseError, match="A batch of 8 cannot be shared among 9 processes"):
        parts = ToyQuartets(), ToyQuartets()
        train(build("DuoNet", 0), *parts, recipe("course", "tiny", stages=(Stage(32, 8, 1),)), tmp_path / "run")


def test_a_notebook_starts_two_processes(one_and_two, tmp_path):
    text = TRAIN.format(root=str(ROOT), tests=str(Path(__file__).parents[1]))
    cells = [
        "import os\nos.environ.update(OMP_NUM_THREADS='1', ACCELERATE_USE_CPU='true', CUDA_VISIBLE_DEVICES='')",
        text,
        f"from accelerate import notebook_launcher\nnotebook_launcher(run, ({str(tmp_path / 'two')!r},), num_processes=2)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert curve(tmp_path / "two") == pytest.approx(curve(one_and_two[1]), rel=1e-3)
