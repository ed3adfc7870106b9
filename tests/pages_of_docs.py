"""The Markdown pages of the documentation, taken apart: anchors, links, tables and samples."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

_FENCE = re.compile(r'^(<!-- runs -->\n)?```(\w*)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A fenced block; `title` names the file that it is, `runs` says that it can be executed as it stands."""

    language: str
    title: str
    text: str
    runs: bool


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def samples(self) -> list[Sample]:
        return [
            Sample(language=language, title=title or "", text=text, runs=bool(runs))
            for runs, language, title, text in _FENCE.findall(self.text)
        ]

    @property
    def anchors(self) -> set[str]:
        """Headings, `<a id>`, and the objects whose docstrings stand here."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {*map(slug, headings), *re.findall(r'<a id="([^"]+)"', self.prose), *self.objects}

    @property
    def objects(self) -> list[str]:
        """The dotted names of what is generated from docstrings."""
        return re.findall(r"^::: (\S+)$", self.prose, re.MULTILINE)

    @property
    def links(self) -> list[str]:
        return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", self.prose))

    @property
    def rows(self) -> Iterator[list[str]]:
        """The cells of each row of each table, the heads left out."""
        for table in re.findall(r"(?:^\|.*\n?)+", self.prose, re.MULTILINE):
            for line in table.splitlines()[2:]:
                yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def slug(title: str) -> str:
    """What the `toc` extension of Python-Markdown makes of a heading."""
    ascii_only = unicodedata.normalize("NFKD", title.replace("`", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower())


README = Page(ROOT / "README.md")
PAGES = [Page(path) for path in sorted(DOCS.rglob("*.md"))]


def page(name: str) -> Page:
    return Page(DOCS / name)
