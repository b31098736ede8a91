"""What notebook 06 builds in its cells, beside the library's own."""

import pytest
import torch
from notebook_cells import defined
from toy import ToyQuartets

from helpers.evaluate import evaluate, network_predictor
from helpers.metrics import Meter
from helpers.model import DuoNet, seeded


@pytest.fixture(scope="module")
def net():
    return seeded(lambda: DuoNet(stem=4, widths=(8, 8, 8, 8), blocks=(0, 0, 0, 0)), 0).eval()


@pytest.fixture(scope="module")
def batch():
    return ToyQuartets(size=48).get_batch(range(0, 48, 4))


def built(net, *names):
    net.depth_activation = "sigmoid"
    space = defined("06", "predict_batch", *names, net=net, device="cpu")
    return [space[name] for name in ("predict_batch", *names)]


def imperfect(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    prob = (0.7 * batch["mask"] + 0.5 * torch.rand(batch["mask"].shape, generator=generator)).clamp(0, 1)
    return prob, (0.8 * batch["depth"] + 0.2 * torch.rand(prob.shape, generator=generator)).clamp(0, 1)


def test_its_prediction_is_the_librarys(net, batch):
    (predict_batch,) = built(net)
    for own, librarys in zip(predict_batch(batch), network_predictor(net)(batch)):
        assert torch.equal(own, librarys) and not own.requires_grad


def test_its_calibration_error_is_the_meters(batch):
    names = defined("06", "reliability", "calibration_error")
    prob, depth = imperfect(batch)
    prob[0, 0, :5], prob[1, 0, :5] = 0.0, 1.0  # the ends, of which exactly 1 has a bin of its own
    meter = Meter(edges=False)
    meter.update(prob, depth, batch)
    curve = names["reliability"](prob, batch["mask"] > 0.5)
    assert names["calibration_error"](*curve) == pytest.approx(meter.result()["mask_ece"], abs=1e-6)
    assert curve[0].sum() == prob.numel()


def test_a_calibrated_prediction_is_on_the_diagonal():
    names = defined("06", "reliability", "calibration_error")
    generator = torch.Generator().manual_seed(0)
    prob = torch.rand(200_000, generator=generator)
    pixels, mean, share = names["reliability"](prob, torch.rand(200_000, generator=generator) < prob)
    assert mean[:15].numpy() == pytest.approx(share[:15].numpy(), abs=0.02)
    assert names["calibration_error"](pixels, mean, share) < 0.01


def test_its_scores_of_each_quartet_are_the_meters(batch):
    scores_of_each = defined("06", "scores_of_each")["scores_of_each"]
    blind = {**batch, "valid": batch["valid"].clone()}
    blind["valid"][1] = False
    prob, depth = imperfect(batch)
    dice, rmse = scores_of_each(prob, depth, blind)
    for i in range(len(dice)):
        one, meter = {key: value[i : i + 1] for key, value in blind.items()}, Meter(edges=False)
        meter.update(prob[i : i + 1], depth[i : i + 1], one)
        assert dice[i].item() == pytest.approx(meter.result()["mask_dice"], abs=1e-5)
        assert rmse[i].item() == pytest.approx(meter.result()["depth_rmse"], abs=1e-5, nan_ok=True)


def test_the_mirrored_average_sees_both_pairs_and_puts_the_second_back(net, batch):
    predict_batch, mirrored_average = built(net, "mirrored_average")
    flipped = predict_batch({key: batch[key].flip(-1) for key in ("bg", "bg_fg")})
    for own, plain, turned in zip(mirrored_average(batch), predict_batch(batch), flipped):
        assert own == pytest.approx((plain + turned.flip(-1)) / 2)
        assert not torch.equal(plain, turned.flip(-1)), "this network is not symmetric, so the average is another map"
    mirrored = {**batch, **{key: batch[key].flip(-1) for key in ("bg", "bg_fg")}}
    for one, other in zip(mirrored_average(batch), mirrored_average(mirrored)):
        assert one == pytest.approx(other.flip(-1), abs=1e-6), "a mirrored pair has the mirrored prediction"


def test_its_scores_are_the_librarys(net, batch):
    dataset = ToyQuartets(size=48)
    predict_batch, score = built(net, "score")
    own, checked = score(predict_batch, dataset), 0
    for prefix in ("", "perturbed_"):
        for name, value in evaluate(net, dataset, perturbed=bool(prefix)).items():
            if not name.startswith("edge"):  # those take long, and the notebook leaves them out
                assert own[prefix + name] == pytest.approx(value, nan_ok=True), prefix + name
                checked += 1
    assert checked > 20 and own["ms"] > 0


def test_traits_of_a_cat():
    traits = defined("06", "traits")["traits"]
    mask, room = torch.zeros(1, 32, 32), torch.full((3, 32, 32), 100, dtype=torch.uint8)
    mask[:, 10:14, 4:8] = 1
    scene = torch.where(mask > 0, 130, room).to(torch.uint8)
    quartet = {"mask": mask, "bg": room, "bg_fg": scene}
    area, contrast, cut, pieces = traits(quartet)
    assert (area.item(), contrast.item(), bool(cut), pieces) == (16 / 1024, 30, False, False)
    mask[:, 20:24, 30:] = 1  # a second piece, at the frame
    assert [bool(value) for value in traits(quartet)[2:]] == [True, True]
