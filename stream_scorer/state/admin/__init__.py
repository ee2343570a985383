"""What operators do with card histories: status, building an era, more partitions."""
