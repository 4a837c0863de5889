"""HTTP only: parse, call, serialise."""
