"""Claims of notebook 04 that can be computed, and numbers in its prose that no cell prints."""

import re

from notebook_cells import found, printed

NUMBER = r"\s+(-?[\d.]+)"


def row(name: str, columns: int, before: str = "") -> list[float]:
    """The first ``columns`` numbers of the first printed row called ``name``, after the text ``before``."""
    return found("04", rf"(?s:{before}.*?)^{name}{NUMBER * columns}" if before else rf"^{name}{NUMBER * columns}")


def change(instead: str, column: int) -> float:
    """What a line of the ablation says in brackets: of the mask's Dice (0) or of the depth's RMSE (1); 0 for "="."""
    cell = r"[\d.]+\s*±\s*[\d.]+ \("
    pattern = rf"  {instead}\s+" + (cell + r"[^)]*\)\s+" if column else "") + cell + r"(=|[+-][\d.]+)\)"
    (value,) = re.search(pattern, printed("04")).groups()
    return 0.0 if value == "=" else float(value)


def smoothed() -> list[list[float]]:
    return [found("04", rf"^{count} pixels predicted as cat{NUMBER}\s+(?:-|[\d.]+){NUMBER}") for count in (0, 1, 10, 100)]


def batch_dice() -> list[float]:
    return [found("04", rf"batches of +{size}: ([\d.]+)")[0] for size in (1, 4, 16)]


def audited() -> dict[str, list[float]]:
    names = ("ground truth", "too far by 0.1", "range halved", "blurred, σ = 3", "one half everywhere", "all ones",
             "near and far swapped", "best map of 0 and 1")  # fmt: skip
    return {name: row(name, 3, "published Dice   squared Dice") for name in names}


