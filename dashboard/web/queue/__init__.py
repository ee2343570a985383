"""The queue page: the list of flagged transactions with its filters, columns and menus."""
