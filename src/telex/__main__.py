"""`python -m telex` is the command `telex`."""

from .cli import main

main()
