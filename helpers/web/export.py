"""A web page that runs a network: ``export_page(net, folder)``, for a phone, for friends, for a page of your own.

The page is in ``page/``, what runs ONNX in a browser in ``runtime/``. Everything is computed in the browser.
"""

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from torch import nn

from helpers.config import CourseError
from helpers.demos.scenes import example_scenes
from helpers.plots import DEPTH_COLOURS
from helpers.utils import whole_file, whole_folder
from helpers.web.onnx import export_onnx

RUNTIME = Path(__file__).with_name("runtime")  # renewed by helpers.upkeep.web_runtime
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"  # those with WebGPU weigh twice as much
LICENSE = "ort.LICENSE.txt"  # of the two
PAGE = Path(__file__).with_name("page")
# In the order in which one may be put below the other: each imports only from those before it.
MODULES = ("files.js", "maths.js", "network.js", "pictures.js", "draw.js", "cloud.js", "camera.js", "register.js",
           "align.js", "page.js")  # fmt: skip
CLOSED = "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; style-src 'unsafe-inline'; " \
         "img-src blob: data:; media-src blob:"  # fmt: skip


def export_page(net: nn.Module, path: str | Path, one_file: bool = False) -> Path:
    """Write a web page that predicts mask and depth of two pictures with ``net``, in any current browser.

    ``python -m http.server`` in the folder shows it at http://localhost:8000; any web server does, one with https for
    the camera of a phone. From there it works without a connection after the first visit.

    Args:
        net: ``net(bg, bg_fg) -> mask_logits, depth_logits`` as in :mod:`helpers.model`, a class of your own included.
            ``net.trained_size``, ``net.depth_size`` and ``net.depth_activation`` are used where it has them, as
            :func:`helpers.predict.predict` does.
        path: a folder that does not exist yet (14 MB for a network of 10 MB); with ``one_file`` a file ``.html``.
        one_file: everything in one file (18 MB) that opens from a disk without a server.

    Returns:
        the path.

    Raises:
        CourseError: ``path`` exists or has another ending, or ``net`` cannot be exported (see :func:`export_onnx`).
            Then nothing is written.
    """
    path = Path(path)
    if one_file and path.suffix != ".html":
        raise CourseError(f"{path.name}: a page in one file is named .html, say {path.with_suffix('.html').name}.")
    if path.exists():
        raise CourseError(f"{path.name} exists already: remove it, or choose another name.")
    if one_file:
        with TemporaryDirectory() as folder, whole_file(path) as temporary:
            _write(net, Path(folder))
            temporary.write_text(_in_one(Path(folder)), encoding="utf-8")
    else:
        with whole_folder(path) as folder:
            _write(net, folder)
    return path


def _write(net: nn.Module, folder: Path) -> None:
    export_onnx(net, folder / "model.onnx", half=True)
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    for name in (SCRIPT, f"{WASM}.gz", LICENSE):
        shutil.copy(RUNTIME / name, folder)
    scene = example_scenes()
    for name, key in (("room", "bg"), ("scene", "bg_fg")):
        pixels = scene[key][0].permute(1, 2, 0)  # (128, 128, 3)
        Image.fromarray(pixels.numpy()).save(folder / f"example-{name}.png", optimize=True)
    (folder / "card.json").write_text(json.dumps(card(net) | {"bytes": (folder / "model.onnx").stat().st_size}))
    files = sorted(file.name for file in folder.iterdir() if file.name not in ("sw.js", LICENSE))
    version = hashlib.sha256(b"".join((folder / name).read_bytes() for name in files)).hexdigest()[:16]
    worker = folder / "sw.js"
    filled = json.dumps([version, "./", *files])
    worker.write_text(worker.read_text(encoding="utf-8").replace('["version", "files"]', filled), encoding="utf-8")


def card(net: nn.Module) -> dict:
    """What the page must know of ``net`` beside its weights; sizes in pixels, colours of depth as 256 RGB bytes."""
    colours = (plt.get_cmap(DEPTH_COLOURS)(np.arange(256))[:, :3] * 255).round().astype(int)
    return {
        "name": type(net).__name__,
        "trained_size": getattr(net, "trained_size", None),
        "depth_size": getattr(net, "depth_size", None),
        "depth_activation": getattr(net, "depth_activation", "sigmoid"),
        "colours": colours.tolist(),
    }


def _in_one(folder: Path) -> str:
    """The page of ``folder`` in one file: style and modules in their places, all else as base64 in ``<script>``."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    style = (folder / "style.css").read_text(encoding="utf-8")
    source = "\n".join((folder / name).read_text(encoding="utf-8") for name in MODULES)
    source = re.sub(r"^import .*\n", "", source, flags=re.MULTILINE)
    source = re.sub(r"^export ", "", source, flags=re.MULTILINE)
    icon = base64.b64encode((folder / "icon.svg").read_bytes()).decode()
    names = ("card.json", SCRIPT, f"{WASM}.gz", LICENSE, "model.onnx", "example-room.png", "example-scene.png")
    parts = [_hidden(name, (folder / name).read_bytes()) for name in names]
    for pattern, new in {
        r"default-src [^\"]*": CLOSED,
        r'<link rel="stylesheet"[^>]*>': f"<style>\n{style}</style>",
        r'<link rel="manifest"[^>]*>\n': "",
        r"(?<=href=\")icon.svg": f"data:image/svg+xml;base64,{icon}",
        r'<script type="module"[^>]*></script>': "\n".join([*parts, f'<script type="module">\n{source}</script>']),
    }.items():
        page = re.sub(pattern, lambda _: new, page)  # a function, because `new` has backslashes
    return page


def _hidden(name: str, content: bytes) -> str:
    return f'<script type="text/plain" id="file:{name}">{base64.b64encode(content).decode()}</script>'

