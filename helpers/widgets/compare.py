"""Compare two pictures in one place, with a divider that you drag across them: before and after, for example.

``divide`` is one piece of HTML with the pictures inside: a range slider lies unseen over the picture, so that mouse,
finger and keyboard all move the divider. It needs no kernel, so it works in Jupyter, Colab and VS Code, and goes on
working in a saved web page. GitHub strips it: put :func:`show_divided` under it.
"""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image

from helpers.plots import picture, show_images

SIDE = 384  # pixels of the longer side on the screen
PIXELS = 192  # pixels of the longer side, at most, in the page
MOST_BYTES = 60_000  # of the whole control: notebooks are kept with their outputs
QUALITIES = (90, 80, 65, 50, 35)  # of the pictures: the first that keeps the control small

# A thumb of a known width, so that the range slider can begin and end half a thumb outside the picture: then the
# divider is under the pointer. The keyboard's focus, which the unseen slider cannot show, is shown by the handle.
CSS = """
.divided{--at:50%;font:13px sans-serif;max-width:100%}
.divided label{display:block;margin:4px 0}
.divided .ends{display:flex;justify-content:space-between}
.divided .stage{position:relative;overflow:hidden;max-width:100%;touch-action:none}
.divided .pair{visibility:hidden}
.divided .pair.shown{visibility:visible}
.divided img{position:absolute;left:0;top:0;width:100%;height:100%;margin:0;max-width:none;user-select:none}
.divided .small img{image-rendering:pixelated}
.divided .over{clip-path:inset(0 calc(100% - var(--at)) 0 0)}
.divided .line{position:absolute;top:0;bottom:0;left:var(--at);width:2px;margin-left:-1px;background:#fff;
box-shadow:0 0 2px #000}
.divided .line:after{content:"\\25C0\\25B6";position:absolute;top:50%;left:-14px;width:30px;line-height:22px;
margin-top:-11px;border-radius:11px;background:#fff;color:#333;font-size:10px;text-align:center;box-shadow:0 0 3px #000}
.divided .drag{position:absolute;z-index:2;left:-8px;top:0;width:calc(100% + 16px);max-width:none;height:100%;margin:0;
opacity:0;cursor:ew-resize;-webkit-appearance:none;appearance:none}
.divided .drag::-webkit-slider-thumb{-webkit-appearance:none;width:16px;height:100%}
.divided .drag::-moz-range-thumb{width:16px;height:100%;border:0}
.divided .drag:focus-visible~.line:after{outline:3px solid #1c7ed6}
"""
# Handlers are in the elements: a page may hold several controls, and a script would have to find its own.
DRAG = (
    "const box=this.closest('.divided');box.style.setProperty('--at',this.value+'%');"
    "box.querySelector('.where').textContent=this.value"
)
CHOOSE = (
    "const box=this.closest('.divided'),pairs=box.querySelectorAll('.pair');"
    "pairs.forEach((pair,i)=>pair.classList.toggle('shown',i==this.value-1));"
    "box.querySelector('.which').textContent=this.value"
)


def divide(left: Sequence, right: Sequence, names: tuple[str, str]) -> HTML:
    """Pairs of pictures with a divider across them, and a slider that picks the pair: let it be a cell's last line.

    Args:
        left, right: as many pictures each, all of one size; whatever :func:`helpers.plots.picture` takes.
        names: of what is left and right of the divider.

    Raises:
        ValueError: no pair, not as many of each, pictures of different sizes, or too many for one control.
    """
    pairs = _checked(left, right)
    height, width = pairs[0][0].shape[:2]
    scale = SIDE / max(height, width)
    for quality in QUALITIES:
        data = [tuple(_data(half, quality) for half in pair) for pair in pairs]
        page = _page(data, names, (round(width * scale), round(height * scale)), max(height, width) <= 100)
        if len(page.encode()) <= MOST_BYTES:
            return HTML(page)
    raise ValueError(f"{len(pairs)} pairs of {width} x {height} px exceed {MOST_BYTES} bytes: show fewer pairs.")


def show_divided(left: Sequence, right: Sequence, names: tuple[str, str]) -> Figure:
    """The same pairs for who only reads: the left half of one picture beside the right half of the other."""
    shown = {}
    for number, (one, other) in enumerate(_checked(left, right), 1):
        middle = one.shape[1] // 2
        divided = np.concatenate([one[:, :middle], other[:, middle:]], 1)
        line = max(1, one.shape[1] // 96)
        divided[:, middle - (line + 1) // 2 : middle + line // 2] = 1.0
        shown[f"sample {number}\n{names[0]} | {names[1]}"] = divided
    return show_images(shown)


def _checked(left: Sequence, right: Sequence) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of (H, W, 3)."""
    if not len(left) or len(left) != len(right):
        raise ValueError(f"there must be as many pictures left as right (at least 1), not {len(left)} and {len(right)}")
    pairs = [(picture(one), picture(other)) for one, other in zip(left, right)]
    sizes = {half.shape[:2] for pair in pairs for half in pair}
    if len(sizes) > 1:
        raise ValueError(f"all pictures must have one size, not {', '.join(f'{w} x {h}' for h, w in sorted(sizes))} px")
    return pairs


def _data(half: np.ndarray, quality: int) -> str:
    """A picture (H, W, 3) as the address that an <img> takes: PNG where that is shorter (flat colours), else JPEG."""
    image = Image.fromarray((half * 255).round().astype(np.uint8))
    image.thumbnail((PIXELS, PIXELS), Image.Resampling.BOX)  # only ever smaller
    encoded = []
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": quality, "subsampling": 0})):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        encoded.append((len(stream.getvalue()), kind, base64.b64encode(stream.getvalue()).decode()))
    _, kind, text = min(encoded)
    return f"data:image/{kind};base64,{text}"


def _page(pairs: Sequence[tuple[str, str]], names: tuple[str, str], size: tuple[int, int], small: bool) -> str:
    count, (left, right) = len(pairs), (escape(name) for name in names)
    stacked = "".join(
        f'<div class="pair{" shown" * (number == 1)}"><img src="{other}" alt="{right}">'
        f'<img class="over" src="{one}" alt="{left}"></div>'
        for number, (one, other) in enumerate(pairs, 1)
    )
    choice = f'<label>sample: <span class="which">1</span> of {count}'
    if count > 1:
        choice += (
            f'<br><input type="range" min="1" max="{count}" value="1" aria-label="sample" '
            f'style="width:{size[0]}px;max-width:100%" oninput="{CHOOSE}">'
        )
    # Jupyter has shortcuts on the arrow keys: they are the sliders' while a slider has the focus.
    return (
        f"<style>{CSS}</style>"
        f'<div class="divided" style="width:{size[0]}px" data-lm-suppress-shortcuts="true" '
        f'onkeydown="event.stopPropagation()">{choice}</label>'
        f'<div class="ends"><span>{left}</span><span>{right}</span></div>'
        f'<div class="stage{" small" * small}" style="aspect-ratio:{size[0]}/{size[1]}">{stacked}'
        f'<input class="drag" type="range" min="0" max="100" value="50" oninput="{DRAG}" '
        f'aria-label="divider between {left} and {right}"><div class="line"></div></div>'
        f'<label>divider: <span class="where">50</span> % {left}; drag it, or use the arrow keys</label></div>'
    )
