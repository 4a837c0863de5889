"""The pages. Each chooses Queries and measure names and lays out what comes back; Streamlit runs each file as a script."""
