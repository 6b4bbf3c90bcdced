"""The page of a report: one HTML file that opens from disk and needs no network."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from robustbench_aa.report.completion import completing_command
from robustbench_aa.report.highlights import highlights
from robustbench_aa.report.page_features import feature_parts
from robustbench_aa.report.page_leaderboard import leaderboard_part, rests_on_unverified
from robustbench_aa.report.page_plots import plot_data
from robustbench_aa.report.page_tables import number_grids
from robustbench_aa.report.summary import summarise_run
from robustbench_aa.report.tables import Tables
from robustbench_aa.store.thumbnails import Samples

TEMPLATE = Path(__file__).parent / "template"
LIBRARY = ("observable_plot.js",)
"""The plotting library; `data_prep/plot_library` builds it."""
SCRIPTS = ("data.js", "tables.js", "plots.js", "corruptions.js", "pairs.js", "samples.js")
"""The scripts of the page, in the order in which they are joined."""


def render_page(
    title: str, tables: Tables, samples: Samples, maps: pd.DataFrame | None = None
) -> str:
    """Render the page as HTML.

    Args:
        title: title of the run.
        tables: tables of the run.
        samples: images that the models saw.
        maps: feature maps of the run; None if there are none.
    """
    scripts = [_script(*LIBRARY), _script(*SCRIPTS)]
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            leaderboard_part(tables),
            title=title,
            policy=_policy(scripts),
            scripts=scripts,
            summary=summarise_run(tables),
            highlights=highlights(tables),
            measured=_measured(tables),
            data=plot_data(tables),
            grids={grid["anchor"]: grid for grid in number_grids(tables)},
            features=feature_parts(maps),
            samples=_sample_images(samples),
            notes=tables.notes,
            warnings=tables.warnings,
            missing=tables.missing.to_dict("records"),
            completing=completing_command(tables),
            command=tables.command,
            unverified=rests_on_unverified(tables),
            provenance={
                subject: rows.to_dict("records")
                for subject, rows in tables.provenance.groupby("subject", sort=False)
            },
        )
    )


def page_template(name: str) -> Template:
    """Return a template of this folder, which escapes all values."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    loader = PackageLoader("robustbench_aa.report", "template")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["breakable"] = _breakable
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def _breakable(name: object) -> Markup:
    """Return text as HTML in which names may break after punctuation."""
    return Markup(re.sub(r"(?<=[_:@/])(?=\w)|(?=\+)", "<wbr>", escape(name)))


@cache
def _script(*names: str) -> str:
    """Return some files of the template as the text of one script element."""
    return "\n".join((TEMPLATE / name).read_text(encoding="utf-8").strip() for name in names)


def _policy(scripts: list[str]) -> str:
    """Return the content security policy, which allows these scripts and no request."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'unsafe-inline'; script-src {hashes}"
    )


def _measured(tables: Tables) -> list[dict[str, Any]]:
    """Return the data sets of the run with their numbers of images."""
    found: dict[str, int] = {}
    for table in (
        tables.corruptions,
        tables.natural_shifts,
        tables.perturbations,
        tables.consistency,
    ):
        if not table.empty:
            images = table.groupby("dataset", sort=False)["images"].max()
            found |= {str(name): int(count) for name, count in images.items()}
    return [{"name": name, "images": f"{count:,}"} for name, count in found.items()]


def _sample_images(samples: Samples) -> dict[str, dict[str, list[str]]]:
    return {
        dataset: {
            name: [f"data:image/webp;base64,{base64.b64encode(file).decode()}" for file in files]
            for name, files in by_name.items()
        }
        for dataset, by_name in samples.items()
    }
