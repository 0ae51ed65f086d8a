"""The engine through half a minute of trouble, cold and hot; ``proof.py`` is the long way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import proof
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SECONDS = 45.0
RATE = 300.0


@pytest.mark.parametrize(("standby", "seed"), [("cold", 11), ("hot", 12)])
def test_everything_is_in_the_log_once_whatever_happens_to_its_writers(
    kafka_jars: Path, tmp_path: Path, standby: str, seed: int
) -> None:
    plan = proof.Plan(seconds=SECONDS, rate=RATE, standby=standby, seed=seed)
    outcome = proof.run(kafka_jars, tmp_path, plan)
    assert outcome.wrong == [], "\n".join(proof.told(outcome))
    assert sum(outcome.troubles.values()) >= 4
    assert outcome.records > SECONDS * RATE / 2
