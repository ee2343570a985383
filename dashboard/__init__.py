"""The dashboard process: flagged transactions live, and the synchronous REST shim."""
