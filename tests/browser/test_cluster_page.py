"""The map of clusters in a real browser: by mouse, by finger, by keyboard, and what the search shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from tests.helpers.contrast import find_faint_texts

from georgia.cluster import ClusterConfig, cluster_features
from georgia.report.cluster_page import save_cluster_page

pytestmark = [pytest.mark.slow]
N = 40


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 40 images in ten clusters, each shade of grey a file of its own."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    files = [folder / f"crop {at:02d}.png" for at in range(N)]
    for at, path in enumerate(files):
        Image.new("RGB", (32, 32), (6 * at, 6 * at, 6 * at)).save(path)
    points = np.repeat(np.stack(np.meshgrid(range(5), range(2)), -1).reshape(10, 2) * 10.0, 4, axis=0)
    points += rng.normal(0, 1, points.shape)
    result = cluster_features(files, points, [f"d{at // 4}" for at in range(N)], ClusterConfig(k=10))
    return save_cluster_page(result, folder)


@pytest.fixture
def page(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    is_phone = getattr(request, "param", "") == "phone"
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    how = phone if is_phone else {"viewport": {"width": 1280, "height": 900}}
    complaints: list[str] = []
    with closing(browser.new_context(**how)) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.goto(file.as_uri())
        page.wait_for_function("tiles.length > 0 && sheets.every(sheet => sheet.complete)")
        yield page
    assert complaints == []


on_a_phone = pytest.mark.parametrize("page", ["phone"], indirect=True)


def place_of(page: Any, position: int) -> tuple[float, float]:
    """Where an image's dot lies in the window."""
    x, y = page.evaluate(
        f"(b => [b.x + toX({position}), b.y + toY({position})])(map.getBoundingClientRect())"
    )
    return x, y


def view_of(page: Any) -> tuple[float, float, float]:
    middle_x, middle_y, scale = page.evaluate("[midX, midY, scale]")
    return middle_x, middle_y, scale


def touch(page: Any, *steps: list[tuple[float, float]]) -> None:
    """Lay fingers down where the first step says, move them through the others, and lift them."""
    session = page.context.new_cdp_session(page)
    for at, places in enumerate(steps):
        points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
        kind = "touchMove" if at else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def grey_of(page: Any) -> int:
    """The shade in the middle of the panel's image."""
    return int(page.evaluate("thumb.getContext('2d').getImageData(84, 84, 1, 1).data[0]"))


@on_a_phone
def test_tap_shows_the_image(page: Any) -> None:
    for position in (0, 17, 39):
        shown = page.evaluate(f"tiles.some(tile => tile[0] === {position})")
        page.touchscreen.tap(*place_of(page, position))
        if shown:
            expect(page.locator("#text")).to_contain_text(f"crop {position:02d}.png")
            assert abs(grey_of(page) - 6 * position) < 8
        assert page.evaluate("chosen") >= 0
    box = page.locator("#map").bounding_box()
    page.touchscreen.tap(box["x"] + 4, box["y"] + 4)
    expect(page.locator("#text")).to_contain_text("or tap it")


@on_a_phone
def test_finger_moves_map_without_choosing(page: Any) -> None:
    x, y = place_of(page, 1)
    before = view_of(page)
    touch(page, [(x, y)], [(x + 30, y)], [(x + 60, y + 40)])
    after = view_of(page)
    assert after[0] == pytest.approx(before[0] - 60 / before[2], rel=0.01)
    assert after[1] == pytest.approx(before[1] + 40 / before[2], rel=0.01)
    assert after[2] == before[2]
    assert page.evaluate("chosen") == -1
    # A tap's tremble is no drag.
    x, y = place_of(page, 1)
    touch(page, [(x, y)], [(x + 3, y + 2)])
    assert view_of(page) == after
    assert page.evaluate("chosen") >= 0


