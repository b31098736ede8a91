"""Claims of notebook 08 that can be computed, and numbers in its prose that no cell prints."""

from notebook_cells import found

FILES = "float32", "float16 weights", "int8 weights", "int8 static"


def column(place):
    """One column of the table of files: megabytes, milliseconds, Dice or depth RMSE."""
    return [found("08", rf"^{name}" + 4 * r" +([\d.]+)")[place] for name in FILES]


def off(name):
    """How far a file's depth differs from that of float32, on average."""
    return found("08", rf"^{name} +depth differs from that of float32 by ([\d.]+)")[0]


def unet(way):
    """Dice and depth RMSE of the student's network."""
    return found("08", rf"^{way} +([\d.]+) +([\d.]+)$")


def own():
    """The largest difference of the file that the cells have written, over all sizes."""
    return max(found("08", 4 * r"^ *\d+ x +\d+ px: ([\d.e-]+)\n"))


# A phrase of its prose, and whether its printed output bears it out.
CLAIMS = [
    ("You see no difference, and there is hardly any",
     lambda: max(found("08", rf"^{name} +\(6, 1, 128, 128\) +PyTorch and ONNX Runtime differ by at most ([\d.]+)")[0] for name in ("mask", "depth")) < 0.005),
    ("The file refuses every other size", lambda: found("08", r"^96 px: Got invalid dimensions .* Got: (96) Expected: (64)") == [96, 64]),
    ("Most batch normalisations are gone",
     lambda: (lambda conv, norm: norm < conv / 5)(*found("08", r"'Conv': (\d+), 'BatchNormalization': (\d+)"))),
    ("Your own file agrees up to rounding", lambda: own() < 1e-5),
    ("differs more than yours only because its weights have 16 bits",
     lambda: 5e-3 > found("08", r"export_onnx has written: ([\d.e-]+)")[0] > 10 * own()),
    ("applies the sigmoid once more", lambda: found("08", r"^largest difference: ([\d.]+)")[0] > 0.4),
    ("With 16 bits the file is half as large and the scores stay the same",
     lambda: abs(column(0)[1] / column(0)[0] - 0.5) < 0.02 and all(column(k)[0] == column(k)[1] for k in (2, 3))),
    ("With 8 bits it is about a quarter", lambda: all(abs(size / column(0)[0] - 0.25) < 0.03 for size in column(0)[2:])),
    ("the file is the slowest of all", lambda: max(column(1)) == column(1)[2]),
    ("Static quantisation is the fastest here", lambda: min(column(1)) == column(1)[3]),
    ("Its depth differs most", lambda: off("int8 static") > off("int8 weights") > off("float16 weights")),
    ("the scores of these scenes hardly move", lambda: all(abs(column(k)[3] - column(k)[0]) < 0.005 for k in (2, 3))),
    ("The second row is what a page would show", lambda: unet("numbers from 0 to 1")[0] < 0.2 < unet("bytes")[0] - 0.2),
    ("`FromUnit` mends it", lambda: unet("numbers from 0 to 1, FromUnit") == unet("bytes")),
]  # fmt: skip

# Numbers that are definitions or come from elsewhere, each with its source.
DEFINITIONS = ["0.005, 0.002: what exercise 8.3 asks for (helpers/exercises/nb08.py)"]
