"""The notebooks as a reader meets them: JupyterLab in a headless browser, Run All, and the sliders moved.

``python -m pytest -m browser``. Skipped, with the reason, where no browser or no Playwright is installed.
"""

import json
import shutil
from pathlib import Path

import front_end
import pytest
from sliders import SLIDERS, WIDGETS

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.browser
SOON = 20_000  # milliseconds
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_cells(path: Path) -> list[dict]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def has_picture(cell: dict) -> bool:
    return "<img" in json.dumps(cell["outputs"]) or "image/png" in json.dumps(cell["outputs"])


def without_progress(stderr: list[str]) -> list[str]:
    lines = [line for text in stderr for line in text.splitlines()]
    return [line for line in lines if line.strip() and "%|" not in line]


@pytest.fixture(scope="module")
def browser():
    try:
        path = front_end.find_browser()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with front_end.chromium(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """The address of a JupyterLab, and the folder that it shows."""
    folder = tmp_path_factory.mktemp("lab")
    with front_end.jupyterlab(folder) as url:
        yield url, folder


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def opened(request, browser, lab):
    """(the notebook's path, its page after Run All). Each runs in the smoke profile, once for all tests."""
    url, folder = lab
    shutil.copy(request.param, folder)
    with front_end.open_notebook(browser, url, request.param.name) as page:
        front_end.run_all(page)
        yield request.param, page


def test_run_all_reaches_the_last_cell_without_an_error(opened):
    path, page = opened
    found = front_end.outcome(page)
    assert [cell["id"] for cell in found] == [cell["id"] for cell in code_cells(path)]
    assert {cell["id"]: cell["errors"] for cell in found if cell["errors"]} == {}
    assert {cell["id"]: said for cell in found if (said := without_progress(cell["stderr"]))} == {}
    assert all(cell["count"] for cell in found), "a cell was not run"


def test_every_figure_is_there_and_no_widget_is_dead(opened):
    path, page = opened
    page.wait_for_function("watch.outcome().every((cell) => cell.alive === cell.widgets)", timeout=SOON)
    found = {cell["id"]: cell for cell in front_end.outcome(page)}
    figures = [cell["id"] for cell in code_cells(path) if has_picture(cell)]
    assert len(figures) > 5
    assert [name for name in figures if not found[name]["pictures"]] == []
    assert [name for name, cell in found.items() if 0 in cell["pictures"]] == [], "a picture is broken"
    assert any(cell["widgets"] for cell in found.values()) == (path.stem in SLIDERS)


def test_every_equation_fits_a_narrow_window(opened):
    _, page = opened
    usual = page.viewport_size
    page.set_viewport_size({"width": 900, "height": 1000})
    page.evaluate("jupyterapp.shell.collapseLeft()")
    page.wait_for_timeout(1000)
    wide = page.evaluate("watch.wideEquations()")
    page.set_viewport_size(usual)
    assert wide == []


def settle(page) -> None:
    """Until no new picture has come for a second."""
    before = None
    while before != (before := len(page.evaluate("watch.seen().frames"))):
        page.wait_for_timeout(1000)


def comes_back(page, handle) -> bool:
    """Home, a drag, Home again: other pixels, and then to the last one those of before."""
    from playwright.sync_api import TimeoutError as TookTooLong

    handle.focus()
    page.keyboard.press("Home")
    settle(page)
    page.evaluate("watch.keep()")
    front_end.drag(page, handle, share=0.9)
    page.wait_for_function("!watch.isKept()", timeout=SOON)
    page.keyboard.press("Home")
    try:
        page.wait_for_function("watch.isKept()", timeout=SOON)
    except TookTooLong:
        return False
    return True


def test_mouse_and_keyboard_move_every_slider_and_the_pixels_follow(opened):
    path, page = opened
    handles = page.locator(f"{WIDGETS} {front_end.HANDLE}").all()
    assert bool(handles) == (path.stem in SLIDERS)
    if handles:
        page.evaluate("selector => watch.start(selector)", WIDGETS)
    for handle in handles:
        start = float(handle.get_attribute("aria-valuenow"))
        # On a busy machine the first picture may come after we took it for settled: then once more.
        assert comes_back(page, handle) or comes_back(page, handle)
        page.evaluate("watch.keep()")
        page.keyboard.press("End")
        page.wait_for_function("!watch.isKept()", timeout=SOON)
        while float(handle.get_attribute("aria-valuenow")) > start:
            page.keyboard.press("ArrowLeft")
    assert not any(cell["errors"] for cell in front_end.outcome(page))
