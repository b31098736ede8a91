"""Executed notebooks as web pages that need no network and no kernel: what ``make course`` leaves in ``runs/course/``.

Formulas are MathML, plotly's script lies once beside the pages, what is no notebook leads to the repository, and each
page leads to the one before it and the one after it. :mod:`helpers.upkeep.site` shares the first and the third.
"""

import base64
import io
import json
import re
from html import escape
from pathlib import Path, PurePosixPath

import numpy as np
import plotly.io
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from PIL import Image
from plotly.offline import get_plotlyjs

from helpers.config import REPOSITORY
from helpers.utils import whole_file

PLOTLY, SCRIPT = "application/vnd.plotly.v1+json", "plotly.min.js"
PAPER = 0.8  # the share of white in a chart, at least: the course's have 0.87 to 0.94, other figures 0.7 at most
DARK = "rgb(17,17,17)"  # the page, in JupyterLab's dark theme and in plotly's
TEMPLATE = Path(__file__).with_name("page.html.j2")
BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)")
LINK = re.compile(r"(?<=\]\()(?!https?:|#|attachment:|mailto:)([^)#\s]+)(#[^)\s]*)?(?=\))")
NAVIGATION = re.compile(r'(<nav [^>]*class="pages"[^>]*>).*?(?=</nav>)', re.DOTALL)

# Colours are the browser's: it has them for dark screens, too.
CONTENTS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The course, as it ran here</title>
<style>
:root {{ color-scheme: light dark; font: 18px/1.8 system-ui, sans-serif }}
body {{ max-width: 928px; margin: 0 auto; padding: 16px; background: Canvas }}
ul {{ list-style: none; padding: 0 }}
</style>
</head>
<body>
<main>
<h1>The course, as it ran here</h1>
<ul>
{}
</ul>
</main>
</body>
</html>
"""


def save_page(notebook: NotebookNode, path: Path, folder: Path) -> None:
    """Write ``notebook``, which was read from ``path`` and which this changes, as ``folder/NAME.html``.

    All pages of ``folder`` get links to one another, and ``index.html`` lists them. ``plotly.min.js`` is written beside
    them where a figure needs it.
    """
    root, section, figures = path.parent.parent, path.stem, 0
    shown = {file.relative_to(root).as_posix(): f"{file.stem}.html" for file in path.parent.glob("*.ipynb")}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for section in re.findall(r"^#+ +(.+)", cell.source, re.MULTILINE):
                notebook.metadata.setdefault("title", section)  # the first is the page's
            linked = with_links(cell.source, path.relative_to(root).as_posix(), shown, root)
            cell.source = _html(linked, cell.get("attachments", {}), path.parent)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if PLOTLY in data:
                figures += 1
                output.data = {"text/html": turnable(data[PLOTLY], f"figure-{figures}", SCRIPT * (figures == 1))}
            elif "text/markdown" in data:
                output.data = {"text/html": _html(data["text/markdown"], {}, path.parent)}
            elif "image/png" in data:
                look = "chart" if _is_chart(data["image/png"]) else "picture"
                output.metadata = {"image/png": {"alt": f"figure of the section “{section}”", "look": look}}
    if figures:
        with whole_file(folder / SCRIPT) as temporary:
            temporary.write_text(get_plotlyjs(), encoding="utf-8")
    done = {"markdown2html": lambda html: html}  # its filter for Markdown has nothing left to do
    exporter = HTMLExporter(raw_template=TEMPLATE.read_text(encoding="utf-8"), filters=done)
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    with whole_file(folder / f"{path.stem}.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    names = [other.stem for other in sorted(path.parent.glob("[0-9]*.ipynb"))]
    _bind([page for name in names if (page := folder / f"{name}.html").exists()], folder / "index.html")


def with_links(text: str, name: str, shown: dict[str, str], root: Path) -> str:
    """Markdown of page ``name``: a badge as a plain link, and a file that is not ``shown`` as a link to the repository.

    ``shown`` says what files are called in the folder that shows them; all names are relative to ``root``. Pictures and
    what lies outside of ``root`` are left alone.
    """

    def replaced(found: re.Match) -> str:
        file = Path(root / name).parent.joinpath(found[1]).resolve()
        if not file.is_relative_to(root.resolve()):
            return found[0]
        inside = PurePosixPath(file.relative_to(root.resolve()).as_posix())
        if called := shown.get(inside.as_posix()):
            return f"{found[1].removesuffix(inside.name)}{called}{found[2] or ''}"
        if inside.suffix in (".png", ".jpg", ".gif", ".svg"):
            return found[0]
        return f"https://github.com/{REPOSITORY}/blob/main/{inside}{found[2] or ''}"

    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)  # every second one is code, which stays as it is
    parts[::2] = (LINK.sub(replaced, BADGE.sub(r"[Open in Colab](\1)", part)) for part in parts[::2])
    return "".join(parts)


def mathml(latex: str, display: str = "inline") -> str:
    """A formula as MathML, which a browser draws without a script; one that cannot be read, as it was written.

    ``display`` is "inline" or "block".
    """
    try:
        return convert(latex, display=display)
    except Exception:  # latex2mathml's errors have no common class, and some are IndexError
        return f"<code>{escape(latex)}</code>"


class _Renderer(IPythonRenderer):
    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def _html(markdown: str, attachments: dict, where: Path) -> str:
    """What nbconvert makes of Markdown, with the renderer above."""
    options = {"attachments": attachments, "embed_images": True, "path": str(where), "exclude_anchor_links": True}
    return MarkdownWithMath(renderer=_Renderer(escape=False, **options)).render(markdown)


def _is_chart(png: str) -> bool:
    """Whether a figure, base64, is lines and words on white, which may be turned dark; photographs may not."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
    return (pixels.min(2) >= 250).mean() > PAPER


