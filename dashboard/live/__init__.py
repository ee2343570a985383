"""Live updates: turns the board's activity into ticks and sends them to the open pages."""
