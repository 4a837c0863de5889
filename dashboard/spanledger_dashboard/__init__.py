"""The dashboard of Spanledger: an ordinary client of the collector's HTTP API."""
