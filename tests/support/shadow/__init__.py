"""A challenger beside the loop, in memory."""
