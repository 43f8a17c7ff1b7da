"""`llm-canary review import|export`."""

from __future__ import annotations

from pathlib import Path

import click

from llm_canary.cli.output import json_option, print_json, print_lines

_RUBRIC = click.option(
    "--rubric", required=True, metavar="NAME|FILE", help="The rubric that people graded by."
)


@click.group()
def review() -> None:
    """Bring human labels into the database (LLM_CANARY_DATABASE_URL), and out of it."""


@review.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@_RUBRIC
@json_option
def import_(*, file: Path, rubric: str, as_json: bool) -> None:
    """Store the labels of FILE (JSONL, CSV or Parquet) under this text of the rubric.

    A person's label about an answer replaces their earlier one. A file with a wrong row is refused
    as a whole, so that it can be corrected and given again.
    """
    from llm_canary.cli.grading_database import store_labels  # noqa: PLC0415
    from llm_canary.judging.labels import read_labels  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415

    loaded = rubric_of(rubric, Path())
    labels = read_labels(file, loaded)
    if labels.is_pairwise:
        raise click.UsageError("the database keeps labels of single answers; this file has pairs")
    count = store_labels(labels, loaded)
    if as_json:
        print_json({"items": len(labels.items), "labels": count})
    else:
        print_lines([f"stored {count} labels of {len(labels.items)} answers"])


@review.command()
@click.argument("file", type=click.Path(path_type=Path))
@_RUBRIC
@json_option
def export(*, file: Path, rubric: str, as_json: bool) -> None:
    """Write the labels that were given under this text of the rubric, one a row."""
    from llm_canary.cli.grading_database import DATABASE, labels_from  # noqa: PLC0415
    from llm_canary.documents.rows import write_rows  # noqa: PLC0415
    from llm_canary.judging.labels import label_rows  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415

    labels = labels_from(DATABASE, rubric_of(rubric, Path()))
    count = write_rows(file, label_rows(labels.items))
    if as_json:
        print_json({"labels": count, "file": str(file)})
    else:
        print_lines([f"wrote {count} labels to {file}"])
