"""How often a client may ask: a bucket for each address, filled at a steady rate, emptied by one a request.

What is open to everybody is asked for by scrapers and by one page, a few times a minute; whoever asks hundreds of times
a second without a token only keeps the others waiting. Who brings the token works for the operator and is not held up.
Tokens that are wrong are counted apart: guessing is slowed to a crawl, and the right token is taken all the while, so
that nobody is locked out by somebody behind the same address.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

MOST_CLIENTS = 4096
"""Addresses remembered; the one that was silent longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` requests at once, then ``per_s`` a second."""

    per_s: float
    burst: int


ASKING = Rate(per_s=20.0, burst=200)
"""Without a token. A page with all it shows is a dozen requests."""

GUESSING = Rate(per_s=1 / 6, burst=10)
"""Wrong tokens: ten, then ten a minute."""


class Meter:
    """The buckets of one rate. Not for several threads at once: the server's loop is one."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """Seconds until the client may ask again; 0 where it may now. ``now_s`` is monotonic."""
        left, _ = self._level(client, now_s)
        return 0.0 if left >= 1.0 else (1.0 - left) / self._rate.per_s

    def count(self, client: str, now_s: float) -> None:
        """The client asked."""
        left, key = self._level(client, now_s)
        self._buckets[key] = (max(0.0, left - 1.0), now_s)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)

    def _level(self, client: str, now_s: float) -> tuple[float, str]:
        key = network(client)
        left, at_s = self._buckets.get(key, (float(self._rate.burst), now_s))
        return min(float(self._rate.burst), left + (now_s - at_s) * self._rate.per_s), key


def network(client: str) -> str:
    """Whom an address stands for: of IPv6, whoever has one has its whole /64."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)
