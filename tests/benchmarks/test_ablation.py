"""Choices are compared on scenes that are neither trained on nor tested on, and variants differ as they say."""

import hashlib
import json

import pytest
import torch
from toy import ToyQuartets

from helpers.benchmarks import ablation, variants
from helpers.dataset import get_batch, scenes, split
from helpers.losses import CourseLoss
from helpers.model import DuoNet, count_parameters
from helpers.predict import WEIGHTS
from helpers.recipes import Stage

pytestmark = pytest.mark.slow

NETWORKS = {choice.network for choice in ablation.CHOICES.values()} - {DuoNet, ablation.pretrained}


def made(network):
    torch.manual_seed(0)
    return network().eval()


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(2, 3, 48, 48, generator=generator), torch.rand(2, 3, 48, 48, generator=generator)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_PROFILE", "tiny")
    dataset = ToyQuartets(rooms=10, cats=10, placements=1, size=32)
    monkeypatch.setattr(ablation, "source", lambda: dataset)
    monkeypatch.setattr(ablation, "STAGES", (Stage(32, 16, 1),))
    return dataset


@pytest.mark.parametrize("network", sorted(NETWORKS, key=lambda network: network.__name__), ids=lambda network: network.__name__)
def test_every_variant_predicts_otherwise_than_the_course_and_learns_everywhere(network, pair):
    net, course = made(network), made(DuoNet)
    own = net.state_dict()
    same = {k: v for k, v in course.state_dict().items() if k in own and own[k].shape == v.shape}
    net.load_state_dict(same, strict=False)
    for module in net.modules():
        if isinstance(module, variants._Attention):  # begins with zeros on purpose
            torch.nn.init.normal_(module.out.weight)
    outputs = net(*pair)
    assert [output.shape for output in outputs] == [(2, 1, 48, 48)] * 2
    differs = not all(torch.allclose(a, b) for a, b in zip(outputs, course(*pair)))
    assert differs or network is variants.TwoDecoders  # which begins with a copy
    sum(output.sum() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_without_skips_the_decoder_sees_zeros_in_their_place(pair):
    net, seen = made(variants.NoSkips), []
    for module in (*net.decoder, net.mask_head.refine, net.depth_head.refine):
        module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(*pair)
    skips = (192, 96, 48, 16, 16)  # channels from the encoder's stages and the stem
    assert len(seen) == 5 and all((x[:, -skip:] == 0).all() and x[:, :-skip].any() for x, skip in zip(seen, skips))
    assert count_parameters(net) == count_parameters(DuoNet())


def test_group_norm_does_not_depend_on_the_batch(pair):
    net, alone = made(variants.GroupNormed).train(), [image[:1] for image in pair]
    assert torch.allclose(net(*pair)[1][:1], net(*alone)[1], atol=1e-4)
    assert count_parameters(net) == count_parameters(DuoNet())


def test_losses_leave_out_what_they_say():
    batch = get_batch(ToyQuartets(), range(4))
    logits = torch.randn(2, 4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    parts = CourseLoss()(*logits, batch)
    mask = parts["mask_bce"] + parts["mask_dice"]
    assert ablation.CHOICES["depth-l1"].loss(*logits, batch)["loss"] == pytest.approx(
        float(mask + 2 * parts["depth_l1"])
    )
    assert ablation.CHOICES["structure"].loss(*logits, batch)["loss"] == pytest.approx(
        float(mask + 2 * (parts["depth_l1"] + parts["depth_ssim"] + parts["depth_gradient"]))
    )
    assert ablation.CHOICES["mask-bce"].loss(*logits, batch)["loss"] == pytest.approx(
        float(parts["loss"] - parts["mask_dice"])
    )


def test_no_two_losses_have_the_same_name_in_a_stored_score():
    losses = [CourseLoss(), *(choice.loss for choice in ablation.CHOICES.values() if choice.loss)]
    assert len(losses) == 6 and len({repr(loss) for loss in losses}) == 6


def test_uncertainty_makes_both_tasks_weigh_the_same():
    batch = get_batch(ToyQuartets(), range(4))
    logits = torch.randn(2, 4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    parts, own = CourseLoss()(*logits, batch), ablation.CHOICES["uncertainty"].loss(*logits, batch)["loss"]
    mask = float(sum(value for name, value in parts.items() if name.startswith("mask")))
    depth = float(sum(value for name, value in parts.items() if name.startswith("depth")))
    # Kendall's loss, exp(-s) L + s for each task, at the best s of each.
    s = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([s], max_iter=100)

    def kendall():
        optimizer.zero_grad()
        loss = (torch.exp(-s) * torch.tensor([mask, depth]) + s).sum()
        loss.backward()
        return loss

    optimizer.step(kendall)
    assert float(own) == pytest.approx(kendall().item() - 2, abs=1e-3)


def test_nothing_is_chosen_by_a_test_scene(toy):
    fit, validation = ablation.validation_sets()
    tested = split(toy)[1]
    for which in (0, 1):  # rooms, cats
        parts = [set(map(int, scenes(dataset)[which])) for dataset in (fit, validation, tested)]
        assert all(parts) and not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_the_result_holds_the_course_and_the_chosen_variants(toy):
    result = ablation.ablate(seeds=[0, 1], choices=["depth-l1"])
    assert list(result["rows"]) == ["course", "depth-l1"]
    assert all(len(row["scores"]["depth_rmse"]) == 2 for row in result["rows"].values())
    lines = ablation.markdown(json.loads(json.dumps(result))).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert "(" not in lines[2].split("|")[3] and "(" in lines[3].split("|")[3]
    assert "2 seeds" in lines[-1] and "profile `tiny`" in lines[-1]
    scores = [json.loads(path.read_text()) for path in ablation.runs_dir().glob("ablation/*/score.json")]
    stored = [score["what"]["loss"] for score in scores]
    assert len(stored) == 4 and len(set(stored)) == 2, "each row is trained with its own loss"


def test_fine_tuning_starts_from_the_weights_that_come_with_the_course(toy):
    ablation.ablate(seeds=[0], choices=["fine-tune"])
    (path,) = ablation.runs_dir().glob("ablation/*-fine-tune-0/score.json")
    what = json.loads(path.read_text("utf-8"))["what"]
    assert what["start"] == hashlib.sha256(WEIGHTS["rooms"].read_bytes()).hexdigest()
    assert what["recipe"]["learning_rate"] < ablation.recipe("course").learning_rate


def test_a_change_within_the_spread_is_called_none():
    assert ablation._cell([0.90, 0.92], [0.90, 0.91], "{:.3f}") == "0.910\u00a0±\u00a00.014 (=)"
    assert ablation._cell([0.90, 0.90], [0.80, 0.80], "{:.3f}") == "0.900\u00a0±\u00a00.000 (+0.100)"
