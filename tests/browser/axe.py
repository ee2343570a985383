"""Checks the accessibility of a page with axe-core, in the light and in the dark theme."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from playwright.sync_api import Page

AXE: Final = Path(__file__).parent / "vendor/axe-core/axe.min.js"
_MAX_ELEMENTS: Final = 5  # of each violation that the message shows

# WCAG 2.2 level AA, and the rules that axe-core itself recommends. Only colours differ by theme.
_RUN: Final = """async (isFirst) => {
    const all = { rules: { "target-size": { enabled: true } } };
    const { violations } = await axe.run(document, {
        resultTypes: ["violations"],
        ...(isFirst ? all : { runOnly: ["color-contrast"] }),
    });
    return violations.map(({ id, help, nodes }) => ({
        id, help, nodes: nodes.map((node) => [node.html.slice(0, 160), node.failureSummary]),
    }));
}"""

Theme = Literal["light", "dark"]


def check(page: Page, themes: Sequence[Theme] = ("light", "dark")) -> None:
    """Fail with each violation of the page, in each of the themes.

    The theme is changed as the operating system does, so a theme that was chosen on the page stays.
    Animations are switched off: a colour that is on its way to another one has no contrast of its
    own.
    """
    faults: list[str] = []
    for number, theme in enumerate(themes):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        if not page.evaluate("'axe' in globalThis"):
            page.evaluate(_source())
        found = page.evaluate(_RUN, number == 0)
        faults += [f"{theme}: {_describe(violation)}" for violation in found]
    page.emulate_media(color_scheme="null", reduced_motion="null")
    assert faults == [], "\n".join(faults)


def _describe(violation: dict[str, Any]) -> str:
    nodes = violation["nodes"]
    shown = [f"{html}\n    {why}" for html, why in nodes[:_MAX_ELEMENTS]]
    return "\n  ".join([f"{violation['id']} ({len(nodes)}): {violation['help']}", *shown])


@cache
def _source() -> str:
    return AXE.read_text(encoding="utf-8")
