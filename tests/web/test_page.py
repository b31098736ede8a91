"""The exported page in a headless Chromium: what it predicts, without a server or a mouse, and what goes wrong."""

import base64
import functools
import io
import os
import shutil
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="there is no playwright to drive a browser: pip install playwright")

import browser
from pairs import handheld
from playwright.sync_api import sync_playwright

from helpers import export_page
from helpers.config import CourseError
from helpers.demos.scenes import example_scenes
from helpers.plots import depth_picture
from helpers.predict import predict, pretrained
from helpers.utils import read_image
from helpers.widgets.cloud_viewer import FIELD_OF_VIEW, unproject

BROWSER = browser.find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium and no Chrome on this machine"),
]
CAMERA = "--use-fake-device-for-media-stream"
PATIENCE = 120_000  # milliseconds for what takes two seconds on a machine that has nothing else to do
PHONE = {"width": 390, "height": 844}
MAPS = """async () => {
    const { state } = await import('./page.js');
    const { width, height } = state.pictures.scene;
    return { width, height, mask: [...state.maps.mask], depth: [...state.maps.depth] };
}"""
PIXELS = """id => {
    const canvas = document.getElementById(id);
    const { width, height, data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return { width, height, data: [...data] };
}"""


class OwnNet(torch.nn.Module):
    """A small U-Net as a student writes one: an encoder step, a decoder step, a skip."""

    def __init__(self):
        super().__init__()
        self.first, self.down = torch.nn.Conv2d(6, 8, 3, padding=1), torch.nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up, self.heads = torch.nn.ConvTranspose2d(16, 8, 2, stride=2), torch.nn.Conv2d(16, 2, 1)

    def forward(self, bg, bg_fg):
        skip = self.first(torch.cat((bg, bg_fg), 1)).relu()
        logits = self.heads(torch.cat((self.up(self.down(skip).relu()), skip), 1))
        return logits[:, :1], logits[:, 1:]


class OneSize(OwnNet):
    """A network that cannot be exported: it works at one size only."""

    def forward(self, bg, bg_fg):
        mask, depth = super().forward(bg, bg_fg)
        return mask + torch.zeros(64, 96), depth


@contextmanager
def served(folder):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=BROWSER, args=[*browser.FLAGS, CAMERA])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def net():
    return pretrained()


@pytest.fixture(scope="module")
def folder(net, tmp_path_factory):
    return export_page(net, tmp_path_factory.mktemp("web") / "page")


@pytest.fixture(scope="module")
def address(folder):
    with served(folder) as address:
        yield address


@contextmanager
def opened(chromium, address, size=PHONE):
    """A visit during which nothing may go wrong in the browser."""
    visit = browser.Watched(chromium, address, size)
    visit.page.set_default_timeout(PATIENCE)
    visit.page.goto(address)
    ready(visit.page)
    try:
        yield visit.page
        assert visit.problems == []
    finally:
        visit.page.close()


@pytest.fixture(scope="module")
def page(chromium, address):
    """One visit for all tests that leave it usable."""
    with opened(chromium, address) as page:
        yield page


def ready(page):
    page.locator("#status", has_text="is ready").wait_for()


def fresh(page):
    page.reload()
    ready(page)


def show_example(page):
    page.get_by_role("button", name="Try the example").click()
    page.locator("#status.good", has_text="Done").wait_for()


def choose(page, room, scene):
    for slot, content in (("room", room), ("scene", scene)):
        page.locator(f"section:has(#{slot}) input").set_input_files(
            {"name": f"{slot}.picture", "mimeType": "image/png", "buffer": content}
        )
        if slot == "room":
            page.locator("#status", has_text="Now the").wait_for()


