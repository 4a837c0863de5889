"""From a Query to an answer: choose the tables, compile to SQL with every value bound, run with limits."""
