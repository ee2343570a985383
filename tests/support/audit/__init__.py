"""Topics of an audit, made by hand or forged."""
