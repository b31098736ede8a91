"""Background subtraction and the mean depth map: what a network must beat."""

import pytest
import torch
from toy import ToyQuartets

from helpers.augment import perturb
from helpers.dataset import get_batch
from helpers.evaluate import MeanDepth, subtract_background
from helpers.metrics import Meter


def room(size, count=1, seed=0):
    """A room with texture, (count, 3, size, size) uint8."""
    return torch.randint(30, 200, (count, 3, size, size), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def disc(size, x=0.5, y=0.5, radius=0.2):
    grid = (torch.arange(size) + 0.5) / size
    return (((grid - x) ** 2 + (grid[:, None] - y) ** 2) < radius**2)[None, None]  # (1, 1, size, size)


def paste(bg, where, difference=40):
    return torch.where(where, bg + difference, bg)


def dice(mask, truth):
    return 2 * (mask * truth).sum() / (mask.sum() + truth.sum())


@pytest.mark.parametrize("size", [32, 64, 192])
@pytest.mark.parametrize("x, y", [(0.5, 0.5), (0.0, 0.7), (1.0, 1.0)])
def test_a_pasted_disc_is_found(size, x, y):
    bg, cat = room(size), disc(size, x, y)
    mask = subtract_background(bg, paste(bg, cat))
    assert mask.shape == (1, 1, size, size) and mask.dtype == torch.float32
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert dice(mask, cat) > 0.95


def test_holes_are_filled_gaps_closed_and_specks_dropped():
    bg, cat = room(64), disc(64, radius=0.25)
    seen = cat & ~disc(64, radius=0.1)  # fur of the wall's colour in the middle,
    seen[..., 20, :] = False  # a thin gap across,
    seen[..., 2:4, 2:4] = True  # and a speck of dust in the corner
    mask = subtract_background(bg, paste(bg, seen))
    assert dice(mask, cat) > 0.97
    assert not mask[..., :8, :8].any()


def test_no_difference_gives_an_empty_mask():
    bg = room(64, 3)
    assert not subtract_background(bg, bg).any()


def test_the_threshold_is_exclusive_and_counts_the_channel_that_differs_most():
    bg, cat = torch.full((1, 3, 64, 64), 100, dtype=torch.uint8), disc(64)
    one_channel = torch.tensor([0, 0, 1]).view(1, 3, 1, 1) * cat
    assert not subtract_background(bg, (bg + 20 * one_channel).byte()).any()
    assert dice(subtract_background(bg, (bg + 21 * one_channel).byte()), cat) > 0.95
    assert dice(subtract_background(bg, (bg - 21 * one_channel).byte()), cat) > 0.95, "darker counts as well"
    assert not subtract_background(bg, (bg + 21 * one_channel).byte(), threshold=30).any()


def test_floats_give_what_bytes_give():
    bg, cat = room(64), disc(64)
    scene = paste(bg, cat)
    assert torch.equal(subtract_background(bg, scene), subtract_background(bg / 255, scene / 255))


def test_a_pair_is_not_changed_by_the_batch_around_it():
    batch = get_batch(ToyQuartets(size=64), range(16))
    before = batch["bg"].clone()
    together = subtract_background(batch["bg"], batch["bg_fg"])
    alone = torch.cat([subtract_background(batch["bg"][i, None], batch["bg_fg"][i, None]) for i in range(16)])
    assert torch.equal(together, alone)
    assert torch.equal(together, subtract_background(batch["bg"], batch["bg_fg"])), "twice the same"
    assert torch.equal(batch["bg"], before), "its input is only read"


def test_it_collapses_on_perturbed_pairs():
    clean = get_batch(ToyQuartets(rooms=8, size=64), range(64))
    clean["bg"] = room(64, 1).expand(64, -1, -1, -1)  # texture is what a shift of the camera gives away
    clean["bg_fg"] = torch.where(clean["mask"] > 0.5, clean["bg_fg"], clean["bg"])

    def score(batch):
        meter = Meter()
        meter.update(subtract_background(batch["bg"], batch["bg_fg"]), batch["depth"], batch)
        return meter.result()["mask_dice"]

    assert score(clean) > 0.9
    assert score(perturb(clean, torch.Generator().manual_seed(0))) < 0.4


@pytest.mark.parametrize(
    "bg, bg_fg",
    [(room(64), room(32)), (room(64), room(64) / 255), (room(64)[0], room(64)[0])],
    ids=["sizes", "types", "no batch"],
)
def test_pairs_that_do_not_fit_are_refused(bg, bg_fg):
    with pytest.raises(ValueError, match=r"alike, of shape \(B, 3, H, W\)"):
        subtract_background(bg, bg_fg)


def test_the_mean_map_is_the_mean_over_valid_pixels():
    toys = ToyQuartets()
    batch = get_batch(toys, range(len(toys)))
    assert torch.allclose(MeanDepth().fit(toys).predict(batch)[0], batch["depth"].mean(0), atol=1e-6)


class Halves(ToyQuartets):
    """Depth is unknown on the left; where it is known it is 0.2 in even rooms and 0.6 in odd ones, there seldom."""

    def get_batch(self, indices):
        batch = super().get_batch(indices)
        odd = torch.tensor([self.room_of(i) % 2 for i in indices], dtype=torch.bool).view(-1, 1, 1, 1)
        batch["depth"] = torch.where(odd, 0.6, 0.2).expand_as(batch["depth"]).clone()
        batch["valid"][..., :8] = False
        batch["depth"][..., :8] = float("nan")
        batch["valid"][..., 24:] &= ~odd
        return batch


def test_invalid_pixels_are_left_out():
    toys = Halves(rooms=2)
    mean = MeanDepth().fit(toys).map[0, 0]
    assert torch.allclose(mean[:, 8:24], torch.tensor(0.4)), "both rooms"
    assert torch.allclose(mean[:, 24:], torch.tensor(0.2)), "the even room alone"
    assert torch.allclose(mean[:, :8], torch.tensor((16 * 0.4 * 2 + 8 * 0.2) / 40)), "nowhere known: the mean of all"


def test_a_source_without_depth_gets_the_middle():
    class NoDepth(ToyQuartets):
        def get_batch(self, indices):
            batch = super().get_batch(indices)
            return {**batch, "valid": torch.zeros_like(batch["valid"])}

    assert torch.equal(MeanDepth().fit(NoDepth()).map.unique(), torch.tensor([0.5]))


def test_the_mean_map_takes_the_size_of_the_batch():
    baseline = MeanDepth().fit(ToyQuartets(size=64))
    for size in (32, 64, 112):
        batch = get_batch(ToyQuartets(size=size), range(5))
        depth = baseline.predict(batch)
        assert depth.shape == (5, 1, size, size)
        Meter().update(batch["mask"], depth, batch)  # raises outside [0, 1]
        assert abs(depth.mean() - baseline.map.mean()) < 0.01


def test_the_mean_is_that_of_the_training_set():
    few, batch = ToyQuartets(rooms=1), get_batch(ToyQuartets(rooms=2), range(16, 24))
    assert torch.equal(MeanDepth().fit(few).predict(batch)[0], MeanDepth().fit(few).map[0])


def test_predicting_before_fitting_says_what_to_do():
    with pytest.raises(ValueError, match=r"fit\(train_set\)"):
        MeanDepth().predict(get_batch(ToyQuartets(), [0]))
