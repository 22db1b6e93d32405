"""Reports in a real browser: chromium without a window, driven by selenium."""

from __future__ import annotations

import base64
import json
import shutil

import pytest
import torch

import mlsbi
from mlsbi.reporting import report
from tiny import linear_data, tiny

pytestmark = pytest.mark.browser

SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip
WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")

# Of each piece of text that is seen: its contrast with what is behind it, by WCAG 2.
CONTRASTS = """
const numbers = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const part = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = (c) => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const c = numbers(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const seen = element.getClientRects().length > 0 && !element.closest("script, style, svg");
  if (!walker.currentNode.data.trim() || !seen) continue;
  const pair = [numbers(getComputedStyle(element).color), behind(element)].map(light);
  const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  found.push([walker.currentNode.data.trim().slice(0, 40), ratio]);
}
return found;
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with every section."""
    folder = tmp_path_factory.mktemp("report")
    data = linear_data((80, 40), costs=[1.0, 10.0])
    options = {"seed": 1, "ensemble": 2}
    fit = mlsbi.fit_posterior(data, strategy=mlsbi.Multilevel(training=tiny()), **options)
    low = mlsbi.MultilevelData.from_arrays(data.prior, [(data.theta(0), data.x(0))])
    low_fit = mlsbi.fit_posterior(low, strategy=mlsbi.SingleLevel(training=tiny()), **options)
    test = linear_data((1, 60), seed=9)
    check = mlsbi.check(fit, test.theta(1), test.x(1), num_draws=50, labels=["gain", "offset"])
    return report(
        fit, folder / "report.html", data=data, check=check, x_o=torch.tensor([0.2, -0.1, 0.4]),
        theta_o=[0.1, 0.2], low_fit=low_fit, num_draws=500, outputs=["a", "b", "c"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield browser
    browser.quit()


@pytest.fixture(params=[(w, s) for w in WIDTHS for s in SCHEMES], ids=lambda p: f"{p[0]}-{p[1]}")
def shown(driver, page, request):
    """The page at a width, light or dark."""
    width, scheme = request.param
    look(driver, width, scheme)
    driver.get(page.as_uri())
    return driver


def look(driver, width, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def test_nothing_is_said_on_the_console_and_nothing_is_fetched(driver, page):
    driver.get_log("browser"), driver.get_log("performance")  # those of pages before
    look(driver, 1280, "light")
    driver.get(page.as_uri())
    assert driver.get_log("browser") == []
    messages = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
    asked = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert asked[0] == page.as_uri()  # the log is not empty
    assert all(url == page.as_uri() or url.startswith("data:") for url in asked)


def test_every_picture_is_drawn(shown):
    sizes = shown.execute_script(
        "return [...document.querySelectorAll('svg')].map(s => { const b = s.getBBox(), "
        "r = s.getBoundingClientRect(); return [r.width, r.height, b.width, b.height]; })"
    )
    assert len(sizes) >= 8
    assert all(min(size) > 100 for size in sizes)
    unresolved = shown.execute_script(
        "return [...document.querySelectorAll('svg use')].filter("
        "u => document.querySelector(u.getAttribute('href')) === null).length"
    )
    assert unresolved == 0


def test_nothing_hangs_over_the_edge(shown):
    inside, outside = shown.execute_script(
        "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert outside <= inside


def test_text_stands_out(shown):
    ratios = shown.execute_script(CONTRASTS)
    assert len(ratios) > 100
    assert [(text, r) for text, r in ratios if r < 4.5] == []


def test_pictures_follow_the_theme(driver, page):
    fills = {}
    for scheme in SCHEMES:
        look(driver, 1280, scheme)
        driver.get(page.as_uri())
        fills[scheme] = driver.execute_script(
            "return [getComputedStyle(document.body).backgroundColor, "
            "getComputedStyle(document.querySelector('svg use')).fill]"
        )
    assert fills["light"][0] == "rgb(255, 255, 255)"
    assert all(fills["light"][i] != fills["dark"][i] for i in (0, 1))


def test_headings_are_in_order(driver, page):
    driver.get(page.as_uri())
    levels = driver.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_a_picture_is_enlarged_and_put_back(driver, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    look(driver, 1280, "light")
    driver.get(page.as_uri())
    before = driver.execute_script("return document.querySelectorAll('figure svg').length")
    button = driver.find_element(By.CSS_SELECTOR, "#posterior-plot .enlarge")
    button.send_keys(Keys.ENTER)  # by keyboard
    dialog = driver.find_element(By.CSS_SELECTOR, "dialog[open]")
    assert dialog.find_element(By.TAG_NAME, "svg").size["height"] > 600
    dialog.find_element(By.CSS_SELECTOR, ".close").send_keys(Keys.ESCAPE)
    assert driver.find_elements(By.CSS_SELECTOR, "dialog[open]") == []
    after = driver.execute_script("return document.querySelectorAll('figure svg').length")
    assert after == before
    assert driver.find_elements(By.CSS_SELECTOR, "#posterior-plot .picture svg")


def test_without_scripts_the_page_is_whole(driver, page):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(page.as_uri())
        texts = driver.find_element("tag name", "main").text
        drawn = driver.find_elements("css selector", "figure svg")
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "How to cite" in texts
    assert len(drawn) >= 8


def test_it_prints_on_a4(driver, page):
    look(driver, 1280, "dark")  # a dark screen prints on white paper all the same
    driver.get(page.as_uri())
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [
        {"name": "prefers-color-scheme", "value": "dark"}]})  # fmt: skip
    paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    made = driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    pdf = base64.b64decode(made["data"])
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 4
    assert b"/MediaBox [0 0 594" in pdf or b"/MediaBox [0 0 595" in pdf
