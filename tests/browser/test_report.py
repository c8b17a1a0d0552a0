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
    button = three.locator("#heads").get_by_role("button", name=column, exact=True)
    button.click()
    assert names(three) == order
    assert three.locator("#heads th[aria-sort]").count() == 1
    button.click()
    assert names(three) == order[::-1]


@pytest.mark.parametrize(
    ("text", "found"),
    [("LARGE", ["org/Large"]), ("org/", ["org/middle", "org/Large"]), ("zzz", [])],
)
def test_the_filter_filters_both_tables(three: Page, text: str, found: list[str]) -> None:
    three.get_by_label("Filter models").fill(text)
    assert names(three) == found
    assert three.locator("#matrix th").all_inner_texts() == found
    for empty in ("#none", "#unfit"):
        assert three.locator(empty).is_visible() == (not found)
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


def test_thousands_come_in_portions(opened: Callable[..., Page]) -> None:
    page = opened(report(*(model(f"org/model-{number}") for number in range(1300))))
    page.get_by_role("button", name="Show 1,000 more").click()
    assert len(names(page)) == 1100
    # What comes next has the focus, for those who use the keyboard.
    assert page.evaluate("document.activeElement.innerText") == "org/model-100"
    page.get_by_role("button", name="Show all 1,300").click()
    assert len(names(page)) == 1300
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


def test_the_order_is_chosen_and_taken_back(three: Page) -> None:
    order = three.get_by_label("Order")
    order.select_option(label="by total")
    assert names(three) == ["org/Large", "org/middle", "abc/small"]
    order.select_option(label="by model")
    assert names(three) == ["abc/small", "org/Large", "org/middle"]
    order.select_option(label="as listed")
    assert names(three) == ["org/middle", "org/Large", "abc/small"]
    assert three.locator("th[aria-sort]").count() == 0


def test_the_matrix_sorts_both_tables(three: Page) -> None:
    three.locator("#fitheads").get_by_role("button", name="rtx-4090").click()
    assert names(three) == ["org/middle", "abc/small", "org/Large"]
    assert three.locator("#matrix th").all_inner_texts() == names(three)
    assert three.get_by_label("Order").input_value() == "gpu0"


def test_what_is_open_stays_open(three: Page) -> None:
    three.get_by_role("button", name="org/Large").click()
    three.get_by_label("Order").select_option(label="by total")
    assert three.locator(".inside").count() == 1
    three.get_by_label("Filter models").fill("small")
    assert three.locator(".inside").count() == 0
    three.get_by_label("Filter models").fill("")
    open_line = three.locator("#rows tr.line", has=three.locator("[aria-expanded=true]"))
    assert open_line.locator(".name").all_inner_texts() == ["org/Large"]


def test_the_details_tell_the_fit_in_words(three: Page) -> None:
    three.get_by_role("button", name="org/Large").click()
    rows = three.locator(".fit tbody tr")
    assert [text.split() for text in rows.all_inner_texts()] == [
        ["rtx-4090", "offload", "24.00", "GiB", "7.00", "GiB", "32,768", "14"],
        ["h100-sxm", "no", "24.00", "GiB", "7.00", "GiB", "32,768", "14"],
    ]


@pytest.mark.parametrize(
    ("bytes_each", "labels", "above"),
    [
        # 4 parts of 5 GiB are below the cards' 24 GiB, which are within four times that.
        (5 * GIB, ["0", "5 GiB", "10 GiB", "15 GiB", "20 GiB", "25 GiB"], False),
        (3, ["0", "2 B", "4 B", "6 B", "8 B", "10 B", "12 B"], True),
        (
            300 * 2**20,
            ["0", "200 MiB", "400 MiB", "600 MiB", "800 MiB", "1,000 MiB", "1,200 MiB"],
            True,
        ),
        (2**55, ["0", "20 PiB", "40 PiB", "60 PiB", "80 PiB", "100 PiB", "120 PiB"], False),
    ],
)
def test_the_axis_of_the_chart(
    opened: Callable[..., Page], bytes_each: int, labels: list[str], above: bool
) -> None:
    row = {**model("org/a"), "by_context": [[1024, *[bytes_each] * 4], [8192, *[bytes_each] * 4]]}
    page = opened(report(row))
    found = page.locator("svg text[text-anchor=end]").all_text_contents()
    assert [text for text in found if not text.startswith("at ")] == labels
    assert page.locator(".above").count() == above
    assert page.locator("svg text", has_text="at 8k").is_visible()