@on_a_phone
def test_two_fingers_zoom(page: Any) -> None:
    box = page.locator("#map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    middle_x, middle_y, scale = view_of(page)
    touch(page, [(x - 30, y), (x + 30, y)], [(x - 60, y), (x + 60, y)], [(x - 90, y), (x + 90, y)])
    assert view_of(page)[2] == pytest.approx(3 * scale, rel=0.05)
    assert view_of(page)[:2] == pytest.approx((middle_x, middle_y), abs=1)
    assert page.evaluate("chosen") == -1


@on_a_phone
def test_buttons_zoom(page: Any) -> None:
    scale = view_of(page)[2]
    for button, wanted in (
        ("#in", 1.5 * scale),
        ("#in", 2.25 * scale),
        ("#out", 1.5 * scale),
        ("#all", scale),
    ):
        page.locator(button).tap()
        # A tap becomes a click a little later.
        page.wait_for_function("wanted => Math.abs(scale / wanted - 1) < 1e-6", arg=wanted)


@on_a_phone
def test_phone_shows_map_and_image(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.getElementById('card').getBoundingClientRect().bottom") <= 844


def test_keys_work_at_once(page: Any) -> None:
    page.keyboard.press("n")
    first = page.evaluate("chosen")
    page.keyboard.press("n")
    assert page.evaluate("chosen") not in (-1, first)
    page.keyboard.press("P")
    assert page.evaluate("chosen") == first
    middle_x, middle_y, scale = view_of(page)
    page.keyboard.press("+")
    assert view_of(page)[2] == pytest.approx(1.3 * scale)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert view_of(page)[0] > middle_x
    assert view_of(page)[1] > middle_y
    page.keyboard.press("-")
    assert view_of(page)[2] == pytest.approx(scale)
    page.keyboard.press("0")
    assert view_of(page) == pytest.approx((middle_x, middle_y, scale))
    # A box that was ticked last keeps no key from the map.
    page.locator("[data-cluster='1']").click()
    page.keyboard.press("+")
    assert view_of(page)[2] == pytest.approx(1.3 * scale)


def test_keys_stay_with_focused_controls(page: Any) -> None:
    before = view_of(page)
    page.locator("#find").focus()
    page.keyboard.type("np+-0")
    page.keyboard.press("ArrowLeft")
    assert page.input_value("#find") == "np+-0"
    page.fill("#find", "")
    page.locator("#color").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("n")
    page.locator("#map").focus()
    page.keyboard.press("Control+-")
    assert view_of(page) == before
    assert page.evaluate("chosen") == -1
    assert page.input_value("#color") == "label"


def test_search_shows_first_hit_and_count(page: Any) -> None:
    page.fill("#find", "crop 3")
    expect(page.locator("#found")).to_have_text("10 of 40 files match. Enter: the next one.")
    expect(page.locator("#text")).to_contain_text("crop 30.png")
    assert abs(grey_of(page) - 180) < 8
    page.keyboard.press("Enter")
    expect(page.locator("#text")).to_contain_text("crop 31.png")
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#text")).to_contain_text("crop 39.png")
    page.fill("#find", "CROP 07")
    expect(page.locator("#found")).to_have_text("1 of 40 files matches.")
    expect(page.locator("#text")).to_contain_text("crop 07.png")
    page.fill("#find", "<b>nothing")
    expect(page.locator("#found")).to_have_text("No file matches “<b>nothing”.")
    expect(page.locator("#text")).to_contain_text("Point at a dot")
    page.fill("#find", "")
    expect(page.locator("#found")).to_have_text("")


def test_distant_hit_is_brought_into_view(page: Any) -> None:
    for _ in range(8):
        page.keyboard.press("+")
    page.fill("#find", "crop 00")
    x, y, wide, high = page.evaluate("[toX(0), toY(0), width, height]")
    assert 0 < x < wide
    assert 0 < y < high


def test_hits_in_hidden_clusters_are_counted(page: Any) -> None:
    number = page.evaluate("D.cluster[5]")
    page.locator(f"[data-cluster='{number}']").click()
    page.fill("#find", "crop 05")
    expect(page.locator("#found")).to_have_text("1 of 40 files matches, 1 in hidden clusters.")
    assert page.evaluate("chosen") == -1
    page.locator(f"[data-cluster='{number}']").click()
    expect(page.locator("#text")).to_contain_text("crop 05.png")


def test_mouse_shows_thumbnails_and_drags(page: Any) -> None:
    position = page.evaluate("tiles[0][0]")
    x, y = place_of(page, position)
    page.mouse.move(x + 12, y + 12)
    expect(page.locator("#text")).to_contain_text(f"crop {position:02d}.png")
    before = view_of(page)
    page.mouse.down()
    page.mouse.move(x + 112, y + 12, steps=4)
    page.mouse.up()
    assert view_of(page)[0] == pytest.approx(before[0] - 100 / before[2], rel=0.02)


def test_clusters_have_own_colors_and_numbers(page: Any) -> None:
    dots = page.eval_on_selector_all(
        "tbody .dot", "all => all.map(dot => getComputedStyle(dot).backgroundColor)"
    )
    assert len(set(dots)) == 10
    shown = page.evaluate(
        "(() => { const seen = []; const plain = pen.fillText;"
        "pen.fillText = (text, ...rest) => { seen.push(text); plain.call(pen, text, ...rest); };"
        "draw(); return seen; })()"
    )
    assert sorted(shown) == list(range(1, 11))
    page.locator("[data-cluster='3']").click()
    page.select_option("#color", "label")
    assert page.locator("#legend p").count() == 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_read_in_the_light_and_in_the_dark(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    paper = "e => getComputedStyle(e).backgroundColor"
    assert (page.locator("body").evaluate(paper) == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.locator("#stage").evaluate(paper) == "rgb(255, 255, 255)"
    assert find_faint_texts(page) == []
