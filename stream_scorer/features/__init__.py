"""Feature programs: the operations as data, fitted in the trainer and applied everywhere."""
