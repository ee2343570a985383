"""Feature programs in plain Python, and checks that they leak nothing."""
