"""The published loader reads what it was given, and all ways of loading are timed beside it."""

import torch
from photo_files import photo_folder

from helpers.benchmarks import loading
from helpers.photos.dataset import PhotosDataset


def test_the_published_loader_reads_the_same_quartets(tmp_path):
    dataset = PhotosDataset(photo_folder(tmp_path / "photos"), size=64, placements=1)
    loading.store_jpegs(dataset, tmp_path)
    bg, bg_fg, mask, depth = loading.published(tmp_path, 64, [0, 1])
    mean, std = (torch.tensor(values)[:, None, None] for values in loading.MEAN_STD)
    batch = dataset.get_batch([0, 1])
    for name, read in {"bg": bg * std + mean, "bg_fg": bg_fg * std + mean, "mask": mask, "depth": depth}.items():
        wanted = batch[name] / 255 if batch[name].dtype == torch.uint8 else batch[name]
        assert read.shape == wanted.shape and (read - wanted).abs().mean() < 0.03, name


def test_each_way_is_timed_beside_the_published_one(tmp_path, monkeypatch):
    for name, value in {"STORED": 64, "COUNT": 4, "BATCH": 2, "ROUNDS": 1}.items():
        monkeypatch.setattr(loading, name, value)
    rows = loading.measure(photo_folder(tmp_path / "photos"), [32])
    assert list(rows) == ["published loader, 32 px", "composed live, 32 px", "cached, 32 px"]
    assert rows["published loader, 32 px"]["times published"] == 1
    assert all(row["a second"] > 0 for row in rows.values())
