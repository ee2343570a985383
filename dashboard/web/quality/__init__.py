"""What live versions are worth by the labels that came in, for pages and the API."""
