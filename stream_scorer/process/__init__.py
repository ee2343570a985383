"""The scorer process: everything it consists of is put together here."""
