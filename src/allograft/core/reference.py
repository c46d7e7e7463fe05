"""Reference: the paper that a method comes from."""

from __future__ import annotations

import re

from allograft.core.config import Config

__all__ = ["Reference"]


class Reference(Config):
    """A citation.

    Args:
        title: title of the work.
        authors: family names in order; "others" may end the list.
        year: year of publication, 0 where there is none (house methods).
        venue: journal, conference or "arXiv".
        doi: digital object identifier without the resolver's address.
        arxiv: arXiv number, for example "1902.07208".
    """

    title: str
    authors: tuple[str, ...] = ()
    year: int = 0
    venue: str = ""
    doi: str = ""
    arxiv: str = ""

    def short(self) -> str:
        """Return the citation in one line: "Raghu et al. 2019, arXiv:1902.07208"."""
        if not self.authors:
            return self.title
        who = self.authors[0] + (" et al." if len(self.authors) > 2 else "")
        if len(self.authors) == 2:
            who = " and ".join(self.authors)
        where = f"arXiv:{self.arxiv}" if self.arxiv else self.doi or self.venue
        return f"{who} {self.year}, {where}".strip().rstrip(",")

    def bibtex(self) -> str:
        """Return a BibTeX entry."""
        who = self.authors[0] if self.authors else "allograft"
        word = re.sub(r"\W", "", self.title.split()[0]) if self.title else "untitled"
        fields = {
            "title": self.title,
            "author": " and ".join(self.authors),
            "year": str(self.year or ""),
            "journal": self.venue,
            "doi": self.doi,
            "eprint": self.arxiv,
        }
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
        return f"@article{{{re.sub(r'[^a-z0-9]', '', (who + str(self.year) + word).lower())},\n{body}\n}}"
