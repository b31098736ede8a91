"""Claims of notebook 05 that can be computed, and numbers in its prose that no cell prints."""

from notebook_cells import cells, found, printed

LOSSES = r"^loss: ([\d.]+)(?: [\d.]+)* ([\d.]+)$"
CURVE = r"quartets of \d+ rooms: best on validation after round \d+ of \d+ \(([\d.]+)\); at the end training ([\d.]+), validation ([\d.]+), gap ([\d.]+)"
FEW, MANY = rf"^32 {CURVE}", rf"^(?!32 )\d+ {CURVE}"
STAGES_ALONE = r"^the largest size only: mask Dice [\d.]+\s±\s[\d.]+ \(\+[\d.]+\), Dice, perturbed [\d.]+\s±\s[\d.]+ \(\+[\d.]+\), "
STAGES_ALONE += r"depth RMSE [\d.]+\s±\s[\d.]+ \(-[\d.]+\), training \(s\) (\d+)"


def scored(trained: int, size: int) -> list[float]:
    """Mask Dice and depth RMSE on the validation set of the network trained up to ``trained`` pixels, at ``size``."""
    return found("05", rf"^trained up to {trained} px, scored at {size} px +([\d.]+) +([\d.]+)")


def bench(name: str) -> list[float]:
    """Mask Dice of a row of the stored comparison, on clean and on perturbed pairs."""
    return found("05", rf"^\| {name} \| ([\d.]+)[^|]*\| ([\d.]+)")


COURSE_ROWS = ("published network, course recipe", "plain U-Net, course recipe", "FC-Siam-diff, course recipe",
               "course: DuoNet, course recipe")  # fmt: skip

# A phrase of its prose, and whether its printed output bears it out.
CLAIMS = [
    ("The loss falls, but so far", lambda: found("05", LOSSES)[1] < 0.7 * found("05", LOSSES)[0]),
    ("it equals the library's", lambda: found("05", r"^largest difference of any weight: ([\d.e-]+)$")[0] < 1e-2),
    ("So the three sets share no room and no cat.", lambda: found("05", r"rooms or cats in two of them: (\d+)") == [0]),
    (
        "goes on improving on its training set, while the validation score does not improve any more",
        lambda: found("05", FEW)[1] < 0.5 * found("05", FEW)[2] and found("05", FEW)[0] < found("05", FEW)[2],
    ),
    (
        "With more rooms the gap is smaller and the validation score better",
        lambda: found("05", MANY)[3] < found("05", FEW)[3] and found("05", MANY)[2] < found("05", FEW)[2],
    ),
    (
        "The largest size alone is slightly better in all three scores, and takes more time.",
        lambda: found("05", STAGES_ALONE)[0] > found("05", r"^nothing: the course as it is: .*training \(s\) (\d+)")[0],
    ),
    (
        "predicts depth much worse at the largest size than at its own",
        lambda: scored(32, 64)[1] > 1.3 * scored(32, 32)[1],
    ),
    (
        "background subtraction is close to the published recipe on clean pairs",
        lambda: abs(bench("background subtraction")[0] - bench("published recipe")[0]) < 0.05,
    ),
    (
        "both lose much of their Dice on perturbed ones",
        lambda: all(bench(row)[1] < 0.7 * bench(row)[0] for row in ("background subtraction", "published recipe")),
    ),
    (
        "the networks that were trained with the course's recipe lose little",
        lambda: all(bench(row)[1] > 0.9 * bench(row)[0] for row in COURSE_ROWS),
    ),
    (
        "on thousands of quartets from many rooms a small one",
        lambda: abs(found("05", r"^training set +([\d.]+)")[0] - found("05", r"^validation set +([\d.]+)")[0]) < 0.05,
    ),
    (
        "Those epochs cost the same time and change almost nothing.",
        lambda: found("05", r"^published +(\d+)% of the training has")[0] < 50,
    ),
    ("says when; here are its main columns", lambda: "| mask Dice | Dice, perturbed | depth RMSE |" in printed("05")),
]

# Numbers that are definitions or come from elsewhere, each with its source.
DEFINITIONS = [
    "60 % of the training: a condition that helpers/exercises/nb05.py checks in exercise 5.5",
    # Time and memory of a run, which helpers.upkeep.front_page writes above the notebook.
    *(line for line in cells("05")[0].source.splitlines() if line.startswith(("| Time", "| Memory"))),
]
