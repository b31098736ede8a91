"""The bench of the data: each command does its work on a tiny archive, and counts what it says that it counts."""

import json
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from helpers import bench_data
from helpers.archive import ZIPS, ArchiveDataset
from helpers.quartets import check_quartet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench")
    bench_data.main(["make", str(path), "--entries", "4200", "--side", "48"])
    return path


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))


def test_make_writes_the_published_naming_with_sound_quartets(folder):
    names = zipfile.ZipFile(folder / "depth.zip").namelist()
    assert len(names) == 4200
    assert names[0] == "depth/densedepth_b001_f001_0.jpg" and names[-1] == "depth/densedepth_b002_f005_39.jpg"
    dataset = ArchiveDataset(folder, 48)
    assert len(dataset) == 4200 and "nothing is missing" in dataset.summary()
    batch = dataset.get_batch(range(0, 4200, 210))
    for i in range(len(batch["bg"])):
        check_quartet({name: value[i] for name, value in batch.items()})
    assert dataset.report()["unreadable"]["count"] == 0, "backgrounds are those of the rooms"


def test_first_times_both_starts_and_watches_memory(folder, capsys, monkeypatch):
    monkeypatch.setattr(bench_data, "FIRST", (32, 40))
    bench_data.main(["first", str(folder)])
    shown = capsys.readouterr().out
    assert re.search(r"^\| no index \| \d+\.\d\d \|", shown, re.MULTILINE)
    assert re.search(r"^\| stored index \| \d+\.\d\d \|", shown, re.MULTILINE)
    assert "cores" in shown and "torch" in shown
    if Path("/proc/self/smaps_rollup").exists():
        rows = re.findall(
            r"^\| (imports alone|index, 2 workers, up to 20 batches) \| (\d+) \| (\d+) \| -?\d+ \| (\d+) \|",
            shown,
            re.MULTILINE,
        )
        (_, alone, none, _), (_, process, workers, together) = rows
        assert int(alone) > 10 and int(none) == 0 and int(workers) > 1 and int(together) >= int(process) > 10


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from /proc")
def test_only_what_makes_batches_counts_as_a_worker():
    other = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(0.3)'])"
    peaks = bench_data._watch(subprocess.Popen([sys.executable, "-c", other]))
    assert peaks["process"] > 1 and peaks["workers"] == 0


def test_first_tells_what_went_wrong(tmp_path):
    with pytest.raises(SystemExit, match="CourseError: The first batch from"):
        bench_data.main(["first", str(tmp_path)])


def test_speed_prints_every_source_and_the_ratio(folder, capsys, monkeypatch, tmp_path):
    from test_photos import photo_folder

    monkeypatch.setattr(bench_data, "BATCHES", {32: 4, 64: 2})
    monkeypatch.setattr(bench_data, "SAMPLES", 24)
    monkeypatch.setattr(bench_data, "STORED", 6)
    bench_data.main(["speed", str(folder), "--seconds", "0", "--photos", str(photo_folder(tmp_path / "photos"))])
    rates, ratios = (list(table(text)) for text in capsys.readouterr().out.split("Times the published"))
    ours = ["archive", "photos, stored", "photos, live", "rooms, stored", "rooms, live"]
    assert list(rates[0]) == ["size", "batch", "published, 12 workers", "published, 2 workers", *ours]
    assert list(ratios[0]) == ["size", *ours]
    for rate, ratio, size in zip(rates, ratios, (32, 64), strict=True):
        assert rate["size"] == ratio["size"] == size and all(value > 0 for value in rate.values())
        best = max(rate["published, 12 workers"], rate["published, 2 workers"])
        for name in ours:  # both are printed rounded
            assert (rate[name] - 0.5) / (best + 0.5) - 0.05 <= ratio[name] <= (rate[name] + 0.5) / (best - 0.5) + 0.05


def table(text):
    """The rows of the printed table as dicts."""
    header, _, *rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    for row in rows:
        yield {name.strip(): float(cell) for name, cell in zip(header, row, strict=True)}


def test_the_published_pipeline_sees_the_pictures_of_the_archive(folder, tmp_path):
    dataset = ArchiveDataset(folder, 48)
    files = bench_data.unzip(dataset, [0, 4199], tmp_path)
    assert len(files) == 2 and all(path.is_file() for sample in files for path in sample)
    assert {Image.open(path).format for path in files[1]} == {"JPEG"}
    item = bench_data.Published(files, 48)[1]
    assert [tuple(item[name].shape) for name in ("bg", *ZIPS)] == [(3, 48, 48), (3, 48, 48), (1, 48, 48), (1, 48, 48)]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for name in ("bg", "bg_fg"):
        picture = (item[name] * deviation[:, None, None] + mean[:, None, None]) * 255
        assert (picture - dataset[4199][name]).abs().mean() < 4
    assert ((item["mask"] / 2 + 0.5) - dataset[4199]["mask"]).abs().mean() < 0.03


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_a_rate_counts_what_was_asked_for(seconds):
    asked = []

    def start(batches):
        asked.append(sum(map(len, batches)))
        assert all(0 <= index < 10 for batch in batches for index in batch)
        for _ in batches:
            time.sleep(0.01)
            yield None

    measured = bench_data.rate(start, count=10, batch=4, workers=3, seconds=seconds)
    assert asked[0] == 12 and (len(asked) == 1 or asked[1] % 12 == 0)
    assert 0 < measured <= 4 / 0.01, "no faster than its batches"
    json.dumps(measured)
