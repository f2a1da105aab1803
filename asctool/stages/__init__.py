"""One file a subcommand; the only code that touches both files and computation."""
