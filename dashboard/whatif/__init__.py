"""What another review threshold would change: pure arithmetic on counts and labelled scores."""
