"""Walk through HTML and complain: about tags, ids, references, and anything that would be fetched."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}
BLOCK = {
    "p",
    "ul",
    "ol",
    "dl",
    "table",
    "section",
    "article",
    "figure",
    "pre",
    "div",
    "h1",
    "h2",
    "h3",
    "h4",
    "details",
}
FETCHING = {"src", "href", "srcset", "action", "data", "poster", "background", "xlink:href", "ping", "formaction"}


class Walk(HTMLParser):
    """Everything that was found in a page.

    `complaints` lists what is wrong; `text` is what a reader sees, `tables` the words of each table's rows.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.complaints: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.tables: list[str] = []
        self.labels: list[str] = []
        self.feed(page)
        self.close()
        self.complaints += [f"never closed: {tag}" for tag in self.open]
        self.complaints += [f"id twice: {one}" for one in sorted({i for i in self.ids if self.ids.count(i) > 1})]
        self.complaints += [f"refers to nothing: {one}" for one in self.references if one not in self.ids]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in BLOCK and "p" in self.open and tag != "summary":
            self.complaints.append(f"<{tag}> inside <p>")
        self._attributes(tag, attrs)
        if tag == "table":
            self.tables.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.complaints.append(f"</{tag}> closes {self.open[-3:]} at {self.getpos()}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.complaints += [f"style fetches: {m}" for m in re.findall(r"@import|url\([^#]", data)]
        elif not self.open or self.open[-1] != "script":
            self.text += data
            if "table" in self.open:
                self.tables[-1] += data

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.complaints += [f"attribute twice: {tag} {n}" for n in set(names) if names.count(n) > 1]
        for name, value in attrs:
            text = value or ""
            if name == "id":
                self.ids.append(text)
            if name == "aria-label":
                self.labels.append(text)
            inside = tag == "image" and text.startswith("data:image/png;base64,")
            if name in FETCHING and not text.startswith("#") and text != "data:," and not inside:
                self.complaints.append(f"would fetch: {tag} {name}={text}")
            if name.startswith("on"):
                self.complaints.append(f"script in attribute: {tag} {name}")
            self.references += re.findall(r"url\(#([^)]+)\)", text) if name != "aria-label" else []
            if name == "href" and text.startswith("#"):
                self.references.append(text[1:])


def complaints(page: str) -> list[str]:
    """Return what is wrong with a page."""
    return Walk(page).complaints
