"""What spending means: what changed, where it goes, what it would have been. Pure: numbers in, numbers out."""
