"""Card histories of the partitions: restore, snapshots, and reading them again."""
