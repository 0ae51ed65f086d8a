"""``k2trio ops``: the alert rules, the dashboard and the runbook of this version's metrics."""

from __future__ import annotations

from importlib.resources import files

from pydantic import Field

from ...errors import ConfigError
from ..options import Options

FILES = {"alerts": "alerts.yml", "dashboard": "dashboard.json", "runbook": "runbook.md"}
"""What can be printed, and the file that it is in."""

RUNBOOK = FILES["runbook"]
"""Stands in the alerts for the place where their users keep the runbook."""


class OpsOptions(Options):
    """Print alert rules for Prometheus, a dashboard for Grafana, or the runbook of the alerts."""

    runbook_url: str = Field(
        RUNBOOK, min_length=1, description="Where the runbook can be read; the alerts link to it."
    )


def text_of(name: str, options: OpsOptions) -> str:
    """The text of what is called so in :data:`FILES`.

    :raises ConfigError: if nothing is.
    """
    if name not in FILES:
        problem = f"ops does not print {name!r}" if name else "say what ops is to print"
        raise ConfigError(f"{problem}; it has {', '.join(FILES)}")
    text = files(__name__).joinpath(FILES[name]).read_text(encoding="utf-8")
    if name == "alerts":
        text = text.replace(f"runbook_url: {RUNBOOK}#", f"runbook_url: {options.runbook_url}#")
    return text
