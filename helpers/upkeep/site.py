"""The course as a website: ``make site`` builds it in ``runs/site/`` from pages, notebooks and docstrings.

Nothing is run: notebooks are shown with the outputs that they hold. All that a page needs lies beside it, so that it is
read without a network: formulas are MathML, badges are links, and what is no page leads to the repository. In front is
a page that runs the course's network on a visitor's pictures.
"""

import base64
import json
import shutil
import sys
from pathlib import Path, PurePosixPath

from plotly.offline import get_plotlyjs

import helpers
from helpers.config import REPOSITORY, ROOT, CourseError, plain_errors, runs_dir
from helpers.predict import pretrained
from helpers.upkeep.pages import PLOTLY, SCRIPT, mathml, turnable, with_links
from helpers.utils import whole_folder
from helpers.web.export import PAGE, export_page

PAGES = {  # of the repository, by what they are called in the contents
    "README.md": "", "notebooks/README.md": "For teachers", "helpers/README.md": "The library, file by file",
    "helpers/benchmarks/README.md": "All results", "helpers/archive/README.md": "The published data",
    "helpers/weights/README.md": "The trained weights", "CONTRIBUTING.md": "Changing the course",
}  # fmt: skip
FRONT, INDEX, REFERENCE = "README.md", "index.md", "reference.md"
PREVIEW = "social_preview.png"  # what others show beside a link to the site; they want its whole address
ADDRESS = "https://{}.github.io/{}/".format(*REPOSITORY.split("/"))
HEAD = f"""---
myst:
  html_meta:
    "property=og:title": Where is the cat, and how far is everything?
    "property=og:image": {ADDRESS}{PREVIEW}
---
"""
# The pair is the one that the page itself offers as its example. No empty line: it would end the HTML in the Markdown.
TRY = """
<div class="try">
<a href="try/index.html" tabindex="-1" aria-hidden="true"><img src="try/example-room.png" width="128" alt="">
<img src="try/example-scene.png" width="128" alt=""></a>
<p><a class="button" href="try/index.html">Try it</a><br>
with this pair, or with two pictures of your room. The network runs in your browser, and pictures stay there. It was
trained on photographs of real rooms, too, which are for <a href="helpers/weights/README.html">teaching and
research</a>.</p>
</div>
"""
# The theme's dark pages would lay white under all that a cell shows, and a rim around each picture of a control.
STYLE = """
.try { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin: 1rem 0; }
.try p { flex: 1 1 16em; margin: 0; }
.try a:has(img), .try .button { text-decoration: none; }
.try .button { display: inline-block; padding: 8px 16px; border-radius: 8px; font-weight: bold;
  background: var(--pst-color-primary); color: var(--pst-color-primary-text) !important; }
html[data-theme=dark] .bd-content div.cell_output :is(.text_html, img) { background: none !important;
  padding: 0 !important; }
html[data-theme=dark] .bd-content div.cell_output .text_html { color: inherit !important; }
"""


def build(target: Path, root: Path = ROOT) -> int:
    """Build the site of the course in ``root`` as ``target``, which it replaces; the number of warnings."""
    try:
        from sphinx.application import Sphinx
    except ImportError as error:
        raise CourseError("The site needs more packages: pip install -e '.[site]', or run 'make site'.") from error
    with whole_folder(target.with_name("site-new")) as folder:
        source = folder / "source"
        # Visitors have photographs: the other weights have seen none. First, or Sphinx would show the exporter's log.
        page = export_page(pretrained("photographs"), folder / "try")
        collect(root, source)
        app = Sphinx(source, None, folder / "site", folder / "doctrees", "html", settings(), status=None, parallel=1)
        app.build()
        page.rename(folder / "site" / "try")
        shutil.copy(root / "Images" / PREVIEW, folder / "site")
        shutil.rmtree(target, ignore_errors=True)
        (folder / "site").rename(target)
    shutil.rmtree(target.with_name("site-new"), ignore_errors=True)
    return app._warncount


def settings() -> dict:
    """Sphinx's configuration."""
    return {
        "project": "Cat and depth", "html_title": "Where is the cat, and how far is everything?", "copyright": "",
        "extensions": ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "helpers.upkeep.site"],
        "html_theme": "sphinx_book_theme", "html_show_sphinx": False, "html_copy_source": False,
        "html_favicon": str(PAGE / "icon.svg"), "html_static_path": ["static"], "html_css_files": ["course.css"],
        "html_theme_options": {
            "repository_url": f"https://github.com/{REPOSITORY}", "use_repository_button": True,
            "use_download_button": False, "show_navbar_depth": 1, "navbar_persistent": [],  # one search field is enough
        },
        "html_context": {"default_mode": "auto"}, "html_math_renderer": "mathml", "myst_heading_anchors": 4, "myst_enable_extensions": ["dollarmath"],
        "nb_execution_mode": "off", "nb_ipywidgets_js": {},  # widgets' script would come from elsewhere
        "autodoc_typehints": "description", "add_module_names": False, "default_role": "literal",
        "suppress_warnings": ["myst.header"],
    }  # fmt: skip


