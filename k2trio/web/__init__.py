"""What is served over HTTP: metrics, health, status, and the page that shows it."""
