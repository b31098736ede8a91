"""Rehearses the course as Google Colab and Kaggle run it: ``python -m helpers.upkeep.rehearse colab``.

Each notebook runs with the versions preinstalled there: its file alone in an empty folder, nothing cached, and the
clone of the first cell led to what is committed in this checkout. At fault is a cell that fails, anything on stderr, a
package installed or changed, and more minutes than :data:`BUDGET`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nbformat

from helpers.config import REPOSITORY, ROOT, CourseError, plain_errors
from helpers.upkeep.run_notebooks import find, run
from helpers.upkeep.timings import Timing, timed

# Colab's GPU image of August 2026, with Python 3.13; from h5py on github.com/googlecolab/backend-info had it in June.
COLAB = {
    "accelerate": "1.14.0", "albumentations": "2.0.8", "gdown": "5.2.2", "ipykernel": "6.17.1", "ipython": "7.34.0",
    "ipywidgets": "7.7.1", "matplotlib": "3.10.0", "numpy": "2.1.3", "opencv-python-headless": "5.0.0.93",
    "plotly": "5.24.1", "scikit-image": "0.25.2", "tensorboard": "2.20.0", "torch": "2.11.0", "torchsummary": "1.5.1",
    "torchvision": "0.26.0", "tqdm": "4.67.3", "h5py": "3.16.0", "jupyter-client": "7.4.9", "pillow": "11.3.0",
    "psutil": "5.9.5", "safetensors": "0.7.0", "scipy": "1.16.3", "traitlets": "5.7.1", "nbformat": "5.10.4",
}  # fmt: skip
# Absent there: the second cell of notebook 08 installs them, and is to find nothing left to do.
ADDED = {"onnx": "1.23.2", "onnxruntime": "1.32.0", "onnxscript": "0.7.2"}
VERSIONS = {"colab": COLAB | ADDED}
VERSIONS["kaggle"] = VERSIONS["colab"] | {"ipywidgets": "8.1.5"}  # kaggle_requirements.txt of Kaggle's image
SETS = {"COLAB_RELEASE_TAG": "release-colab-rehearsal", "COLAB_GPU": "", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
VARIABLES = {"colab": SETS, "kaggle": SETS | {"KAGGLE_KERNEL_RUN_TYPE": "Interactive", "MKL_THREADING_LAYER": "GNU"}}
BUDGET = {"tiny": 3, "quick": 10, "standard": 10}  # minutes from cold: 2 idle cores, "standard" with a T4
FOREIGN = "COLAB_", "COURSE_", "GIT_", "IPYTHON", "JUPYTER_", "KAGGLE_", "PYTHON"  # of the machine that rehearses


def environment(folder: Path, python: str, versions: Mapping[str, str]) -> Path:
    """The Python of the virtual environment ``folder``, made by ``python`` if need be, with ``versions`` installed."""
    inside, make = folder / "bin" / "python", [python, "-m", "venv", folder]
    install = [inside, "-m", "pip", "install", "--quiet", *(f"{name}=={version}" for name, version in versions.items())]
    if not inside.exists() and subprocess.run(make).returncode or subprocess.run(install).returncode:
        raise CourseError(f"The environment {folder} cannot be made (see above): mend that, or remove the folder.")
    return inside


@contextmanager
def machine(platform: str, python: Path, profile: str) -> Iterator[Path]:
    """An empty folder to run a notebook in; meanwhile kernels are ``python``'s and find what ``platform`` has set."""
    kept = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as name:
        content, home = Path(name, "content"), Path(name, "home")
        colab, kernel = home / "packages" / "google" / "colab", home / "jupyter" / "kernels" / "python3"
        for folder in (content, kernel, colab if platform == "colab" else home / "packages"):
            folder.mkdir(parents=True)  # the course imports nothing of google.colab, but plotly looks for it
        launch = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(json.dumps({"argv": launch, "display_name": "Python 3"}))
        for key in filter(lambda key: key.startswith(FOREIGN), kept):
            del os.environ[key]
        os.environ |= VARIABLES[platform] | {
            "HOME": str(home), "JUPYTER_PATH": str(home / "jupyter"), "PYTHONPATH": str(home / "packages"),
            "PATH": f"{python.parent}{os.pathsep}{kept['PATH']}", "COURSE_PROFILE": profile, "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": f"https://github.com/{REPOSITORY}.git",
        }  # fmt: skip
        try:
            yield content
        finally:
            os.environ.clear()
            os.environ.update(kept)


def rehearse(notebook: Path, platform: str, python: Path, profile: str, budget: float) -> tuple[Timing, list[str]]:
    """What ``notebook`` took on ``platform`` from cold, and what is at fault; ``budget`` is in minutes."""
    freeze, faults = [python, "-m", "pip", "freeze", "--all"], []
    with machine(platform, python, profile) as folder:
        before = set(subprocess.check_output(freeze, text=True).splitlines())
        (copy := folder / notebook.name).write_bytes(notebook.read_bytes())
        try:
            with timed() as timing:
                run(copy)
        except CourseError as error:
            faults.append(str(error))
        outputs = [output for cell in nbformat.read(copy, as_version=4).cells for output in cell.get("outputs", [])]
        faults += [f"on stderr: {output.text.strip()}" for output in outputs if output.get("name") == "stderr"]
        after = set(subprocess.check_output(freeze, text=True).splitlines())
    faults += [f"a package was installed, removed or changed: {line}" for line in sorted(before ^ after)]
    late = f"took {timing.minutes:.2f} minutes from cold; its budget on idle cores is {budget:g}"
    return timing, faults + [late] * (timing.minutes > budget)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.upkeep.rehearse", description=__doc__.splitlines()[0])
    parser.add_argument("platform", choices=VERSIONS)
    parser.add_argument("names", nargs="*", metavar="NOTEBOOK", help="such as 03_model; without one, all are run")
    parser.add_argument("--profile", choices=BUDGET, default="tiny")
    parser.add_argument("--python", default=sys.executable, help="there it is Python 3.13")
    chosen, wrong = parser.parse_intermixed_args(arguments), []
    notebooks, budget = find(chosen.names), BUDGET[chosen.profile]
    folder = ROOT / "build" / f"rehearsal-{Path(chosen.python).name}"
    python = environment(folder, chosen.python, VERSIONS[chosen.platform])
    for path in notebooks:
        timing, faults = rehearse(path, chosen.platform, python, chosen.profile, budget)
        print(f"{path.stem:<24}{timing.minutes:6.2f} of {budget} min {timing.gigabytes:5.1f} GB", flush=True)
        wrong += [f"{path.stem}: {fault}" for fault in faults]
    sys.exit("\n\n".join(wrong) or None)


if __name__ == "__main__":
    with plain_errors():
        main()
