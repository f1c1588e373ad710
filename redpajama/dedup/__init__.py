"""Has it been seen? Verdicts over all sources at once."""
