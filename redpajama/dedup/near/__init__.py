"""Which documents say almost the same, and which of them stays."""
