"""The bench scores what it is given, and its tables say how they were made."""

import json

import pytest
import torch
from toy import ToyQuartets

from helpers import bench
from helpers.config import CourseError
from helpers.quartets import sample, split
from helpers.robustness import LEVELS


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path))
    parts = split(ToyQuartets(rooms=6, cats=6, placements=2, size=48))
    sets = sample(parts[0], 48), sample(parts[1], 8)
    monkeypatch.setattr(bench, "sets", lambda: sets)
    return sets


def test_score_of_the_truth_is_perfect_and_of_a_missing_map_is_absent(small):
    result = bench.score(lambda batch: ((batch["mask"] > 0.5).float(), None), small[1])
    assert result["mask_dice"] == result["disturbed_mask_dice"] == 1
    assert not any("depth" in name or "delta" in name for name in result)


def test_disturbed_scores_see_disturbed_pairs(small):
    seen = []
    bench.score(lambda batch: (seen.append(batch["bg"].clone()) or batch["mask"], None), small[1])
    clean, disturbed = seen
    assert not torch.equal(clean, disturbed)


def test_table_trains_both_recipes_on_the_same_samples(small, tmp_path):
    result = bench.table("rooms", "tiny", seed=0, progress=False)
    rows = result["rows"]
    assert list(rows) == [
        "background subtraction", "mean depth map", "published recipe",
        "published recipe, scored as published", "course recipe",
    ]  # fmt: skip
    assert rows["published recipe"]["samples"] == rows["course recipe"]["samples"]
    assert rows["published recipe"]["mask_dice"] == rows["published recipe, scored as published"]["mask_dice"]
    assert rows["published recipe"]["depth_rmse"] != rows["published recipe, scored as published"]["depth_rmse"]
    text = bench.markdown(result)
    assert "seed 0" in text and "training and 8 test quartets" in text
    header, _, *lines = text.splitlines()[2 : len(rows) + 4]
    assert text.startswith("**Rooms**")
    assert all(line.count("|") == header.count("|") for line in lines)
    subtraction = lines[0].split("|")
    assert list(result["spoilt"]) == ["background subtraction", "published recipe", "course recipe"]
    for name, levels in result["spoilt"].items():
        assert levels["clean"] == pytest.approx([rows[name]["mask_dice"]])
    assert subtraction[2].strip() and not subtraction[6].strip()  # it has a mask and no depth


def test_readme_gets_the_stored_tables(small, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n")
    with pytest.raises(CourseError, match="make bench"):
        bench.readme()
    (tmp_path / "bench").mkdir()
    result = {
        "data": "rooms", "profile": "tiny", "seed": 3, "size": 48, "train_quartets": 1, "test_quartets": 1, "stages": [],
        "machine": "a machine", "torch": "2", "date": "2000-01-01", "rows": {"a row": {"mask_dice": 0.5}},
        "spoilt": {"a row": {"clean": [0.5], **{kind: [0.25] * len(levels) for kind, levels in LEVELS.items()}}},
    }  # fmt: skip
    (tmp_path / "bench" / "one.json").write_text(json.dumps(result))
    bench.readme()
    text = page.read_text()
    assert "| camera shift, px of 64: 8 | 0.250 |" in text
    assert "| a row | 0.500 |" in text and "old" not in text
    assert text.startswith("before\n") and text.endswith("after\n")


def test_rendering_counts_rooms_and_quartets():
    result = bench.rendering(32, rooms=2, each=2)
    assert result["size"] == 32 and result["rooms_per_second"] > 0 and result["quartets_per_second"] > 0