def collect(root: Path, source: Path) -> None:
    """All that the site shows, in the repository's own places below ``source``, with links that work there."""
    notebooks = sorted(path.relative_to(root).as_posix() for path in (root / "notebooks").glob("[0-9]*.ipynb"))
    shown = {name: PurePosixPath(name).name for name in (*PAGES, *notebooks)} | {FRONT: INDEX}
    shutil.copytree(root / "Images", source / "Images")
    for name in shown:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        text = (root / name).read_text(encoding="utf-8")
        if name in PAGES:
            text = with_links(text, name, shown, root)
        else:
            text = json.dumps(_notebook(json.loads(text), name, shown, root, source))
        (source / (INDEX if name == FRONT else name)).write_text(text, encoding="utf-8")
    title, _, text = (source / INDEX).read_text(encoding="utf-8").partition("\n")
    with (source / INDEX).open("w", encoding="utf-8") as page:
        page.write(f"{HEAD}\n{title}\n{TRY}{text}")
        page.write(_contents("Notebooks", {name: "" for name in notebooks}))
        others = {name: title for name, title in PAGES.items() if name != FRONT}
        page.write(_contents("More", others | {REFERENCE: "The public names"}))
    (source / "static").mkdir()
    (source / "static" / "course.css").write_text(STYLE, encoding="utf-8")
    (source / "static" / SCRIPT).write_text(get_plotlyjs(), encoding="utf-8")
    (source / REFERENCE).write_text(reference(), encoding="utf-8")


def _contents(caption: str, names: dict[str, str]) -> str:
    rows = (f"{title} <{name}>" if title else name for name, title in names.items())
    return "\n\n```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(rows) + "\n```\n"


def _notebook(notebook: dict, name: str, shown: dict[str, str], root: Path, source: Path) -> dict:
    """The same for a notebook: attached pictures become files, plotly's figures HTML, and folded cells stay folded."""
    for number, cell in enumerate(notebook["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = with_links(text, name, shown, root)
        if cell["metadata"].get("cellView") == "form":
            cell["metadata"]["tags"] = [*cell["metadata"].get("tags", ()), "hide-input"]
        for place, output in enumerate(cell.get("outputs", ())):
            if figure := output.get("data", {}).get(PLOTLY):
                html = turnable(figure, f"figure-{number}-{place}", f"../_static/{SCRIPT}")
                output["data"] = {"text/html": html}
        for attached, kinds in cell.pop("attachments", {}).items():
            file = f"{PurePosixPath(name).stem}-{number}-{PurePosixPath(attached).name}"
            (source / name).with_name(file).write_bytes(base64.b64decode(next(iter(kinds.values()))))
            text = text.replace(f"attachment:{attached}", file)
        cell["source"] = text
    return notebook


def reference() -> str:
    """The page of the library's public names, from their docstrings."""
    where = {name: f"{getattr(helpers, name).__module__}.{name}" for name in helpers.__all__}
    classes = {name for name in where if isinstance(getattr(helpers, name), type)}
    kinds = {name: "class:: {}\n   :members:" if name in classes else "function:: {}" for name in where}
    entries = (f"```{{eval-rst}}\n.. auto{kinds[name].format(path)}\n```\n" for name, path in where.items())
    return "# The public names\n\nEach is imported by `from helpers import NAME`.\n\n" + "\n".join(entries)


# -- formulas as MathML: read without a script --------------------------------------------------------------------------


def _formula(self, node, display: str) -> None:
    from docutils.nodes import SkipNode

    self.body.append(mathml(node.astext(), display))
    raise SkipNode


def _named(app, page: str, template: str, context: dict, document) -> None:
    """A folded cell is called what it shows, "Show code cell source": myst-nb calls all alike for a screen reader."""
    if "body" in context:
        context["body"] = context["body"].replace(' aria-label="Toggle hidden content"', "")


def setup(app) -> dict:
    """What Sphinx calls to learn of the renderer, and of the last change of each page."""
    app.connect("html-page-context", _named)
    app.add_html_math_renderer(
        "mathml", (lambda self, node: _formula(self, node, "inline"), None),
        (lambda self, node: _formula(self, node, "block"), None),
    )  # fmt: skip
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    with plain_errors():
        warnings = build(target := runs_dir() / "site")
        print(f"{target / 'index.html'} ({warnings} warnings)")
        sys.exit(bool(warnings))
