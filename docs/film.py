"""Films the example in Chromium for the README: `make film`."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import start_demo

SIZE = {"width": 1240, "height": 1010}
WIDTH = 1000
EVERY = 250  # milliseconds
FRAMES = 60

# What is clicked before which frame.
SCRIPT = {
    2: "[data-sample=coffee]",
    5: "[data-scene=retries]",
    9: "[data-sample=chelsea]",
    13: "[data-scene=fails]",
    17: "[data-scene=slow]",
    46: ".card:has-text('You cancel it') .cancel",
}


def main(target: Path) -> None:
    """Start the demo, play the script, and write the film."""
    with tempfile.TemporaryDirectory() as var, sync_playwright() as playwright:
        demo = start_demo(Path(var), DEMO_PACE="4", DEMO_WORKERS="4")
        try:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
            page = browser.new_page(viewport=SIZE)
            page.goto(demo.url)
            frames = [frame(page, number) for number in range(FRAMES)]
            browser.close()
        finally:
            demo.stop()
    save(frames, target)


def frame(page: Page, number: int) -> Image.Image:
    """One picture of the page, small enough for a README."""
    if selector := SCRIPT.get(number):
        page.click(selector)
    page.wait_for_timeout(EVERY)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return shot.resize((WIDTH, SIZE["height"] * WIDTH // SIZE["width"]), Image.Resampling.LANCZOS)


def save(frames: list[Image.Image], target: Path) -> None:
    """Write the film; the last picture stays for a while."""
    durations = [EVERY] * (len(frames) - 1) + [3000]
    frames[0].save(target, save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=80, method=6)
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.2f} MB, {len(frames)} frames\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
