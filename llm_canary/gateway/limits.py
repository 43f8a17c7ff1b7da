"""How much a key or a route may use: token buckets, requests under way, and a day's money.

All state is this process's own. Checks run on the event loop without waiting; what an answer has
really used is handed over from whichever thread reads it, and entered at the next check.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from llm_canary.errors import BudgetSpent, RateLimited
from llm_canary.gateway.asgi import Headers
from llm_canary.routing.limits import Limits, Spending

DAY_S = 86_400
_MINUTE_S = 60.0
_ROUNDING_S = 1e-6  # more than a minute of sums can be off,
_ROUNDING = 1e-3  # and of what remains
_TOGETHER_S = 0.25  # what becomes known within it is one entry
_SOON_S = 1.0  # when a slot will be free, or an unpublished sum is settled, nobody knows


class Bucket:
    """A token bucket that refills evenly and holds one minute's worth.

    All it knows is when it will be full, so that nothing has to be refilled (the generic cell rate
    algorithm: ITU-T I.371, annex A). A debt is at most one more minute's worth, so that no wild
    count closes it for good.
    """

    __slots__ = ("_full_at_s", "_limit", "_remaining", "_reset", "_s_per", "_whole_s", "capacity")

    def __init__(self, per_minute: float, now_s: float, unit: str = "requests") -> None:
        self.capacity = max(1.0, per_minute)
        self._s_per = _MINUTE_S / per_minute
        self._whole_s = self.capacity * self._s_per
        self._full_at_s = now_s
        self._limit = (f"x-ratelimit-limit-{unit}".encode(), b"%d" % self.capacity)
        self._remaining = f"x-ratelimit-remaining-{unit}".encode()
        self._reset = f"x-ratelimit-reset-{unit}".encode()

    @property
    def per_minute(self) -> float:
        """How fast it refills."""
        return _MINUTE_S / self._s_per

    def level(self, now_s: float) -> float:
        """Return what may be taken now."""
        return max(-self.capacity, self.capacity - self.reset_s(now_s) / self._s_per)

    def reset_s(self, now_s: float) -> float:
        """Return in how many seconds it is full."""
        missing_s = self._full_at_s - now_s
        if missing_s <= 0.0:
            return 0.0
        if missing_s > 2.0 * self._whole_s:
            self._full_at_s = now_s + 2.0 * self._whole_s
            return 2.0 * self._whole_s
        return missing_s

    def wait_s(self, amount: float, now_s: float) -> float:
        """Return in how many seconds `amount` can be taken; 0 = now."""
        room_s = self._whole_s - min(amount * self._s_per, self._whole_s) + _ROUNDING_S
        if self._full_at_s - now_s <= room_s:
            return 0.0
        return max(0.0, self.reset_s(now_s) - room_s)

    def take(self, amount: float, now_s: float) -> None:
        """Take, or with a negative amount give back."""
        self._full_at_s = max(self._full_at_s, now_s)
        self._full_at_s += amount * self._s_per

    def headers(self, now_s: float) -> Headers:
        """Return limit, what remains of it, and when all of it is there again."""
        reset_s = self.reset_s(now_s)
        level = self.capacity - reset_s / self._s_per + _ROUNDING
        return [
            self._limit,
            (self._remaining, b"%d" % level if level > 0.0 else b"0"),
            (self._reset, duration(reset_s)),
        ]


class Moment(NamedTuple):
    """When a request came."""

    now_s: float  # by a clock that only runs
    at_s: float  # UTC, since the epoch


class Used(NamedTuple):
    """What a request has used beyond what was reserved for it."""

    tokens: float
    cost_nanousd: int
    at_s: float  # when the request came
    told_s: float  # when this became known


@dataclass(slots=True)
class _Own:
    """What this process has spent within a moment."""

    day: int
    since_s: float
    told_s: float
    cost_nanousd: int


class Meter:
    """What one key or one route has used and may still use."""

    __slots__ = (
        "_own",
        "_own_sums",
        "_published",
        "_published_day",
        "_told",
        "in_flight",
        "limits",
        "refused",
        "requests",
        "slots",
        "tokens",
        "what",
    )

    def __init__(self, what: str) -> None:
        self.what = what
        self.limits = Limits()
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.slots: int | None = None
        self.in_flight = 0
        self.refused = 0
        self._told: deque[Used] = deque()  # filled by other threads
        self._own: deque[_Own] = deque()  # not yet known to be in the published sum
        self._own_sums: Counter[int] = Counter()  # of these, by day
        self._published, self._published_day = 0, 0

    def limit_by(self, limits: Limits, parts: int, now_s: float) -> None:
        """Take the limits of the table in force; a limit that stays keeps its state."""
        if limits == self.limits:
            return
        old, self.limits = self.limits, limits
        if limits.requests_per_minute != old.requests_per_minute:
            self.requests = _bucket("requests", limits.requests_per_minute, parts, now_s)
        if limits.tokens_per_minute != old.tokens_per_minute:
            self.tokens = _bucket("tokens", limits.tokens_per_minute, parts, now_s)
        slots = limits.concurrent_streams
        self.slots = None if slots is None else max(1, slots // parts)

    def check(self, tokens: float, moment: Moment) -> RateLimited | None:
        """Return why a request cannot be served now, None when it can."""
        if self._told:
            self._enter(moment.now_s)
        if (budget := self.limits.budget_nanousd_per_day) is not None:
            spent, known = self._spent(moment.at_s)
            if spent >= budget:
                midnight_s = DAY_S - moment.at_s % DAY_S
                return BudgetSpent(
                    f"{self.what} has spent its budget of this day (UTC), ${budget / 1e9:g}",
                    retry_after_s=midnight_s if known >= budget else _SOON_S,
                )
        if self.slots is not None and self.in_flight >= self.slots:
            return RateLimited(
                f"{self.what} has {self.in_flight} requests under way, and may have {self.slots}; "
                "wait for one to end",
                retry_after_s=_SOON_S,
            )
        now_s = moment.now_s
        bucket = self.requests
        if bucket is not None and (wait_s := bucket.wait_s(1.0, now_s)) > 0.0:
            return self._limited(bucket, "requests", wait_s)
        bucket = self.tokens
        if bucket is not None and (wait_s := bucket.wait_s(tokens, now_s)) > 0.0:
            return self._limited(bucket, "tokens", wait_s)
        return None

    def begin(self, tokens: float, now_s: float) -> None:
        """Take what a request needs that `check` has let through."""
        self.in_flight += 1
        if self.requests is not None:
            self.requests.take(1.0, now_s)
        if self.tokens is not None:
            self.tokens.take(tokens, now_s)

    def tell(self, used: Used) -> None:
        """Hand over what a request has used; any thread may."""
        self._told.append(used)

    def publish(self, day: int, spent: int, until_s: float, now_s: float) -> None:
        """Take over what all gateways together have spent."""
        self._enter(now_s)
        self._published, self._published_day = spent, day
        while self._own and self._own[0].told_s <= until_s:
            self._own.popleft()
        self._own_sums = Counter()
        for own in self._own:
            self._own_sums[own.day] += own.cost_nanousd

    def _limited(self, bucket: Bucket, unit: str, wait_s: float) -> RateLimited:
        return RateLimited(
            f"{self.what} is limited to {bucket.per_minute:g} {unit} per minute "
            f"here; try again in {wait_s:.1f} s",
            retry_after_s=wait_s,
        )

    def _enter(self, now_s: float) -> None:
        while self._told:
            used = self._told.popleft()
            if self.tokens is not None:
                self.tokens.take(used.tokens, now_s)
            if used.cost_nanousd and self.limits.budget_nanousd_per_day is not None:
                self._note(int(used.at_s // DAY_S), used)

    def _note(self, day: int, used: Used) -> None:
        self._own_sums[day] += used.cost_nanousd
        last = self._own[-1] if self._own else None
        if last is not None and last.day == day and used.told_s < last.since_s + _TOGETHER_S:
            last.cost_nanousd += used.cost_nanousd
            last.told_s = used.told_s
        else:
            self._own.append(_Own(day, used.told_s, used.told_s, used.cost_nanousd))

    def _spent(self, at_s: float) -> tuple[int, int]:
        """Return what this day has cost, and what of it the published sum knows."""
        day = int(at_s // DAY_S)
        known = self._published if self._published_day == day else 0
        return known + self._own_sums.get(day, 0), known


class Hold:
    """What one request has taken; `end` frees its slots in whichever way it ends."""

    __slots__ = ("_at_s", "_meters", "_tokens", "headers")

    def __init__(self, meters: tuple[Meter, ...], tokens: float, moment: Moment) -> None:
        self._meters, self._tokens, self._at_s = meters, tokens, moment.at_s
        for meter in meters:
            meter.begin(tokens, moment.now_s)
        self.headers = rate_headers(meters, moment.now_s)

    def end(self) -> None:
        """Free the slots."""
        for meter in self._meters:
            meter.in_flight -= 1

    def settle(self, tokens: int | None, cost_nanousd: int | None, now_s: float) -> None:
        """Hand over what was used; unknown tokens leave the estimate, an unknown cost is none."""
        more = 0.0 if tokens is None else tokens - self._tokens
        used = Used(more, cost_nanousd or 0, self._at_s, now_s)
        for meter in self._meters:
            meter.tell(used)


class Meters:
    """The meters of one process. They outlive routing tables."""

    def __init__(self, *, parts: int = 1) -> None:
        self._parts = parts  # processes that share each limit evenly
        self._keys: dict[str, Meter] = {}
        self._routes: dict[str, Meter] = {}

    def of_key(self, name: str, limits: Limits | None, now_s: float) -> Meter | None:
        """Return the meter of a key, None where nothing is limited."""
        return self._of(self._keys, f"the key {name!r}", name, limits, now_s)

    def of_route(self, name: str, limits: Limits | None, now_s: float) -> Meter | None:
        """Return the meter of a route, None where nothing is limited."""
        return self._of(self._routes, f"the route {name!r}", name, limits, now_s)

    def publish(self, spending: Spending, now_s: float) -> None:
        """Take over what all gateways together have spent."""
        for meters, spent in ((self._keys, spending.keys), (self._routes, spending.routes)):
            for name, meter in meters.items():
                meter.publish(spending.day, spent.get(name, 0), spending.until_s, now_s)

    def refused(self) -> dict[str, dict[str, int]]:
        """Return how many requests were refused, by key and by route."""
        return {
            "keys": {name: meter.refused for name, meter in self._keys.items()},
            "routes": {name: meter.refused for name, meter in self._routes.items()},
        }

    def _of(
        self, meters: dict[str, Meter], what: str, name: str, limits: Limits | None, now_s: float
    ) -> Meter | None:
        if limits is None:
            return None
        meter = meters.setdefault(name, Meter(what))
        meter.limit_by(limits, self._parts, now_s)
        return meter


def hold(meters: tuple[Meter, ...], tokens: float, moment: Moment) -> Hold:
    """Take what a request needs of all meters, or nothing; raise RateLimited."""
    for meter in meters:
        if (refusal := meter.check(tokens, moment)) is not None:
            meter.refused += 1
            refusal.headers = [
                *rate_headers(meters, moment.now_s),
                (b"retry-after", b"%d" % max(1, ceil(refusal.retry_after_s))),
            ]
            if isinstance(refusal, BudgetSpent) and refusal.retry_after_s > _SOON_S:
                # OpenAI's clients wait at most two minutes, then try again for nothing.
                refusal.headers.append((b"x-should-retry", b"false"))
            raise refusal
    return Hold(meters, tokens, moment)


def rate_headers(meters: Iterable[Meter], now_s: float) -> Headers:
    """Return `x-ratelimit-*` as OpenAI writes them, of the meter that has least left."""
    requests = tokens = None
    for meter in meters:
        requests = _lower(requests, meter.requests, now_s)
        tokens = _lower(tokens, meter.tokens, now_s)
    headers = requests.headers(now_s) if requests is not None else []
    if tokens is not None:
        headers += tokens.headers(now_s)
    return headers


def _lower(one: Bucket | None, other: Bucket | None, now_s: float) -> Bucket | None:
    if one is None or other is None:
        return one or other
    return other if other.level(now_s) < one.level(now_s) else one


def duration(seconds: float) -> bytes:
    """Return a time as OpenAI's headers write it: 120ms, 1.5s, 6m0s."""
    milliseconds = ceil(seconds * 1000)
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, rest = divmod(milliseconds / 1000, 60)
    return (f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s").encode()


def _bucket(unit: str, per_minute: int | None, parts: int, now_s: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute / parts, now_s, unit)
