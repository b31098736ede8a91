"""The times on the front page and above the notebooks: only what a log says, and all or nothing."""

import json

import nbformat
import pytest

from helpers.config import ROOT, CourseError
from helpers.upkeep import front_page, timings

README = """# Title

<!-- notebooks:begin -->
| | Notebook | What you learn | Time, memory | |
|---|---|---|---|---|
| 1 | [01_a](notebooks/01_a.ipynb) | first things | | [![Open in Colab](x)](y) |
| 2 | [02_b](notebooks/02_b.ipynb) | second things | 99 min | [![Open in Colab](x)](y) |
<!-- notebooks:end -->

The end.
"""
FIRST = """# {}

| | |
|---|---|
| You will be able to | read |
| Time | forever |
| Memory | all |
| Download | none |"""

OUTPUTS = [nbformat.v4.new_output("stream", text="Profile  quick\nTime     9 min on a snail\nData     rooms\n")]


def run(**changed) -> dict:
    plain = {"device": "2 CPU cores", "profile": "quick", "data": "rooms", "minutes": 2.34, "gigabytes": 1.26, "disk": 0.42,
             "from_nothing": True, "date": "2026-11-23"}  # fmt: skip
    return {**plain, **changed}


@pytest.fixture
def course(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "helpers").mkdir()
    for name in ("01_a", "02_b"):
        text = nbformat.v4.new_markdown_cell(FIRST.format(name))
        code = nbformat.v4.new_code_cell("setup(1)", outputs=OUTPUTS)
        nbformat.write(nbformat.v4.new_notebook(cells=[text, code]), tmp_path / "notebooks" / f"{name}.ipynb")
    (tmp_path / "README.md").write_text(README)
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    return tmp_path


def log(course, **entries):
    (course / "runs" / "course").mkdir(parents=True, exist_ok=True)
    timings.log_file().write_text(json.dumps({f"0{name[-1]}_{name[0]}": runs for name, runs in entries.items()}))


def first_cell(course, name) -> str:
    return nbformat.read(course / "notebooks" / f"{name}.ipynb", as_version=4).cells[0].source


def state(course) -> dict:
    return {path: path.read_bytes() for path in course.rglob("*") if path.is_file()}


def test_times_go_into_the_table_and_above_each_notebook(course, capsys):
    log(course, a1=[run()], b2=[run(minutes=0.51, gigabytes=0.74)])
    front_page.main(course)
    text = (course / "README.md").read_text()
    assert "| 1 | [01_a](notebooks/01_a.ipynb) | first things | 2.3 min, 1.3 GB | [![Open in Colab](x)](y) |" in text
    stored = nbformat.read(course / "notebooks" / "01_a.ipynb", as_version=4).cells[1].outputs[0].text
    assert stored == "Profile  quick\nTime     2.3 min on 2 CPU cores, measured 2026-11-23\nData     rooms\n"
    kept = json.loads((course / "helpers" / "minutes.json").read_text())
    assert kept["01_a"] == {"quick": "2.3 min on 2 CPU cores, measured 2026-11-23"}
    assert "| second things | 31 s, 0.7 GB |" in text and "99 min" not in text
    assert "on 2 CPU cores, profile `quick`, measured 2026-11-23." in text
    assert "Nobody has timed it on Colab's T4" in text
    assert text.startswith("# Title") and text.endswith("The end.\n")
    source = first_cell(course, "01_a")
    assert "| Time | 2.3 min on 2 CPU cores (profile `quick`, measured 2026-11-23); on a T4: not measured yet |" in source
    assert "| Memory | at most 1.3 GB, and 0.4 GB of disk for rendered sets (the same run) |" in source
    assert "| You will be able to | read |" in source and "| Download | none |" in source
    assert "2 notebooks" in capsys.readouterr().out


def test_a_second_time_nothing_changes_and_new_times_replace_old_ones(course):
    log(course, a1=[run()], b2=[run()])
    front_page.main(course)
    before = state(course)
    front_page.main(course)
    assert state(course) == before
    log(course, a1=[run(minutes=14.6)], b2=[run()])
    front_page.main(course)
    assert "15 min, 1.3 GB" in (course / "README.md").read_text()
    assert (course / "README.md").read_text().count("Time and peak memory") == 1
    assert first_cell(course, "01_a").count("| Time |") == 1


def test_a_warm_run_says_so(course):
    log(course, a1=[run(from_nothing=False)], b2=[run(from_nothing=False)])
    front_page.main(course)
    assert "sets that an earlier run had made" in first_cell(course, "01_a")


@pytest.mark.parametrize("other", [None, {"profile": "tiny"}, {"data": "/photos"}, {"device": "Tesla T4, 2 CPU cores"}])
def test_without_a_log_it_refuses_and_writes_nothing(course, other):
    if other is not None:
        log(course, a1=[run()], b2=[run(**other)])
    before = state(course)
    with pytest.raises(CourseError, match="No run of 0._. .*make notebooks"):
        front_page.main(course)
    assert state(course) == before


def test_a_place_that_is_gone_is_named_and_nothing_is_written(course):
    log(course, a1=[run()], b2=[run()])
    path = course / "notebooks" / "02_b.ipynb"
    path.write_text(path.read_text().replace("| Memory |", "| Storage |"))
    before = state(course)
    with pytest.raises(CourseError, match="02_b: it has 0 rows '. Memory "):
        front_page.main(course)
    assert state(course) == before
    (course / "README.md").write_text("# no table")
    with pytest.raises(CourseError, match="README.md must have <!-- notebooks:begin --> once"):
        front_page.main(course)


@pytest.mark.parametrize("minutes, text", [(0.001, "1 s"), (0.99, "59 s"), (1.04, "1.0 min"), (9.96, "10 min")])
def test_durations_are_as_exact_as_a_reader_can_use(minutes, text):
    assert front_page.duration(minutes) == text


def test_the_readme_and_every_notebook_have_the_places():
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    every = {path.stem: run() for path in paths}
    text = front_page.with_times((ROOT / "README.md").read_text(encoding="utf-8"), every)
    assert text.count("2.3 min, 1.3 GB") == len(every)
    for path in paths:
        front_page.with_rows(nbformat.read(path, as_version=4).cells[0].source, every[path.stem])