# A phrase of its prose, and whether its printed output bears it out.
CLAIMS = [
    ('The right map knows only "nearest" and "farthest", and its score is higher.',
     lambda: found("04", r"^ground truth +published Dice ([\d.]+)") < found("04", r"^best map of 0 and 1 +published Dice ([\d.]+)")),
    ("its loss jumps to the cut-off of PyTorch, and the slope is 0",
     lambda: row("logit 20, no cat", 4) == [100, 0, 20, 1]),
    ("BCE is already low for it, whereas the Dice loss is close to its maximum",
     lambda: row("nothing is cat", 2)[0] < 0.1 * row("everything is cat", 2)[0] and row("nothing is cat", 2)[1] > 0.98),
    ("With smoothing, a right prediction costs 0 and every wrong pixel costs more.",
     lambda: smoothed()[0][1] == 0 and smoothed() == sorted(smoothed(), key=lambda pair: pair[1])),
    ("The plain form prefers a hard edge, the squared one the ground truth.",
     lambda: row("edges decided: 0 or 1", 2)[0] < row("ground truth", 2, "plain Dice loss")[0]
     and row("ground truth", 2, "plain Dice loss")[1] == 0 < row("edges decided: 0 or 1", 2)[1]),
    ("With BCE alone the room outweighs the missed cat; every cure turns this round for a cat that is missed.",
     lambda: row("BCE", 4, "cat : room")[3] < 1 < min(row(name, 4)[3] for name in (r"BCE, weight \d+", "focal", "Tversky", "Dice"))),
    ("A weight and focal loss keep the cat ahead all the way.",
     lambda: min(row(name, 5)[4] for name in (r"BCE, weight \d+", "focal")) > 1),
    ("Tversky and Dice do not: their gradient at a pixel of the room is proportional to the overlap",
     lambda: max(row(name, 5)[4] for name in ("Tversky", "Dice")) < 1 < min(row(name, 5)[3] for name in ("Tversky", "Dice"))),
    ("At half, Dice gives the cat even less than BCE", lambda: row("Dice", 5)[4] < row("BCE", 5)[4]),
    ("Focal loss changes the balance most",
     lambda: row("focal", 4)[3] > max(row(name, 4)[3] for name in (r"BCE, weight \d+", "Tversky", "Dice"))),
    ("and Tversky with a larger weight for misses gives the cat more than Dice does.",
     lambda: row("Tversky", 4)[3] > row("Dice", 4)[3]),
    ("Without a sigmoid, the mask loses pixels along its boundary",
     lambda: found("04", r"no sigmoid .*: +([\d.]+)%") < found("04", r"^one .*: +([\d.]+)%")),
    ("BCE alone costs the mask a good deal of Dice, and L1 alone costs the depth a good deal of RMSE.",
     lambda: change("mask: BCE alone", 0) <= -0.01 and change("depth: L1 alone", 1) >= 0.01),
    ("give a slightly better mask for a slightly worse depth",
     lambda: all(0 < change(name, k) < 0.01 for name in ("the same for both", "by uncertainty") for k in (0, 1))),
    ("With structure counted once, the difference in RMSE is within the spread over seeds.",
     lambda: change("depth: structure counts once", 1) == 0),
    ("L1 has the sharper corner and wins.",
     lambda: found("04", r"both \(published\) +is least at z = +([\d.]+)") == found("04", r"L1 on the logit +is least at z = +([\d.]+)")),
    ("The published loss is content with neither.",
     lambda: row(r"Course, σ\(z\) is depth", 1) == [0] and min(row(name, 1)[0] for name in
             (r"Published, z is depth", r"Published, σ\(z\) is depth", r"Course, z is depth")) > 0.2),
    ("A shift of one pixel costs a good deal of Dice on these small images",
     lambda: row("moved by 1", 3)[0] < 0.92 and row("moved by 1", 3)[2] > 0.98),
    ("The map with half the range is wrong by RMSE, and perfect by aligned RMSE and AbsRel",
     lambda: row("range halved", 5)[2] == row("range halved", 5)[4] == 0 and row("range halved", 5)[1] > 0.1),
    ("The blur has a small RMSE and loses edges.",
     lambda: row("blurred, σ = 3", 8)[1] < row("range halved", 8)[1] and row("blurred, σ = 3", 8)[7] > row("range halved", 8)[7]),
    ("Dice and the boundary F-score stay the same, while the calibration error rises either way.",
     lambda: row("DuoNet", 3)[:2] == row("logits × 3", 3)[:2] == row("logits / 3", 3)[:2]
     and row("DuoNet", 3)[2] < min(row("logits × 3", 3)[2], row("logits / 3", 3)[2])),
    ("BCE rises with the logits that are too large, too.", lambda: row("logits × 3", 4)[3] > 2 * row("DuoNet", 4)[3]),
    ("The error is small nevertheless, because nearly all pixels lie at one of the ends",
     lambda: row("DuoNet", 5)[2] < 0.01 and row("DuoNet", 5)[4] > 0.95),
    ("The result then depends on the batch size.", lambda: len(set(batch_dice())) == 3),
    ("The highest score goes to a map of 0 and 1.",
     lambda: max(audited(), key=lambda name: audited()[name][0]) == "best map of 0 and 1"),
    ("With squared terms the ground truth gets 1, and no prediction more.",
     lambda: max(audited().values(), key=lambda values: values[1]) == audited()["ground truth"] and audited()["ground truth"][1] == 1),
    ("a perfect map scores about like a constant",
     lambda: row("with a sigmoid", 1)[0] > 0.7 * row("constant ½", 1)[0]),
    ("On perturbed pairs nearly the whole room differs, and it collapses.",
     lambda: row("perturbed pairs", 1)[0] < 0.4 * row("clean pairs", 1)[0]),
]  # fmt: skip

# Numbers that are definitions or come from elsewhere, each with its source.
DEFINITIONS = [
    # The 16 samples that the published project shows, scored for this course, and the RMSE that its README reports.
    "0.640 0.671 0.237 0.086 0.246",
    "50 %: the least confidence that the slider of helpers/widgets/loss_explorer.py allows.",
]
