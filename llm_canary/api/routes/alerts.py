"""What needs a person now, for systems that call one."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Response

from llm_canary.alerts.alert import Alert
from llm_canary.alerts.find import find_alerts
from llm_canary.api.deps import Reader, Services
from llm_canary.api.openapi import answer

router = APIRouter(tags=["system"])


class AlertList(msgspec.Struct, frozen=True, kw_only=True):
    """Every alert, what needs a person first; what has happened stays for two weeks."""

    now_s: float
    needs_person: int
    alerts: tuple[Alert, ...]


ANSWERS = {"list_alerts": AlertList}


@router.get("/alerts")
def list_alerts(services: Services, _: Reader) -> Response:
    """Return what needs a person now and what happened lately, also with a database in trouble."""
    found = find_alerts(services)
    return answer(
        AlertList(
            now_s=services.clock.now_s(),
            needs_person=sum(each.needs_person for each in found),
            alerts=found,
        )
    )
