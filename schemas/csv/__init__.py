"""IEEE-CIS CSV files as transactions."""