def turnable(figure: dict, name: str, script: str) -> str:
    """A plotly figure as HTML that is dark where the screen is; ``script``: where plotly's is, if not loaded before."""
    layout, dark_template = figure["layout"], plotly.io.templates["plotly_dark"].to_plotly_json()
    light, dark = {"template": layout.get("template")}, {"template": dark_template}
    for scene in (key for key in layout if key.startswith("scene")):
        for axis in ("xaxis", "yaxis", "zaxis"):
            light[f"{scene}.{axis}.backgroundcolor"] = layout[scene].get(axis, {}).get("backgroundcolor")
            dark[f"{scene}.{axis}.backgroundcolor"] = DARK
    dress = (
        f"const looks = {json.dumps([light, dark])}, scheme = matchMedia('(prefers-color-scheme: dark)');"
        "const dress = () => Plotly.relayout('{plot_id}', looks[Number(scheme.matches)]);"
        "scheme.addEventListener('change', dress); if (scheme.matches) dress();"
    )
    options = {"include_plotlyjs": False, "full_html": False, "validate": False, "div_id": name, "post_script": dress}
    return f'<script src="{script}"></script>\n' * bool(script) + plotly.io.to_html(figure, **options)


def _bind(pages: list[Path], contents: Path) -> None:
    """Links between the pages that are there, in this order, and a page with the list of them."""
    texts = [page.read_text(encoding="utf-8") for page in pages]
    titles = [re.search("<title>(.*?)</title>", text)[1] for text in texts]

    def link(place: int, before: str = "", after: str = "") -> str:
        if not 0 <= place < len(pages):
            return "<span></span>"
        return f'<a href="{pages[place].name}">{before}{titles[place]}{after}</a>'

    for place, (page, text) in enumerate(zip(pages, texts)):
        ways = f'{link(place - 1, "← ")}<a href="{contents.name}">Contents</a>{link(place + 1, after=" →")}'
        bound = NAVIGATION.sub(lambda found: found[1] + ways, text)
        if bound != text:
            with whole_file(page) as temporary:
                temporary.write_text(bound, encoding="utf-8")
    with whole_file(contents) as temporary:
        rows = "\n".join(f"<li>{link(place)}</li>" for place in range(len(pages)))
        temporary.write_text(CONTENTS.format(rows), encoding="utf-8")
