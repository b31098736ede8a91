"""What a view of helpers.widgets.player holds: read from its page as a browser reads it."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from helpers.widgets.player import LEVELS, Shown, exact

SIZE = 24  # of made states


class Page(HTMLParser):
    """A view's page.

    Attributes:
        found: all elements as (tag, attributes); ``open`` are those that were not closed.
        words: its text.
        spec: what the script is told, without the sheets.
        sheets: by kind, uint8 (H, W, 3).
    """

    def __init__(self, player):
        super().__init__()
        self.found, self.words, self.open = [], "", []
        self.feed(player.data)
        (packed,) = (attributes["data-spec"] for _, attributes in self.found if "data-spec" in attributes)
        self.spec = json.loads(packed)
        self.sheets = {kind: decoded(source) for kind, source in self.spec.pop("sheets").items()}

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data

    def shown(self, *places):
        """What stands in the lists at these places, one for each control that chooses."""
        shown = self.spec["shown"]
        for place in places:
            shown = shown[place]
        return shown

    def tile(self, kind, number):
        width, height = self.spec["size"]
        y, x = divmod(number, self.spec["columns"])
        return self.sheets[kind][y * height : (y + 1) * height, x * width : (x + 1) * width]

    def exact(self, *places):
        """Level of the probability, mask, and known pixels."""
        byte = self.tile("exact", self.shown(*places)["exact"])[..., 0]
        return byte & 31, byte & 32 > 0, byte & 64 > 0


def state(seed=0, height=SIZE, width=SIZE, **changes):
    """Two photographs, two depth maps, a mask and a probability, all of them noise."""
    rng = np.random.default_rng(seed)
    photos = [rng.random((height, width, 3)) for _ in range(2)]
    maps = exact(rng.random((height, width)) > 0.5, rng.random((height, width)), rng.random((height, width)) > 0.2)
    held = {"about": f"state {seed}", "photos": photos, "depths": [rng.random((height, width)) for _ in range(2)],
            "exact": maps, "words": {"dice": [f"{k}" for k in range(1, LEVELS)]}}  # fmt: skip
    return Shown(**(held | changes))


def decoded(source):
    kind, text = re.fullmatch(r"data:image/(\w+);base64,(.*)", source).groups()
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        assert image.format.lower() == kind
        return np.asarray(image.convert("RGB"))