def encoded(pixels, kind="PNG", **options):
    Image.fromarray(pixels).save(stream := io.BytesIO(), kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def example():
    """The room and the scene, (128, 128, 3) each."""
    scenes = example_scenes()
    return [scenes[name][0].permute(1, 2, 0).contiguous().numpy() for name in ("bg", "bg_fg")]


def check_maps(page, net, pair):
    found, expected = page.evaluate(MAPS), predict(net, *pair)
    assert (found["height"], found["width"]) == pair[0].shape[:2]
    for name in ("mask", "depth"):
        values = np.reshape(found[name], pair[0].shape[:2])
        assert np.abs(values - expected[name]).max() < 5e-3, name
        if name == "mask":
            assert ((values >= 0.5) != (expected["mask"] >= 0.5)).mean() <= 1e-3
            assert (values >= 0.5).any(), "there is a cat"


def test_it_predicts_the_example_as_python_does(page, net, example):
    show_example(page)
    check_maps(page, net, example)


def test_it_predicts_pictures_of_other_shapes_as_python_does(page, net, example):
    pair = [np.asarray(Image.fromarray(image[10:]).resize((230, 170), Image.Resampling.BICUBIC)) for image in example]
    fresh(page)
    choose(page, *map(encoded, pair))
    page.locator("#status.good", has_text="Done").wait_for()
    check_maps(page, net, pair)


@pytest.mark.parametrize("number, movement, words", [
    (0, ((0.06, 0), 0, 1, 1.4), ["moved by about 6 %", "picture with the cat is darker, by 29 %: corrected"]),
    (1, ((-0.03, 0.04), 2, 0.97, 0.6), ["moved by about 5 %", "turned by 2.0°", "room is darker, by 40 %: corrected"]),
])  # fmt: skip
def test_what_a_hand_moved_is_corrected_before_the_network_looks(page, net, number, movement, words):
    room, scene, mask = handheld(number, *movement)
    fresh(page)
    choose(page, encoded(room), encoded(scene))
    page.locator("#status.good", has_text="Done").wait_for()
    for part in [*words, "No cat is looked for in the "]:
        assert part in page.inner_text("#status")
    found = np.reshape(page.evaluate(MAPS)["mask"], mask.shape)
    corrected, as_taken = (dice(values, mask) for values in (found, predict(net, room, scene)["mask"]))
    assert corrected > 0.94 and corrected > as_taken + 0.1, (corrected, as_taken)
    assert 0.02 < (found == 0).mean() < 0.2, "there the picture of the room does not reach"


def dice(values, mask):
    found = values >= 0.5
    return 2 * (found & (mask > 0)).sum() / (found.sum() + (mask > 0).sum())


def test_two_rooms_get_a_sentence_and_no_mask(page, example):
    fresh(page)
    choose(page, encoded(example_scenes()["bg"][3].permute(1, 2, 0).numpy()), encoded(example[1]))
    page.locator("#status.bad", has_text="These do not seem to be one view: take both from the same place").wait_for()
    assert not page.locator("#result").is_visible()


def test_everything_works_by_keyboard_alone(page, example):
    fresh(page)
    keys = page.keyboard

    def tab_to(name):
        for _ in range(20):
            keys.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", name):
                return
        raise AssertionError(f"Tab does not lead to {name}")

    tab_to("[aria-label='Choose a picture of the room']")
    tab_to("[aria-label='Photograph the room with the cat']")
    tab_to("#example")
    keys.press("Enter")
    page.locator("#status.good", has_text="Done").wait_for()
    tab_to("#swap")
    tab_to("input[name=view]")
    whole = page.inner_text("#facts")
    keys.press("ArrowRight")
    assert page.locator("#legend").is_visible()
    keys.press("ArrowRight")
    assert not page.locator("#legend").is_visible()
    tab_to("#divider")
    keys.press("End")
    assert page.get_attribute("#divider", "aria-valuetext") == "100 % photograph"
    tab_to("#threshold")
    keys.press("End")
    assert page.inner_text("#value") == "0.98" and page.inner_text("#facts") != whole
    keys.press("Home")
    tab_to("#background")
    tab_to("#download")
    with page.expect_download() as download:
        keys.press("Enter")
    assert download.value.suggested_filename == "cutout.png"
    with Image.open(download.value.path()) as image:
        cat = np.asarray(image)
    opaque = cat[..., 3] == 255
    assert cat.shape == (128, 128, 4) and 0.02 < opaque.mean() < 0.5 and (cat[..., 3] == 0).mean() > 0.4
    assert (cat[opaque][:, :3] == example[1][opaque]).all(), "it keeps the colours of the scene"


def test_the_cut_out_stands_on_a_background_of_ones_choice(page, example):
    show_example(page)
    page.get_by_label("Cut-out").check()
    page.select_option("#background", "colour")
    page.fill("#colour", "#ff0000")
    pixels = page.evaluate(PIXELS, "after")
    assert pixels["data"][:4] == [255, 0, 0, 255]
    page.select_option("#background", "picture")
    green = encoded(np.full((20, 60, 3), (0, 255, 0), np.uint8))
    page.set_input_files("#backdrop", {"name": "green.png", "mimeType": "image/png", "buffer": green})
    assert browser.soon(page, lambda: page.evaluate(PIXELS, "after")["data"][:4] == [0, 255, 0, 255])
    page.select_option("#background", "")
    assert page.evaluate(PIXELS, "after")["data"][3] == 0


def test_the_cloud_is_the_photograph_from_where_it_was_taken_and_turns_by_mouse_touch_and_keys(page, net, example):
    show_example(page)
    page.get_by_label("3-D").check()
    for slider, value in (("Turn", "0"), ("Tilt", "0"), ("Zoom", "1")):
        page.get_by_role("slider", name=slider).fill(value)
    seen = cloud_of(page)
    photograph = np.kron(example[1], np.ones((5, 5, 1), np.uint8)).astype(int)  # at its 640 pixels
    assert seen.shape == (640, 640, 4) and (seen[..., 3] == 255).mean() > 0.99
    assert np.abs(seen[..., :3] - photograph).mean() < 6
    box = page.locator("#cloud").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 110, box["y"] + 160)
    page.mouse.up()
    assert page.inner_text("#turn-value") == "30°" and page.inner_text("#tilt-value") == "20°"
    dragged = cloud_of(page)
    assert (dragged[..., 3] == 0).mean() > 0.1, "what no camera saw is empty"
    right, ahead, up = unproject(1 + 3 * predict(net, *example)["depth"])[4::8, 4::8].reshape(-1, 3).T
    turn, tilt = np.radians([30, 20])
    right, ahead = right * np.cos(turn) + (ahead - 2.5) * np.sin(turn), (ahead - 2.5) * np.cos(turn) - right * np.sin(turn)
    up, ahead = up * np.cos(tilt) + ahead * np.sin(tilt), 2.5 + ahead * np.cos(tilt) - up * np.sin(tilt)
    focal = 320 / np.tan(np.radians(FIELD_OF_VIEW / 2))
    column, row = np.rint([320 + focal * right / ahead, 320 - focal * up / ahead]).astype(int)
    inside = (column == column.clip(0, 639)) & (row == row.clip(0, 639))
    found, expected = dragged[row[inside], column[inside], :3], example[1][4::8, 4::8].reshape(-1, 3)[inside]
    assert inside.sum() > 100 and (np.abs(found - expected.astype(int)).max(1) < 12).mean() > 0.7
    page.get_by_role("slider", name="Turn").press("ArrowRight")
    finger = page.context.new_cdp_session(page)
    for kind, down in (("Start", 0), ("Move", 10), ("Move", 30), ("Move", 60), ("End", None)):
        points = [] if down is None else [{"x": box["x"] + 200, "y": box["y"] + 100 + down}]
        finger.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    assert page.inner_text("#tilt-value") == "40°", "the finger turned it, and did not scroll the page"
    assert (cloud_of(page) != dragged).any()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as PNG").click()
    assert download.value.suggested_filename == "cloud.png"


