"""The HTML report under real clicks, keys and screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from hfmem.memory.workload import Workload
from hfmem.report import html
from tests.browser.conftest import by_hand

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

GIB = 2**30
CURVE = [[1024, 14 * GIB, GIB // 8, GIB, GIB // 2], [8192, 14 * GIB, GIB, GIB, GIB // 2]]
EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def model(name: str, *, verdict: str = "fits", weights: int = 14 * GIB, **more: Any) -> Any:
    card = by_hand.fit(verdict)
    other = by_hand.fit("no", card=by_hand.gpu("H100 SXM", gpu_id="h100-sxm"))
    row = by_hand.estimate(name, fit=(card, other), **more).to_dict()
    row["memory"]["weights_bytes"] = weights
    row["memory"]["total_bytes"] = weights + 2 * GIB
    return {"type": "result", **row, "by_context": CURVE}


def report(*rows: Any) -> str:
    return "".join(html.pieces(lambda: rows, Workload(ctx=8192), changes=None))


@pytest.fixture
def three(opened: Callable[..., Page], row_of: Callable[[object], Any]) -> Page:
    rows = (
        model("org/middle", weights=20 * GIB),
        model("org/Large", weights=90 * GIB, verdict="offload"),
        model("abc/small", weights=GIB, verdict="tight"),
        row_of(by_hand.failure("org/gated")),
    )
    return opened(report(*rows))


def names(page: Page) -> list[str]:
    return page.locator("#rows .name").all_inner_texts()


def test_all_rows_are_in_the_order_of_the_list(three: Page) -> None:
    assert names(three) == ["org/middle", "org/Large", "abc/small"]
    assert three.locator("#shown").inner_text() == "3 models"
    assert three.locator("#matrix tr").count() == 3
    assert "org/gated is gated." in three.locator("section", has_text="Not estimated").inner_text()


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("total", ["org/Large", "org/middle", "abc/small"]),
        ("weights", ["org/Large", "org/middle", "abc/small"]),
        ("model", ["abc/small", "org/Large", "org/middle"]),
        ("rtx-4090", ["org/middle", "abc/small", "org/Large"]),
    ],
)
def test_a_heading_sorts_and_sorts_back(three: Page, column: str, order: list[str]) -> None:
    button = three.get_by_role("button", name=column, exact=True)
    button.click()
    assert names(three) == order
    head = three.locator("th[aria-sort]")
    assert head.count() == 1
    button.click()
    assert names(three) == order[::-1]


@pytest.mark.parametrize(
    ("text", "found"),
    [("LARGE", ["org/Large"]), ("org/", ["org/middle", "org/Large"]), ("zzz", [])],
)
def test_the_filter_filters_both_tables(three: Page, text: str, found: list[str]) -> None:
    three.get_by_label("Filter by name or type").fill(text)
    assert names(three) == found
    assert three.locator("#matrix th").all_inner_texts() == found
    assert three.locator("#none").is_visible() == (not found)
    assert three.locator("#shown").inner_text() == f"{len(found)} of 3 models"


@pytest.mark.parametrize(
    ("gpu", "verdict", "found"),
    [
        ("any GPU", "fits or tight", ["org/middle", "abc/small"]),
        ("rtx-4090", "offload", ["org/Large"]),
        ("h100-sxm", "fits or tight", []),
        ("h100-sxm", "no", ["org/middle", "org/Large", "abc/small"]),
        ("rtx-4090", "every verdict", ["org/middle", "org/Large", "abc/small"]),
    ],
)
def test_verdicts_are_chosen(three: Page, gpu: str, verdict: str, found: list[str]) -> None:
    three.get_by_label("GPU").select_option(label=gpu)
    three.get_by_label("Verdict").select_option(label=verdict)
    assert names(three) == found


def test_the_scale_of_the_bars(three: Page) -> None:
    width = "el => el.firstElementChild.getBoundingClientRect().width / el.clientWidth"
    small = three.locator("#rows .bar").nth(2)
    assert small.evaluate(width) < 0.05
    three.get_by_label("Scale of the bars").select_option(label="bars by share")
    # 1 of 1 + 0.4375 + 1 + 0.5625 GiB.
    assert small.evaluate(width) == pytest.approx(1 / 3, abs=0.01)


def test_details_open_and_close(three: Page) -> None:
    button = three.get_by_role("button", name="org/middle")
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    inside = three.locator(".inside")
    assert "56.0 KiB" in inside.inner_text()
    assert inside.locator("polygon").count() == 4
    assert inside.locator("svg text", has_text="rtx-4090").count() == 1
    button.click()
    assert three.locator(".inside").count() == 0


def test_a_click_anywhere_on_a_line_opens_it(three: Page) -> None:
    line = three.locator("#rows tr").first
    line.locator("td").last.click()
    assert three.locator("#rows tr.more").count() == 1
    line.locator("td").last.click()
    assert three.locator("#rows tr.more").count() == 0


def test_the_keyboard_alone(three: Page) -> None:
    three.keyboard.press("/")
    three.keyboard.type("large")
    assert names(three) == ["org/Large"]
    three.keyboard.press("Escape")
    assert len(names(three)) == 3
    three.get_by_role("button", name="total").focus()
    three.keyboard.press("Enter")
    assert names(three)[0] == "org/Large"
    three.get_by_role("button", name="org/Large").focus()
    three.keyboard.press("Space")
    assert three.locator(".inside").count() == 1


@pytest.mark.parametrize(("scheme", "after"), [("light", "dark"), ("dark", "light")])
def test_light_and_dark(opened: Callable[..., Page], scheme: str, after: str) -> None:
    page = opened(report(model("org/a")), scheme=scheme)
    colour = "() => getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour)
    page.get_by_role("button", name="Light or dark").click()
    assert page.locator("html").get_attribute("data-theme") == after
    assert page.evaluate(colour) != before


@pytest.mark.parametrize("width", [360, 400, 768, 1280])
def test_no_screen_is_too_narrow(opened: Callable[..., Page], width: int) -> None:
    page = opened(report(model("organization/" + "long-name-" * 9)), width=width)
    page.locator("#rows .name").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator(".inside").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= width


def test_strangers_words_stay_words(
    opened: Callable[..., Page], row_of: Callable[[object], Any]
) -> None:
    page = opened(
        report(
            model(EVIL, columns={EVIL: EVIL}, dtype=EVIL, class_name=EVIL),
            row_of(by_hand.failure(EVIL, message=EVIL, hint=EVIL)),
        )
    )
    page.locator("#rows .name").click()
    assert names(page) == [EVIL]
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2


def test_five_hundred_models(opened: Callable[..., Page]) -> None:
    content = report(*(model(f"org/model-{number}") for number in range(500)))
    assert len(content) < 3_000_000
    page = opened(content)
    assert len(names(page)) == 100
    assert page.locator("#fitted").text_content() == "the first 100 of those above"
    page.get_by_role("button", name="Show all 500").click()
    assert len(names(page)) == 500
    assert not page.locator("#rest").is_visible()


def test_paper_has_every_row(opened: Callable[..., Page]) -> None:
    page = opened(report(*(model(f"org/model-{number}") for number in range(150))))
    page.emulate_media(media="print")
    assert page.pdf()[:5] == b"%PDF-"
    assert len(names(page)) == 150
    assert not page.locator(".tools").is_visible()


def test_only_failures(opened: Callable[..., Page], row_of: Callable[[object], Any]) -> None:
    page = opened(report(row_of(by_hand.failure("org/gated"))))
    assert page.get_by_role("heading", name="Memory of 1 model").is_visible()
    assert page.locator("#rows").count() == 0
