"""The challenger: it scores what the champion has scored, and cannot change anything about it."""
