"""`python -m flyweight` is the command `flyweight`."""

from flyweight.cli.app import main

main()
