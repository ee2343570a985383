"""What the tests share: builders, fakes, processes and waiting."""
