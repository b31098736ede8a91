"""Notebooks on the least that can be split: a folder of two rooms and two cats."""

import pytest
from notebook_cells import NOTEBOOKS
from photo_files import photo_folder

from helpers.upkeep.run_notebooks import run


@pytest.mark.slow
@pytest.mark.parametrize("number", ["01", "02", "05"])
def test_it_runs_on_two_rooms_and_two_cats(number, tmp_path, monkeypatch):
    for name, value in {"DATA": photo_folder(tmp_path / "mine"), "RUNS": tmp_path / "runs"}.items():
        monkeypatch.setenv(f"COURSE_{name}", str(value))
    run(NOTEBOOKS[number], tmp_path / "pages")
