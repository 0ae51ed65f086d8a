"""Polars notebook: what some seconds of trades say, in the cells of a notebook.

Open it in VS Code or PyCharm, or in Jupyter with jupytext, and run it cell by cell. Or all of it:

    python examples/polars_notebook.py --seconds 15

Needs polars: python -m pip install polars
"""

# %% [markdown]
# # A look at trades
# The feed runs in a thread of its own, so a cell is a plain `for` loop. What is missing is kept
# as well: how far may the numbers below be believed?

# %%
import time
from typing import Any

import polars as pl
from exchange import exchange, options

import k2trio
from k2trio import streams

pl.Config.set_tbl_width_chars(80).set_tbl_hide_column_data_types(True)
SECONDS = options(__doc__, seconds=15).parse_known_args()[0].seconds  # a kernel has other options

# %%
trades: list[dict[str, Any]] = []
holes: list[k2trio.Gap | k2trio.Outage | k2trio.VenueChanged] = []
wanted = [streams.trade("btcusdt"), streams.trade("ethusdt"), streams.trade("ltcusdt")]
until = time.monotonic() + SECONDS
with exchange(), k2trio.sync.open_feed(wanted) as feed:
    while (left := until - time.monotonic()) > 0:
        try:
            batch = feed.get_batch(timeout=left)
        except TimeoutError:
            break
        for item in batch:
            if isinstance(item, k2trio.Event):
                trades.append({
                    "symbol": item.data.symbol,
                    "id": item.data.trade_id,
                    "time": item.data.trade_time,
                    "price": item.data.price,
                    "quantity": item.data.quantity,
                    "sold": item.data.buyer_is_maker,
                })  # fmt: skip
            else:
                holes.append(item)

# %% [markdown]
# Prices come as the exchange wrote them. As decimals their sums are exact.

# %%
frame = pl.DataFrame(trades).with_columns(
    pl.col("time").cast(pl.Datetime("ms", "UTC")),
    pl.col("price", "quantity").cast(pl.Decimal(38, 8)),
)
print(frame)

# %% [markdown]
# Is it whole? Ids of trades have no holes, so the table proves it without asking the feed.

# %%
whole = frame.group_by("symbol", maintain_order=True).agg(
    trades=pl.len(),
    first=pl.col("id").min(),
    last=pl.col("id").max(),
    missing=pl.col("id").max() - pl.col("id").min() + 1 - pl.len(),
)
print(whole)
print(f"the feed names {len(holes)} holes", *holes, sep="\n")

# %% [markdown]
# Volume, its weighted price, and who was in a hurry: 1 if takers only bought, -1 if they only sold.

# %%
bought = pl.col("quantity").filter(~pl.col("sold")).sum().cast(pl.Float64)
sold = pl.col("quantity").filter(pl.col("sold")).sum().cast(pl.Float64)
price, quantity = pl.col("price").cast(pl.Float64), pl.col("quantity").cast(pl.Float64)
second = pl.col("time").dt.strftime("%H:%M:%S").alias("second")
seconds = frame.group_by("symbol", second, maintain_order=True).agg(
    volume=pl.col("quantity").sum(),
    weighted=(price * quantity).sum() / quantity.sum(),
    imbalance=(bought - sold) / (bought + sold),
    close=pl.col("price").last().cast(pl.Float64),
)
print(seconds)

# %% [markdown]
# How far prices move in a second, in basis points, and whether they follow the takers.

# %%
moves = seconds.with_columns(
    move=(pl.col("close").log().diff().over("symbol") * 10_000),
)
answer = moves.group_by("symbol", maintain_order=True).agg(
    deviation=pl.col("move").std(),
    follows=pl.corr("move", "imbalance"),
)
print(answer)
