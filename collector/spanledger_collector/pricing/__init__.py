"""What a call costs: names to models, models to dated rate cards, cards to money. Pure: no I/O but its own data, no clock."""
