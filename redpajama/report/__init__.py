"""What happened? Read from the records of all stages."""
