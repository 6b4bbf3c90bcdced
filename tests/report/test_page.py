"""The page in Chromium, opened from disk without a network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from robustbench_aa.evaluation.session import prepare
from robustbench_aa.report.page import render_page
from robustbench_aa.run import Run
from robustbench_aa.suite import Suite
from tests.conftest import make_classifier

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "<script>alert(1)</script>"
MODELS = ("base", "mine:net@lpf3", HOSTILE, '"><img src=x onerror=alert(2)> $x_1$')
LARGEST = 3_000_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    models = [make_classifier(name, seed=seed) for seed, name in enumerate(MODELS)]
    suite = Suite(
        models,
        ["digits-c", "digits-p", "digits-shift"],
        baseline="base",
        limit=12,
        shard_size=6,
        protocols=["circular", "crops", "neighbours"],
    )
    made = prepare(suite, tmp_path_factory.mktemp("run"), "cpu").run()
    made.report()
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = import_module("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


class Opened:
    """The page of a run in a browser, with all its errors and requests."""

    def __init__(self, browser: Browser, run: Run, width: int = 1440, scheme: str = "light"):
        self.complaints: list[str] = []
        self.requests: list[str] = []
        size = {"width": width, "height": 900}
        self.page: Page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto((run.directory / "report" / "index.html").as_uri())
        self.page.wait_for_selector("[data-plot=ranking] svg")

    def column(self, name: str) -> list[str]:
        """Return a column of the leaderboard in full precision, in the order shown."""
        return self.page.eval_on_selector_all(
            f'#board tbody tr [data-column="{name}"]', "cells => cells.map(c => c.dataset.order)"
        )

    def models(self) -> list[str]:
        return self.page.eval_on_selector_all(
            "#board tbody tr", "rows => rows.map(row => row.dataset.model)"
        )

    def view(self, name: str) -> None:
        """Choose columns of the leaderboard."""
        self.page.check(f"input[name=view][value={name}]", force=True)

    def header(self, text: str) -> str:
        """Return the header that a click sorts by."""
        return f'#board thead th:has-text("{text}")'

    def orders(self, selector: str) -> list[str]:
        """Return the unrounded values of cells, in the order shown."""
        return self.page.eval_on_selector_all(selector, "all => all.map(c => c.dataset.order)")

    def drawn(self, plot: str, mark: str) -> int:
        """Return the number of marks in a plot."""
        return self.page.locator(f"[data-plot={plot}] svg {mark}").count()


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_without_error_request_or_overflow(
    browser: Browser, run: Run, width: int, scheme: str
) -> None:
    opened = Opened(browser, run, width, scheme)
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.page.url]
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_every_number_agrees_with_the_csv_files(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    board = pd.read_csv(run.directory / "report" / "leaderboard.csv", dtype=str).fillna("")
    assert opened.models() == list(board["model"])
    shown = [name for name in board if opened.column(name)]
    assert {"rank", "clean_error", "mean_error", "mean_flip_probability", "ece"} <= set(shown)
    for name in shown:
        assert opened.column(name) == list(board[name]), name
    for name, column in SECTIONS.items():
        table = csv(run, name)
        shown_values = opened.orders(f"#{name} .numbers td[data-order]:not([data-order=''])")
        assert sorted(shown_values) == sorted(table[column].dropna()), name
    heat = opened.orders("#heat td:not([data-order=''])")
    assert sorted(heat) == sorted(csv(run, "corruption_means")["error"].dropna())
    tiles = opened.orders(".tile .value [data-order]")
    assert tiles == [
        min(board["mean_error"]),
        min(board["mean_flip_probability"]),
        max(board["consistency_crops"]),
    ]


SECTIONS = {"corruptions": "error", "perturbations": "flip_probability", "calibration": "ece"}


def csv(run: Run, name: str) -> pd.DataFrame:
    return pd.read_csv(run.directory / "report" / f"{name}.csv", dtype=str)


def test_the_plots_are_drawn_from_the_values_of_the_csv_files(run: Run) -> None:
    text = (run.directory / "report" / "index.html").read_text(encoding="utf-8")
    [found] = re.findall(r'id="data">(.*?)</script>', text)
    tables = json.loads(found)["tables"]
    assert {"corruptions", "differences", "reliability", "answers"} <= set(tables)
    for name, columns in tables.items():
        for column, values in columns.items():
            expected = csv(run, name)[column]
            if isinstance(values, dict):
                values = [values["values"][place] for place in values["places"]]
                assert values == list(expected.fillna("")), (name, column)
            else:
                numbers = [None if pd.isna(value) else float(value) for value in expected]
                assert values == numbers, (name, column)


def test_a_header_sorts_by_mouse_and_by_keyboard(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    opened.view("corruptions")
    ordered = sorted(opened.column("ece"), key=float)
    opened.page.click(f"{opened.header('ece')} button")
    opened.page.wait_for_selector(f"{opened.header('ece')}[aria-sort=ascending]")
    assert opened.column("ece") == ordered
    opened.page.focus(f"{opened.header('ece')} button")
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(f"{opened.header('ece')}[aria-sort=descending]")
    assert opened.column("ece") == ordered[::-1]


def test_a_filter_leaves_the_rows_that_match(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    rows = opened.page.locator("#board tbody tr:visible")
    opened.page.fill("#filter", "LPF3")
    assert rows.count() == 1
    assert rows.get_attribute("data-model") == "mine:net@lpf3"
    opened.page.fill("#filter", "")
    assert rows.count() == len(MODELS)


def test_a_view_shows_its_columns_and_never_cuts_them(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run, width=1300)
    found: set[str] = set()
    for view in ("overview", "corruptions", "perturbations", "shifts", "run"):
        opened.view(view)
        titles = opened.page.locator("#board thead th:visible").all_inner_texts()
        assert titles[:2] == ["rank", "model"]
        found |= {title.partition("_base")[0] for title in titles}
        wide = "e => e.scrollWidth <= e.parentElement.clientWidth"
        assert opened.page.eval_on_selector("#board", wide), view
    assert {"mean_error", "mce", "mfr", "fooled_circular", "params_m", "complete"} <= found


@pytest.mark.parametrize("baseline", MODELS)
def test_another_baseline_shows_the_values_of_a_report_with_it(
    browser: Browser, run: Run, baseline: str
) -> None:
    opened = Opened(browser, run)
    opened.page.select_option("#baseline", baseline)
    board = run.leaderboard(baseline).set_index("model").loc[opened.models()]
    for metric in ("mce", "relative_mce", "mfr", "mt5d"):
        cells = opened.page.eval_on_selector_all(
            f'#board [data-relative="{metric}"]', "cells => cells.map(c => c.dataset.order)"
        )
        expected = board[f"{metric}_{baseline}"]
        assert cells == ["" if pd.isna(v) else f"{v:.6f}" for v in expected], metric
        titles = opened.page.locator("#board thead").text_content()
        assert f"{metric}_{baseline}" in (titles or "")
    opened.view("perturbations")
    opened.page.click(f"{opened.header('mfr_')} button")
    opened.page.wait_for_selector(f"{opened.header('mfr_')}[aria-sort=ascending]")
    shown = opened.page.eval_on_selector_all(
        '#board [data-relative="mfr"]', "cells => cells.map(c => c.dataset.order)"
    )
    assert shown == sorted(shown, key=lambda value: float(value or "inf"))
    assert opened.complaints == []


def test_the_errors_of_a_chosen_model_are_shown(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    opened.page.click("#corruptions .numbers summary")
    opened.page.select_option("#model-corruptions", HOSTILE)
    shown = opened.page.locator("#corruptions .numbers table:visible")
    assert shown.count() == 1
    assert shown.locator("caption").inner_text() == HOSTILE
    table = pd.read_csv(run.directory / "report" / "corruptions.csv", dtype=str)
    fog = table[(table["model"] == HOSTILE) & (table["corruption"] == "fog")]
    row = shown.locator("tr", has=opened.page.locator("th", has_text=re.compile("^fog$")))
    cells = row.locator("td[data-order]:not([data-order=''])").all()
    assert [cell.get_attribute("data-order") for cell in cells] == list(fog["error"])


def test_a_protocol_shows_the_metrics_that_it_has(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    table = csv(run, "consistency")
    opened.page.click("#consistency .numbers summary")
    for protocol in ("neighbours", "crops"):
        opened.page.select_option("#model-consistency", protocol)
        shown = opened.page.locator("#consistency table:visible")
        assert shown.count() == 1
        rows = table[table["protocol"] == protocol].dropna(axis="columns", how="all")
        metrics = shown.locator("thead th").all_inner_texts()[1:]
        assert ("fooled" in metrics) == (protocol == "neighbours")
        assert set(metrics) <= set(rows)
        for index, row in enumerate(rows.to_dict("records")):
            cells = shown.locator("tbody tr").nth(index).locator("td").all()
            found = [cell.get_attribute("data-order") for cell in cells]
            assert found == [row[metric] for metric in metrics]
    protocols = set(table.dropna(subset="accuracy_worst")["protocol"])
    assert opened.drawn("worst_case", "circle") == len(protocols) * len(MODELS)
    # the axes are the same: the dotted line leads from corner to corner
    line = opened.page.locator("[data-plot=worst_case] [stroke-dasharray] path").first
    frame = opened.page.locator("[data-plot=worst_case] rect").first
    for side in ("width", "height"):
        size = float(frame.get_attribute(side) or 0)
        assert line.evaluate(f"path => path.getBBox().{side}") == pytest.approx(size, abs=1)


def test_the_chosen_models_are_drawn(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    perturbations = csv(run, "perturbations")["perturbation"].nunique()
    assert opened.drawn("perturbations", "circle") == perturbations * len(MODELS)
    opened.page.click("#models summary")
    opened.page.uncheck(f"#models label:has-text('{MODELS[1]}') input")
    assert opened.drawn("perturbations", "circle") == perturbations * (len(MODELS) - 1)
    assert opened.page.locator("#legend > span").count() == len(MODELS) - 1
    for place in range(len(MODELS)):
        opened.page.locator("#models input").nth(place).uncheck()
    assert opened.drawn("perturbations", "circle") == 0
    assert opened.complaints == []


def test_the_heat_map_shows_errors_corruption_errors_and_differences(
    browser: Browser, run: Run
) -> None:
    opened = Opened(browser, run)
    values = "#heat td:not([data-order=''])"
    opened.page.select_option("#heat-value", label="error, severity 3")
    errors = csv(run, "corruptions")
    assert sorted(opened.orders(values)) == sorted(errors[errors["severity"] == "3"]["error"])
    opened.page.select_option("#heat-value", label="CE relative to base")
    table = csv(run, "normalised")
    assert sorted(opened.orders(values)) == sorted(table[table["metric"] == "ce"]["value"].dropna())
    opened.page.select_option("#heat-value", label="difference from base")
    table = csv(run, "differences")
    rows = table[(table["metric"] == "error") & table["distortion"].notna()]
    expected = rows[rows["other"] == "base"]["difference"]
    assert sorted(opened.orders(values)) == sorted(expected)
    assert len(expected) == 19 * (len(MODELS) - 1)
    fog = opened.page.locator("#heat thead th", has_text=re.compile("^fog$"))
    fog.locator("button").click()
    place = opened.page.locator("#heat thead th").all_inner_texts().index("fog") + 1
    column = opened.orders(f"#heat tbody tr > :nth-child({place})")
    assert column == [*sorted(filter(None, column), key=float), ""]


def test_any_two_models_are_compared(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    expected = run.compare(HOSTILE, "base").dropna(subset="p")
    for model, other, sign in ((HOSTILE, "base", 1), ("base", HOSTILE, -1)):
        opened.page.select_option("#pair-model", model)
        opened.page.select_option("#pair-other", other)
        shown = opened.orders("#pair-table [data-column=difference]")
        assert [float(value) for value in shown] == pytest.approx(
            list(sign * expected["difference"]), abs=1e-6
        )
        distortions = int((expected["distortion"] != "").sum())
        assert opened.drawn("pairs", "circle") == distortions
    opened.page.select_option("#pair-other", "base")
    opened.page.select_option("#pair-model", "base")
    assert "two different models" in opened.page.locator("[data-plot=pairs]").inner_text()
    assert opened.complaints == []


def test_the_answers_along_a_sequence_are_the_predictions(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    table = csv(run, "answers")
    for name in ("translate", "rotate"):
        opened.page.select_option("#strip-perturbation", name)
        rows = table[(table["dataset"] == "digits-p") & (table["distortion"] == name)]
        marks = opened.page.locator("[data-plot=strips] rect[fill^=var]")
        right = opened.page.locator("[data-plot=strips] rect[fill='var(--right)']")
        frames = rows["frame"].nunique()
        assert marks.count() == len(rows) == 3 * frames * len(MODELS) > 3 * 10 * len(MODELS)
        assert right.count() == (rows["true_class"] == rows["predicted_class"]).sum()


def test_an_image_opens_with_the_answers_of_every_model(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    opened.page.focus("button.sample[data-distortion=fog]")
    opened.page.keyboard.press("Enter")
    dialog = opened.page.locator("#sample")
    assert dialog.is_visible()
    assert dialog.locator("#sample-pictures img").count() == 5
    rows = csv(run, "answers").query("dataset == 'digits-c' and distortion == 'fog'")
    assert len(rows) == 5 * len(MODELS)
    shown = opened.orders("#sample-answers td")
    assert sorted(shown) == sorted(rows["probability"])
    wrong = dialog.locator("td.wrong").count()
    assert wrong == (rows["true_class"] != rows["predicted_class"]).sum()
    opened.page.keyboard.press("Escape")
    assert not dialog.is_visible()
    opened.page.click("button.sample[data-dataset=digits-p]:first-of-type")
    assert dialog.locator("#sample-answers").inner_text() == ""
    opened.page.click("#sample-close")
    assert not dialog.is_visible()


def test_every_picture_appears(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    empty = "all => all.filter(i => !i.complete || i.naturalWidth === 0 || i.width === 0).length"
    assert opened.page.locator("main img").count() > 100
    assert opened.page.eval_on_selector_all("main img", empty) == 0


PAPER = 718
"""The width of a sheet of A4 within margins of 1 cm, in pixels."""


def test_paper_shows_all_tables_and_what_the_colours_mean_but_no_controls(
    browser: Browser, run: Run
) -> None:
    opened = Opened(browser, run, scheme="dark")
    page = opened.page
    page.emulate_media(media="print")
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert ink == "rgb(27, 27, 31)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.set_viewport_size({"width": PAPER, "height": 1000})
    visible = "all => all.every(e => e.checkVisibility({contentVisibilityAuto: true}))"
    for shown in ("details table", "details.about p", "#legend", "main img", "[data-plot] svg"):
        assert page.locator(shown).count() > 0
        assert page.eval_on_selector_all(shown, visible), shown
    for hidden in (".links", "#models", ".views", "#filter", "dialog"):
        assert not page.locator(hidden).first.is_visible(), hidden
    for view in ("overview", "corruptions", "perturbations", "shifts", "run"):
        page.eval_on_selector(f"input[name=view][value={view}]", "choice => choice.click()")
        wide = "all => all.filter(e => e.getBoundingClientRect().right > innerWidth).length"
        assert page.eval_on_selector_all("table, svg, pre", wide) == 0, view
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    wide = "svg => svg.clientWidth"
    assert page.eval_on_selector("[data-plot=corruptions] svg", wide) > 2 * PAPER - 200
    assert opened.complaints == []


def test_natural_shifts_have_a_dot_for_each_model_and_data_set(
    browser: Browser, run: Run, tmp_path: Path
) -> None:
    rows = [
        {"model": model, "dataset": name, "class_rule": f"one label among {classes} classes"}
        | {"images": 100, "images_left_out": 0, "error": 0.1 * place + 0.05 * shift + 0.1}
        for place, model in enumerate(MODELS)
        for shift, (name, classes) in enumerate((("imagenet-a", "200"), ("imagenet-v2", "1,000")))
    ]
    table = pd.DataFrame(rows)
    table["error_low"], table["error_high"] = table["error"] - 0.04, table["error"] + 0.04
    path = tmp_path / "index.html"
    path.write_text(render_page("a run", replace(run.tables(), natural_shifts=table), {}))
    page = browser.new_page()
    page.goto(path.as_uri())
    section = page.locator("#natural_shifts")
    assert section.locator("[data-plot] circle").count() == len(table)
    rules = "imagenet-a: one label among 200 classes; imagenet-v2: one label among 1,000 classes."
    assert rules in section.locator(".note").inner_text()
    cells = section.locator("td").evaluate_all("all => all.map(c => [c.dataset.order, c.title])")
    assert cells[:2] == [["0.100000", "0.0600 to 0.1400"], ["0.150000", "0.1100 to 0.1900"]]
    assert len(cells) == len(table)
    page.click("nav a:has-text('Natural shifts')")
    assert section.bounding_box()["y"] < 200
    without = (run.directory / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="natural_shifts"' not in without


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (390, "dark")])
def test_axe_finds_no_serious_obstacle(browser: Browser, run: Run, width: int, scheme: str) -> None:
    axe = import_module("axe_playwright_python.sync_playwright").Axe()
    opened = Opened(browser, run, width, scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    found = axe.run(opened.page).response["violations"]
    opened.page.click("button.sample[data-distortion=fog]")
    found += axe.run(opened.page, "dialog").response["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["target"]) for each in serious] == []


def test_another_script_would_not_run(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    added = "document.body.append(Object.assign(document.createElement('script'), {textContent: "
    opened.page.evaluate(added + "'window.ran = true'}))")
    assert opened.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)


def test_a_hostile_name_stays_text(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    for baseline in MODELS:
        opened.page.select_option("#baseline", baseline)
    assert opened.models().count(HOSTILE) == 1
    scripts = opened.page.eval_on_selector_all("script", "all => all.map(s => s.type)")
    assert sorted(scripts) == ["", "", "application/json", "application/json"]
    assert opened.page.locator("img[src=x]").count() == 0
    assert opened.complaints == []


def test_the_page_is_one_small_file_that_names_no_address(run: Run) -> None:
    path = run.directory / "report" / "index.html"
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < LARGEST
    assert HOSTILE not in text
    addresses: list[str] = []

    class Addresses(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            addresses.extend(value or "" for name, value in attributes if name in ("src", "href"))

    Addresses().feed(text)
    assert addresses
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == []


def test_missing_cells_are_named_with_the_command_that_adds_them(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "half"
    shutil.copytree(run.directory, copy)
    files = sorted((copy / "predictions").rglob("*.parquet"))
    for file in files[::2]:
        file.unlink()
    manifest = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    manifest["command"] = "robustbench-aa benchmark mine.toml"
    (copy / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    half = Run(copy)
    half.report()
    text = (copy / "report" / "index.html").read_text(encoding="utf-8")
    assert "Not complete." in text
    assert "robustbench-aa benchmark mine.toml" in text
    assert not half.leaderboard()["complete"].any()
    assert half.leaderboard()["mean_error"].isna().all()


@pytest.mark.parametrize(
    ("command", "subset", "explanation", "shown"),
    [
        (
            "robustbench-aa evaluate -m a -d digits-c",
            False,
            "The command that started the run evaluates them",
            "robustbench-aa evaluate -m a -d digits-c",
        ),
        (
            "robustbench-aa evaluate -m a --corruption fog --severity=3 --corruption-backend torch",
            True,
            "This command evaluates the rest",
            "robustbench-aa evaluate -m a --corruption-backend torch",
        ),
        (
            "robustbench-aa benchmark mine.toml",
            True,
            "Remove corruptions, severities and perturbations from its suite",
            "robustbench-aa benchmark mine.toml",
        ),
    ],
)
def test_the_page_advises_a_command_that_fills_in_what_is_missing(
    run: Run, command: str, subset: bool, explanation: str, shown: str
) -> None:
    missing = pd.DataFrame(
        [{"model": "a", "dataset": "digits-c", "distortion": "snow/1", "shards": 1, "missing": 1}]
    ).assign(first_missing="0-12")
    tables = replace(run.tables(), missing=missing, command=command, partial=subset)
    page = render_page("a run", tables, {})
    part = page[page.index('id="missing"') : page.index("<nav")]
    assert explanation in part
    assert f"<pre><code>{shown}</code></pre>" in part
