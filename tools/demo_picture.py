"""Draw docs/images/demo.png, the page of a network in a browser.

flyweight export dilated --to page --format demo
python tools/demo_picture.py page/index.html

Needs Chromium, as the tests of the browser do.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

TARGET = Path(__file__).parents[1] / "docs/images/demo.png"
SAMPLE = 14  # of the page: a horse


def main(page: Path) -> None:
    """Open the page, click a test image, and keep what is seen."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_page(viewport={"width": 1080, "height": 1010})
        shown.goto(page.resolve().as_uri())
        shown.locator("#speed", has_text="ms").wait_for()
        shown.locator(f"[data-sample='{SAMPLE}']").click()
        shown.locator(f"[data-sample='{SAMPLE}'][aria-pressed='true']").wait_for()
        shown.mouse.move(0, 0)
        shown.wait_for_timeout(1000)
        shown.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        image = Image.open(io.BytesIO(shown.screenshot()))
        browser.close()
    image.convert("RGB").quantize(192).save(TARGET, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
