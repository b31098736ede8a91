"""The explorer of predictions: what its page holds. What its sliders paint is in test_player_moves.py."""

import numpy as np
import pytest
import torch
from players import Page
from toy import ToyQuartets

from helpers import plots
from helpers.widgets.explorer import MOST, explore

COUNT = 4


def outputs(batch):
    """A mask that is unsure everywhere, and a depth that is a little wrong."""
    generator = torch.Generator().manual_seed(0)
    prob = (0.4 * batch["mask"] + 0.6 * torch.rand(batch["mask"].shape, generator=generator)).clamp(0, 1)
    return prob, 0.8 * batch["depth"] + 0.1


@pytest.fixture
def batch():
    return ToyQuartets().get_batch([1, 9, 30, 55])


def test_it_holds_each_quartet_and_its_prediction(batch):
    prob, depth = outputs(batch)
    page = Page(explore(batch, prob, depth))
    assert len(page.spec["shown"]) == COUNT and not page.open
    for n in range(COUNT):
        level, cat, valid = page.exact(n)
        assert (cat == (batch["mask"][n, 0] > 0.5).numpy()).all() and (valid == batch["valid"][n, 0].numpy()).all()
        assert ((level >= 10) == (prob[n, 0] >= 0.5).numpy()).all()
        scene, room = (page.tile("photo", number) for number in page.shown(n)["photo"])
        target, predicted = (page.tile("depth", number)[..., 0] / 255 for number in page.shown(n)["depth"])
        for held, given in ((scene, batch["bg_fg"][n]), (room, batch["bg"][n])):
            assert np.abs(held - given.permute(1, 2, 0).float().numpy()).mean() < 6
        for held, given in ((target, batch["depth"][n, 0]), (predicted, depth[n, 0])):
            assert np.abs(held - given.numpy()).mean() < 0.01


def test_its_scores_are_of_each_picture_at_each_threshold(batch):
    prob, depth = outputs(batch)
    shown = Page(explore(batch, prob, depth)).shown(2)
    found, cat = prob[2] >= 0.7, batch["mask"][2] >= 0.5
    dice = (2 * (found & cat).sum() / (found.sum() + cat.sum())).item()
    assert len(shown["dice"]) == 19 and shown["dice"][13] == f"{dice:.3f}"
    error = (depth[2] - batch["depth"][2]).abs()[batch["valid"][2]].mean().item()
    assert shown["error"] == f"mean {error:.3f}"


def test_its_controls_begin_where_figures_are_drawn(batch):
    controls = {c["name"]: c for c in Page(explore(batch, *outputs(batch))).spec["controls"]}
    starts = {name: c["low"] + c["step"] * c["start"] for name, c in controls.items() if "sets" in c}
    ends = {name: c["low"] + c["step"] * (c["count"] - 1) for name, c in controls.items() if "sets" in c}
    assert starts == pytest.approx({"mask threshold": 0.5, "overlay opacity": 0.5, "first colour at depth": 0,
                                    "last colour at depth": 1})  # fmt: skip
    assert ends == pytest.approx({"mask threshold": 0.95, "overlay opacity": 1, "first colour at depth": 0.95,
                                  "last colour at depth": 1})  # fmt: skip
    assert list(controls) == ["sample", *starts]


def test_the_words_say_what_is_shown(batch):
    metres = plots.in_metres(batch["near_far"][1])
    both = None, ["<b>", "b<", "c", "d"]
    plain, labelled = (Page(explore(batch, *outputs(batch), labels=labels)) for labels in both)
    assert plain.shown(1)["about"] == f"depth from {metres}"
    assert labelled.shown(1)["about"] == f"b<, depth from {metres}" and labelled.words.startswith("<b>, depth from")


def test_it_works_without_any_depth(batch):
    batch = {**batch, "valid": torch.zeros_like(batch["valid"]), "near_far": torch.full((COUNT, 2), torch.nan)}
    page = Page(explore(batch, *outputs(batch)))
    assert page.shown(0)["about"] == "depth without metres" and page.shown(0)["error"] == "unknown"
    assert not page.exact(0)[2].any()


def test_an_empty_mask_that_is_predicted_empty_is_right(batch):
    nothing = torch.zeros_like(batch["mask"])
    assert set(Page(explore({**batch, "mask": nothing}, nothing, batch["depth"])).shown(0)["dice"]) == {"1.000"}


def test_maps_without_a_channel_and_with_a_gradient_will_do(batch):
    prob, depth = outputs(batch)
    plain = explore(batch, prob[:, 0].numpy(), depth[:, 0].requires_grad_())
    assert plain.data == explore(batch, prob, depth).data


def test_eight_large_quartets_are_small_enough_to_be_kept():
    batch = ToyQuartets(size=256).get_batch(range(8))
    generator = torch.Generator().manual_seed(0)
    noise = (20 * torch.randn(batch["bg"].shape, generator=generator)).round()
    noisy = {**batch, **{key: (batch[key] + noise).clamp(0, 255).byte() for key in ("bg", "bg_fg")}}
    page = explore(noisy, batch["mask"], batch["depth"])
    assert len(page.data.encode()) <= MOST


@pytest.mark.parametrize("cut", [{"mask_prob": 3}, {"depth": 3}, {"labels": 2}, {"batch": 2}])
def test_numbers_that_do_not_match_are_refused(batch, cut):
    prob, depth = outputs(batch)
    arguments = {"batch": batch, "mask_prob": prob, "depth": depth, "labels": list("abcd")}
    for name, count in cut.items():
        value = arguments[name]
        arguments[name] = {k: v[:count] for k, v in value.items()} if isinstance(value, dict) else value[:count]
    with pytest.raises(ValueError, match="as many"):
        explore(**arguments)
