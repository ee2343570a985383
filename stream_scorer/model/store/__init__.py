"""The artifact store: its interface, and one on files, on S3 and in memory."""
