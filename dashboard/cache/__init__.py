"""The dashboard's cache of flagged transactions. It can be deleted: the feed rebuilds it."""
