"""Charts: pure functions from values to Plotly figures. No I/O, no clock, no Streamlit.

Every text that comes from outside passes through `untrusted.chart_text`.
"""
