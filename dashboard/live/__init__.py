"""From the board to the open pages: ticks, merged and fanned out."""
