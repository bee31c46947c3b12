"""The engine that runs a week as containers, by Docker Compose."""
