"""The roofline counts operations and bytes as one would by hand, and its shares are of what the machine can do."""

import matplotlib.pyplot as plt
import pytest
import torch

from helpers.benchmarks import roofline
from helpers.model import build, forward_gflop


def test_bytes_are_those_of_what_operators_read_and_write_and_views_are_free():
    a, b = torch.rand(10, 20), torch.rand(20, 30)
    with roofline.BytesMoved() as moved:
        (a @ b).T
    assert moved.total == 4 * (10 * 20 + 20 * 30 + 10 * 30)


@pytest.mark.slow
def test_every_part_of_a_step_is_counted_and_timed():
    result = roofline.measure([32], batch=4, repeats=1)
    rows = {name: result["rows"][f"32 px, {name}"] for name in roofline.PARTS}
    assert all(row["seconds"] > 0 and row["bytes"] > 0 and row["memory"] > 0 for row in rows.values())
    assert rows["forward"]["flop"] == pytest.approx(4 * 1e9 * forward_gflop(build("DuoNet"), 32), rel=1e-6)
    # Each product of the forward pass has two in the backward pass, but for the first: images need no gradient.
    assert 1.9 * rows["forward"]["flop"] < rows["backward"]["flop"] <= 2 * rows["forward"]["flop"]
    assert rows["optimizer"]["flop"] > 1e9, "Muon multiplies matrices"
    assert rows["loss"]["flop"] < 0.01 * rows["forward"]["flop"]
    plt.close(roofline.plot(result))


def test_the_table_says_what_each_part_takes_of_a_step_and_of_its_limit():
    parts = {"forward": (1e9, 0.1), "backward": (2e9, 0.3)}  # operations, seconds
    rows = {f"32 px, {name}": dict(zip(("flop", "seconds"), parts.get(name, (0, 1e-9)))) for name in roofline.PARTS}
    for row in rows.values():
        row |= {"bytes": 1e6, "arithmetic": row["flop"] / 2e10, "memory": 0.001}
    result = {"rows": rows, "sizes": [32], "limits": {"fp32": 1e10, "convolutions": 2e10, "bytes": 1e9}, "batch": 4,
              "repeats": 1, "precision": "torch.bfloat16", "machine": "a machine", "date": "2000-01-01"}  # fmt: skip
    text = roofline.markdown(result)
    assert "| 32 px | backward | 2.0 | 1 | 300.0 | 75% | 33% | 0% |" in text
    assert "| 32 px | a step | 3.0 | 5 | 400.0 | 100% | 37% | 1% |" in text, "evaluation is no part of a step"
    assert "Limits: 10 GFLOP/s in 32 bits, 20 in torch.bfloat16, 1 GB/s" in text
