"""HTTP: the API, pages and probes, with authentication and limits."""
