"""Writes the README's pictures of a page: ``python -m tests.screenshots PAGE FOLDER``."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

from PIL import Image

from tests.browser import chromium

VIEWS = {
    "names-overview.png": ("#overview", "light", ""),
    "names-name.png": ("#features", "dark", "vision"),
}
COLOURS = 160


def main(page: Path, folder: Path) -> None:
    """Two views, 1280 x 860 pixels, with few colours so that they stay small."""
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for name, (place, theme, query) in VIEWS.items():
            metrics = {"width": 1280, "height": 860, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            browser.execute_cdp_cmd(
                "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
            )
            browser.get("about:blank")
            browser.get(f"{page.resolve().as_uri()}{place}")
            while not browser.execute_script("return 'ready' in document.documentElement.dataset"):
                time.sleep(0.1)
            if query:
                browser.find_element("id", "search").send_keys(query, "\ue007")
            browser.execute_script("document.activeElement.blur()")
            time.sleep(1)
            image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
            image.quantize(COLOURS, dither=Image.Dither.NONE).save(folder / name, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
