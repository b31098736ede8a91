"""Notebooks in JupyterLab in a headless Chromium: starting both, running cells, pressing keys, seeing what changes.

:func:`served` serves a copy of the notebooks from a folder of its own, so that nothing of the user's (settings, open
tabs, trained networks) is read or written; cells that no panel needs are empty in it. A :class:`Notebook` is one notebook in one tab, a :class:`Panel` the output
of one cell in which something can be moved, a :class:`Slider` one handle in it. Nothing here knows which sliders the
course has: they are found in the page. As a program, ``PYTHONPATH=. python tests/browser.py [NOTEBOOK ...]``, it
prints how long it takes from a key press to the changed picture.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import axe_playwright_python
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, ElementHandle, Page, Route, sync_playwright

from helpers.config import ROOT

NOTEBOOKS = ROOT / "notebooks"
EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
# So high that no panel has to be scrolled, which would shift its pictures by parts of a pixel.
WIDE, NARROW = {"width": 1280, "height": 1600}, {"width": 800, "height": 1600}
THEMES = ("JupyterLab Light", "JupyterLab Dark")
PATIENCE = 30  # seconds for what takes a tenth of one on a machine that has nothing else to do
MOVES = 25  # single steps that may pass before a picture changes: a mirror that was not drawn, a threshold in a gap

# Of notebook 05: trainings and timings whose results only the cells below them show.
EXPERIMENTS = re.compile(r"fit\(yours|library = build|\brounds\b|find_rate\(|images_per_second\((stage|size, \*)")

SLIDERS = ".noUi-handle, input[type=range]"
PICTURES = "img, canvas, .js-plotly-plot"
MOVABLE = f"{SLIDERS}, button.jupyter-button, .js-plotly-plot"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
# JupyterLab's own: a picture attached to a cell stands in the page under its raw name for a moment, before its bytes do.
ATTACHMENT = ("Failed to load resource: net::ERR_UNKNOWN_URL_SCHEME", "attachment:")

OPENED = """async () => {
    const pause = () => new Promise(done => setTimeout(done, 50));
    while (!window.jupyterapp) await pause();
    await jupyterapp.restored;
    while (!jupyterapp.shell.currentWidget?.sessionContext) await pause();
    const notebook = jupyterapp.shell.currentWidget;
    await notebook.context.ready;
    await notebook.sessionContext.ready;
}"""
FAILURES = """() => jupyterapp.shell.currentWidget.context.model.toJSON().cells.flatMap((cell, i) =>
    (cell.outputs || []).filter(output => output.output_type === 'error')
        .map(output => `cell ${i}: ${output.ename}: ${output.evalue}`))"""
# Cells outside the view are not in the page: go to each whose output may have something to move, and look.
CANDIDATES = """() => jupyterapp.shell.currentWidget.context.model.toJSON().cells.flatMap((cell, i) =>
    (cell.outputs || []).some(output => {
        const data = output.data || {};
        return Object.keys(data).some(kind => /widget-view|plotly/.test(kind)) ||
            /class="player|plotly/.test([data['text/html'] || ''].flat().join(''));
    }) ? [i] : [])"""
OUTPUT_OF = """async (index) => {
    const notebook = jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    await notebook.scrollToItem(index, 'smart');
    return notebook.widgets[index].node.querySelector('.jp-Cell-outputArea');
}"""
# Messages of a kernel arrive in order, "idle" last; then pictures are decoded, and the page is drawn.
SETTLED = """async () => {
    const frame = () => new Promise(done => requestAnimationFrame(done));
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const busy = () => kernel.status !== 'idle' || [...document.querySelectorAll('.jp-Cell-outputArea img')].some(image => !image.complete);
    do { await frame(); await frame(); } while (busy());
}"""
CUT = """(area, selector) => [...area.querySelectorAll(selector)].filter(element =>
    element.getBoundingClientRect().right > area.getBoundingClientRect().right + 1 ||
    (element.clientWidth && element.scrollWidth > element.clientWidth + 1)).map(element => element.innerText || element.tagName)"""
BOXES = """(area, selector) => [...area.querySelectorAll(selector)]
    .filter(element => element.checkVisibility({ visibilityProperty: true }))  // a divider shows one sample
    .map(element => element.getBoundingClientRect())
    .map(box => [Math.floor(box.left), Math.floor(box.top), Math.ceil(box.right), Math.ceil(box.bottom)])"""
RANGE = """handle => [['now', 'value'], ['min', 'min'], ['max', 'max']].map(([aria, own]) =>
    Number(handle.getAttribute(`aria-value${aria}`) ?? handle[own]))"""
TIMED = """panel => {
    const times = [];
    let pressed = null;
    window.addEventListener('keydown', event => { pressed = event.timeStamp; }, true);
    const drawn = () => requestAnimationFrame(() => {
        if (pressed !== null) times.push(performance.now() - pressed);
        pressed = null;
    });
    panel.addEventListener('load', drawn, true);  // a picture that the kernel has sent
    panel.addEventListener('input', drawn);  // of a view that needs no kernel, and has painted when this is heard
    window.answerTimes = times;
}"""


def find_browser() -> str | None:
    """The path of an installed Chromium or Chrome, playwright's own included; None if there is none."""
    for name in EXECUTABLES:
        if path := shutil.which(name):
            return path
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def slider_notebooks() -> list[str]:
    """The notebooks that use a module of helpers in which something can be moved."""
    movable = "ipywidgets|plotly|widgets.player"
    modules = [path.stem for path in (ROOT / "helpers").rglob("*.py") if re.search(movable, path.read_text("utf-8"))]
    uses = re.compile(rf"\b(widgets|{'|'.join(modules)})\b")
    found = []
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        lines = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code").splitlines()
        if any(uses.search(line) for line in lines if re.match(r"\s*(from|import) .*helpers", line)):
            found.append(path.stem)
    return found


