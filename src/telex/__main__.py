"""`python -m telex` is the command `telex`."""

from telex.cli import main

main()
