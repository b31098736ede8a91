"""Which packages of ``pyproject.toml`` are missing here or outside their range, and the pip line that mends it.

Nothing is installed here: :func:`helpers.session.setup` prints the line, and a cell of notebook 08 runs it. It names the
installed torch and numpy by their exact version, so that pip leaves them as they are: both are loaded by then, and a
GPU machine's torch is its own.
"""

import tomllib
from importlib import metadata

from packaging.requirements import Requirement  # every kernel has it: ipykernel needs it

from helpers.config import ROOT

KEPT = "torch", "numpy"
RUNNERS = {"ipykernel", "jupyterlab", "latex2mathml", "nbclient", "nbconvert", "nbformat", "psutil"}  # for `make` alone
ONLY = dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), 8)  # the one notebook that needs a package
OPENCV = "opencv-python-headless", "opencv-python", "opencv-contrib-python"  # one module under three names


def wanted(number: int | None = None) -> list[Requirement]:
    """What notebook ``number`` needs, or all need; without ``pyproject.toml`` nothing: pip has installed the course."""
    page = ROOT / "pyproject.toml"
    project = tomllib.loads(page.read_text("utf-8"))["project"] if page.is_file() else {}
    listed = project.get("dependencies", []) + project.get("optional-dependencies", {}).get("course", [])
    needed = [one for one in map(Requirement, listed) if one.name not in RUNNERS]
    return [one for one in needed if number in (None, ONLY.get(one.name, number))]


def installed() -> dict[str, str]:
    """Version by package name; the OpenCV that is there counts as the one that is wanted."""
    listed = [one for one in metadata.distributions() if one.metadata and one.metadata["Name"]]  # not of a broken install
    found = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in reversed(listed)}  # the first counts
    return found | {OPENCV[0]: found[name] for name in reversed(OPENCV) if name in found}


def unfit(number: int | None = None) -> list[Requirement]:
    """Of what is wanted, what is missing or outside its range."""
    found = installed()
    return [one for one in wanted(number) if not one.specifier.contains(found.get(one.name, "0"), prereleases=True)]


def to_install(number: int | None = None) -> str:
    """What to hand to ``pip install``; nothing if all is well, or only torch or numpy are not."""
    found, mend = installed(), [f'"{one}"' for one in unfit(number) if one.name not in KEPT]
    return " ".join([*mend, *(f'"{name}=={found[name]}"' for name in KEPT if name in found)]) if mend else ""


def advice(number: int | None = None) -> list[str]:
    """Lines that say what is missing or outside its range, and what to paste into a cell; none if all is well."""
    found, wrong = installed(), unfit(number)
    lines = [f"Package  {one.name} {found.get(one.name, 'is missing')}: needs to be {one.specifier}" for one in wrong]
    if mend := to_install(number):
        how = "the next cell does" if number in ONLY.values() else "paste into a cell above, then restart and run all"
        lines.append(f"Mend     {how}: %pip install {mend}")
    if any(one.name in KEPT for one in wrong):
        lines.append("Mend     torch and numpy are the machine's own: choose another kernel, or run 'make lab'")
    return lines
