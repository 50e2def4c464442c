"""`python -m flyweight` is the command `flyweight`."""

from flyweight.cli import main

main()
