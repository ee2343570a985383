"""A scorer with a challenger beside it, measured against the same scorer without one."""
