"""How soon a picture follows its slider, by keyboard and by mouse, in notebooks 00, 04 and 05.

What is measured: JupyterLab runs the whole notebook, and a headless Chromium turns its sliders. By keyboard:
one arrow key on a slider that has the focus. By mouse: the button is down on the handle, and the pointer
moves once by a twentieth of the slider's way. Both ends of an interval are read off the page's clock: the
time stamp of the event, and the first animation frame in which the picture, loaded and decoded, has other
pixels. Each event waits for the one before it.

    pip install -e ".[lab,browser]"
    python benchmarks/sliders.py [--chromium PATH] [--events 100] [--json [FILE]]

Sliders whose steps may leave all pixels as they are (a hat is there or is not) take no part. Times
depend on the computer and on what else it does. They are printed, not judged. The notebooks run in the smoke
profile unless DFCVAE_PROFILE says otherwise: fewer faces and steps, and the same work for a picture.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from front_end import ROOT, chromium, jupyterlab, open_notebook, run_all
from reporting import machine, median, parser, table, write

LIMIT = 150  # milliseconds
GIVEN_UP = 10.0  # seconds without other pixels
WIDGETS = ".jupyter-widgets:has(> .widget-slider)"  # the picture and its sliders
SLIDERS = {  # to turn, by notebook
    "00_start_here": ("mouth_curve", "hair_length", "skin_tone", "light_x", "yaw"),
    "04_dfc_vae": ("position",),
    "05_latent_space": ("Eyeglasses", "Smiling", "Long_Hair", "Wearing_Hat", "Pale_Skin"),
}
PACKAGES = ("jupyterlab", "ipywidgets", "playwright")


def handle_of(page, label: str):
    """The handle of the slider with that label."""
    row = page.locator(f"{WIDGETS} .widget-slider").filter(has=page.get_by_text(label, exact=True))
    return row.locator("[role=slider]")


def wait_for_pixels(page) -> float:
    """Milliseconds from the last event to the first frame with other pixels; infinite where none came."""
    seen, until = {"frames": []}, time.monotonic() + GIVEN_UP
    while not seen["frames"] and time.monotonic() < until:
        time.sleep(random.uniform(0.25, 0.4))  # not in step with the frames
        seen = page.evaluate("watch.seen()")
    return round(seen["frames"][0] - seen["events"][-1], 1) if seen["frames"] else math.inf


def by_keyboard(page, handle, events: int) -> list[float]:
    """To and fro, a step an event."""
    handle.scroll_into_view_if_needed()
    handle.focus()
    times, key = [], "ArrowRight"
    for _ in range(events):
        state = page.evaluate("watch.focused()")
        key = "ArrowLeft" if state["full"] else "ArrowRight" if state["empty"] else key
        page.evaluate("watch.clear()")
        page.keyboard.press(key)
        times.append(wait_for_pixels(page))
    return times


def by_mouse(page, handle, events: int) -> list[float]:
    """The button stays down; the pointer moves to and fro, a twentieth of the slider's way an event."""
    handle.scroll_into_view_if_needed()
    knob, way = handle.bounding_box(), handle.locator("xpath=../..").bounding_box()
    height = knob["y"] + knob["height"] / 2
    page.mouse.move(knob["x"] + knob["width"] / 2, height)
    page.mouse.down()
    times, at = [], round(20 * (knob["x"] + knob["width"] / 2 - way["x"]) / way["width"])
    step = 1 if at < 10 else -1
    for _ in range(events):
        step = -1 if at >= 19 else 1 if at <= 1 else step
        at += step
        page.evaluate("watch.clear()")
        page.mouse.move(way["x"] + at / 20 * way["width"], height)
        times.append(wait_for_pixels(page))
    page.mouse.up()
    return times


def measure(page, labels: tuple[str, ...], way: Callable, events: int) -> list[float]:
    times = []
    for i, label in enumerate(labels):
        count = events // len(labels) + (i < events % len(labels))
        times += way(page, handle_of(page, label), count)
    return times


def row(name: str, way: str, times: list[float]) -> tuple:
    """Median, 95th of a hundred, longest, how many within the limit."""
    ordered, within = sorted(times), sum(one <= LIMIT for one in times)
    high = ordered[math.ceil(0.95 * len(times)) - 1]
    return (
        name,
        way,
        *(f"{one:.0f}" for one in (median(times), high, ordered[-1])),
        f"{within} of {len(times)}",
    )


def main() -> None:
    options = parser(__doc__, "sliders")
    options.add_argument("--chromium", help="the browser (default: the one that is installed)")
    options.add_argument("--events", type=int, default=100, help="of each kind, a notebook (default 100)")
    options = options.parse_args()
    ways = {"keyboard": by_keyboard, "mouse": by_mouse}
    found = {"machine": machine("cpu"), "limit_ms": LIMIT, "milliseconds": {}}
    found["versions"] = {package: metadata.version(package) for package in PACKAGES}
    with tempfile.TemporaryDirectory() as folder, chromium(options.chromium) as browser:
        found["versions"]["chromium"] = browser.version
        for name in SLIDERS:
            shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", folder)
        with jupyterlab(Path(folder)) as url:
            for name, labels in SLIDERS.items():
                with open_notebook(browser, url, f"{name}.ipynb") as page:
                    run_all(page)
                    page.wait_for_selector(f"{WIDGETS} img")
                    page.evaluate("watch.listen()")
                    page.evaluate("selector => watch.start(selector)", WIDGETS)
                    time.sleep(2)  # until nothing moves any more
                    found["milliseconds"][name] = {
                        what: measure(page, labels, way, options.events) for what, way in ways.items()
                    }
    found["load"] = getattr(os, "getloadavg", lambda: "unknown")()
    rows = [row(n, way, times) for n, each in found["milliseconds"].items() for way, times in each.items()]
    print(table(("notebook", "by", "median, ms", "95 of 100 within", "longest", f"within {LIMIT} ms"), rows))
    print(f"load averages {found['load']}")
    write(options.json, found)


if __name__ == "__main__":
    main()
