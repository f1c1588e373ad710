"""Models that score texts: their files, and what each says."""
