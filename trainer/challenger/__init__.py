"""The challenger's commands: let a version score in shadow, and compare it with the champion."""
