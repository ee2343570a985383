"""Champion and challenger compared on the transactions that both have scored, with a verdict."""
