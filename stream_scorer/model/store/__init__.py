"""The artifact store: its interface, and implementations on files, on S3 and in memory."""
