"""The report as a Markdown document of tables, with links to figures where those are written beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from study.report.elements import Document, Figure, Section, Table
from study.utils.text import markdown_text, printable


def markdown_document(document: Document, figures: str | None = None) -> str:
    """Return the document; ``figures`` is the folder of the figures as the document is to name it."""
    lines = [f"# {_text(document.title)}", "", _text(document.subtitle), "", f"**{_text(document.answer)}**", ""]
    for section in document.sections:
        lines += _section(section, figures)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section, figures: str | None) -> Iterator[str]:
    yield from (f"## {_text(section.title)}", "")
    for paragraph in section.paragraphs:
        yield from (_text(paragraph), "")
    for fact in section.facts:
        yield f"- {_text(fact.heading)}: **{_text(fact.value)}**" + (f"; {_text(fact.text)}" if fact.text else "")
    if section.facts:
        yield ""
    for figure in section.figures:
        yield from _figure(figure, figures)
    for table in section.tables:
        if table.title:
            yield from (f"### {_text(table.title)}", "")
        yield from _table(table)
    if section.pictures:
        yield from _table(Table(("image", "", "", ""), tuple((*each.caption, "", "")[:4] for each in section.pictures)))
    if section.commands:
        yield from (*(f"    {printable(command)}" for command in section.commands), "")


def _figure(figure: Figure, figures: str | None) -> Iterator[str]:
    yield from (f"### {_text(figure.title)}", "")
    if figures is not None:
        yield from (f"![{_text(figure.description)}]({_link(figures)}/{figure.key}.svg)", "")
    if figure.note:
        yield from (_text(figure.note), "")
    yield from _table(figure.table)


def _table(table: Table) -> Iterator[str]:
    yield "| " + " | ".join(map(_text, table.headings)) + " |"
    yield "|" + "|".join("---:" if at in table.right else "---" for at in range(len(table.headings))) + "|"
    for row in table.rows:
        yield "| " + " | ".join(map(_text, row)) + " |"
    yield ""


def _text(text: str) -> str:
    return markdown_text(printable(text))


def _link(folder: str) -> str:
    return re.sub(r"[^\w./~-]", lambda sign: "".join(f"%{byte:02X}" for byte in sign[0].encode()), folder)
