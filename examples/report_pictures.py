"""The pictures of `docs/report.md`: a report as a browser shows it, wide and on a phone.

python examples/report_pictures.py mlsbi-demo/report.html docs/images

Needs chromium, its chromedriver and selenium.
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


def main(report: Path, folder: Path) -> None:
    """Open the report and take its pictures."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for switch in (*SWITCHES, f"--user-data-dir={tempfile.mkdtemp()}"):
        options.add_argument(switch)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(report.resolve().as_uri())
        picture(driver, folder / "report-top.png", width=1280, height=1500)
        picture(
            driver, folder / "report-posterior-dark.png", width=1280, height=1300,
            dark=True, at="#posterior",
        )  # fmt: skip
        picture(driver, folder / "report-trust.png", width=1280, height=1900, at="#trust")
        picture(driver, folder / "report-phone.png", width=390, height=1500)
    finally:
        driver.quit()


def picture(
    driver: Any, path: Path, *, width: int, height: int, dark: bool = False, at: str = "body"
) -> None:
    """Save a part of the page, from the top of `at` on."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    top = driver.execute_script(
        "return document.querySelector(arguments[0]).getBoundingClientRect().top + scrollY", at
    )
    clip = {"x": 0, "y": max(top, 0), "width": width, "height": height, "scale": 1}
    taken = driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
    )
    path.write_bytes(base64.b64decode(taken["data"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "."))
