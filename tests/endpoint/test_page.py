"""The page, in a real Chromium. What it looked like is kept under build/page/."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from container.endpoint.app import Face
from container.endpoint.edge import Tokens

from .rig import Rig

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium is not installed: apt-get install chromium chromium-driver"
)
PICTURES = Path(__file__).parents[2] / "build/page"
MakeRig = Callable[..., Rig]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en"):
        options.add_argument(word)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")  # nothing from elsewhere
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, ChromeService(DRIVER))
    browser.set_window_size(1100, 1000)
    yield browser
    browser.quit()


def _until(browser: Chrome, condition: Callable[[Chrome], object]) -> None:
    WebDriverWait(browser, 20, poll_frequency=0.05).until(condition)


def _text(browser: Chrome, selector: str) -> str:
    return " ".join(element.text for element in browser.find_elements(By.CSS_SELECTOR, selector))


def _picture(browser: Chrome, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(PICTURES / f"{name}.png"))


def _invoke(browser: Chrome, name: str, body: str) -> None:
    for field, text in (("target", name), ("body", body)):
        browser.find_element(By.ID, field).clear()
        browser.find_element(By.ID, field).send_keys(text)
    browser.find_element(By.ID, "send").click()
    _until(browser, lambda b: " ms" in _text(b, "#timing"))


def test_model_is_invoked_watched_pinned_and_unloaded_without_a_reload(browser: Chrome, rig: Rig) -> None:
    for number, size in enumerate((4_200_000, 9_100_000, 31_000_000)):
        rig.put(f"team/modèle-{number}.tar.gz", bytes=size)
    browser.get(rig.url)
    _until(browser, lambda b: "3 of 3" in _text(b, "#found"))
    for number in range(3):
        _invoke(browser, f"team/modèle-{number}.tar.gz", "1.5,2")
        assert _text(browser, "#timing").startswith("200 in ")
    assert "cold" in _text(browser, "#timing")
    assert json.loads(_text(browser, "#answer"))["body"] == b"1.5,2".hex()
    _until(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".model")) == 3)
    _until(browser, lambda b: "31.0 MB of memory" in _text(b, ".facts"))
    _until(browser, lambda b: "first predict" in _text(b, ".legend"))
    _picture(browser, "page")
    pin = browser.find_element(By.CSS_SELECTOR, "[aria-label='Pin team/modèle-0.tar.gz']")
    pin.send_keys(Keys.ENTER)  # by the keyboard
    _until(browser, lambda b: "pinned" in _text(b, ".state"))
    browser.find_element(By.CSS_SELECTOR, "[aria-label='Unload team/modèle-1.tar.gz']").click()
    _until(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".model")) == 2)
    complaints = [entry["message"] for entry in browser.get_log("browser")]
    assert complaints == []


def test_model_of_the_catalogue_is_loaded_and_pinned_before_its_first_call(browser: Chrome, rig: Rig) -> None:
    rig.put("churn.tar.gz", bytes=4_000_000)
    browser.get(rig.url)
    _until(browser, lambda b: "1 of 1" in _text(b, "#found"))
    for order in ("Pin", "Load"):
        browser.find_element(By.CSS_SELECTOR, f"#catalogue [aria-label^='{order} churn.tar.gz']").click()
        _until(browser, lambda b, order=order: f"{order.lower()} churn.tar.gz: done" in _text(b, "#link"))
    _until(browser, lambda b: "ready, pinned" in _text(b, ".state"))
    assert rig.stub.count("invoke", "churn") == 0


def test_model_whose_artifact_asks_to_stay_is_shown_as_pinned(browser: Chrome, rig: Rig) -> None:
    rig.put("churn.tar.gz", manifest='{"pinned": true}')
    rig.answerer("churn.tar.gz")
    browser.get(rig.url)
    _until(browser, lambda b: "ready, pinned" in _text(b, ".state"))
    assert browser.find_elements(By.CSS_SELECTOR, "[aria-label='Unpin churn.tar.gz']")


def test_page_is_good_on_a_phone_and_in_the_dark(browser: Chrome, rig: Rig) -> None:
    rig.put("a-model-with-a-name-that-is-longer-than-any-phone-is-wide-" + "x" * 60 + ".tar.gz", bytes=5_000_000)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    try:
        browser.get(rig.url)
        _until(browser, lambda b: "1 of 1" in _text(b, "#found"))
        browser.find_element(By.CSS_SELECTOR, "#catalogue button").click()
        browser.find_element(By.ID, "send").click()
        _until(browser, lambda b: "loaded" in _text(b, ".facts"))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(",")) < 60
        browser.execute_script("scrollTo(0, 0)")
        _picture(browser, "phone-dark")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_name_of_a_model_is_text_and_never_html(browser: Chrome, rig: Rig) -> None:
    name = "<img src=x onerror=document.title='owned'>.tar.gz"
    rig.put(name)
    rig.answerer(name)
    browser.get(rig.url)
    _until(browser, lambda b: name in _text(b, ".name") and name in _text(b, "#catalogue"))
    assert browser.title == "Medley"


def test_token_is_asked_for_where_the_endpoint_wants_one(browser: Chrome, make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(tokens=Tokens("let me in")))
    rig.put("churn.tar.gz")
    browser.get(rig.url)
    _until(browser, lambda b: b.find_element(By.ID, "token-box").is_displayed())
    browser.find_element(By.ID, "token").send_keys("let me in", Keys.ENTER)
    _until(browser, lambda b: "1 of 1" in _text(b, "#found"))
    assert not browser.find_element(By.ID, "token-box").is_displayed()
