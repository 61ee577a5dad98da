"""What a report is made of, and how it is written: Markdown for a ticket, HTML for a browser. One content, two coats, in both
of which what others wrote is text and nothing else."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from watchdog.core.text import escape, escape_lines


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
            return f"{'#' * level} {_markdown(text)}"
        case Paragraph(text=text):
            return _markdown(text)
        case Bullets(items=items, boxes=boxes):
            return "\n".join(f"- {'[ ] ' if boxes else ''}{_markdown(item)}" for item in items)
        case Table(head=head, rows=rows):
            return "\n".join(_markdown_row(cells) for cells in (head, ("---",) * len(head), *rows))
        case Code(text=text, language=language):
            fence = "```"
            while fence in text:
                fence += "`"
            return f"{fence}{language}\n{escape_lines(text).rstrip()}\n{fence}"
        case Image(text=text):
            return _markdown(text)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_markdown, cells)) + " |"


_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|(?<=\])\(|\|")
"""What makes a tag, a link, a picture or a cell. Asterisks and underscores are left: they stand in names of files and flags."""


def _markdown(text: str) -> str:
    """One line, in which nothing leads anywhere. By entities: ahead of a backslash of ours there may be one of theirs."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", escape(text))


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
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_html(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def _block_html(block: Block) -> str:
    match block:
        case Heading(text=text, level=level):
            return f"<h{level}>{_html(text)}</h{level}>"
        case Paragraph(text=text):
            return f"<p>{_html(text)}</p>"
        case Bullets(items=items, boxes=boxes):
            box = '<input type="checkbox"> ' if boxes else ""
            return "<ul>" + "".join(f"<li>{box}{_html(item)}</li>" for item in items) + "</ul>"
        case Table(head=head, rows=rows):
            top = "".join(f"<th>{_html(cell)}</th>" for cell in head)
            lines = ("".join(f"<td>{_html(cell)}</td>" for cell in row) for row in rows)
            return f"<table><tr>{top}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
        case Code(text=text, language=language):
            shown = html.escape(escape_lines(text)).rstrip("\n").split("\n")
            inner = "\n".join(map(_diff_line, shown) if language == "diff" else shown)
            return f"<pre>{inner}</pre>"
        case Image(png=png, text=text):
            data = base64.b64encode(png).decode()
            return f'<p><img alt="{_html(text)}" src="data:image/png;base64,{data}"></p>'


def _diff_line(line: str) -> str:
    kind = {"+": "add", "-": "del"}.get(line[:1])
    return f'<span class="{kind}">{line}</span>' if kind else line


def _html(text: str) -> str:
    return html.escape(escape(text))
