"""Inputs and outcomes as an audit reads them: records to columns, and their digest."""
