"""What one connection says that is not market data as it should be: told, counted, tolerated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..market.control import Malformed, OtherUnit
from ..observe import transitions as on
from .tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..errors import ConnectionFailed
    from ..observe.transitions import Observer


class Remarks:
    """Tells the observers of what a connection says.

    :param fail: ends the connection, when there was too much that is not understood.
    """

    def __init__(
        self, line: str, endpoint: str, emit: Observer, fail: Callable[[ConnectionFailed], None]
    ) -> None:
        self._line = line
        self._endpoint = endpoint
        self._emit = emit
        self._fail = fail
        self._tolerance = Tolerance()

    def take(self, message: Malformed | OtherUnit, now: float, *, disputed: bool = False) -> None:
        """Tell of a remark.

        :param disputed: another connection says otherwise.
        """
        if isinstance(message, OtherUnit):
            self._emit(on.TimeUnitDiffers(self._line, self._endpoint, message.told))
            return
        self._emit(
            on.MalformedMessage(
                self._line, self._endpoint, message.error_type, message.detail, message.excerpt
            )
        )
        if violation := self._tolerance.note(now, disputed=disputed):
            self._fail(violation)
