"""How good a prediction is: :class:`Meter`, and what it is made of.

Everything here takes *probabilities* (the sigmoid has been applied, once). Mask metrics look at every pixel,
depth metrics at ``valid`` pixels only.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import canny
from torch import Tensor

NEAREST_METRES = 0.1  # target and aligned depth are clamped to this before ratios are taken: 0 has none
CALIBRATION_BINS = 15


class Meter:
    """Sums over batches; the result does not depend on how the set was cut into batches.

    >>> meter = Meter()
    >>> for batch in loader:
    ...     meter.update(mask_prob, depth, batch)
    >>> meter.result()["mask_dice"]

    Args:
        edges: also find the edges of the depth. That happens on the CPU, for which training has no time within an
            epoch; without them their two keys are NaN.

    The keys of :meth:`result`:

    ======================= ===========================================================================================
    mask_dice, mask_iou     at 0.5, over all pixels of the set
    mask_dice_image         mean over images of each image's Dice (1 where prediction and target are both empty)
    mask_dice_worst         the same over the worst 5 % of the images
    boundary_f_1px,         F-measure of the masks' outlines, over the set (Martin et al., 2004): a pixel is matched if
    boundary_f_2px          the other outline is in the square of 3 x 3, or 5 x 5, around it. DAVIS takes a disk whose
                            radius grows with the image (Perazzi et al., 2016)
    mask_ece                expected calibration error over all pixels of the set, 0 is best (Guo et al., 2017): see
                            :func:`calibration_error`
    depth_mae, depth_rmse   on [0, 1], over all valid pixels of the set
    depth_rmse_aligned      the same after the best scale and shift of each image: its shape without its near and far
    depth_ssim              11 x 11 Gaussian, on [0, 1]: per image, then the mean over images
    edge_accuracy,          pixels from edges of the predicted depth to those of the target, and the other way round,
    edge_completeness       0 is best, 10 the worst: per image, then the mean over images whose target has an edge
                            (Koch et al., 2018; :func:`boundary_errors` tells what differs)
    abs_rel, rmse_m, log10, against metres, after least-squares scale and shift of each image; per image, then the
    delta1, delta2, delta3  mean over images (Eigen et al., 2014). NaN where the source has no metres
    images                  how many were counted
    ======================= ===========================================================================================
    """

    def __init__(self, edges: bool = True) -> None:
        self._edges = edges
        self._pixels: dict[str, Tensor] = {}  # running sums over pixels, on the device of the data
        self._images: dict[str, list[Tensor]] = {}  # one (B,) tensor a batch

    @torch.no_grad()
    def update(self, mask_prob: Tensor, depth: Tensor, batch: dict[str, Tensor]) -> None:
        """Count a batch.

        Args:
            mask_prob, depth: (B, 1, H, W) probabilities in [0, 1]; not logits.
            batch: quartets of the same size on the same device.

        Raises:
            ValueError: values outside [0, 1] (logits, most likely), or shapes that differ.
        """
        for name, value, target in (("mask_prob", mask_prob, batch["mask"]), ("depth", depth, batch["depth"])):
            if value.shape != target.shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, the target {tuple(target.shape)}.")
            low, high = torch.aminmax(value)
            if not (low >= 0 and high <= 1):
                raise ValueError(
                    f"{name} must hold probabilities in [0, 1], but runs from {low:.3g} to {high:.3g}: "
                    "apply sigmoid to the logits, once."
                )
        self._update_mask(mask_prob, batch["mask"])
        self._update_calibration(mask_prob, batch["mask"])
        self._update_depth(depth.double(), batch["depth"].double(), batch["valid"])
        self._update_metres(depth.double(), batch)
        if self._edges:
            self._update_edges(depth, batch["depth"], batch["valid"])

    def _update_mask(self, mask_prob: Tensor, mask: Tensor) -> None:
        predicted, target = mask_prob > 0.5, mask > 0.5
        hit = (predicted & target).sum((1, 2, 3)).double()  # (B,)
        size = predicted.sum((1, 2, 3)).double() + target.sum((1, 2, 3))  # (B,)
        self._add_pixels(overlap=hit.sum(), sizes=size.sum())
        self._add_images(mask_dice=torch.where(size > 0, 2 * hit / size.clamp_min(1), 1.0))
        line_predicted, line_target = outline(predicted), outline(target)
        for radius in (1, 2):
            self._add_pixels(**{f"hit_predicted_{radius}": (line_predicted & dilate(line_target, radius)).sum()})
            self._add_pixels(**{f"hit_target_{radius}": (line_target & dilate(line_predicted, radius)).sum()})
        self._add_pixels(line_predicted=line_predicted.sum(), line_target=line_target.sum())

    def _update_calibration(self, mask_prob: Tensor, mask: Tensor) -> None:
        prob = mask_prob.float().flatten()
        borders = torch.linspace(0, 1, CALIBRATION_BINS + 1).to(prob.device)
        bins = torch.bucketize(prob, borders, right=True) - 1  # 0 to 15: exactly 1 lies in a bin of its own
        weights = {"bin_pixels": torch.ones_like(prob), "bin_prob": prob, "bin_cat": mask.flatten() > 0.5}
        none = torch.zeros(len(borders), dtype=torch.double, device=prob.device)  # bincount would wait for the GPU
        self._add_pixels(**{name: none.index_add(0, bins, x.double()) for name, x in weights.items()})

    def _update_depth(self, depth: Tensor, target: Tensor, valid: Tensor) -> None:
        error, shape_error = (torch.where(valid, d - target, 0.0) for d in (depth, align(depth, target, valid)))
        self._add_pixels(valid=valid.sum(), absolute=error.abs().sum(), squared=(error**2).sum())
        self._add_pixels(aligned=(shape_error**2).sum())
        if min(depth.shape[-2:]) >= 11:
            window = gaussian_window(11, 1.5)
            similarity = ssim_map(torch.where(valid, depth, 0.0), torch.where(valid, target, 0.0), window)
            inside = window_mean(valid.double(), window) > 1 - 1e-6
            self._add_images(depth_ssim=_mean_where(similarity, inside))

    def _update_metres(self, depth: Tensor, batch: dict[str, Tensor]) -> None:
        near, far = batch["near_far"].double().view(-1, 2, 1, 1, 1).unbind(1)  # (B, 1, 1, 1) each
        valid = batch["valid"] & torch.isfinite(near)
        metres = torch.where(valid, near + batch["depth"].double() * (far - near), 1.0).clamp_min(NEAREST_METRES)
        aligned = align(depth, metres, valid).clamp_min(NEAREST_METRES)
        error, ratio = aligned - metres, torch.maximum(aligned / metres, metres / aligned)
        self._add_images(
            abs_rel=_mean_where(error.abs() / metres, valid),
            rmse_m=_mean_where(error**2, valid).sqrt(),
            log10=_mean_where((aligned / metres).log10().abs(), valid),
            **{f"delta{k}": _mean_where((ratio < 1.25**k).double(), valid) for k in (1, 2, 3)},
        )

    def _update_edges(self, depth: Tensor, target: Tensor, valid: Tensor) -> None:
        maps = torch.cat((depth.float(), target.float(), valid.float()), 1).cpu().numpy()  # (B, 3, H, W), moved at once
        predicted, wanted, known = maps.swapaxes(0, 1)
        errors = boundary_errors(depth_edges(predicted, known > 0), depth_edges(wanted, known > 0))
        self._add_images(**dict(zip(("edge_accuracy", "edge_completeness"), map(torch.from_numpy, errors))))

    def _add_pixels(self, **sums: Tensor) -> None:
        for name, value in sums.items():
            self._pixels[name] = self._pixels.get(name, 0) + value.double()

    def _add_images(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._images.setdefault(name, []).append(value)

    def result(self) -> dict[str, float]:
        """All metrics of what was counted so far; NaN where nothing could be counted."""
        if not self._pixels:
            raise ValueError("Nothing has been counted: call update first.")
        total = {name: value.item() for name, value in self._pixels.items() if not value.ndim}
        image = {name: torch.cat(values) for name, values in self._images.items()}
        dice = 2 * total["overlap"] / total["sizes"] if total["sizes"] else 1.0
        per_image = image["mask_dice"].sort().values
        result = {
            "mask_dice": dice,
            "mask_iou": dice / (2 - dice),
            "mask_dice_image": per_image.mean().item(),
            "mask_dice_worst": per_image[: -(-len(per_image) // 20)].mean().item(),
            "mask_ece": calibration_error(*(self._pixels[name] for name in ("bin_pixels", "bin_prob", "bin_cat"))),
        }
        lines = total["line_predicted"], total["line_target"]
        for radius in (1, 2):
            hits = total[f"hit_predicted_{radius}"], total[f"hit_target_{radius}"]
            # 2PR / (P + R) with P = hits[0] / lines[0], R = hits[1] / lines[1], multiplied out: 0 where nothing is
            # hit, NaN only where neither side has an outline.
            crossed = hits[0] * lines[1] + hits[1] * lines[0]
            result[f"boundary_f_{radius}px"] = _ratio(2 * hits[0] * hits[1], crossed or sum(lines))
        result["depth_mae"] = _ratio(total["absolute"], total["valid"])
        for name, squares in (("depth_rmse", "squared"), ("depth_rmse_aligned", "aligned")):
            result[name] = _ratio(total[squares], total["valid"]) ** 0.5
        for name in ("depth_ssim", "edge_accuracy", "edge_completeness", "abs_rel", "rmse_m", "log10",
                     "delta1", "delta2", "delta3"):  # fmt: skip
            result[name] = image[name].nanmean().item() if name in image else float("nan")
        return {**result, "images": float(len(per_image))}


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """(B,) means over each image's true pixels; NaN for an image that has none."""
    return torch.where(where, values, 0.0).sum((1, 2, 3)) / where.sum((1, 2, 3))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")


