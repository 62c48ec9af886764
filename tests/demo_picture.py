"""Takes the picture of docs/demo.md: the page, with the kernel of a clicked pixel.

python tests/demo_picture.py PICTURE WEIGHTS RIGHT DOWN OUTPUT: of an LR picture, clicked at RIGHT and DOWN of its
width and height, from 0 to 1.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

PATIENCE = 600  # seconds


def take(browser: webdriver.Chrome, url: str, picture: Path, right: float, down: float, output: Path) -> None:
    """Upload, restore, click, and save the page as it is then."""
    until = WebDriverWait(browser, PATIENCE).until

    def see(selector, words=""):
        return until(lambda _: next((e for e in browser.find_elements("css selector", selector) if words in e.text), 0))

    browser.get(url)
    see("#restore")
    browser.find_element("css selector", "#upload input[type=file]").send_keys(str(picture.resolve()))
    see("#upload", picture.stem[:4])
    see("#restore").click()
    see("#status", "Restored")
    image = see("#picture img")
    offset = (round((right - 0.5) * image.size["width"]), round((down - 0.5) * image.size["height"]))
    ActionChains(browser).move_to_element_with_offset(image, *offset).click().perform()
    see("#answer-text", "Kernel of")
    until(lambda _: see("#answer img").size["width"] > 100)
    time.sleep(3)  # until progress bars have faded
    browser.save_screenshot(str(output.with_suffix(".taken.png")))


def main(picture: str, weights: str, right: str, down: str, output: str) -> None:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1440,1160"):
        options.add_argument(argument)
    command = [sys.executable, "-m", "arcsr_lightning.demo", f"weights={Path(weights).resolve()}"]
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as page,
    ):
        try:
            url = page.stdout.readline().split()[0]
            with webdriver.Chrome(
                options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
            ) as browser:
                take(browser, url, Path(picture), float(right), float(down), Path(output))
        finally:
            page.terminate()
    taken = Path(output).with_suffix(".taken.png")
    Image.open(taken).convert("RGB").quantize(200).save(output, optimize=True)
    taken.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
