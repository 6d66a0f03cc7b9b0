"""Tells a monitor elsewhere, by asking for its address, that everything moves; and is silent where it does not."""

from __future__ import annotations

from collections.abc import Callable

from daemon.contract import Event
from daemon.health import Health

EVERY_S = 60
TIMEOUT_S = 10.0


class Pulse:
    """Asks for ``url`` whenever it is told to beat, if ``health`` holds. A redirect is no yes and is not followed."""

    def __init__(self, url: str, health: Callable[[], Health], *, on_event: Callable[[Event], None]) -> None:
        self._url, self._health, self._on_event = url, health, on_event

    def beat(self) -> bool:
        """Whether the monitor was told. The address may hold a secret, so that no event names it."""
        import httpx

        if not self._health().ready:
            return False
        try:
            answer = httpx.get(self._url, timeout=TIMEOUT_S)
            reason = "" if answer.is_success else f"it answered {answer.status_code}"
        except httpx.HTTPError as error:
            reason = f"it was not reached ({type(error).__name__})"
        if reason:
            fix = "see http.healthcheck_url"
            self._on_event(
                Event("healthcheck.failed", {"reason": f"the monitor was not told: {reason}", "fix": fix}, "warning")
            )
        return not reason
