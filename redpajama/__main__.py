"""`python -m redpajama`."""

from redpajama.cli import main

main()
