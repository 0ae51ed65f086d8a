"""Who is dialled, when, and when not. Decisions only: no input or output."""
