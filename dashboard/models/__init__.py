"""The versions in the artifact store as pages show them: facts, status, comparison."""