def test_one_giant_does_not_hide_the_others(opened: Callable[..., Page]) -> None:
    small = [model(f"org/{number}") for number in range(5)]
    page = opened(report(model("org/giant", weights=5000 * GIB), *small))
    assert page.get_by_label("Scale of the bars").input_value() == "own"
    page.get_by_label("Scale of the bars").select_option(label="bars on one scale")
    page.get_by_label("Filter models").fill("org/1")
    filled = (
        "el => [...el.children].reduce((sum, one) => sum + one.offsetWidth, 0) / el.clientWidth"
    )
    assert page.locator("#rows .bar").evaluate(filled) > 0.95


def test_nothing_known_of_the_weights(opened: Callable[..., Page]) -> None:
    row = model("org/unknown")
    row["memory"].update(weights_bytes=None, total_bytes=None)
    row["fit"] = [{**fit, "verdict": None, "headroom_bytes": None} for fit in row["fit"]]
    page = opened(report({**row, "by_context": []}, model("org/known")))
    assert page.locator("#rows .total").all_inner_texts() == ["> 2.00 GiB", "16.00 GiB"]
    page.get_by_label("Verdict").select_option(label="unknown")
    assert names(page) == ["org/unknown"]
    page.locator("#rows .name").click()
    assert page.locator(".inside svg").count() == 0
    assert "at least 2.00 GiB" in page.locator(".inside").inner_text()


def test_paper_is_white_and_keeps_what_is_open(opened: Callable[..., Page]) -> None:
    page = opened(report(model("org/a"), model("org/b")), scheme="dark")
    page.get_by_role("button", name="org/b").click()
    page.emulate_media(media="print")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(29, 31, 35)"
    )
    # What Chromium repeats on every page are words, never buttons.
    assert page.locator("#heads .paper").first.is_visible()
    assert not page.locator("#heads button").first.is_visible()
    page.pdf()
    assert page.locator(".inside").count() == 1


CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => colour.slice(0, 3).map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
  };
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (words.nextNode()) {
    const node = words.currentNode.parentElement;
    if (!words.currentNode.data.trim() || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const ink = light(rgb(node.closest("svg") ? style.fill : style.color));
    const paper = light(behind(node));
    found.push([(Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05), node.textContent]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_can_be_read(
    opened: Callable[..., Page], row_of: Callable[[object], Any], scheme: str
) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 for text of this size."""
    rows = [model(f"org/{name}", verdict=name) for name in ("fits", "tight", "offload", "no")]
    page = opened(report(*rows, row_of(by_hand.failure("org/gated"))), scheme=scheme)
    page.locator("#rows .name").first.click()
    found = page.evaluate(CONTRAST)
    assert len(found) > 60
    assert [text for ratio, text in found if ratio < 4.5] == []


def test_on_a_telephone_names_stay_whole(opened: Callable[..., Page]) -> None:
    page = opened(report(model("organization/Some-Model-7B-Instruct")), width=390)
    # One line: 15 px at a line height of 1.5.
    assert page.locator("#rows .name span").evaluate("el => el.offsetHeight") <= 23
    assert page.locator("#rows .total").is_visible()
    # The verdicts, whose columns there is no room for, are in the details.
    assert "max batch" in page.locator(".fit").inner_text()
    assert page.locator(".inner").evaluate("el => el.scrollWidth <= el.clientWidth")


@pytest.mark.parametrize("width", [760, 900, 1000, 1180, 1280])
@pytest.mark.parametrize("named", [True, False])
def test_the_total_needs_no_scrolling(opened: Callable[..., Page], width: int, named: bool) -> None:
    row = model("organization/Some-Model-With-A-Name-7B-Instruct")
    page = opened(report(row if named else {**row, "fit": [], "cards": row["fit"]}), width=width)
    table = page.locator(".scroll").first
    assert table.evaluate("el => el.scrollWidth <= el.clientWidth")
    assert page.locator("#rows .total").is_visible()


def test_paper_has_all_columns(opened: Callable[..., Page]) -> None:
    page = opened(report(model("org/a")), width=794)
    assert not page.locator("#rows td.part").first.is_visible()
    page.emulate_media(media="print")
    assert page.locator("#rows td.part").first.is_visible()
    assert page.locator("#rows td.fact").first.is_visible()


def test_one_model_shows_all_of_itself(opened: Callable[..., Page]) -> None:
    page = opened(report(model("org/a")))
    assert page.locator(".inside").is_visible()
    assert not page.locator(".tools").is_visible()
    page.get_by_role("button", name="org/a").click()
    assert page.locator(".inside").count() == 0
