"""The weights that come with the course, and how they are made."""

import json

import pytest
import torch
from photo_files import photo_folder
from safetensors import safe_open
from toy import ToyQuartets

from helpers.config import CourseError
from helpers.dataset import sample, split
from helpers.evaluate import MeanDepth, evaluate
from helpers.model import build
from helpers.predict import WEIGHTS, pretrained
from helpers.recipes import Stage, recipe
from helpers.rendering.dataset import RoomsDataset
from helpers.train import train
from helpers.upkeep import publish_weights as module
from helpers.upkeep.publish_weights import plan, publish

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rooms():
    """The training and test set of a few of the profiles' rooms, which the shipped weights have never seen."""
    train_part, test_part = split(RoomsDataset(64, rooms=24, cats=12, placements=1, seed=0))
    return sample(train_part, 64), sample(test_part, 48)


@pytest.mark.parametrize("data", WEIGHTS)
def test_they_are_small_and_know_how_they_were_trained(data):
    assert WEIGHTS[data].stat().st_size <= 12e6
    net = pretrained(data)
    assert not net.training and type(net).__name__ == module.NETWORK
    assert net.trained_size in {stage.size for stage in plan(data).stages} and net.depth_activation == "sigmoid"
    assert net.trained_size >= (net.depth_size or 0)
    assert f"`helpers.predict.pretrained(\"{data}\")`" in module.CARD.read_text() or data == "rooms"
    with safe_open(WEIGHTS[data], "pt") as stream:
        floats = {stream.get_tensor(name).dtype for name in stream.keys() if stream.get_tensor(name).is_floating_point()}
    assert floats == {torch.float16}


def test_weights_of_other_data_are_refused():
    with pytest.raises(CourseError, match="no weights 'cats': choose 'rooms' or 'photographs'"):
        pretrained("cats")


def test_they_find_cats_and_depth_in_rooms_they_never_saw(rooms):
    net, (known, unseen) = pretrained(), rooms
    clean, perturbed = (evaluate(net, unseen, perturbed=wanted) for wanted in (False, True))
    assert clean["mask_dice"] > 0.9 and perturbed["mask_dice"] > 0.9
    mean = MeanDepth().fit(known)
    batch = unseen.get_batch(range(len(unseen)))
    baseline = (mean.predict(batch) - batch["depth"]).square().mean().sqrt()
    assert clean["depth_rmse"] < 0.8 * baseline


def test_their_rooms_are_in_no_profile():
    theirs = RoomsDataset(32, module.ROOMS, module.CATS, module.PLACEMENTS, seed=module.SEED)
    ours = RoomsDataset(32)
    assert theirs.seed != ours.seed
    assert not torch.equal(theirs[0]["bg"], ours[0]["bg"])


def test_publishing_scores_what_is_shipped_and_writes_the_card(tmp_path, monkeypatch, capsys):
    stages = (Stage(32, 8, 1),)
    small = recipe("course", "tiny", stages=stages)
    monkeypatch.setattr(module, "plan", lambda data: small)
    monkeypatch.setitem(WEIGHTS, "rooms", tmp_path / "weights" / "DuoNet.safetensors")
    monkeypatch.setattr(module, "CARD", tmp_path / "weights" / "README.md")
    monkeypatch.setattr(module, "TEST_SIZES", (32,))
    monkeypatch.setattr(module, "TEST_SAMPLES", 4)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    with pytest.raises(CourseError, match="run/ holds no finished training"):
        publish(run)
    assert not WEIGHTS["rooms"].exists()
    module.CARD.parent.mkdir()
    module.CARD.write_text("# A title\n\n<!-- rooms:begin -->\nof an earlier run\n<!-- rooms:end -->\n\n## Limits\n")

    net, data = build("DuoNet"), ToyQuartets()
    history = train(net, data, data, small, run)
    facts = {key: history[-1][key] for key in ("samples", "seconds", "cpu_seconds")}
    facts |= {"data": "64 toys", "machine": "a test", "date": "today"}
    (run / "facts.json").write_text(json.dumps(facts))
    text = publish(run)
    assert module.CARD.read_text() == text and "rooms, 32 px, perturbed" in text and "a test" in text and "64 toys" in text
    assert text.startswith("# A title\n") and text.endswith("\n## Limits\n") and "earlier run" not in text
    shipped = pretrained()
    for name, value in net.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        torch.testing.assert_close(shipped.state_dict()[name], expected)


def test_the_size_of_photographs_masks_is_that_of_the_best_ones_that_were_only_watched(tmp_path, monkeypatch):
    """A network that knows cats at 48 px alone: at 32 px it finds none."""

    class Subtraction(torch.nn.Module):
        depth_activation, depth_size = "sigmoid", None

        def forward(self, bg, bg_fg):
            logits = 40 * ((bg.float() - bg_fg.float()).abs().amax(1, keepdim=True) / 255 - 0.2)
            return (logits if bg.shape[-1] == 48 else -9 - 0 * logits), 0 * logits

    watched = {size: sample(ToyQuartets(size=size), 8) for size in (32, 48)}
    size, scores = module.best_size(Subtraction(), watched)
    assert size == 48 and scores.startswith("32 px 0.000 and 0.000, 48 px 0.")


def test_the_probe_is_fitted_to_what_was_trained_on_and_its_card_says_how_often_it_is_right(tmp_path, monkeypatch):
    for name, value in {"CARD": tmp_path / "README.md", "ROOMS": 20, "CATS": 20, "PROBED": 16, "TEST_SAMPLES": 8}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module.probe, "FILE", tmp_path / "probe.json")
    module.CARD.write_text("# A title\n<!-- probe:begin -->\nold\n<!-- probe:end -->\n")
    text = module.publish_probe(photo_folder(tmp_path / "photos", depths=(None,) * 20, cats=8))
    kept = json.loads(module.probe.FILE.read_text())
    assert len(kept["weights"]) == 96 and f"fitted to {2 * 16} quartets" in " ".join(text.split())
    assert module.CARD.read_text() == text and "\nold" not in text and text.count("%") == 2
