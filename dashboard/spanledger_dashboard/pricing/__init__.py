"""The sections of the prices page. Each asks its questions only while it is shown."""
