"""Tools for one machine: the embedded broker and the demo."""
