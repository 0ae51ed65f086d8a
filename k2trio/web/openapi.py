"""The OpenAPI document, made from the types of the reports."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from ..observe.report import Status, TrendsReport


class Readiness(msgspec.Struct, frozen=True):
    """Whether the process is ready, and why not."""

    ready: bool
    reasons: list[str]


_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_REFUSALS = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.MISDIRECTED_REQUEST)


def make_document(version: str) -> dict[str, Any]:
    """The document for this version of the program."""
    (status, trends, readiness), schemas = msgspec.json.schema_components(
        [Status, TrendsReport, Readiness], ref_template="#/components/schemas/{name}"
    )
    text: dict[str, Any] = {"type": "string"}
    page = {"text/html; charset=utf-8": text}
    return {
        "openapi": "3.1.0",
        "info": {"title": "k2trio", "version": version or "0", "license": {"name": "MIT"}},
        "paths": {
            "/": _get("The status page", {200: page}),
            "/status": _get("What the feed is doing", {200: {_JSON: status}}),
            "/trends": _get("The rates of the last ten minutes", {200: {_JSON: trends}}),
            "/events": _get(
                "The status each second and the trends each step, as server-sent events",
                {200: {"text/event-stream; charset=utf-8": text}, 503: {_TEXT: text}},
            ),
            "/metrics": _get(
                "Metrics for Prometheus",
                {200: {"text/plain; version=0.0.4; charset=utf-8": text}},
                query="name[]",
            ),
            "/healthz": _get("Whether the process lives", {200: {_TEXT: text}}),
            "/readyz": _get(
                "Whether data is fresh", {200: {_JSON: readiness}, 503: {_JSON: readiness}}
            ),
            "/openapi.json": _get("This document", {200: {_JSON: {"type": "object"}}}),
            "/page.css": _get("The page's style", {200: {"text/css; charset=utf-8": text}}),
            "/page.js": _get("The page's script", {200: {"text/javascript; charset=utf-8": text}}),
            "/icon.svg": _get("The page's icon", {200: {"image/svg+xml": text}}),
        },
        "components": {"schemas": schemas},
    }


def _get(
    summary: str, answers: dict[int, dict[str, Any]], *, query: str | None = None
) -> dict[str, Any]:
    """One path: its GET, and the refusals that every path may answer with."""
    refusals: dict[int, dict[str, Any]] = {
        status.value: {_TEXT: {"type": "string"}} for status in _REFUSALS
    }
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            str(status): {
                "description": HTTPStatus(status).phrase,
                "content": {kind: {"schema": schema} for kind, schema in content.items()},
            }
            for status, content in {**answers, **refusals}.items()
        },
    }
    if query is not None:
        names = {"type": "array", "items": {"type": "string"}}
        operation["parameters"] = [
            {"name": query, "in": "query", "required": False, "schema": names}
        ]
    return {"get": operation}
