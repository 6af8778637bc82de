"""How soon the explorer's picture follows a key, in a real browser.

What is measured: JupyterLab runs the cells of notebook 05 that make the explorer, in a temporary folder, and
a headless Chromium shows it. The sliders are reached with Tab and turned with arrow keys, nothing else. Both
ends of an interval are read off the page's clock: the time stamp of the key's event, and the first animation
frame in which the picture, loaded and decoded, has other pixels; "one frame later" that frame is painted.
In the first series a press waits for the one before it. In the second a key is held, 30 events a second, and
the last picture must be that of the last state.

How to run it, with the Chromium or Chrome that is installed (nothing is downloaded):

    pip install -e ".[lab,browser]"
    python benchmarks/explorer.py [--chromium PATH] [--presses 100] [--holds 20] [--json FILE]

Times depend on the computer and on what else it does. They are printed, not judged: the exit status is 0
whatever they are. The notebook runs in the smoke profile unless DFCVAE_PROFILE says otherwise: fewer faces
for the attribute vectors, and the same work for a picture.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import tempfile
import time
from importlib import metadata
from pathlib import Path

from front_end import HANDLE, ROOT, chromium, jupyterlab, open_notebook, outcome, run_all

from dfcvae.device import available_threads

NOTEBOOK = ROOT / "notebooks" / "05_latent_space.ipynb"
CELLS = ("setup", "imports", "codes", "nats", "vector-by-hand", "space", "sliders")  # what the explorer needs
LIMIT, RATE = 150, 30  # milliseconds; key events a second
SETTLE = 1.0  # seconds until nothing moves any more
WIDGETS, STATUS = ".jupyter-widgets:has(> img.widget-image)", "[role=status]:not(:empty)"
PACKAGES = ("dfcvae", "torch", "jupyterlab", "ipywidgets", "playwright")


def write_notebook(path: Path) -> None:
    """The cells of notebook 05 that the explorer needs, as they are there."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = {cell["id"]: {**cell, "outputs": [], "execution_count": None} for cell in notebook["cells"]}
    if missing := [name for name in CELLS if name not in cells]:
        raise SystemExit(f"{NOTEBOOK.name} has no cell {', '.join(missing)}: mend CELLS in this file.")
    path.write_text(json.dumps({**notebook, "cells": [cells[name] for name in CELLS]}), encoding="utf-8")


def next_slider(page) -> str:
    """Tab on to the next slider; its label."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if focused := page.evaluate("watch.focused()"):
            return focused["label"]
    raise SystemExit("no slider was reached with 200 presses of Tab.")


def press(page, key: str) -> tuple[float, float, float]:
    """Milliseconds from the key to the new picture, to one frame later, and of the kernel's drawing."""
    page.evaluate("watch.clear()")
    page.keyboard.press(key)
    seen, until = {"painted": []}, time.monotonic() + 10
    while not seen["painted"] and time.monotonic() < until:
        time.sleep(random.uniform(0.35, 0.5))  # not in step with the frames
        seen = page.evaluate("watch.seen()")
    shown, painted = (seen[one][0] if seen["painted"] else math.inf for one in ("frames", "painted"))
    drawn = re.search(r"drawn in (\d+) ms", page.inner_text(STATUS))
    return shown - seen["events"][0], painted - seen["events"][0], float(drawn[1]) if drawn else math.nan


def hold(page, key: str, back: str, events: int) -> tuple[float, int, bool]:
    """Milliseconds from the last event to the last picture, how many pictures, and whether it was right."""
    page.evaluate("watch.clear()")
    start = time.perf_counter()
    for i in range(events):
        page.keyboard.down(key)  # down again without up is how a browser sees a key that is held
        time.sleep(max(0.0, start + (i + 1) / RATE - time.perf_counter()))
    page.keyboard.up(key)
    time.sleep(SETTLE)
    seen = page.evaluate("watch.keep()")
    for one in (back, key):  # to the same state again, without haste
        page.keyboard.press(one)
        time.sleep(SETTLE)
    late = seen["frames"][-1] - seen["events"][-1] if seen["frames"] else math.inf
    return late, len(seen["frames"]), page.evaluate("watch.isKept()") and len(seen["events"]) == events


def measure(page, presses: int, holds: int) -> dict:
    """Both series, and the read-out before and after."""
    page.evaluate("watch.listen()")
    page.evaluate("selector => watch.start(selector)", WIDGETS)
    page.keyboard.press("Escape")
    n = page.locator(HANDLE).count()
    found = {"before": page.inner_text(STATUS), "sliders": [], "presses": [], "holds": []}
    for i in range(n):
        found["sliders"].append(next_slider(page))
        for _ in range(presses // n + (i < presses % n)):
            full = page.evaluate("watch.focused().full")
            found["presses"].append(press(page, "ArrowLeft" if full else "ArrowRight"))
    for i in range(holds):  # the last slider, to and fro
        found["holds"].append(hold(page, *("ArrowLeft", "ArrowRight")[:: -1 if i % 2 else 1], events=30))
    return found | {"after": page.inner_text(STATUS)}


def line(what: str, times: list[float]) -> str:
    """Median, 95th percentile, maximum, and how many are within the limit."""
    ordered, within = sorted(times), sum(one <= LIMIT for one in times)
    median, high = ordered[(len(times) - 1) // 2], ordered[math.ceil(0.95 * len(times)) - 1]
    figures = f"median {median:4.0f} ms  95th percentile {high:4.0f} ms  maximum {ordered[-1]:4.0f} ms"
    return f"{what:<29} {figures}  within {LIMIT} ms: {within} of {len(times)}"


def report(found: dict) -> None:
    print(f"{len(found['sliders'])} sliders reached with Tab: {', '.join(found['sliders'])}")
    shown, painted, drawn = zip(*found["presses"], strict=True)
    print(line("single presses: new pixels", shown), line("one frame later", painted), sep="\n")
    print(line("of it the kernel drew for", drawn))
    if found["holds"]:
        late, shown, right = zip(*found["holds"], strict=True)
        print(line("held key: last event to last", late))
        print(f"pictures in a hold of 30 events: {list(shown)}; the last right: {sum(right)} of {len(right)}")
    print(f"read-out before: {found['before']}\nread-out after:  {found['after']}")
    print(f"{available_threads()} cores, load averages {found['load']}\n{', '.join(found['versions'])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromium", help="the browser (default: the one that is installed)")
    parser.add_argument("--presses", type=int, default=100, help="single presses (default 100)")
    parser.add_argument("--holds", type=int, default=20, help="times a key is held (default 20)")
    parser.add_argument("--json", type=Path, help="write every time to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, chromium(options.chromium) as browser:
        write_notebook(Path(name) / "explorer.ipynb")
        with jupyterlab(Path(name)) as url, open_notebook(browser, url, "explorer.ipynb") as page:
            run_all(page)
            if errors := [error for cell in outcome(page) for error in cell["errors"]]:
                raise SystemExit("\n".join(errors))
            page.wait_for_selector(f"{WIDGETS} img[src^='blob:']")
            time.sleep(SETTLE)
            found = measure(page, options.presses, options.holds)
            found["versions"] = [f"Chromium {browser.version}"]
    found["load"] = getattr(os, "getloadavg", lambda: "unknown")()
    found["versions"] += [f"{package} {metadata.version(package)}" for package in PACKAGES]
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
