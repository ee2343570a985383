"""HTTP for leads and people on call: operations, model versions, audit log, API reference."""
