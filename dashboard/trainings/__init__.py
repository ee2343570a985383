"""Trainings on demand: the rules for starting one, and the runners that start it."""
