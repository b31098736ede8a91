"""Which packages of ``pyproject.toml`` are missing here or outside their range, and the pip line that mends it.

Nothing is installed: :func:`helpers.session.setup` prints the line. It names the installed torch and numpy by their
exact version, so that pip leaves them as they are: both are loaded by then, and a GPU machine's torch is its own.
"""

import tomllib
from importlib import metadata

from packaging.requirements import Requirement  # every kernel has it: ipykernel needs it

from helpers.config import ROOT

KEPT = "torch", "numpy"
RUNNERS = {"ipykernel", "jupyterlab", "nbclient", "nbconvert", "nbformat", "psutil"}  # no notebook imports them
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
    found = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in metadata.distributions()}
    return found | {OPENCV[0]: found[name] for name in reversed(OPENCV) if name in found}


def advice(number: int | None = None) -> list[str]:
    """Lines that say what is missing or outside its range, and what to paste into a cell; none if all is well."""
    found = installed()
    wrong = [one for one in wanted(number) if not one.specifier.contains(found.get(one.name, "0"), prereleases=True)]
    lines = [f"Package  {one.name} {found.get(one.name, 'is missing')}: needs to be {one.specifier}" for one in wrong]
    if mend := [f'"{one}"' for one in wrong if one.name not in KEPT]:
        mend += [f'"{name}=={found[name]}"' for name in KEPT if name in found]
        lines.append(f"Mend     paste into a cell above, then restart and run all: %pip install {' '.join(mend)}")
    if any(one.name in KEPT for one in wrong):
        lines.append("Mend     torch and numpy are the machine's own: choose another kernel, or run 'make lab'")
    return lines
