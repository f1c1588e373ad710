"""What all stages say of documents: ledgers, verdicts, spans, and the one reader."""
