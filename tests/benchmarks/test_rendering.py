"""The benchmark of rendering makes everything anew, and its rates are those of its milliseconds."""

from helpers.benchmarks import rendering
from helpers.config import cache_dir


def test_each_part_is_timed_and_nothing_comes_from_the_disk(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    result = rendering.measure([32], rooms=1, repeats=1)
    assert list(result["rows"]) == ["32"] and set(result["rows"]["32"]) == set(rendering.PARTS)
    assert all(value > 0 for value in result["rows"]["32"].values())
    assert not [path for path in cache_dir().rglob("*") if path.is_file()], "a view that is kept would be read next time"
    assert "1 rooms of seed 3 and 16 quartets in each" in rendering.markdown(result)


def test_rates_are_of_both_parts_together():
    row = dict(zip(rendering.PARTS, (0.02, 0.03, 0.001, 0.009)))
    result = {"rows": {"64": row}, "rooms": 2, "repeats": 1, "seed": 3, "device": "cpu", "threads": 1,
              "machine": "a machine", "date": "2000-01-01"}  # fmt: skip
    assert "| 64 px | 20.00 | 30.00 | 1.00 | 9.00 | 20 | 100 |" in rendering.markdown(result)
