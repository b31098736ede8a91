"""Where depth jumps, and how far predicted jumps lie from true ones: the depth boundary errors of iBims-1.

After Koch et al., "Evaluation of CNN-based single-image depth estimation methods", ECCV workshops 2018. Plain NumPy and
SciPy on a whole batch at once; :class:`helpers.metrics.Meter` calls it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIGMA, WEAK, STRONG = 2**0.5, 0.1, 0.2  # of the Canny detector in the toolbox of iBims-1
TIE = 1e-9  # two magnitudes closer than this are equal: rounding shall not choose between neighbours
NEIGHBOURHOOD = 10.0  # pixels; farther edges have nothing to do with each other


def depth_edges(depth: NDArray, valid: NDArray) -> NDArray[np.bool_]:
    """Canny edges of depth maps, one pixel wide.

    The detector is the one of the benchmark's toolbox, ``skimage.feature.canny(depth, 2**0.5, 0.1, 0.2, mask=valid)``:
    a Gaussian over valid pixels, Sobel, maxima across the edge, then weak edges only where they touch a strong one.
    The thresholds are of the sum that Sobel's weights make, which is 8 times the slope: a straight step by a tenth of
    the range is a strong edge, and a slope of more than 0.025 a pixel has one, too, near its foot. Of two neighbours
    with equal slopes (a step between two pixels) the nearer one is the edge, where scikit-image keeps both. The frame
    and pixels beside invalid ones are never edges.

    Args:
        depth: (N, H, W) in [0, 1]; whatever stands at invalid pixels is ignored, NaN included.
        valid: (N, H, W) bool.

    Returns:
        (N, H, W) bool.
    """
    depth = np.where(valid, depth, 0).astype(np.float64)
    known = valid[:1] if valid.all() else valid  # without holes one picture's weights serve all
    smooth = _gaussian(depth) / (_gaussian(known.astype(np.float64)) + np.finfo(np.float64).eps)
    down, right = _sobel(smooth, 1, 2), _sobel(smooth, 2, 1)
    slope = np.sqrt(down * down + right * right)
    inside = ndimage.binary_erosion(known, np.ones((1, 3, 3)))
    place = np.flatnonzero((slope >= WEAK) & inside)  # everything below is about these pixels only
    slopes, height = slope.ravel(), slope.ravel()[place]
    down, right = down.ravel()[place], right.ravel()[place]
    steep, width = np.abs(down) > np.abs(right), depth.shape[2]
    diagonal = np.sign(down).astype(int) * width + np.sign(right).astype(int)  # steps in memory, towards larger depth
    straight = np.where(steep, np.sign(down).astype(int) * width, np.sign(right).astype(int))
    smaller, larger = np.where(steep, (right, down), (down, right))
    share = np.abs(smaller / larger)  # of the diagonal neighbour: the line across the edge passes between the two
    farther = (1 - share) * slopes[place + straight] + share * slopes[place + diagonal]
    nearer = (1 - share) * slopes[place - straight] + share * slopes[place - diagonal]
    edges = np.zeros(slope.shape, bool)
    edges.ravel()[place[(farther <= height + TIE) & (nearer < height - TIE)]] = True
    touching = np.zeros((3, 3, 3))
    touching[1] = 1  # within a picture, diagonally too
    lines, count = ndimage.label(edges, touching)
    strong = np.zeros(count + 1, bool)
    strong[lines[edges & (slope >= STRONG)]] = True
    return strong[lines]


def _gaussian(maps: NDArray) -> NDArray:
    across = ndimage.gaussian_filter1d(maps, SIGMA, axis=2, mode="constant")
    return ndimage.gaussian_filter1d(across, SIGMA, axis=1, mode="constant")


def _sobel(maps: NDArray, along: int, across: int) -> NDArray:
    # ndimage.sobel would smooth across the pictures of the batch, too.
    return ndimage.correlate1d(ndimage.correlate1d(maps, (-1, 0, 1), along), (1, 2, 1), across)


def boundary_errors(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """The two depth boundary errors of each picture, in pixels; 0 is best, 10 the worst.

    Accuracy: how far predicted edges are from the nearest true one, on average over the predicted edges that have a
    true one within 10 pixels. Completeness: how far true edges are from the nearest predicted one, at most 10 pixels
    each, on average over all true edges. As in the benchmark's toolbox, a predicted edge far from every true one does
    not count, a picture where no predicted edge is near a true one has 10 and 10, and one without a true edge has none.

    What differs from the benchmark: its true edges come annotated with the data, and its detector runs on predictions
    that are stretched to [0, 1] first. Here both maps go through one detector as they are, because both are on the
    same [0, 1] already, and a prediction that is too flat shall lose its edges. Completeness is cut at 10 pixels, which
    version 0.9 of the toolbox, the model for all else, does not do (a later one does). So these numbers compare
    networks on this course's data at one picture size, not with the benchmark's table.

    Args:
        predicted, true: (N, H, W) bool, from :func:`depth_edges`.

    Returns:
        accuracy, completeness: (N,) float64 each, NaN where a picture has no true edge.
    """
    errors = np.full((2, len(true)), np.nan)
    for error, p, t in zip(errors.T, predicted, true):
        if t.any():
            to_true, to_predicted = _distance_to(t)[p], _distance_to(p)[t]
            near = to_true[to_true < NEIGHBOURHOOD]
            error[:] = near.mean() if len(near) else NEIGHBOURHOOD, np.minimum(to_predicted, NEIGHBOURHOOD).mean()
    return errors[0], errors[1]


def _distance_to(edges: NDArray[np.bool_]) -> NDArray:
    """(H, W) pixels to the nearest edge; where there is none SciPy would measure to an edge that it invents."""
    return ndimage.distance_transform_edt(~edges) if edges.any() else np.full(edges.shape, np.inf)
