"""The exporter's ASGI application: metrics, health, status, and the page that shows it."""

from .app import make_app

__all__ = ["make_app"]
