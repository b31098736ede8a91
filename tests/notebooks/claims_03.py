"""Claims of notebook 03 that can be computed, and numbers in its prose that no cell prints."""

from notebook_cells import cells, found

SCORES = r"\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)$"  # Dice, boundary F-score, RMSE of the depth


def score(row, which):
    """Of a row of the table of scores."""
    return found("03", f"^{row}{SCORES}")[which]


def pattern(kind):
    """Untrained, trained, and the grid index of the trained one."""
    return found("03", rf"^{kind}\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)$")


def positions(kind):
    return found("03", rf"^{kind}\s+one depth pixel sees\s+(\d+)")[0]


def sees(stack):
    """How many pixels, and how far to each side."""
    return found("03", rf"^{stack}\s+sees\s+(\d+) pixels, up to (\d+)")


def gain(which):
    """What skips add to a score of the validation set."""
    return score("with skips, validation", which) - score("without skips, validation", which)


def gap(name, which):
    """How much higher a score is on the validation set than on the training set."""
    return score(f"{name}, validation", which) - score(f"{name}, training", which)


def size_of(net):
    """Parameters, and GFLOP at two sizes."""
    return found("03", rf"^{net}\s+([\d,]+)\s+([\d.]+)\s+([\d.]+)\s+[\d.]+\s+[\d.]+$")


def costs():
    """Operations a pixel at three sizes."""
    return [found("03", rf"^ *{size} px .*?([\d,]+) operations a pixel")[0] for size in (64, 112, 192)]


KINDS = "transposed 3x3", "pixel-shuffle", "pixel-shuffle, ICNR", r"pixel-shuffle \+ blur", r"bilinear \+ 3x3"

# A phrase of its prose, and whether its printed output bears it out.
CLAIMS = [
    ("if both compute the same, their outputs are equal", lambda: max(found("03", r"largest difference .*: ([\d.]+) ([\d.]+)")) < 1e-4),
    ("Skips raise both scores on the validation set", lambda: min(gain(0), gain(1)) > 0.1),
    ("and the boundary F-score more than the Dice score", lambda: gain(1) > gain(0)),
    ("the mask is nearly as good in new rooms", lambda: gap("with skips", 0) > -0.08),
    ("is higher on the validation set for both networks", lambda: min(gap("with skips", 2), gap("without skips", 2)) > 0.02),
    (
        "Here is what is left of a mask if only one mean for each block is kept",
        lambda: [found("03", rf"kept at 1/{k} +of the size: Dice ([\d.]+)")[0] for k in (16, 8, 4)]
        == sorted(found("03", rf"kept at 1/{k} +of the size: Dice ([\d.]+)")[0] for k in (4, 8, 16)),
    ),
    (
        "The cat holds a larger share of the saliency than of the area",
        lambda: (lambda area, share: share > 1.5 * area)(*found("03", r"covers ([\d.]+) of the scene and holds ([\d.]+)")),
    ),
    ("are negatively correlated", lambda: found("03", r"correlation of the two gradients: -([\d.]+)")[0] > 0.2),
    (
        "Training weakens the patterns of the transposed convolution and of the pixel-shuffle but does not remove them",
        lambda: all(0.01 < pattern(kind)[1] < pattern(kind)[0] for kind in KINDS[:2]),
    ),
    ("It has the highest grid index", lambda: max(KINDS, key=lambda kind: pattern(kind)[2]) == "pixel-shuffle, ICNR"),
    ("The blur and the interpolation leave next to nothing", lambda: all(max(pattern(kind)) < 0.01 for kind in KINDS[3:])),
    ("four positions", lambda: positions("pixel-shuffle") == 4),
    ("the transposed convolution sees more", lambda: positions("transposed 3x3") > positions("pixel-shuffle")),
    ("The interpolation sees the most", lambda: positions(KINDS[4]) == max(map(positions, KINDS))),
    ("reaches twice as far", lambda: sees(r"3 × \(3×3, dilation 2\)")[1] == 2 * sees(r"3 × \(3×3\)")[1]),
    ("with holes only at its border", lambda: sees("3 × EncoderBlock: both")[0] > sees(r"3 × \(3×3, dilation 2\)")[0]),
    ("It has 5,230,720 parameters", lambda: found("03", r"Total params: ([\d,]+)")[0] == 5_230_720),
    ("*multiplies* the sizes of its inputs", lambda: found("03", r"Input size \(MB\): ([\d.]+)") == found("03", r"computes: +([\d,.]+) MB")),
    ("The cost of a given network is proportional to the number", lambda: len(set(costs())) == 1),
    ("Identical photographs must give a difference of nothing", lambda: found("03", r"^DuoNet, the same room twice: +([\d.]+)")[0] == 0),
    ("In the published network two equal photographs give different features", lambda: found("03", r"^DepthMaskNet, the same room twice: +([\d.]+)")[0] > 0.1),
    ("Fewer parameters, and fewer operations", lambda: all(less < more for less, more in zip(size_of("DuoNet"), size_of("DepthMaskNet")))),
    (
        "its prediction stays put when the cat moves",
        lambda: score("DepthMaskNet, memorised", 0) > 0.9 and score("DepthMaskNet, moved", 0) < 0.5,
    ),
    ("finds the cat where it is now", lambda: score("DuoNet, moved", 0) > 0.8),
    ("Depth is harder", lambda: min(score(f"{net}, moved", 2) for net in ("DepthMaskNet", "DuoNet")) > 0.1),
]

# Numbers that are definitions or come from elsewhere, each with its source.
DEFINITIONS = [
    "0.04: what the check of exercise 3.3 allows. 70 %: what that of exercise 3.6 allows.",
    *(line for line in cells("03")[0].source.splitlines() if line.startswith("| Memory |")),  # helpers.upkeep.front_page
]
