"""What the first cell says of packages that are missing or outside their range."""

import re
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
from notebook_cells import cells
from packaging.requirements import Requirement

from helpers import session
from helpers.upkeep import packages, rehearse


@pytest.fixture
def machine(monkeypatch):
    """A function that pretends that every package is at its lowest version but for those given, None for missing."""

    def pretend(**changed):
        lowest = {one.name: re.search(r">=([\d.]+)", str(one.specifier))[1] for one in packages.wanted()}
        found = {**lowest, **{name.replace("_", "-"): version for name, version in changed.items()}}
        found = {name: version for name, version in found.items() if version}
        monkeypatch.setattr(packages, "installed", lambda: found)

    return pretend


def test_all_is_well_where_every_package_is_in_its_range(machine):
    machine()
    assert packages.advice() == []


def test_a_missing_package_and_one_outside_its_range_get_one_line_that_keeps_torch_and_numpy(machine):
    machine(torch="2.11.0+cu128", albumentations=None, plotly="4.9")
    lines = packages.advice()
    assert len(lines) == 3, "one pip line for all"
    assert any(line.startswith("Package  plotly 4.9: needs to be") for line in lines)
    assert any(line.startswith("Package  albumentations is missing: needs to be") for line in lines)
    named = [Requirement(text) for text in re.findall('"(.+?)"', lines[2].partition("%pip install ")[2])]
    assert {one.name: str(one.specifier) for one in named if one.name in packages.KEPT} == {
        "torch": "==2.11.0+cu128",
        "numpy": "==2.1",
    }
    assert {one.name for one in named} == {"albumentations", "plotly", "torch", "numpy"}


def test_a_package_that_one_notebook_needs_is_missed_by_that_one_alone(machine):
    machine(onnx=None, onnxruntime=None, onnxscript=None)
    assert [packages.advice(number) for number in range(1, 8)] == 7 * [[]]
    *missing, mend = packages.advice(8)
    assert "the next cell does" in mend
    assert [line.split()[1] for line in missing] == ["onnx", "onnxruntime", "onnxscript"] == list(packages.ONLY)
    for name in (*packages.ONLY, "torch==2.11", "numpy==2.1"):
        assert f'"{name}' in mend


def test_the_second_cell_of_notebook_08_installs_what_is_missing_and_nothing_else(machine):
    source = [cell.source for cell in cells("08") if cell.cell_type == "code"][1]
    ran = []
    shell = SimpleNamespace(run_line_magic=lambda *said: ran.append(said))
    run = lambda source: exec(source, {"get_ipython": lambda: shell})
    machine()
    run(source)
    assert ran == []
    machine(onnx=None)
    run(source.replace("install = True", "install = False"))
    assert ran == [], "the switch is off"
    run(source)
    ((magic, line),) = ran
    assert magic == "pip" and re.findall('"(.+?)"', line)[1:] == ["torch==2.11", "numpy==2.1"]
    assert re.findall('"(.+?)"', line)[0].startswith("onnx<")


def test_torch_and_numpy_are_named_but_never_to_be_installed(machine):
    machine(torch="2.5.1", numpy="1.26.4")
    lines = packages.advice()
    assert len(lines) == 3 and lines[1].startswith("Package  torch 2.5.1")
    assert "pip" not in "\n".join(lines) and "kernel" in lines[-1]


@pytest.mark.parametrize("name", packages.OPENCV)
def test_opencv_may_be_installed_under_any_of_its_names(monkeypatch, name):
    others = [one for one in metadata.distributions() if not one.metadata["Name"].startswith("opencv")]
    made = type("Made", (), {"metadata": {"Name": name}, "version": "4.10.0"})()
    monkeypatch.setattr(metadata, "distributions", lambda: [*others, made])
    assert not any("opencv" in line for line in packages.advice())


def test_a_course_without_pyproject_has_nothing_to_check(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    assert packages.wanted() == [] == packages.advice()


def test_setup_prints_the_advice(capsys, machine):
    machine(tqdm=None)
    session.setup(1)
    said = capsys.readouterr().out
    assert "Package  tqdm is missing" in said and 'restart and run all: %pip install "tqdm' in said


def test_on_kaggle_setup_speaks_of_kaggle(capsys, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    session.setup(1)
    said = capsys.readouterr().out
    assert "Settings > Accelerator" in said and "Colab" not in said and "Drive" not in said


def test_a_broken_installation_is_none_and_of_two_versions_the_imported_one_counts(tmp_path, monkeypatch):
    (tmp_path / "first" / "foo-1.0.dist-info").mkdir(parents=True)  # as a pip that was interrupted leaves it
    for place, version in (("first", "2.0"), ("second", "1.0")):
        info = tmp_path / place / f"bar-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bar\nVersion: {version}\n")
    monkeypatch.setattr("sys.path", [str(tmp_path / "first"), str(tmp_path / "second")])
    assert packages.installed() == {"bar": "2.0"}


@pytest.mark.parametrize("platform", rehearse.VERSIONS)
def test_colab_and_kaggle_have_all_that_a_notebook_needs(platform, monkeypatch):
    monkeypatch.setattr(packages, "installed", lambda: dict(rehearse.VERSIONS[platform]))
    assert packages.advice() == []
