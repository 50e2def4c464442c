"""A package, so that its fixtures and tests may have names of files that others have, too."""