def calibration_error(pixels: Tensor, prob: Tensor, cat: Tensor) -> float:
    """Expected calibration error of a binary prediction, from the sums in each bin of the predicted probability.

    Of the pixels that are predicted as cat with 70 %, are 70 % cat? In each bin the mean predicted probability is
    compared with the share of pixels that are cat (more than half covered), and the distances are averaged with the
    number of pixels as weights. It equals torchmetrics' ``binary_calibration_error(prob, mask, n_bins=15, norm="l1")``
    of the whole set: bins have equal width and hold their lower border, and exactly 1 has its own.

    Args:
        pixels, prob, cat: (bins,) number of pixels, sum of their probabilities, number of those that are cat.
    """
    return ((prob - cat).abs().sum() / pixels.sum()).item()


def align(depth: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """``scale * depth + shift`` closest to ``target`` in least squares over each image's valid pixels (B, 1, H, W)."""
    mean_d, mean_z = (_mean_where(x, valid).view(-1, 1, 1, 1) for x in (depth, target))
    d, z = depth - mean_d, target - mean_z
    covariance, variance = (_mean_where(d * x, valid).view(-1, 1, 1, 1) for x in (z, d))
    # A constant prediction differs from its mean by rounding alone, which must not be scaled up.
    constant = variance <= (64 * torch.finfo(d.dtype).eps * mean_d) ** 2
    return torch.where(constant, 0.0, covariance / variance) * d + mean_z


def outline(mask: Tensor) -> Tensor:
    """Pixels of a bool mask (B, 1, H, W) with one of four neighbours outside it; the frame is no outline."""
    m = F.pad(mask.float(), (1, 1, 1, 1), mode="replicate")
    neighbours = torch.stack((m[..., 1:-1, :-2], m[..., 1:-1, 2:], m[..., :-2, 1:-1], m[..., 2:, 1:-1]))
    return mask & (neighbours.amin(0) < 0.5)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """A bool mask (B, 1, H, W) grown by ``radius`` pixels in all directions, diagonally too: by a square."""
    return F.max_pool2d(mask.float(), 2 * radius + 1, stride=1, padding=radius) > 0.5


# Structural similarity of two maps in [0, 1] (Wang et al., 2004): for the losses, too.
C1, C2 = 0.01**2, 0.03**2  # the paper's constants for a data range of 1


def gaussian_window(size: int = 11, sigma: float = 1.5) -> Tensor:
    """(size,) weights that sum to 1; 11 and 1.5 are the paper's."""
    weights = torch.exp(-((torch.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
    return weights / weights.sum()


def window_mean(x: Tensor, window: Tensor) -> Tensor:
    """Weighted mean around each pixel of (B, 1, H, W), where the whole window fits: (B, 1, H-k+1, W-k+1)."""
    # Sums of shifted maps: on the CPU, convolutions with one channel, and their gradients, take several times as long.
    for axis in (2, 3):
        length = x.shape[axis] - len(window) + 1
        x = sum(weight * x.narrow(axis, shift, length) for shift, weight in enumerate(window.tolist()))
    return x


def ssim_map(x: Tensor, y: Tensor, window: Tensor) -> Tensor:
    """SSIM around each pixel where the window fits, (B, 1, H-k+1, W-k+1), at most 1; symmetric in x and y.

    Own code, because losses and metrics need windows without a border, so that invalid pixels can be left out.
    """
    moments = torch.cat((x, y, x * x, y * y, x * y))  # one pass of the window over all five
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = window_mean(moments, window).chunk(5)
    # Rounding breaks these two laws where values are large (raw logits of 100), and SSIM would leave [-1, 1].
    variance_x, variance_y = (mean_xx - mean_x**2).clamp_min(0), (mean_yy - mean_y**2).clamp_min(0)
    bound = (variance_x + variance_y) / 2
    covariance = (mean_xy - mean_x * mean_y).clamp(-bound, bound)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return luminance * structure


# Where depth jumps: the depth boundary errors of iBims-1 (Koch et al., ECCV workshops 2018).
SIGMA, WEAK, STRONG = 2**0.5, 0.1, 0.2  # of the Canny detector in the toolbox of iBims-1
NEIGHBOURHOOD = 10.0  # pixels; farther edges have nothing to do with each other


def depth_edges(depth: NDArray, valid: NDArray) -> NDArray[np.bool_]:
    """Canny edges (N, H, W) bool of depth maps, by the detector and the thresholds of the benchmark's toolbox.

    The thresholds are of the sum that Sobel's weights make, which is 8 times the slope: a straight step by a tenth of
    the range is a strong edge, and a slope of more than 0.025 a pixel has one, too. The frame and pixels beside invalid
    ones are never edges.

    Args:
        depth: (N, H, W) in [0, 1]; whatever stands at invalid pixels is ignored, NaN included.
        valid: (N, H, W) bool.
    """
    edges = [canny(image, SIGMA, WEAK, STRONG, mask=known) for image, known in zip(depth.astype(float), valid)]
    return np.array(edges, bool).reshape(depth.shape)  # of no maps, too


def boundary_errors(predicted: NDArray[np.bool_], target: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """The two depth boundary errors of each image, in pixels; 0 is best, 10 the worst.

    Accuracy: how far predicted edges are from the nearest one of the target, on average over the predicted edges that
    have one within 10 pixels. Completeness: how far the target's edges are from the nearest predicted one, at most 10
    pixels each, on average over all of them. Both are 10 where no predicted edge is near one of the target.

    These numbers compare networks on this course's data at one image size, not with the benchmark's table: its target
    edges are annotated, and it stretches predictions to [0, 1] before it looks for edges. Completeness is cut at 10
    pixels as in later versions of the toolbox; all else follows its version 0.9.

    Args:
        predicted, target: (N, H, W) bool, from :func:`depth_edges`.

    Returns:
        accuracy, completeness: (N,) float64 each, NaN where an image's target has no edge.
    """
    errors = np.full((2, len(target)), np.nan)
    for error, p, t in zip(errors.T, predicted, target):
        if t.any():
            to_target, to_predicted = _distance_to(t)[p], _distance_to(p)[t]
            near = to_target[to_target < NEIGHBOURHOOD]
            error[:] = near.mean() if len(near) else NEIGHBOURHOOD, np.minimum(to_predicted, NEIGHBOURHOOD).mean()
    return errors[0], errors[1]


def _distance_to(edges: NDArray[np.bool_]) -> NDArray:
    """(H, W) pixels to the nearest edge; where there is none SciPy would measure to an edge that it invents."""
    return ndimage.distance_transform_edt(~edges) if edges.any() else np.full(edges.shape, np.inf)
