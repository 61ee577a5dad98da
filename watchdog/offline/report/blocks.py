"""What a report is made of, and how it is written: Markdown for a ticket, HTML for a browser. One content, two coats."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    items: tuple[str, ...]
    boxes: bool = False
    """A checklist."""


@dataclass(frozen=True, slots=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Code:
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """A PNG; Markdown, which cannot hold one, gets its words."""

    png: bytes
    text: str


Block = Heading | Paragraph | Bullets | Table | Code | Image


def render_markdown(blocks: Iterable[Block]) -> str:
    return "\n\n".join(_block_markdown(block) for block in blocks) + "\n"


def _block_markdown(block: Block) -> str:
    match block:
        case Heading(text=text, level=level):
            return f"{'#' * level} {text}"
        case Paragraph(text=text):
            return text
        case Bullets(items=items, boxes=boxes):
            return "\n".join(f"- {'[ ] ' if boxes else ''}{item}" for item in items)
        case Table(head=head, rows=rows):
            return "\n".join(_markdown_row(cells) for cells in (head, ("---",) * len(head), *rows))
        case Code(text=text, language=language):
            fence = "```"
            while fence in text:
                fence += "`"
            return f"{fence}{language}\n{text.rstrip()}\n{fence}"
        case Image(text=text):
            return text


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c2733; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #d5dbe1 }
table { border-collapse: collapse; width: 100%; font-size: .92rem; display: block; overflow-x: auto }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid #e6eaee; vertical-align: top }
pre { background: #f3f5f7; padding: .7rem; overflow-x: auto; font-size: .85rem } img { max-width: 100% }
.add { color: #116329 } .del { color: #a40e26 }
@media (prefers-color-scheme: dark) { body { color: #d9e1e8; background: #14191f } pre { background: #1d242c }
  th, td, h2 { border-color: #2b343e } .add { color: #56d364 } .del { color: #ff7b72 } img { background: #fff } }
"""


def render_html(title: str, blocks: Iterable[Block]) -> str:
    """A whole HTML page that needs nothing from elsewhere."""
    body = "\n".join(_block_html(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def _block_html(block: Block) -> str:
    match block:
        case Heading(text=text, level=level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text=text):
            return f"<p>{html.escape(text)}</p>"
        case Bullets(items=items, boxes=boxes):
            box = '<input type="checkbox"> ' if boxes else ""
            return "<ul>" + "".join(f"<li>{box}{html.escape(item)}</li>" for item in items) + "</ul>"
        case Table(head=head, rows=rows):
            top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
            lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
            return f"<table><tr>{top}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
        case Code(text=text, language=language):
            inner = _diff_html(text) if language == "diff" else html.escape(text)
            return f"<pre>{inner}</pre>"
        case Image(png=png, text=text):
            data = base64.b64encode(png).decode()
            return f'<p><img alt="{html.escape(text)}" src="data:image/png;base64,{data}"></p>'


def _diff_html(text: str) -> str:
    kinds = {"+": "add", "-": "del"}
    return "\n".join(
        f'<span class="{kinds[line[0]]}">{html.escape(line)}</span>' if line[:1] in kinds else html.escape(line)
        for line in text.splitlines()
    )