def cloud_of(page):
    """Its pixels, (H, W, 4); as numbers they would take a minute to arrive."""
    png = page.evaluate("document.getElementById('cloud').toDataURL()").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def test_swapped_pictures_are_told_and_can_be_swapped_back(page):
    show_example(page)
    page.get_by_role("button", name="Swap the two").click()
    page.locator("#status.doubt", has_text="The two pictures seem to be swapped").wait_for()
    page.get_by_role("button", name="Swap the two").click()
    page.locator("#status.good", has_text="Done").wait_for()


def test_it_fits_a_phone(page):
    show_example(page)
    for view in ("Cat", "Depth", "Cut-out", "3-D"):
        page.get_by_label(view, exact=True).check()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert page.evaluate("""[...document.querySelectorAll('main button, main .button, main select')]
            .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 44).map(e => e.innerText)""") == []


def test_every_control_and_picture_has_a_name(page):
    show_example(page)
    page.get_by_label("Cut-out").check()
    seen = page.locator("main").aria_snapshot()
    for control in ('button "Choose a picture of the room"', 'slider "Threshold"', 'slider "Divider: left of it',
                    'radio "Cut-out" [checked]', 'combobox "Background"', 'img "the cat cut out of its picture"'):  # fmt: skip
        assert control in seen, control
    page.get_by_label("3-D").check()
    seen += (cloud := page.locator("main").aria_snapshot())
    for control in ('img "the scene as points in space: turn ', 'slider "Turn"', 'slider "Tilt"', 'slider "Zoom"'):
        assert control in cloud, control
    assert "- img\n" not in seen and "- button\n" not in seen and "- slider\n" not in seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(page, scheme):
    page.emulate_media(color_scheme=scheme)
    show_example(page)
    for view in ("Cat", "Depth", "Cut-out", "3-D"):
        page.get_by_label(view, exact=True).check()
        assert browser.faults(page, impacts=("minor", "moderate", "serious", "critical")) == [], view
    page.emulate_media(color_scheme="light")


