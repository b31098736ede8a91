"""Depth for photographs that have none: guessed by a public network, and marked as guessed.

Depth Anything V2 (Yang et al., 2024) predicts *relative disparity*: larger is nearer, scale and offset are unknown.
The course's depth goes the other way and linearly; :func:`depth_from_disparity` bridges the two with an assumption.
The outcome is useful to train on and worthless to measure by: its quartets never claim metres.
"""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from helpers.config import CourseError
from helpers.photos.builder import Report, counted, read_photo, written_together
from helpers.photos.folder import PSEUDO_DEPTH, by_name, rooms_of

MODEL = "depth-anything/Depth-Anything-V2-Small-hf"
MEGABYTES = 99  # of its download
# Assumed: the farthest point of a picture of a room is so many times as far as the nearest. In the middle it was 3.6
# in 6,000 rendered scenes and 4.3 in 80 rooms measured by a depth sensor.
FAR_OVER_NEAR = 4.0
LONGEST = 518  # pixels: the side at which the model was trained

Estimate = Callable[[np.ndarray], np.ndarray]


def depth_anything(model: str = MODEL) -> Estimate:
    """The public model as a function from a picture (H, W, 3) uint8 to its disparity (H, W) float32.

    ``model`` is a name on the model hub, which the first call downloads (Apache-2.0), or a local folder. Weights are
    read as safetensors only, which cannot run code.

    Raises:
        CourseError: transformers is not installed, or the model cannot be had.
    """
    try:
        from transformers import pipeline
    except ImportError as error:
        raise CourseError(
            "Pseudo-depth needs the package transformers: Colab has it; elsewhere install it with "
            "'pip install transformers' into the course's environment and restart the kernel."
        ) from error
    try:
        network = pipeline("depth-estimation", model=model, model_kwargs={"use_safetensors": True})
    except Exception as error:  # hub clients raise many kinds for a missing network, and a missing model
        reason, advice = str(error).partition("\n")[0], "look at the internet connection, or do without pseudo-depth"
        raise CourseError(f"The model {Path(model).name} could not be loaded ({reason}): {advice}.") from error

    def estimate(picture: np.ndarray) -> np.ndarray:
        predicted = network(Image.fromarray(picture))["predicted_depth"]  # not "depth", which has 8 bits
        array = np.asarray(predicted.detach().cpu().float()).squeeze()
        return cv2.resize(array, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    return estimate


def depth_from_disparity(disparity: np.ndarray, far_over_near: float = FAR_OVER_NEAR) -> np.ndarray:
    """Relative disparity (H, W), larger = nearer, to distance, nearest = 1: (H, W) float32, 1..far_over_near.

    True disparity is 1 / distance; the model's is a linear function of it with unknown slope and offset. So one number
    has to be assumed, how many times as far as the nearest point the farthest is: the smallest disparity stands for
    1 / far_over_near, the largest for 1, and distance is one over what lies between. The outermost thousandth on both
    sides is cut off: single pixels must not set the scale.

    Raises:
        CourseError: no finite numbers, the same everywhere, or an impossible ratio.
    """
    if not 1 < far_over_near < 1000:
        raise CourseError(f"far_over_near={far_over_near}: the farthest point must be farther than the nearest; say 4.")
    disparity = np.asarray(disparity, dtype=np.float64)
    if disparity.ndim != 2 or not disparity.size or not np.isfinite(disparity).all():
        raise CourseError(f"A disparity is finite numbers (H, W), not {disparity.dtype} of shape {disparity.shape}.")
    low, high = np.quantile(disparity, [0.001, 0.999])
    if high - low < 1e-6 * max(abs(high), 1e-6):
        raise CourseError("The disparity is the same everywhere: there is no depth in it.")
    share = ((disparity - low) / (high - low)).clip(0, 1)  # 1 near, 0 far
    return (1 / (1 / far_over_near + (1 - 1 / far_over_near) * share)).astype(np.float32)


def add_pseudo_depth(root: str | Path, estimate: Estimate | None = None) -> Report:
    """Give every room in ``root/bg`` a guessed depth: ``root/bg_depth/*.npy`` and the mark ``root/pseudo_depth.json``.

    ``estimate`` makes a picture's disparity (default: :func:`depth_anything`).

    Raises:
        CourseError: the folder has depth already, or a camera.json, or the model cannot be had.
    """
    root = Path(root).expanduser()
    rooms = rooms_of(root)
    by_name(rooms, "their depths")  # refuses two of one name
    if (root / "camera.json").exists():
        raise CourseError(f"{root.name}/ has a camera.json, which is for measured depth: guessed depth has no metres.")
    report = Report("rooms with pseudo-depth")
    with written_together(root, (PSEUDO_DEPTH, "bg_depth/")) as folder:
        mark = {"model": "your own" if estimate else MODEL, "assumed_far_over_near": FAR_OVER_NEAR, "metric": False}
        estimate = estimate or depth_anything()
        (folder / PSEUDO_DEPTH).write_text(json.dumps(mark, indent=1))
        for path in counted(rooms, len(rooms), "guessing depth", "room"):
            try:
                depth = depth_from_disparity(estimate(read_photo(path, LONGEST)))
            except CourseError as error:
                raise CourseError(f"{path.name}: {error}") from error
            np.save(folder / "bg_depth" / f"{path.stem}.npy", depth)
            report.kept += 1
    return report
