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
LARGEST = 5 * 2**20


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
        self.page.wait_for_selector("#board.dataTable")

    def column(self, name: str) -> list[str]:
        """Return a column of the leaderboard in full precision, in the order shown."""
        return self.page.eval_on_selector_all(
            f'#board tbody tr [data-column="{name}"]', "cells => cells.map(c => c.dataset.order)"
        )

    def models(self) -> list[str]:
        return self.page.eval_on_selector_all(
            "#board tbody tr", "rows => rows.map(row => row.dataset.model)"
        )

    def header(self, text: str) -> str:
        """Return the header to click for sorting."""
        return f'#board thead th:has-text("{text}")'


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
    shown_values = opened.page.eval_on_selector_all(
        "table.heat:not(#consistency *) tbody td[data-order]:not([data-order=''])",
        "cells => cells.map(cell => cell.dataset.order)",
    )
    expected = [
        value
        for name, column in (
            *(
                ("corruptions", "error"),
                ("perturbations", "flip_probability"),
                ("calibration", "ece"),
            ),
        )
        for value in pd.read_csv(run.directory / "report" / f"{name}.csv", dtype=str)[column]
        if isinstance(value, str)
    ]
    assert sorted(shown_values) == sorted(expected)


def test_a_header_sorts_by_mouse_and_by_keyboard(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    ordered = sorted(opened.column("ece"), key=float)
    opened.page.click(opened.header("ece"))
    opened.page.wait_for_selector(f"{opened.header('ece')}[aria-sort=ascending]")
    assert opened.column("ece") == ordered
    opened.page.focus(f"{opened.header('ece')} [role=button]")
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(f"{opened.header('ece')}[aria-sort=descending]")
    assert opened.column("ece") == ordered[::-1]


def test_a_filter_leaves_the_rows_that_match(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    opened.page.fill(".dt-search input", "lpf3")
    assert opened.models() == ["mine:net@lpf3"]
    opened.page.fill(".dt-search input", "")
    assert len(opened.models()) == len(MODELS)


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
        titles = opened.page.locator("#board thead").inner_text()
        assert f"{metric}_{baseline}" in titles
    opened.page.click(opened.header("mfr_"))
    opened.page.wait_for_selector(f"{opened.header('mfr_')}[aria-sort=ascending]")
    shown = opened.page.eval_on_selector_all(
        '#board [data-relative="mfr"]', "cells => cells.map(c => c.dataset.order)"
    )
    assert shown == sorted(shown, key=lambda value: float(value or "inf"))
    assert opened.complaints == []


def test_the_errors_of_a_chosen_model_are_shown(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    opened.page.select_option("#model-corruptions", HOSTILE)
    shown = opened.page.locator("#corruptions table:visible")
    assert shown.count() == 1
    assert shown.locator("caption").inner_text() == HOSTILE
    table = pd.read_csv(run.directory / "report" / "corruptions.csv", dtype=str)
    fog = table[(table["model"] == HOSTILE) & (table["corruption"] == "fog")]
    row = shown.locator("tr", has=opened.page.locator("th", has_text=re.compile("^fog$")))
    cells = row.locator("td[data-order]:not([data-order=''])").all()
    assert [cell.get_attribute("data-order") for cell in cells] == list(fog["error"])


def test_a_protocol_shows_the_metrics_that_it_has(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    table = pd.read_csv(run.directory / "report" / "consistency.csv", dtype=str)
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
    assert opened.page.locator("#consistency img").count() == 2


def test_a_hostile_name_stays_text(browser: Browser, run: Run) -> None:
    opened = Opened(browser, run)
    for baseline in MODELS:
        opened.page.select_option("#baseline", baseline)
    assert opened.models().count(HOSTILE) == 1
    scripts = opened.page.eval_on_selector_all("script", "all => all.map(s => s.type)")
    assert sorted(scripts) == ["application/json", "importmap", "module"]
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
    page = render_page("a run", tables, {}, {})
    part = page[page.index('id="missing"') : page.index("<nav")]
    assert explanation in part
    assert f"<pre><code>{shown}</code></pre>" in part
