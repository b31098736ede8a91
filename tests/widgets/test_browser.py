"""Every notebook that has sliders, in JupyterLab in a headless Chromium: run, moved by keys, looked at.

``COURSE_SCREENSHOTS=FOLDER`` keeps a picture of every panel, in both themes of JupyterLab and in two widths.
"""

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="there is no playwright to drive a browser: pip install playwright")

import browser
from browser import MOVES, NARROW, THEMES, WIDE, Notebook, soon

BROWSER = browser.find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium and no Chrome on this machine"),
]

# How many sliders a notebook has at least: one that vanishes should not go unnoticed.
SLIDERS = {"01_dataset": 5, "02_augmentation": 13, "03_model": 2, "04_losses_and_metrics": 6, "05_training": 2,
           "06_results": 8}  # fmt: skip
NOTEBOOKS = sorted({*browser.slider_notebooks(), *SLIDERS})
SCREENSHOTS = os.environ.get("COURSE_SCREENSHOTS")


@pytest.fixture(scope="module")
def chromium():
    with browser.launched(BROWSER) as launched:
        yield launched


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with browser.served(folder) as address:
        yield folder, address


@pytest.fixture
def address(server):
    """A notebook finds no run of another one: what a few steps have learnt shows hardly anything."""
    folder, address = server
    shutil.rmtree(folder / "runs", ignore_errors=True)
    return address


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_sliders_move_by_keyboard(chromium, address, name):
    notebook = Notebook(chromium, address, name)
    assert notebook.run() == []
    count = 0
    for panel in notebook.panels():
        sliders = panel.sliders()
        count += len(sliders)
        idle = [slider for slider in sliders if not check_moves(slider)]
        if idle:  # which of twenty draws is shown makes no difference as long as nothing is drawn
            for slider in sliders:
                slider.press(slider.keys[0])
        for slider in idle:
            assert check_moves(slider), f"{slider.words}: no picture changes"
        for slider in sliders:
            check_buttons(slider)
        check_tabs(panel)
    check_looks(notebook)
    assert count >= SLIDERS.get(name, 0)
    assert notebook.problems == []
    notebook.close()


def check_moves(slider):
    """Did a picture change on the way to one of the slider's ends? A young network may find no cat above its start."""
    return any(check_way(slider, there, back) for there, back in slider.ways)


def check_way(slider, there, back):
    """Each step changes the words and keeps the height, and back again all is as before; did a picture change?"""
    panel, name, steps = slider.panel, slider.words, 0
    first = view = panel.view()
    while view.pictures == first.pictures and steps < MOVES and slider.can(there):
        words = slider.words
        slider.press(there)
        assert soon(panel.page, lambda: slider.words != words), f"{name}: the words beside it stay"
        steps += 1
        view = panel.view()
        assert view.height == first.height, f"{name}: the panel jumps"
    assert panel.active_cell() == panel.cell, f"{name}: JupyterLab has taken the key for itself"
    for _ in range(steps):
        slider.press(back)
        panel.settle()
    assert soon(panel.page, lambda: panel.view() == first), f"{name}: back again, it shows something else"
    return view.pictures != first.pictures


def check_buttons(slider):
    """Enter and Space press the buttons beside a slider."""
    panel, buttons = slider.panel, slider.buttons()
    if not buttons:
        return
    one_back, one_forth = buttons
    there, back = (one_forth, one_back) if slider.keys[0] == "ArrowRight" else (one_back, one_forth)
    start = slider.value
    there.press("Enter")
    assert soon(panel.page, lambda: slider.value != start), f"{slider.words}: Enter does not press the button"
    back.press("Space")
    assert soon(panel.page, lambda: slider.value == start), f"{slider.words}: Space does not press the button"


def check_tabs(panel):
    """The Tab key leads to every slider and every button, and a slider that it led to moves."""
    reached = moved = 0
    for element in panel.tabbed():
        reached += 1
        slider = browser.Slider(panel, element)
        if moved or not element.evaluate("(element, sliders) => element.matches(sliders)", browser.SLIDERS):
            continue
        start, (there, back) = slider.value, slider.keys
        panel.page.keyboard.press(there)
        assert soon(panel.page, lambda: slider.value != start), f"{slider.words}: not after Tab"
        panel.page.keyboard.press(back)
        assert soon(panel.page, lambda: slider.value == start)
        moved += 1
    sliders = panel.sliders()
    buttons = (button for slider in sliders for button in slider.buttons())  # arrow keys may do the same
    controls = len(sliders) + sum(button.evaluate("button => button.tabIndex >= 0") for button in buttons)
    assert reached >= controls, f"cell {panel.cell}: Tab leads to {reached} of {controls} controls"


def check_looks(notebook):
    """Nothing is cut; in a narrow window titles over pictures may be, the words beside a slider may not."""
    beside = ":is(.widget-hbox:has(.noUi-handle) > :is(.widget-label, button))"
    for size, words in ((WIDE, ".widget-label, .widget-html, button"), (NARROW, beside)):
        notebook.page.set_viewport_size(size)
        for panel in notebook.panels():
            assert panel.cut(f"{words}, {browser.PICTURES}, {browser.SLIDERS}") == [], f"{size['width']} pixels"
            for theme in THEMES if SCREENSHOTS else ():
                notebook.dress(theme)
                panel.settle()
                name = f"{notebook.name}-{panel.cell}-{theme.split()[-1].lower()}-{size['width']}.png"
                panel.area.screenshot(path=Path(SCREENSHOTS, name))
