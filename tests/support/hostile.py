"""The seeded instance with names and texts that attack whoever shows them: nothing of them may ever run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from tests.support import parcels
from tests.support.seeded import Matter, Person

CORPORA = Path(__file__).resolve().parents[1] / "data" / "corpora"
TRIP = "window.__tripped=1"
BEACON = "/tripped"
# Each says that it has run: by the flag, by a dialog, or by asking for BEACON.
OWN = (
    f"<script>{TRIP}</script>",
    f"<img src=x onerror={TRIP}>",
    f'"><svg onload={TRIP}>',
    f"'><svg/onload={TRIP}>",
    f"</title><script>{TRIP}</script>",
    f"</textarea></script><script>{TRIP}</script>",
    f"</template><img src=x onerror={TRIP}>",
    f'" autofocus onfocus={TRIP} x="',
    f"' autofocus onfocus={TRIP} x='",
    f"--><script>{TRIP}</script><!--",
    f"]]><script>{TRIP}</script>",
    f'<iframe srcdoc="<script>parent.{TRIP.removeprefix("window.")}</script>"></iframe>',
    f"<img src={BEACON}>",
    f'<link rel=stylesheet href="{BEACON}">',
    f'<style>@import "{BEACON}";</style>',
    f'<div hx-get="{BEACON}" hx-trigger="load">x</div>',
    f'<div data-hx-post="{BEACON}" data-hx-trigger="load">x</div>',
    f'<div hx-on::load="{TRIP}">x</div>',
    f'" hx-get="{BEACON}" hx-trigger="load" x="',
    f"[click](javascript:{TRIP})",
    f"![picture]({BEACON})",
    f"<meta http-equiv=refresh content='0;url={BEACON}'>",
    f"<form action={BEACON}><button autofocus>go</button></form>",
    f"{{{{ ''.__class__ }}}} {{% raw %}} ${{{TRIP}}} {{{{constructor.constructor('{TRIP}')()}}}}",
    f"<math><mtext></p><img src=x onerror={TRIP}>",
)
STRANGE = (
    "\u202emirrored \u2066and\u2069 not closed",
    "Z\u0351\u036b\u0343a\u0321\u034al\u0317\u0348g\u0334\u0360o\u0337 " * 20,
    "line\u2028separator\x00nul\x07bell\x1b[31mred",
    "W" * 5_000,
    "\U0001f4e6" * 400,
)


def payloads() -> list[str]:
    """Return our own, the corpora's, and what merely looks broken."""
    foreign = json.loads((CORPORA / "payloads.json").read_text())
    naughty = json.loads((CORPORA / "blns.json").read_text())
    scripts = [each for each in naughty if re.search(r"script|on\w+=|<", each)]
    return [*OWN, *foreign["xss"], *foreign["ssti"][:6], *scripts[:40], *STRANGE]


def answers(_seed: int) -> list[parcels.Said]:
    """Return a hostile answer to each hostile question."""
    known, found = payloads(), []
    for number, (text, question) in enumerate(zip(known, [*known[7:], *known[:7]], strict=True)):
        labels: dict[str, str | int] = {
            "answers_question": "met" if number % 3 else "unmet",
            "resolution": number % 4,
            "empty_promise": "unmet",
        }
        said = f"{text} {number}" if number >= len(OWN) else text
        found.append(parcels.Said("en", question, said, bool(number % 3), labels))
    return found


def hostile_config() -> str:
    """Return the parcel service's file with models that attack."""
    own = cycle(OWN)
    return re.sub(
        r"model: ([\w.-]+)(?=[,}])", lambda _: f"model: {json.dumps(next(own))}", parcels.CONFIG
    )


def hostile_rubric() -> str:
    """Return the rubric with every free text replaced."""
    own = cycle(OWN)

    def attack(found: re.Match[str]) -> str:
        return f"{found[1]}{json.dumps(next(own))}"

    text = re.sub(r'((?:requirement|anchor|met|unmet): )"[^"]*"', attack, parcels.RUBRIC)
    return text.replace("  Grade what the customer can do", f"  {OWN[0]} {OWN[1]}")


def _people() -> Iterator[Person]:
    yield Person(OWN[0], 0.03, 6)
    yield Person(OWN[7], 0.15, 6)
    yield Person(OWN[1], 0.2, 4)


HOSTILE = Matter(
    config=hostile_config(),
    rubric=hostile_rubric(),
    answers=answers,
    countries=(OWN[0], OWN[1], OWN[2], "de"),
    people=tuple(_people()),
    comments=OWN,
    thumb_comments=OWN,
    skip_reasons=OWN,
    correction=OWN[2],
    hold_reason=f"{OWN[0]} {OWN[7]}",
    activity=0.3,
)
