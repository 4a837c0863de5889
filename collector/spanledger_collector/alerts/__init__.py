"""Thresholds on any measure: a rule is a value, its evaluation a pure function, and each change of state is told once."""
