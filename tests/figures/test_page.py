"""The page of Figure 2 holds all that it shows."""

import base64
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from arcsr_lightning.data.images import to_uint8
from arcsr_lightning.figures.comparison import Cell, make_scene
from arcsr_lightning.figures.page import comparison_page, grown_part


class Page(HTMLParser):
    """The crops and the kernels of a page by their alternative text, and the text of its captions."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: dict[str, dict[str, np.ndarray]] = {"crop": {}, "kernels": {}}
        self.open: list[str] = []
        self.captions: list[str] = []
        self.marks: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.tags.append((tag, own))
        self.open.append(tag)
        if tag == "figcaption":
            self.captions.append("")
        if tag == "b":
            self.marks.append(own["style"])
        if tag == "img":
            head, _, data = own["src"].partition(",")
            assert head == "data:image/webp;base64"
            self.images[own["class"]][own["alt"]] = np.asarray(Image.open(BytesIO(base64.b64decode(data))))

    def handle_endtag(self, tag):
        while self.open.pop() != tag:  # img and br have no end
            pass

    def handle_data(self, data):
        if "figcaption" in self.open:
            self.captions[-1] += data


def scene(kernels=True):
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(3, 200, 300, generator=generator)
    field = torch.rand(25, 50, 75, generator=generator) if kernels else None
    cells = [Cell("LR, 75×50", hr * 0.5), Cell("bicubic", hr * 0.7, 20.5), Cell("a<b>&'\"", hr * 0.9, 21.25, field)]
    return make_scene("photo<1>", 10.0, 4, [*cells, Cell("ground truth", hr)])


def test_all_methods_are_there_each_with_its_pixels_and_its_score():
    one = scene()
    page = Page(comparison_page([one], "study <1>", "a caption & more", "a<b>&'\""))
    part = grown_part(one, 160, 240)
    assert list(page.images["crop"]) == [cell.title for cell in one.cells]
    for cell in one.cells:
        shown = page.images["crop"][cell.title]
        assert shown.shape == (160, 240, 3)
        np.testing.assert_array_equal(shown, to_uint8(cell.picture[:, *part]))
    assert page.captions == ["LR, 75×50", "bicubic20.50 dB", "a<b>&'\"21.25 dB", "ground truth"]
    (strip,) = page.images["kernels"].values()
    np.testing.assert_array_equal(strip, one.kernels(one.cells[2]))
    assert len(page.marks) == 3
    assert dict(page.tags)["body"]["data-right"] == "a<b>&'\""


def test_nothing_is_loaded_from_anywhere():
    text = comparison_page([scene(), scene(kernels=False)], "study", "a caption", "bicubic")
    for tag, attributes in Page(text).tags:
        assert tag != "link" and not (tag == "script" and attributes)
        assert all(value.startswith("data:") for key, value in attributes.items() if key in ("src", "href"))
    assert not re.search(r"https?:|url\(|@import|<!--", re.sub(r"base64,[^\"]*", "", text))


def test_the_page_shows_more_around_the_part_of_the_picture():
    one = scene()
    for side, small, whole in zip(grown_part(one, 160, 240), one.part, (200, 300), strict=True):
        assert side.start <= small.start < small.stop <= side.stop <= whole and side.start % 4 == 0
    assert grown_part(one, 500, 500) == (slice(0, 200), slice(0, 300))
    assert [side.stop - side.start for side in grown_part(one, 10, 10)] == [80, 120]
    down, across = grown_part(one, 160, 240)
    (y, x), *_ = one.pixels
    first = Page(comparison_page([one], "study", "", "bicubic")).marks[0]
    left, top = (float(number) for number in re.findall(r"([\d.]+)%", first))
    assert abs(left / 100 * 240 + across.start - (4 * x + 2)) < 0.05
    assert abs(top / 100 * 160 + down.start - (4 * y + 2)) < 0.05
