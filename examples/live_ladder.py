"""Live ladder: the best levels of an order book, as a picture that is drawn anew twice a second.

The book is the exchange's own at the update id that is shown, or it says why it may not be: after
a gap, or while the connection is away, its last good levels stay, and it is "unproven".

    python examples/live_ladder.py --seconds 20 --symbol BTCUSDT --levels 8

Needs nothing but k2trio. Where output is no terminal, pictures follow each other.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import trio
from exchange import add_faults, exchange, options

import k2trio
from k2trio import streams

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERVAL_S = 0.5
CLEAR = "\x1b[H\x1b[J" if sys.stdout.isatty() else ""
RED, GREEN, PLAIN = ("\x1b[31m", "\x1b[32m", "\x1b[0m") if CLEAR else ("", "", "")
BAR = 40


def rows(levels: Sequence[k2trio.Level], most: Decimal, colour: str) -> list[str]:
    found: list[str] = []
    for level in levels:
        quantity = Decimal(level.quantity)
        bar = "█" * max(1, round(BAR * quantity / most))
        price = Decimal(level.price)
        found.append(f"{price:>14.2f} {quantity:>12.5f}  {colour}{bar}{PLAIN}")
    return found


def picture(book: k2trio.OrderBook, levels: int) -> str:
    bids, asks = book.bids(levels), book.asks(levels)
    head = f"{book.symbol} at {book.venue}: {book.state}"
    if book.problem is not None:
        head += f", {book.problem}"
    if not bids or not asks:
        return head
    most = max(Decimal(level.quantity) for level in (*bids, *asks))
    middle = f"{book.mid:>14.3f}  spread {book.spread:.2f}, microprice {book.microprice:.4f}"
    return "\n".join([
        head[:79],
        f"update {book.last_update_id}",
        *reversed(rows(asks, most, RED)),
        middle,
        *rows(bids, most, GREEN),
    ])  # fmt: skip


async def draw(book: k2trio.OrderBook, levels: int) -> None:
    # By the clock, and not by what comes: a book that has stopped must not look as if it had not.
    while True:
        print(f"{CLEAR}{picture(book, levels)}\n", flush=True)
        await trio.sleep(INTERVAL_S)


async def main(seconds: float, symbol: str, levels: int) -> None:
    with trio.move_on_after(seconds):
        async with (
            k2trio.open_feed([streams.depth(symbol, "100ms")]) as feed,
            trio.open_nursery() as nursery,
        ):
            books = k2trio.books(feed)
            nursery.start_soon(draw, books[symbol], levels)
            async for _ in books:
                pass


if __name__ == "__main__":
    parser = options(__doc__, seconds=20)
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--levels", type=int, default=8, help="a side")
    add_faults(parser)
    given = parser.parse_args()
    with exchange(given.faults):
        trio.run(main, given.seconds, given.symbol, given.levels)
