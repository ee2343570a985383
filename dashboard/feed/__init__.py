"""The feed: reads the scores topic into the cache and reports its state on a board."""
