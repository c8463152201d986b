"""Media items: listing, reading and probing files."""
