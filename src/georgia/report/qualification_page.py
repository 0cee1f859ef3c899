"""The page of a qualification: each check with what was expected and found, and room for signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from georgia.report.render import render_template

_PARTS = {
    "installation": ("Installation", "Is it what was shipped, and does it stand on what it needs?"),
    "operation": ("Operation", "Does it do here what it must, and are faults said and survived?"),
}
_LEADS = {
    "passed": ("good", "Passed."),
    "not run": ("caution", "Passed in part."),
    "failed": ("bad", "Failed."),
}


def render_qualification(document: Mapping[str, Any]) -> str:
    """Return the page as HTML; ``document`` is the public form of a qualification, as its JSON has it."""
    kind, lead = _LEADS[document["outcome"]]
    parts = [
        (title, question, [check for check in document["checks"] if check["part"] == part])
        for part, (title, question) in _PARTS.items()
    ]
    return render_template(
        "qualification.html.jinja",
        result=document,
        place=document["place"],
        kind=kind,
        lead=lead,
        parts=parts,
    )