def leave_panels(path: Path) -> None:
    """Empty the code cells after the last panel, and long experiments before it. That they run is nbval's to show."""
    notebook = json.loads(path.read_text("utf-8"))
    code = {i: "".join(cell["source"]) for i, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"}
    imports = re.findall(r"^from helpers\.widgets\S* import (.+)$", "\n".join(code.values()), re.MULTILINE)
    shown = re.compile(rf"\b({'|'.join(['uploader', *(name for line in imports for name in line.split(', '))])})\(")
    last = max((i for i, source in code.items() if shown.search(source)), default=-1)
    for i, source in code.items():
        if i > last or EXPERIMENTS.search(source):
            notebook["cells"][i] |= {"source": [], "outputs": []}
    path.write_text(json.dumps(notebook), "utf-8")


# -- server and browser --------------------------------------------------------------------------------------------


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """JupyterLab with copies of the notebooks and all that it writes in ``folder``; the address it answers at.

    Raises:
        RuntimeError: it did not start; the message ends with what it said.
    """
    shutil.copytree(NOTEBOOKS, folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    for path in (folder / "notebooks").glob("[0-9]*.ipynb"):
        leave_panels(path)
    (folder / "helpers").symlink_to(ROOT / "helpers")  # the first cell looks for the course above the notebook
    home = folder / "home"
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)  # no question whether one wants news, on top of the notebook
    settings.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}), encoding="utf-8")
    environment = {
        **os.environ,
        "COURSE_PROFILE": "tiny",
        "COURSE_RUNS": str(folder / "runs"),
        "COURSE_CACHE": str(folder / "cache"),
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "NO_ALBUMENTATIONS_UPDATE": "1",
    }
    environment.pop("COURSE_DATA", None)
    home.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="]
    command += [f"--ServerApp.root_dir={folder / 'notebooks'}", "--LabApp.extension_manager=readonly"]
    log = folder / "server.log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _await_answer(f"{address}/api/status", server, log)
        yield address
    finally:
        server.terminate()  # it ends its kernels first
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await_answer(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def launched(executable: str) -> Iterator[Browser]:
    """A headless browser that keeps nothing."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


# -- what one sees in a page ---------------------------------------------------------------------------------------


class Watched:
    """A page that sees nothing but its server, and notes what goes wrong in it.

    Attributes:
        page: playwright's.
        problems: errors in the console, exceptions, failed requests to the server, requests to anywhere else.
    """

    def __init__(self, browser: Browser, address: str, size: dict = WIDE):
        self.page: Page = browser.new_page(viewport=size)
        self.problems: list[str] = []
        self._address = address
        self.page.route(lambda url: not url.startswith((address, "data:", "blob:")), self._answer_outside)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("response", lambda response: self._check(response.url, response.status >= 400, response.status))
        self.page.on("requestfailed", lambda request: self._check(request.url, True, request.failure))

    def _answer_outside(self, route: Route) -> None:
        if route.request.url == BADGE:  # the one picture that readers on the web get from elsewhere
            route.fulfill(content_type="image/svg+xml", body='<svg xmlns="http://www.w3.org/2000/svg"/>')
            return
        self.problems.append(f"asked for {route.request.url[:200]}")
        route.abort()

    def _hear(self, message: ConsoleMessage) -> None:
        text, where = ATTACHMENT
        own = message.text == text and message.location["url"].startswith(where)
        if message.type == "error" and not own:
            self.problems.append(f"console: {message.text[:500]} ({message.location['url'][:200]})")

    def _check(self, url: str, failed: bool, how: object) -> None:
        if failed and url.startswith(self._address):
            self.problems.append(f"request: {url[:200]}: {how}")


def faults(page: Page, where: str = "document", impacts: Sequence[str] = ("serious", "critical")) -> list:
    """What axe-core finds wrong there for people who do not see well, or do not point: rules and elements."""
    page.evaluate(Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text("utf-8"))
    found = page.evaluate(f"axe.run({where}).then(found => found.violations)")
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found if one["impact"] in impacts]


class Notebook(Watched):
    """A notebook in JupyterLab, with a kernel of its own until :meth:`close`."""

    def __init__(self, browser: Browser, address: str, name: str, size: dict = WIDE):
        super().__init__(browser, address, size)
        self.name = name
        self.page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
        self.page.evaluate(OPENED)

    def run(self) -> list[str]:
        """Run all cells; the errors that they ended with."""
        self.page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        return self.page.evaluate(FAILURES)

    def panels(self) -> Iterator[Panel]:
        """The output of each cell that has something to move, one after the other scrolled into view."""
        for index in self.page.evaluate(CANDIDATES):
            area = self.page.evaluate_handle(OUTPUT_OF, index).as_element()
            if area and soon(self.page, lambda: area.query_selector(MOVABLE)):
                yield Panel(self.page, area, index)

    def dress(self, theme: str) -> None:
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        light = str("Light" in theme).lower()
        self.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")

    def close(self) -> None:
        self.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()


class View(NamedTuple):
    """What a person sees of a panel: each picture as pixels, its words, and its height."""

    pictures: tuple[bytes, ...]
    words: str
    height: float


class Panel:
    """The output of one cell."""

    def __init__(self, page: Page, area: ElementHandle, cell: int):
        self.page, self.area, self.cell = page, area, cell
        heights = [-1.0]

        def still() -> bool:
            self.settle()
            heights.append(self.height())
            return heights[-1] == heights[-2]

        soon(page, still)

    def sliders(self) -> list[Slider]:
        return [Slider(self, handle) for handle in self.area.query_selector_all(SLIDERS) if handle.is_visible()]

    def view(self) -> View:
        """What is seen now; handles and the mark of the focus are left out of the pictures: they may stand on one."""
        self.settle()
        hidden = f"{SLIDERS}, .noUi-target {{ opacity: 0 !important }} *, *::after {{ outline: none !important }}"
        self.area.scroll_into_view_if_needed()
        sheet = Image.open(io.BytesIO(self.page.screenshot(style=hidden)))  # one of all: it costs as much as one of each
        pictures = (sheet.crop(box).tobytes() for box in self.area.evaluate(BOXES, PICTURES))
        return View(tuple(pictures), self.area.inner_text(), self.height())

    def height(self) -> float:
        return self.area.bounding_box()["height"]

    def settle(self) -> None:
        """The kernel has answered all that it was told, and what it answered is drawn."""
        self.page.evaluate(SETTLED)

    def cut(self, selector: str) -> list[str]:
        """The elements that stick out at the right, or whose words do not fit into them."""
        return self.area.evaluate(CUT, selector)

    def active_cell(self) -> int:
        """The cell that JupyterLab's own keys act on."""
        return self.page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex")

    def tabbed(self) -> Iterator[ElementHandle]:
        """What the Tab key leads to in this output, one after the other, from the cell's edge until it is left."""
        self.area.evaluate("area => area.closest('.jp-Cell').focus()")
        entered = False
        for _ in range(200):
            self.page.keyboard.press("Tab")
            focused = self.page.evaluate_handle("document.activeElement").as_element()
            if self.area.evaluate("(area, element) => area.contains(element)", focused):
                entered = True
                yield focused
            elif entered:
                return


class Slider:
    """One handle: moved by keys, as a person without a mouse moves it."""

    def __init__(self, panel: Panel, handle: ElementHandle):
        self.panel, self.handle = panel, handle

    @property
    def value(self) -> str:
        return self.handle.evaluate("h => h.getAttribute('aria-valuetext') ?? h.value")

    def can(self, key: str) -> bool:
        """Whether there is a step to the right (ArrowRight) or to the left (ArrowLeft)."""
        value, low, high = self.handle.evaluate(RANGE)
        return value < high if key == "ArrowRight" else value > low

    @property
    def ways(self) -> list[tuple[str, str]]:
        """Where there is a step to, the right first: the key for it, and the key for the step back."""
        return [way for way in (("ArrowRight", "ArrowLeft"), ("ArrowLeft", "ArrowRight")) if self.can(way[0])]

    @property
    def keys(self) -> tuple[str, str]:
        return self.ways[0]

    @property
    def words(self) -> str:
        """What is written beside it: in the nearest box that has any words."""
        nearest = "(h, area) => { while (h !== area && !h.innerText?.trim()) h = h.parentElement; return h.innerText; }"
        return " ".join(self.handle.evaluate(nearest, self.panel.area).split())

    def press(self, key: str) -> None:
        self.handle.focus()
        self.panel.page.keyboard.press(key)

    def buttons(self) -> list[ElementHandle]:
        """The buttons in its row: one step back, one step forth."""
        row = self.handle.evaluate_handle("h => h.closest('.widget-hbox, .setting') || h").as_element()
        return row.query_selector_all("button:not([aria-pressed])")


def soon(page: Page, ask: Callable[[], object], seconds: float = PATIENCE) -> object:
    """The first true answer, or the last one when the time is up."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    return answer


# -- how long a key press takes ------------------------------------------------------------------------------------


def answer_times(slider: Slider, steps: int = 5, rounds: int = 4) -> list[float]:
    """Milliseconds from a key press to the changed picture, for frames that have been shown before."""
    there, back = slider.keys
    tour = [there] * steps + [back] * steps
    for key in tour:
        slider.press(key)
        slider.panel.settle()
    slider.panel.area.evaluate(TIMED)
    for key in tour * rounds:
        slider.press(key)
        slider.panel.settle()
    return slider.panel.page.evaluate("window.answerTimes")


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as address, launched(find_browser()) as browser:
        every = []
        for name in names or slider_notebooks():
            notebook = Notebook(browser, address, name)
            notebook.run()
            for panel in notebook.panels():
                for slider in panel.sliders():
                    words, times = slider.words, answer_times(slider)
                    every += times
                    if times:
                        middle, last = statistics.median(times), sorted(times)[int(0.95 * len(times))]
                        print(f"{name:24}{words:48}{middle:6.0f} ms median {last:6.0f} ms 95 % of {len(times)}", flush=True)
            notebook.close()
        print(f"All: median {statistics.median(every):.0f} ms of {len(every)} key presses")


if __name__ == "__main__":
    main(sys.argv[1:])
