"""python -m allograft: the command line, so that launchers of several processes can start it."""

from __future__ import annotations

from allograft.cli import main

if __name__ == "__main__":
    main()
