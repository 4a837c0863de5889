"""The sections of the costs page. Each asks its questions only while it is shown."""
