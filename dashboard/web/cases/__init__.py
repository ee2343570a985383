"""HTTP routes of the desk: claims, decisions, the audit log, saved views and exports."""
