"""The page in a real browser: a picture, a click, bad input, and what is left when it ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import safetensors.torch

from arcsr_lightning import demo
from arcsr_lightning.closeup import Closeup
from arcsr_lightning.demo import Shelf, sentence_for_errors
from arcsr_lightning.errors import InputError
from arcsr_lightning.launch import as_plain_data, build_network, compose

TINY = ["arcsr.estimator_width=4", "arcsr.estimator_levels=1", "arcsr.width=4", "arcsr.blocks=1"]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 240  # seconds; a busy machine takes minutes to import what the page needs


# --- without a browser


def closeup(folder):
    folder.mkdir(parents=True)
    (folder / "restored.png").write_bytes(b"")
    return Closeup(None, None, None, None, folder / "bicubic.png", folder / "restored.png")


def test_only_the_last_restored_pictures_are_kept_and_the_files_of_others_removed(tmp_path):
    shelf = Shelf(2)
    keys = [shelf.put(closeup(tmp_path / name)) for name in "ab"]
    assert shelf.get(keys[0]).restored_file.parent.name == "a"  # asked for later than b
    last = shelf.put(closeup(tmp_path / "c"))
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c"}
    assert shelf.get(last) and shelf.get(keys[0])
    with pytest.raises(InputError, match="only the last 2 restored pictures are kept"):
        shelf.get(keys[1])
    with pytest.raises(InputError, match="nothing is restored yet"):
        shelf.get(None)


def test_an_error_is_a_sentence_without_the_places_of_files_and_a_fault_says_no_more_than_that(caplog, tmp_path):
    path = tmp_path / "upload" / "a.png"

    def refuse():
        raise InputError(f"{path} is damaged; replace it")

    assert sentence_for_errors(refuse, "status", path) == {"status": "⚠ a.png is damaged; replace it."}
    (said,) = sentence_for_errors(lambda: 1 // 0, "status").values()
    assert said == "⚠ this is a fault of arcsr-lightning; what happened stands in the log of the page."
    assert "ZeroDivisionError" in caplog.text


def test_without_the_extra_it_says_what_to_install(run, capsys, tmp_path, monkeypatch):
    class Without:
        def find_spec(self, name, path=None, target=None):
            if name == "gradio":
                raise ModuleNotFoundError("No module named 'gradio'")

    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "gradio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(), *sys.meta_path])
    monkeypatch.setattr(demo, "Worker", lambda *_: SimpleNamespace(start=lambda: None, stop=lambda: None))
    with pytest.raises(SystemExit) as ended:
        run(demo)
    assert ended.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == 'error: arcsr-demo needs more packages; pip install "arcsr-lightning[demo]"'


# --- in a browser


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    cfg = compose(["data=sample", *TINY])
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    state = build_network(cfg.model).state_dict()
    safetensors.torch.save_file(state, path, metadata={"config": json.dumps(as_plain_data(cfg))})
    return path


@pytest.fixture(scope="module")
def page(weights, tmp_path_factory):
    """The page as its command serves it: its process, address, and the folder for temporary files."""
    pytest.importorskip("gradio", reason='needs "arcsr-lightning[demo]"')
    folder = tmp_path_factory.mktemp("page")
    (folder / "tmp").mkdir()
    environment = os.environ | {"TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-m", "arcsr_lightning.demo", f"weights={weights}", "max_megabytes=0.5"]
    with (
        (folder / "err.txt").open("w") as errors,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            line = process.stdout.readline()
            assert line, (folder / "err.txt").read_text()
            yield SimpleNamespace(process=process, url=line.split()[0], temporary=folder / "tmp", errors=errors.name)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def browser(page):
    webdriver = pytest.importorskip("selenium.webdriver", reason='needs "arcsr-lightning[dev]"')
    driver = shutil.which("chromedriver")
    if not (BROWSER and driver):
        pytest.skip("needs chromium and chromedriver (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1440,1250"):
        options.add_argument(argument)
    one = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    one.set_page_load_timeout(PATIENCE)
    one.get(page.url)
    yield one
    one.quit()


@pytest.fixture
def see(browser):
    """``see(selector, words="")``: the element, once it is there and has these words."""

    def element(selector, words=""):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = browser.find_elements("css selector", selector)
            if found and words in found[0].text:
                return found[0]
            time.sleep(0.2)
        raise AssertionError(f"{selector} with {words!r} did not appear")

    return element


def upload(browser, path):
    (field,) = browser.find_elements("css selector", "#upload input[type=file]")
    field.send_keys(str(path))


def click(browser, element, right, down):
    """Click a point of an element, given as parts of its width and height."""
    from selenium.webdriver import ActionChains

    size = element.size
    offset = (round((right - 0.5) * size["width"]), round((down - 0.5) * size["height"]))
    ActionChains(browser).move_to_element_with_offset(element, *offset).click().perform()


def test_a_picture_is_restored_and_a_click_shows_the_kernel_of_that_pixel(browser, see, tmp_path):
    from selenium.webdriver.support.wait import WebDriverWait

    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    cv2.imwrite(str(tmp_path / "mine.png"), pixels)
    see("#restore")
    upload(browser, tmp_path / "mine.png")
    see("#upload", "mine")
    see("#restore").click()
    see("#status", "Restored: 64x48 to 256x192.")
    click(browser, see("#picture img"), 0.75, 0.25)
    said = see("#answer-text", "Kernel of LR pixel").text
    y, x = map(int, re.search(r"\((\d+), (\d+)\)", said).groups())
    assert abs(y - 12) <= 1 and abs(x - 48) <= 1
    assert re.search(r"[\d.]+ LR pixels long \(\d+ in the restored picture\), (at \d+°|without a direction)", said)
    until = WebDriverWait(browser, PATIENCE).until
    until(lambda _: see("#answer img").size["width"] > 100)
    (tab,) = (button for button in browser.find_elements("css selector", "[role=tab]") if "Bicubic" in button.text)
    tab.click()
    until(lambda _: len(browser.find_elements("css selector", "#slider img")) >= 2)


def test_bad_files_are_answered_with_a_sentence_and_the_page_goes_on(browser, see, tmp_path):
    browser.refresh()
    (tmp_path / "bad.png").write_bytes(b"no picture")
    see("#restore")
    upload(browser, tmp_path / "bad.png")
    see("#upload", "bad")
    see("#restore").click()
    see("#status", "bad.png is truncated, damaged or not an image; replace or remove it.")
    browser.refresh()
    see("#restore").click()  # the first example
    see("#status", "Restored: 128x128 to 512x512.")


def test_nothing_is_asked_of_other_computers(browser):
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"]
    assert len(urls) > 10
    assert {url.split("/")[2].partition(":")[0] for url in urls if url.startswith("http")} == {"127.0.0.1"}


def test_only_this_computer_is_listened_to_and_nothing_is_left_at_the_end(page):
    port = int(page.url.rstrip("/").rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port))  # reached where a server listens everywhere
    assert list(page.temporary.glob("arcsr-demo-*"))
    page.process.send_signal(signal.SIGTERM)
    assert page.process.wait(PATIENCE) == 0
    assert not list(page.temporary.iterdir()), Path(page.errors).read_text()
