"""Bills: what providers' exports say was used and charged, in one form. Pure: text in, lines out."""
