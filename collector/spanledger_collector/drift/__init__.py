"""Did the confidence move, and is it right? Pure mathematics on counts; reading them is `query/confidence.py`."""
