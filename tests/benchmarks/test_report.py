"""The results page is made of stored results, keeps what nobody measured again, and changes nothing else."""

import json
import re
from importlib import import_module

import pytest

from helpers.benchmarks import loop, report, table
from helpers.benchmarks.report import FRONT_PAGE, PAGE, SECTIONS, parts
from helpers.benchmarks.summary import VERSION
from helpers.config import ROOT, CourseError
from helpers.demos.corruptions import CORRUPTION_LEVELS

COMMANDS = {
    "table": "--seeds", "ablation": "--seeds", "transfer": "--seeds", "loop": "--steps", "latency": "--repeats",
    "variety": "--rooms", "photographs": "--count", "handheld": "--count", "bad_pairs": "--count",
}  # fmt: skip
TEXT = "before\n<!-- here:begin -->\nold\n<!-- here:end -->\nafter é\n"
FRONT = "# Course\n<!-- results:begin -->\nold table\n<!-- results:end -->\nmore\n"
LEVELS = {f"{kind} {i}": [0.25] for kind, levels in {"clean": (None,), **CORRUPTION_LEVELS}.items() for i in range(len(levels))}


def test_a_part_is_what_stands_between_its_marks():
    before, inside, after = parts(TEXT, "here")
    assert inside == "\nold\n" and before + inside + after == TEXT
    assert parts(FRONT, "results")[1] == "\nold table\n"


@pytest.mark.parametrize(
    "text",
    ["", TEXT.replace("begin", "start"), TEXT.replace("here:end", "there:end"), TEXT + TEXT, "<!-- here:end --><!-- here:begin -->"],
    ids=["empty", "no begin", "no end", "twice", "upside down"],
)
def test_a_text_without_its_marks_is_refused(text):
    with pytest.raises(CourseError, match="README.md must have <!-- here:begin --> once"):
        parts(text, "here")


# -- what is written ------------------------------------------------------------------------------------------------


def comparison(data="rooms", titles=tuple(row.title for row in table.ROWS.values())):
    scores = {key: [0.9, 0.92] for key in table.COLUMNS}
    methods = {table.GROUND_TRUTH: {"grid": [0.02]}, table.SUBTRACTION: {"mask_dice": [0.8], "perturbed_mask_dice": [0.2],
               "boundary_f_1px": [0.7]}, table.MEAN_DEPTH: {"depth_rmse": [0.166]}}  # fmt: skip
    facts = {"parameters": [2_000_000] * 2, "gflop": [1.0] * 2, "seconds": [30.0, 36.0]}
    return {
        "version": VERSION, "data": data, "profile": "quick", "seeds": [0, 1], "size": 48, "train_quartets": 1,
        "test_quartets": 1, "stages": [], "machine": "a machine", "date": "2000-01-01",
        "scores": methods | {title: scores for title in (*titles, table.AS_PUBLISHED)}, "facts": {title: facts for title in titles},
        "corrupted": {title: LEVELS for title in titles},
    }  # fmt: skip


@pytest.fixture
def root(monkeypatch, tmp_path):
    """A copy of the page and a front page, and an empty folder of results."""
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    (tmp_path / PAGE).parent.mkdir(parents=True)
    (tmp_path / PAGE).write_text("".join(f"<!-- {name}:begin -->\nold {name}\n<!-- {name}:end -->\n" for name in SECTIONS))
    (tmp_path / FRONT_PAGE).write_text(FRONT)
    return tmp_path


def store(root, name, result):
    path = root / "runs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


def sections(root):
    text = (root / PAGE).read_text(encoding="utf-8")
    return {name: parts(text, name)[1].strip() for name in SECTIONS}


def test_with_nothing_stored_both_pages_stay_and_what_to_run_is_said(root):
    with pytest.raises(CourseError, match="run `make bench`"):
        report.main(root)
    assert sections(root) == {name: f"old {name}" for name in SECTIONS}
    assert (root / FRONT_PAGE).read_text() == FRONT


@pytest.mark.parametrize("stored, data", [("rooms-quick", "rooms"), ("photos-mine-quick", "photographs")])
def test_a_stored_comparison_replaces_its_section_alone(root, stored, data):
    store(root, f"bench/{stored}-table.json", comparison(data))
    report.main(root)
    found = sections(root)
    assert "| camera shift, px of 64: 8 | 0.250 | 0.250 |" in found[data] and "a machine" in found[data]
    assert "| 0.910\u00a0±\u00a00.014 |" in found[data] and "mine" not in found[data]
    assert all(found[name] == f"old {name}" for name in SECTIONS if name != data)


def test_the_front_page_gets_one_table_of_rooms(root):
    store(root, "bench/rooms-quick-table.json", comparison())
    report.main(root)
    before, inside, after = parts((root / FRONT_PAGE).read_text(encoding="utf-8"), "results")
    assert before + after == FRONT.replace("\nold table\n", "")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in inside.strip().splitlines()]
    assert len(lines) == 8 and {len(line) for line in lines} == {6}
    assert lines[2][1:] == ["0.800", "0.200", "0.700", "0.166", ""]
    assert lines[-1] == ["course: DuoNet, course recipe", *["0.910\u00a0±\u00a00.014"] * 4, "2.00 / 1.0"]


def test_the_front_page_stays_where_a_row_was_not_measured(root):
    store(root, "bench/rooms-quick-table.json", comparison(titles=(table.PUBLISHED_TITLE, table.OUR_TITLE)))
    report.main(root)
    assert (root / FRONT_PAGE).read_text() == FRONT and "a machine" in sections(root)["rooms"]


def test_nothing_is_written_where_marks_are_gone(root):
    store(root, "bench/rooms-quick-table.json", comparison())
    (root / FRONT_PAGE).write_text("# Course\n")
    before = (root / PAGE).read_text()
    with pytest.raises(CourseError, match="README.md must have <!-- results:begin --> once"):
        report.main(root)
    assert (root / PAGE).read_text() == before


def test_results_of_another_version_are_left_out(root, capsys):
    speed = {"DepthMaskNet, 64 px": 10.0, "DuoNet, 64 px": 20.0}
    result = {"rows": {row: speed for row in (loop.PUBLISHED, loop.WHOLE)}, "batch": 32, "steps": 8,
              "machine": "a machine", "date": "2000-01-01"}  # fmt: skip
    store(root, loop.RESULT, result)
    with pytest.raises(CourseError, match="No results are stored"):
        report.main(root)
    assert "loop.json is of another version of the course: measure again" in capsys.readouterr().out
    store(root, loop.RESULT, {**result, "version": VERSION})
    report.main(root)
    assert "2.0 times as many at 64 px." in sections(root)["loop"]


def test_our_page_has_every_section_with_its_command_and_date():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    for name in SECTIONS:
        before, inside, _ = parts(text, name)
        assert re.search("`(make|python -m) ", before[before.rindex("\n## ") :]), name
        assert name == "failures" or re.search(r"\b20\d\d-\d\d-\d\d\b", inside), name
    assert "real/" not in text


@pytest.mark.parametrize("command, option", COMMANDS.items())
def test_nothing_is_measured_no_times(command, option, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [command, option, "0", *["folder"] * (command in ("transfer", "photographs", "bad_pairs"))])
    with pytest.raises(SystemExit):
        import_module(f"helpers.benchmarks.{command}").main()
    assert f"argument {option}: 0 is less than 1" in capsys.readouterr().err
