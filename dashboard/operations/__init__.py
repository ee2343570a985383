"""What people on call look at: backlog, delays, dead letters, versions on the stream, drift."""
