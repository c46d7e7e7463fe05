"""Write the report (placeholder while integrating)."""

from pathlib import Path

from allograft.study.summary import Summary


def write_report(summary: Summary, path: Path) -> Path:
    """Write."""
    path.write_text(summary.model_dump_json(indent=1))
    return path