def test_a_photograph_is_shown_as_the_camera_was_held(page):
    pixels = np.zeros((48, 80, 3), np.uint8)
    pixels[:, :40] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    turned = encoded(pixels, "JPEG", exif=exif, quality=95)
    fresh(page)
    choose(page, turned, turned)
    page.locator("#status.doubt", has_text="No cat was found").wait_for()
    seen = page.evaluate(PIXELS, "room")
    found = np.reshape(seen["data"], (seen["height"], seen["width"], 4))[..., :3]
    assert found.shape == (80, 48, 3)
    assert np.abs(found - read_image(turned).astype(int)).max() <= 3


def test_a_picture_can_be_dropped(page, example):
    fresh(page)
    dropped = page.evaluate_handle("""bytes => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], 'room.png', { type: 'image/png' }));
        return transfer;
    }""", list(encoded(example[0])))  # fmt: skip
    page.dispatch_event("section:has(#room)", "drop", {"dataTransfer": dropped})
    page.locator("#status", has_text="Now the picture with the cat").wait_for()
    seen = page.evaluate(PIXELS, "room")
    assert (np.reshape(seen["data"], (128, 128, 4))[..., :3] == example[0]).all()


def jpeg(size=(60, 60)):
    return encoded(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8), "JPEG")


def huge():
    Image.new("1", (10_000, 10_000)).save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


