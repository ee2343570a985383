"""The commands of ``fraud-trainer``: one module for each command or group of commands."""
