"""The page and the API that show what another review threshold would change."""
