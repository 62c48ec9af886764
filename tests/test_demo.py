"""The page: many users at once, a real browser, a picture, a click, bad input, and what is left when it ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from arcsr_lightning import demo
from arcsr_lightning.closeup import Closeup
from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.data.pictures import load_picture
from arcsr_lightning.demo import Shelf, sentence_for_errors
from arcsr_lightning.errors import InputError
from arcsr_lightning.inference import run_network
from arcsr_lightning.launch import as_plain_data, build_network, compose
from arcsr_lightning.runs.weights import load_model

TINY = ["arcsr.estimator_width=4", "arcsr.estimator_levels=1", "arcsr.width=4", "arcsr.blocks=1"]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 240  # seconds; a busy machine takes minutes to import what the page needs
WAITING = 9  # users, beside the one whose picture is at work


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
    assert last == 'error: arcsr-demo needs more packages; pip install ".[demo]" in the clone'


# --- as its command serves it


def test_weights_come_from_the_hub_before_the_page_is_kept_from_asking_it(monkeypatch):
    def none_there(cfg):
        offline.append(os.environ.get("HF_HUB_OFFLINE"))
        raise InputError("none there")

    offline = []
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(demo, "weights_of", none_there)
    with pytest.raises(InputError, match="none there"):
        demo.serve(compose([], "demo"), print)
    assert offline == [None]


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
    settings = [f"weights={weights}", "max_megabytes=0.5", f"waiting={WAITING}", "keep=20"]
    command = [sys.executable, "-m", "arcsr_lightning.demo", *settings]
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


# --- many users


class User:
    """Somebody who has the page open, asking as the page does: with a session of its own, through the queue."""

    def __init__(self, url, path):
        import httpx  # gradio needs it

        self.path = path
        self.session = {"session_hash": uuid.uuid4().hex}
        self.http = httpx.Client(base_url=f"{url.rstrip('/')}/gradio_api", timeout=PATIENCE)
        self.page = self.http.get(f"{url}config").json()
        self.heard = []  # kinds of messages of the queue

    def ask(self, name, *values, **event):
        """What a function of the page returns for each of its parts, by their elem_id; None where the queue is full."""
        (function,) = (one for one in self.page["dependencies"] if one["api_name"] == name)
        asked = {"fn_index": function["id"], "data": values, **self.session, **event}
        joined = self.http.post("queue/join", json=asked)
        if joined.status_code == 503:
            return None
        joined.raise_for_status()
        with self.http.stream("GET", "queue/data", params=self.session) as stream:
            for line in filter(None, stream.iter_lines()):
                message = json.loads(line.removeprefix("data: "))
                self.heard.append(message["msg"])
                if message["msg"] == "process_completed":
                    names = {part["id"]: part["props"].get("elem_id") for part in self.page["components"]}
                    found = zip(function["outputs"], message["output"]["data"], strict=True)
                    return {names[part]: value for part, value in found}
        raise AssertionError(f"the queue ended after {self.heard}")

    def restore(self):
        with self.path.open("rb") as file:
            (place,) = self.http.post("upload", files={"files": (self.path.name, file)}).json()
        upload = {"path": place, "orig_name": self.path.name, "meta": {"_type": "gradio.FileData"}}
        (chosen,) = (
            part["props"]["value"] for part in self.page["components"] if part["props"].get("label") == "Weights"
        )
        return self.ask("restore_picture", upload, None, False, 256, chosen)

    def click(self, x, y):
        return self.ask("ask", None, None, event_data={"index": [x, y], "value": None})

    def picture(self, file):
        answered = self.http.get(file["url"])
        answered.raise_for_status()
        return cv2.imdecode(np.frombuffer(answered.content, np.uint8), cv2.IMREAD_COLOR_RGB)


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def worker_of(page) -> int:
    """The process that restores."""
    children = Path(f"/proc/{page.process.pid}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text().split()]
    (worker,) = (pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return worker


@pytest.fixture(scope="module")
def crowd(page, tmp_path_factory):
    """Users by the number of their picture, and what each was answered: as many as may wait, while one is at work.

    The process at work is stopped, so that all of them wait; then one more comes; then that process is killed.
    """
    if not Path("/proc/self/task").exists():
        pytest.skip("the process at work is found in /proc")
    folder = tmp_path_factory.mktemp("crowd")
    rng = np.random.default_rng(0)
    for number in range(WAITING + 2):  # colours and sizes of their own
        pixels = rng.integers(0, 256, (6 + number, 30 - number, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    (folder / "3.png").write_bytes(b"no picture")
    Image.new("1", (30_000, 30_000)).save(folder / "6.png")
    users = [User(page.url, folder / f"{number}.png") for number in range(WAITING + 2)]
    first, *waiting, late = users
    worker = worker_of(page)
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(len(users)) as pool:
        try:
            answers = [pool.submit(first.restore)]
            until(lambda: "process_starts" in first.heard)
            answers += [pool.submit(user.restore) for user in waiting]
            until(lambda: all("estimation" in user.heard for user in waiting))
            answers.append(pool.submit(late.restore))
            assert answers[-1].result(PATIENCE) is None
        finally:
            os.kill(worker, signal.SIGKILL)
        return SimpleNamespace(users=users, answers=[answer.result() for answer in answers])


def restoration_of(user, weights):
    return to_uint8(run_network(load_model(weights), load_picture(user.path).rgb[None]).sr[0])


@pytest.mark.slow
def test_each_of_ten_users_at_once_gets_what_belongs_to_their_picture(crowd, weights):
    said = {number: answer["status"] for number, answer in enumerate(crowd.answers) if answer}
    assert said.pop(0) == "⚠ the process at work was ended, perhaps for want of memory; try again."
    assert said.pop(3) == "⚠ 3.png is truncated, damaged or not an image; replace or remove it."
    assert said.pop(6) == "⚠ 6.png is 30000x30000, and this page takes 500000 pixels at most; cut or shrink it."
    assert list(said) == [1, 2, 4, 5, 7, 8, 9]
    for number in said:
        user, answer = crowd.users[number], crowd.answers[number]
        expected = restoration_of(user, weights)
        for file in (answer["slider"][1], answer["download"]["value"], answer["picture"]):
            np.testing.assert_array_equal(user.picture(file), expected)


@pytest.mark.slow
def test_after_a_killed_worker_and_a_full_queue_both_users_are_served_when_they_try_again(crowd, weights, page):
    for user in (crowd.users[0], crowd.users[-1]):
        np.testing.assert_array_equal(user.picture(user.restore()["picture"]), restoration_of(user, weights))
    assert len(list(page.temporary.glob("arcsr-demo-*/results/*"))) == WAITING  # two were bad: nothing is left of these


@pytest.mark.slow
def test_clicks_are_answered_for_the_picture_of_the_user_who_clicks(crowd):
    served = [number for number, answer in enumerate(crowd.answers) if answer and "Restored" in answer["status"]]
    with ThreadPoolExecutor(len(served)) as pool:
        answers = list(pool.map(lambda number: crowd.users[number].click(4 * (29 - number), 2), served))
    for number, answer in zip(served, answers, strict=True):
        assert f"Kernel of LR pixel (0, {29 - number}): " in answer["answer-text"]
        assert crowd.users[number].picture(answer["picture"]).shape == (4 * (6 + number), 4 * (30 - number), 3)


# --- in a browser


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
