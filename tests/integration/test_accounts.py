"""Accounts on both databases: one admin always remains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.engine import Engine

from llm_canary.access.accounts import Accounts
from llm_canary.auth import AccessRole
from llm_canary.clock import ManualClock
from llm_canary.errors import Conflict
from tests.support.control import PASSWORD, QUICK_HASHER


def test_admins_who_disable_each_other_at_once_leave_one(engine: Engine) -> None:
    accounts = Accounts(engine, ManualClock(), QUICK_HASHER)

    def disable(name: str) -> bool:
        try:
            accounts.set_disabled(name, is_disabled=True)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        for turn in range(10):
            names = [f"admin-{turn}-{number}" for number in range(4)]
            for name in names:
                accounts.create(name, AccessRole.ADMIN, password=PASSWORD, by="test")
            for each in accounts.all():
                if each.name not in names and each.disabled_at is None:
                    accounts.set_disabled(each.name, is_disabled=True)

            assert sum(pool.map(disable, names)) == 3