def test_a_jpeg_with_fill_bytes_is_read(page):
    """Any marker may have more 0xff before it (ITU-T T.81, B.1.1.2)."""
    filled = jpeg()[:2] + b"\xff" + jpeg()[2:]
    page.set_input_files("section:has(#room) input", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": filled})
    page.locator("#status", has_text="Now the picture with the cat").wait_for()


def test_the_file_that_was_chosen_last_counts(page):
    large = Image.new("RGB", (6000, 6000), "red")
    files = [(large, "large.png"), (Image.new("RGB", (64, 64), "blue"), "small.png")]
    for image, name in files:
        buffer = encoded(np.asarray(image))
        page.set_input_files("section:has(#room) input", {"name": name, "mimeType": "image/png", "buffer": buffer})
    page.locator("#status", has_text="Now the picture with the cat").wait_for()
    page.wait_for_timeout(1000)
    assert page.evaluate(PIXELS, "room")["width"] == 64


BAD = {
    "one pixel": (lambda: encoded(np.zeros((1, 1, 3), np.uint8)), "is only 1 × 1 pixels: choose one of at least 16"),
    "100 megapixels": (huge, "has 10000 × 10000 pixels: scale it below 50 megapixels."),
    "cut": (lambda: jpeg()[:-900], "is cut short: copy or save it anew."),
    "damaged": (lambda: encoded(np.zeros((60, 60, 3), np.uint8)).replace(b"IDAT", b"IDOT"), "is damaged: copy or save"),
    "no picture": (lambda: b"Dear cat, where are you? " * 9, "is not a picture that this browser can read"),
    "empty": (lambda: b"", "is not a picture that this browser can read"),
    "HEIC": (lambda: b"\0\0\0\x18ftypheic" + bytes(99), "is a HEIC picture, which this browser cannot read: export"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_gets_a_sentence(page, name):
    make, words = BAD[name]
    page.set_input_files("section:has(#room) input", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": make()})
    page.locator("#status.bad", has_text=words).wait_for()
    assert page.inner_text("#status").startswith("“a.jpg” ")


def test_two_sizes_get_a_sentence_and_a_good_pair_works_afterwards(page, example):
    fresh(page)
    choose(page, jpeg((60, 60)), jpeg((60, 80)))
    page.locator("#status.bad", has_text="60 × 60 pixels, the picture with the cat 80 × 60: take both").wait_for()
    assert not page.locator("#result").is_visible()
    show_example(page)


def test_a_camera_that_is_refused_gets_a_sentence(page):
    page.get_by_role("button", name="Photograph the room", exact=True).click()
    page.locator("#status.bad", has_text="The camera cannot be used, because the browser or you did not allow it").wait_for()


def test_the_camera_shows_the_other_picture_and_takes_one(chromium, address):
    with opened(chromium, address) as page:
        page.context.grant_permissions(["camera"])
        page.get_by_role("button", name="Photograph the room", exact=True).click()
        page.get_by_role("button", name="Take the picture").click()
        page.locator("#status", has_text="Now the picture with the cat").wait_for()
        page.get_by_role("button", name="Photograph the room with the cat").click()
        page.locator("dialog canvas").wait_for()
        page.keyboard.press("Escape")
        page.locator("dialog").wait_for(state="hidden")
        assert page.inner_text("#status").startswith("Now the picture with the cat")
        page.get_by_role("button", name="Photograph the room with the cat").click()
        page.get_by_role("button", name="Take the picture").click()
        page.locator("#status", has_text="Done").wait_for()


def test_it_works_after_the_server_has_stopped(chromium, folder):
    with served(folder) as address:
        visit = browser.Watched(chromium, address, PHONE)
        visit.page.goto(address)
        ready(visit.page)
        visit.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    visit.page.reload()
    show_example(visit.page)
    assert visit.problems == []
    visit.page.close()


def test_a_browser_without_web_assembly_is_told(chromium, address):
    page = chromium.new_page()
    page.add_init_script("delete globalThis.WebAssembly")
    page.goto(address)
    page.locator("#status.bad", has_text="has no WebAssembly").wait_for()
    page.close()


@pytest.mark.parametrize("name, left, words", [
    ("model.onnx", None, "The file model.onnx is missing beside this page: export the page again."),
    ("model.onnx", lambda content: content[:1_000_000], "The network's file model.onnx has 1000000 bytes instead of"),
    ("model.onnx", lambda content: bytes(len(content)), "The network's file model.onnx is damaged: export the page again."),
    ("card.json", None, "The file card.json is missing"),
    ("card.json", lambda content: content[:99], "The file card.json is damaged: export the page again."),
    ("ort-wasm-simd-threaded.wasm.gz", lambda content: content[:1_000_000], "A file of the runtime is missing or damaged"),
])  # fmt: skip
def test_a_file_that_is_missing_or_damaged_gets_a_sentence(chromium, folder, tmp_path, name, left, words):
    shutil.copytree(folder, tmp_path / "page", copy_function=os.link)
    content = (folder / name).read_bytes()
    (tmp_path / "page" / name).unlink()
    if left:
        (tmp_path / "page" / name).write_bytes(left(content))
    with served(tmp_path / "page") as address:
        page = chromium.new_page()
        page.goto(address)
        page.locator("#status.bad", has_text=words).wait_for()
        page.get_by_role("button", name="Try the example").click()  # the sentence stays
        page.locator("#result").wait_for(state="hidden")
        page.locator("#status.bad", has_text=words).wait_for()
        page.close()


def test_a_page_in_one_file_opens_from_a_disk_with_a_network_of_ones_own(chromium, tmp_path, example):
    torch.manual_seed(0)
    own = OwnNet()
    path = export_page(own, tmp_path / "cat.html", one_file=True)
    assert own.training and [file.name for file in tmp_path.iterdir()] == ["cat.html"]
    with opened(chromium, path.as_uri()) as page:
        show_example(page)
        page.get_by_label("Depth").check()
        shown = page.evaluate(PIXELS, "after")
    expected = depth_picture(predict(own.eval(), *example)["depth"]) * 255
    assert np.abs(np.reshape(shown["data"], (128, 128, 4))[..., :3] - expected).max() <= 4  # one step of 256 colours


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "page").mkdir()
    with pytest.raises(CourseError, match="page exists already"):
        export_page(OwnNet(), tmp_path / "page")
    with pytest.raises(CourseError, match="page.htm: a page in one file is named .html, say page.html"):
        export_page(OwnNet(), tmp_path / "page.htm", one_file=True)
    with pytest.raises(CourseError, match="OneSize cannot be exported .* for any height and width, by layers"):
        export_page(OneSize(), tmp_path / "other")
    broken = OwnNet()
    with torch.no_grad():
        broken.down.weight.fill_(1e6)  # more than 16 bits hold
    with pytest.raises(CourseError, match="model.onnx would differ"):
        export_page(broken, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["page"] and not list((tmp_path / "page").iterdir())
