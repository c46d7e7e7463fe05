"""Write: a summary in, one self-contained HTML file out.

The file asks for nothing from anywhere: figures, style and the small script are inside, and a content
security policy forbids everything else. The same summary gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from allograft.core.atomic import write_text
from allograft.report.page import page
from allograft.report.pretexts import pretext_table, trained
from allograft.report.style import ALONE
from allograft.report.words import begin, counted, number, percent
from allograft.study.pretext_stage import PretextStage
from allograft.study.summary import Summary

__all__ = ["environment", "render", "render_pretext", "write_pretext", "write_report"]


def write_report(summary: Summary, path: Path) -> Path:
    """Write the report of a study; an old report is replaced in one step.

    Args:
        summary: what the study found.
        path: the HTML file.

    Returns:
        The path.
    """
    write_text(path, render(summary))
    return path


def write_pretext(stage: PretextStage, path: Path) -> Path:
    """Write the page of one stage that reads no labels, return its path; an old page is replaced in one step."""
    write_text(path, render_pretext(stage))
    return path


def render(summary: Summary) -> str:
    """Return the report as HTML."""
    env = environment()
    style, script = _asset("style.css"), _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = env.get_template("page.html.j2").render(
        **page(summary), style=Markup(style), script=Markup(script), script_hash=digest
    )
    return text if text.endswith("\n") else text + "\n"


def render_pretext(stage: PretextStage) -> str:
    """Return a page of one stage that reads no labels: its numbers, figure and pictures, as a report shows them."""
    made = trained(stage, ALONE, "pretext")
    env = environment()
    text = env.get_template("pretext_page.html.j2").render(
        r=made, dataset=stage.dataset, table=pretext_table([stage]), style=Markup(_asset("style.css"))
    )
    return text if text.endswith("\n") else text + "\n"


@cache
def environment() -> Environment:
    """Return what renders the templates."""
    env = Environment(
        loader=PackageLoader("allograft", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(begin=begin, counted=counted, number=number, percent=percent)
    env.tests["a_mapping"] = lambda value: isinstance(value, Mapping)
    env.tests["many"] = lambda value: isinstance(value, list | tuple)
    return env


def _asset(name: str) -> str:
    """Return a file of the templates, read as it is: it is part of the package."""
    env = environment()
    assert env.loader is not None
    return env.loader.get_source(env, name)[0].strip()
