"""``stream-scorer demo --loop``: from drift to a better model, and never to a worse one."""
