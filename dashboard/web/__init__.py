"""HTTP: the API, the pages, the probes, and what guards them."""
