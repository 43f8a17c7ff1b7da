"""`llm-canary review import|export|pairs|corrections|status`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_canary.cli.output import json_option, print_json, print_lines, print_table

if TYPE_CHECKING:
    from llm_canary.rubric.item import Item
    from llm_canary.rubric.sample import Sample

LIVE = "sample:"  # begins the id of an answer that was drawn from live traffic
_RUBRIC = click.option(
    "--rubric", required=True, metavar="NAME|FILE", help="The rubric that people graded by."
)
_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group()
def review() -> None:
    """Bring human labels into the database (LLM_CANARY_DATABASE_URL), and out of it."""


@review.command("import")
@_FILE
@_RUBRIC
@json_option
def import_(*, file: Path, rubric: str, as_json: bool) -> None:
    """Store the labels of FILE (JSONL, CSV or Parquet) under this text of the rubric.

    Rows whose id begins with `sample:`, as `export --open` writes them, are reviews of live
    answers. A person's label about an answer replaces their earlier one. Rows without any label are
    left out and counted. A file with a wrong row is refused as a whole, so that it can be corrected
    and given again.
    """
    from llm_canary.cli.grading_database import store_labels, store_reviews  # noqa: PLC0415
    from llm_canary.judging.labels import label_set, read_labels  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415

    loaded = rubric_of(rubric, Path())
    labels = read_labels(file, loaded)
    if labels.is_pairwise:
        raise click.UsageError("the database keeps labels of single answers; this file has pairs")
    live = [each for each in labels.items if each.sample.id.startswith(LIVE)]
    other = [each for each in labels.items if not each.sample.id.startswith(LIVE)]
    reviews = store_reviews(live, len(LIVE))
    count = store_labels(label_set(other), loaded) if other else 0
    facts = {
        "items": len(labels.items),
        "labels": count,
        "reviews": reviews,
        "rows_without_labels": labels.blank,
    }
    if as_json:
        print_json(facts)
    else:
        what = " and ".join(
            [*([f"{count} labels"] if other else []), *([f"{reviews} reviews"] if live else [])]
        )
        blank = f"; {labels.blank} rows had no labels" if labels.blank else ""
        print_lines([f"stored {what} of {len(labels.items)} answers{blank}"])


@review.command()
@_FILE
@_RUBRIC
@click.option("--open", "is_open", is_flag=True, help="Live answers that wait for people instead.")
@click.option("--pairs", "is_pairs", is_flag=True, help="What people prefer of pairs instead.")
@click.option("--limit", default=500, show_default=True, type=click.IntRange(1, 100_000))
@json_option
def export(
    *, file: Path, rubric: str, is_open: bool, is_pairs: bool, limit: int, as_json: bool
) -> None:
    """Write the labels that were given under this text of the rubric, one a row.

    With --open: one live answer a row, without its arm. Add `human` (JSONL) or `rater`, `criterion`
    and `label` (CSV), and `import` the file. With --pairs: one preference a row, with the arms, and
    which of the two answers the reviewer was shown first.
    """
    from llm_canary.cli.grading_database import open_items, stored_labels  # noqa: PLC0415
    from llm_canary.documents.rows import write_rows  # noqa: PLC0415
    from llm_canary.judging.labels import label_rows  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415

    if is_open and is_pairs:
        raise click.UsageError("--open and --pairs are two different files")
    loaded = rubric_of(rubric, Path())
    if is_pairs:
        from llm_canary.cli.grading_database import preference_rows  # noqa: PLC0415

        found = preference_rows(loaded.rubric.id)
        if not found:
            raise click.ClickException(f"nobody has compared a pair by {loaded.rubric.id} yet")
        count, what = write_rows(file, found), "preferences"
    elif is_open:
        rows = list(_open_rows(open_items(loaded.rubric.id, limit), file))
        if not rows:
            raise click.ClickException(f"no answer waits for a review by {loaded.rubric.id}")
        count, what = write_rows(file, iter(rows)), "answers"
    else:
        labels = stored_labels(loaded)
        count, what = write_rows(file, label_rows(labels.items)), "labels"
    if as_json:
        print_json({what: count, "file": str(file)})
    else:
        print_lines([f"wrote {count} {what} to {file}"])


@review.command()
@_FILE
@_RUBRIC
@click.option(
    "--reviews", default=1, show_default=True, type=click.IntRange(1, 20), help="People per pair."
)
@json_option
def pairs(*, file: Path, rubric: str, reviews: int, as_json: bool) -> None:
    """Let people compare the pairs of FILE: two answers to the same prompt.

    A row has `id`, `prompt` (or `messages`), the answers `a` and `b`, and where it is known
    `arm_a` and `arm_b` (control, canary), which reviewers never see. Pairs that are there already
    stay as they are. A file with a wrong row is refused as a whole.
    """
    from llm_canary.cli.grading_database import store_pairs  # noqa: PLC0415
    from llm_canary.cli.pair_rows import read_pairs  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415

    entries = read_pairs(file)
    count = store_pairs(entries, rubric_of(rubric, Path()), file.name, reviews)
    if as_json:
        print_json({"pairs": len(entries), "new": count})
    else:
        print_lines([f"{count} of {len(entries)} pairs are new and wait for people"])


@review.command()
@_FILE
@_RUBRIC
@json_option
def corrections(*, file: Path, rubric: str, as_json: bool) -> None:
    """Write the better answers that reviewers gave as a dataset, each as the row's `reference`."""
    from llm_canary.cli.grading_database import corrected_items  # noqa: PLC0415
    from llm_canary.documents.rows import write_rows  # noqa: PLC0415
    from llm_canary.rubric.item import item_row  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415

    found = corrected_items(rubric_of(rubric, Path()).rubric.id)
    if not found:
        raise click.ClickException("no review has a corrected answer yet")
    rows = (item_row(_item(sample)._replace(reference=better)) for sample, better in found)
    count = write_rows(file, rows)
    if as_json:
        print_json({"rows": count, "file": str(file)})
    else:
        print_lines([f"wrote {count} rows to {file}"])


@review.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show how many live answers wait for people, by rubric."""
    from llm_canary.cli.grading_database import review_queues  # noqa: PLC0415

    found = review_queues()
    if as_json:
        rows = [each._asdict() for each in found]
        for row in rows:
            row["oldest_at"] = row["oldest_at"].isoformat() if row["oldest_at"] else None
        print_json(rows)
        return
    if not found:
        print_lines(["nothing was drawn for people yet"])
        return
    print_table(
        ("rubric", "open", "leased", "done", "to adjudicate"),
        [
            (each.rubric_id, str(each.open), str(each.leased), str(each.done), str(each.adjudicate))
            for each in found
        ],
    )


def _open_rows(items: list[tuple[str, Sample]], file: Path) -> Iterator[dict[str, Any]]:
    from llm_canary.rubric.item import item_row  # noqa: PLC0415

    is_table = file.suffix != ".jsonl"
    for name, sample in items:
        item = _item(sample)._replace(id=f"{LIVE}{name}", tags={}, response=sample.response)
        if is_table:
            earlier = "\n\n".join(f"{each['role']}: {each['content']}" for each in item.history)
            yield {
                "id": item.id,
                "earlier": earlier,
                "prompt": item.prompt,
                "response": item.response,
                "context": item.context,
                "rater": "",
                "criterion": "",
                "label": "",
            }
        else:
            yield item_row(item)


def _item(sample: Sample) -> Item:
    from llm_canary.rubric.item import Item  # noqa: PLC0415

    return Item(
        sample.id, sample.prompt, tuple(sample.history), context=sample.context, tags=sample.tags
    )
