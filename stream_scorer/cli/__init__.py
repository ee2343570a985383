"""The commands of ``stream-scorer``, and nothing else."""
