"""A notebook in JupyterLab in a headless browser: for the timing of its sliders and for the browser's tests.

The browser is a Chromium or Chrome that is installed; nothing is downloaded. JupyterLab and Playwright come
with ``pip install -e ".[lab,browser]"``. The page's half is front_end.js: functions that are called by name.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WATCH = Path(__file__).with_suffix(".js")
WAIT = 300.0  # seconds for a notebook to run
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")  # of the system's package
FLAGS = ("--disable-gpu", "--disable-quic", "--disable-sync")  # and what Playwright sets by itself
HANDLE = "[role=slider].noUi-handle"
NOWHERE = "http://127.0.0.1:9"  # nothing listens there


def find_browser() -> str:
    """The path of a browser. FileNotFoundError, with what to install, where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise FileNotFoundError('Playwright is not installed: pip install -e ".[browser]"') from None
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if not Path(own).is_file():
        raise FileNotFoundError(
            f"no {', '.join(NAMES[:-1])} or {NAMES[-1]} on the PATH and none of Playwright's own: "
            "run  playwright install chromium  or install the system's package."
        )
    return own


@contextmanager
def jupyterlab(folder: Path, **surroundings: str) -> Iterator[str]:
    """The address of a JupyterLab on the folder, with settings of its own, without a token or a network."""
    own = {f"JUPYTER{name}_DIR": str(folder / name) for name in ("LAB_SETTINGS", "_CONFIG", "_RUNTIME")}
    quiet = folder / "LAB_SETTINGS/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"checkForUpdates": false, "doNotDisturbMode": true, "fetchNews": "false"}')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = {"ip": "127.0.0.1", "port": port, "port_retries": 0, "open_browser": False, "root_dir": folder}
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--IdentityProvider.token="]
    command += ["--LabApp.expose_app_in_browser=True", f"--LabApp.workspaces_dir={folder / 'workspaces'}"]
    command += [f"--ServerApp.{name}={value}" for name, value in server.items()]
    usual = {"DFCVAE_PROFILE": "smoke", "PYTHONPATH": str(ROOT)}
    offline = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE}
    environment = usual | dict(os.environ) | offline | own | surroundings
    log, until = folder / "jupyterlab.log", time.monotonic() + WAIT
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out)
    try:
        while " is running at" not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def chromium(path: str | None = None) -> Iterator:
    """A headless browser, as Playwright hands it out."""
    from playwright.sync_api import sync_playwright

    path = path or find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def open_notebook(browser, url: str, name: str, **view) -> Iterator:
    """A page with that notebook open and its kernel ready. Closing it ends the kernel."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, **view)
    page.set_default_timeout(1000 * WAIT)
    page.goto(f"{url}/lab/tree/{name}?reset")
    page.wait_for_function("window.jupyterapp")
    page.add_script_tag(path=WATCH)
    page.evaluate("watch.ready()")
    yield page
    page.evaluate("watch.close()")
    page.close()


def run_all(page) -> None:
    """Run All, until the kernel is idle. TimeoutError of Playwright after ``WAIT``."""
    page.evaluate("watch.run()")
    page.wait_for_function("watch.isDone()", polling=200)


def outcome(page) -> list[dict]:
    """For each code cell what the page has of it: id, execution count, errors, stderr, pictures, widgets."""
    return page.evaluate("watch.outcome()")


def drag(page, handle, share: float, steps: int = 5) -> None:
    """Drag a slider's handle with the mouse to that share of its way."""
    handle.scroll_into_view_if_needed()
    knob, way = handle.bounding_box(), handle.locator("xpath=../..").bounding_box()
    page.mouse.move(knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2)
    page.mouse.down()
    page.mouse.move(way["x"] + share * way["width"], knob["y"] + knob["height"] / 2, steps=steps)
    page.mouse.up()
