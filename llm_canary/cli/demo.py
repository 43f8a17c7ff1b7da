"""`llm-canary demo`."""

from __future__ import annotations

import click

from llm_canary.cli.output import CommandFailed, Exit, json_option, print_json


@click.command()
@click.option("--seed", default=1, show_default=True, help="Other users, questions and votes.")
@click.option("--swap", is_flag=True, help="Exchange control and canary; reverses the verdicts.")
@click.option("--identical", is_flag=True, help="Canary = control; must never be rolled back.")
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C.")
@click.option("--upstream", metavar="URL", help="Another OpenAI-compatible server, up to /v1.")
@click.option("--model", metavar="NAME", help="A model of that server; key: OPENAI_API_KEY.")
@click.option(
    "--judge",
    metavar="NAME",
    help="A model that grades act 3 too, as LiteLLM names it; key: OPENAI_API_KEY.",
)
@click.option("--judge-url", metavar="URL", help="The judge's server, up to /v1.")
@json_option
def demo(
    *,
    seed: int,
    swap: bool,
    identical: bool,
    keep: bool,
    upstream: str | None,
    model: str | None,
    judge: str | None,
    judge_url: str | None,
    as_json: bool,
) -> None:
    """Run the main job end to end on a real language model on this machine, in a few minutes.

    Three canaries run behind a gateway of their own: one that breaks its output is rolled back by
    itself, a cheaper one is promoted by itself, and one that answers worse without ever failing is
    rolled back by its grades. Ends with 0 when all did what they must, else with 1.
    """
    from llm_canary.demo.story import DemoOptions, run_demo  # noqa: PLC0415 - keeps `--help` fast

    options = DemoOptions(
        seed=seed, swap=swap, identical=identical, keep=keep,
        upstream=upstream, model=model, judge=judge, judge_url=judge_url, as_json=as_json,
    )  # fmt: skip
    try:
        result = run_demo(options)
    except KeyboardInterrupt as error:
        raise CommandFailed("interrupted; everything it started has ended", Exit.FAILED) from error
    if as_json:
        print_json(result.document)
    if not result.ok:
        raise CommandFailed("the demonstration did not end as it must; see above", Exit.FAILED)
