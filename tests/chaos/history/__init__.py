"""Card history in campaigns: its inputs and models, faults of its restore, and the proof."""
