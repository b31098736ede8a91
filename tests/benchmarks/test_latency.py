"""Latency: every runtime is measured, in turns, and only if it predicts what the network does."""

import json
from types import SimpleNamespace

import pytest
import torch

from helpers.benchmarks import latency
from helpers.benchmarks.latency import (
    LAYOUT,
    ONNX,
    PLAIN,
    PUBLISHED,
    SIXTEEN,
    latencies,
    make,
    markdown,
    measure,
    runtimes,
)
from helpers.config import CourseError, runs_dir
from helpers.model import NETWORKS

pytestmark = pytest.mark.slow


def quick(monkeypatch, times):
    """A measurement in which no time passes: predictions are computed, and their times are given."""
    monkeypatch.setattr(latency, "runtimes", lambda: [PLAIN, LAYOUT])
    monkeypatch.setattr(latency, "export_onnx", lambda net, path, size: None)
    monkeypatch.setattr(latency, "latencies", lambda predictions, repeats: {key: times[key] for key in predictions})


KNOWN = {
    (PUBLISHED, PLAIN): [10.0, 20.0, 30.0], (PUBLISHED, LAYOUT): [16.0, 16.0, 16.0],
    ("DuoNet", PLAIN): [8.0, 8.0, 8.0], ("DuoNet", LAYOUT): [4.0, 5.0, 6.0],
}  # fmt: skip


# -- a real measurement, the smallest there is ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def result():
    return measure([32], repeats=2, threads=1)


def test_every_network_is_measured_in_every_runtime(result):
    rows = result["rows"]
    assert [(row["network"], row["runtime"]) for row in rows] == [(n, r) for n in NETWORKS for r in runtimes()]
    assert all(row["size"] == 32 and row["median_ms"] <= row["p90_ms"] for row in rows)
    assert rows[0]["times_published"] == 1
    assert json.loads(json.dumps(result)) == result


def test_what_was_run_where_is_noted(result):
    assert (result["repeats"], result["threads"], result["torch"]) == (2, 1, torch.__version__)
    assert result["cores"] >= 1 and result["machine"]
    text = markdown(result)
    assert result["machine"] in text and result["onnxruntime"] in text and f"torch {torch.__version__}" in text
    assert text.count("| 32 | DuoNet |") == text.count("| 32 | DepthMaskNet |") == len(runtimes())


# -- how the numbers are made -----------------------------------------------------------------------------------------


def test_runtimes_take_turns_and_every_second_prediction_counts(monkeypatch):
    clock, order = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(latency.time, "sleep", lambda seconds: order.append("pause"))
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock.now)

    def predictor(name, *seconds):
        left = list(seconds)

        def predict():
            order.append(name)
            clock.now += left.pop(0)

        return predict

    taken = latencies({"a": predictor("a", 9, 1, 9, 2), "b": predictor("b", 9, 3, 9, 4)}, repeats=2)
    assert order == ["pause", "a", "a", "pause", "b", "b"] * 2
    assert taken == {"a": [1000, 2000], "b": [3000, 4000]}


def test_medians_and_ratios_are_those_of_the_times(monkeypatch):
    quick(monkeypatch, KNOWN)
    rows = measure([32, 48], repeats=3, threads=1)["rows"]
    assert len(rows) == 8 and {row["size"] for row in rows} == {32, 48}
    assert [row["median_ms"] for row in rows[:4]] == [20, 16, 8, 5]
    assert [row["p90_ms"] for row in rows[:4]] == pytest.approx([28, 16, 8, 5.8])
    assert [row["times_published"] for row in rows[:4]] == pytest.approx([1, 1.25, 2.5, 4])


def test_the_text_compares_with_the_plain_published_network_and_with_the_best_of_it(monkeypatch):
    quick(monkeypatch, KNOWN)
    text = markdown(measure([32], repeats=3, threads=1))
    assert "| 32 | DuoNet | PyTorch, channels last | 5.0 | 5.8 | 4.00 |" in text
    assert "DuoNet is fastest in PyTorch, channels last: 4.0 times as fast as DepthMaskNet in PyTorch, 3.2" in text
    assert "where that is fastest (PyTorch, channels last)" in text


@pytest.mark.parametrize("fast, precision", [(True, torch.bfloat16), (False, torch.float32)])
def test_16_bits_are_measured_where_the_processor_has_them(fast, precision, monkeypatch):
    monkeypatch.setattr(latency, "pick_precision", lambda wanted, device: precision)
    assert runtimes() == [PLAIN, LAYOUT, *[SIXTEEN] * fast, ONNX]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_runtime_is_what_its_name_says(network, tmp_path, monkeypatch):
    seen = []
    inner = NETWORKS[network].forward

    def watched(self, bg, bg_fg):
        seen.append((bg, next(p for p in self.parameters() if p.ndim == 4)))
        return inner(self, bg, bg_fg)

    monkeypatch.setattr(NETWORKS[network], "forward", watched)
    maps = {name: make(network, name, 32, 1, tmp_path / "none")() for name in (PLAIN, LAYOUT, SIXTEEN)}
    by_name = dict(zip(maps, seen))
    for name, (bg, weight) in by_name.items():
        last = name in (LAYOUT, SIXTEEN)
        assert all(x.is_contiguous(memory_format=torch.channels_last) == last for x in (bg, weight))
        assert all(x.shape == (1, 1, 32, 32) and x.is_inference() and x.dtype == torch.float32 for x in maps[name])
    for plain, sixteen in zip(maps[PLAIN], maps[SIXTEEN]):
        assert 0 < (plain - sixteen).abs().max() < 0.05, "16 bits are nearly the same, and not the same"


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_runtime_that_predicts_otherwise_is_not_timed(monkeypatch):
    quick(monkeypatch, KNOWN)

    def wrong(network, runtime, *rest):
        return lambda: [torch.full((1, 1, 32, 32), 0.5 if runtime == PLAIN else 0.501)] * 2

    monkeypatch.setattr(latency, "make", wrong)
    with pytest.raises(CourseError, match="DepthMaskNet in PyTorch, channels last does not predict what it does in"):
        measure([32], repeats=1, threads=1)


@pytest.mark.parametrize(
    "size, repeats, threads, words",
    [
        (32, 1, 0, "threads=0: choose from 1 to"),
        (32, 1, 10_000, "threads=10000: choose from 1 to"),
        (50, 1, 1, "size=50: choose a multiple of 16, say 64"),
    ],
)
def test_what_cannot_be_measured_is_told(size, repeats, threads, words):
    with pytest.raises(CourseError, match=words):
        measure([size], repeats, threads)


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_stores_the_result_and_prints_the_table(monkeypatch, capsys):
    quick(monkeypatch, KNOWN)
    monkeypatch.setattr("sys.argv", ["latency", "--sizes", "32", "--repeats", "3", "--threads", "1"])
    latency.main()
    stored = json.loads((runs_dir() / latency.RESULT).read_text())
    assert markdown(stored) in capsys.readouterr().out


def test_the_command_says_what_to_mend_without_a_traceback(monkeypatch):
    monkeypatch.setattr("sys.argv", ["latency", "--threads", "1000"])
    with pytest.raises(SystemExit, match="CourseError: threads=1000: choose from 1 to"):
        latency.main()
