"""Claims of notebook 02 that can be computed, and numbers in its prose that no cell prints."""

from notebook_cells import found, printed

DICE = r"mask Dice of background subtraction ([\d.]+)"


def agreement(cell: str) -> float:
    """By how many pixels the four images disagree, in the line that begins with ``cell``."""
    return found("02", rf"^{cell}: +the four images agree to ([\d.]+) pixels")[0]


def share_of_dice(pair: str) -> float:
    """What is left of background subtraction's Dice on these pairs."""
    return found("02", rf"^{pair} +{DICE}")[0] / found("02", rf"^clean +{DICE}")[0]


# A phrase of its prose, and whether its printed output bears it out.
CLAIMS = [
    ("it returns them as they were", lambda: {"depth  not transformed", "valid  not transformed"} <= set(printed("02").splitlines())),
    ("One declared as `mask` gets the geometric transforms only", lambda: found("02", r'"mask": .* by (-?[\d.]+)')[0] == 0),
    ("The mistake is easy to make", lambda: found("02", r'"image": .* by ([\d.]+)')[0] > 0.1),
    ("Crop away the near floor, and something else is nearest", lambda: found("02", r"depth in the crop runs from ([\d.]+)")[0] > 0.01),
    ("Then every distance in metres must be what it was", lambda: found("02", r"largest change of a pixel's distance: ([\d.]+)")[0] == 0),
    (
        "depth and `valid` with nearest-neighbour sampling",
        lambda: found("02", r"^nearest-exact +([\d.]+) %")[0] == 0 < found("02", r"^bilinear +([\d.]+) %")[0],
    ),
    ("costs subtraction more than half of its score", lambda: share_of_dice(r"bg moved by \d+ px") < 0.5),
    ("and the whole perturbation more than three quarters", lambda: share_of_dice(r"all of them \(perturb\)") < 0.25),
    ("Two geometric transforms in a row round twice", lambda: agreement("crop, then rotation") > agreement("both in one movement") + 0.3),
    ("by up to half a pixel", lambda: agreement("both in one movement") <= 0.5 + 64 / 255 / 2 + 0.05),
    ("keeps the maps within about half a pixel", lambda: agreement("200 draws") < 0.7 > agreement("Augment, 64 coordinate images")),
    ("move the coordinate image to the same places", lambda: found("02", r"(\d+) of 50 seeds: mask, depth, valid") == [50]),
    ("So all workers draw the same numbers", lambda: found("02", r"^without seed_worker: (\d) of the second") == [4]),
    ("gives each copy a seed of its own", lambda: found("02", r"^with +seed_worker: (\d) of the second") == [0]),
    ("every horizontally flipped image is also flipped vertically", lambda: found("02", r"Compose\(seed=0\): in +(\d+) of 60") == [0]),
    ("one stream of numbers", lambda: 15 < found("02", r"reseed: +in +(\d+) of 60")[0] < 45),
]  # fmt: skip

# Numbers that are definitions or come from elsewhere, each with its source.
DEFINITIONS = []
