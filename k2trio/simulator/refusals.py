"""How the exchange says no over HTTP: to an upgrade, and to a REST request."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818
    """The upgrade is answered with an HTTP status."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after = retry_after


class ApiError(Exception):
    """An error as the exchange words it: HTTP status, code and message."""

    def __init__(
        self, code: int, message: str, status: int = 400, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after
