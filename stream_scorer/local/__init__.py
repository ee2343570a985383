"""What runs on the user's own machine: the embedded broker and the demo."""
