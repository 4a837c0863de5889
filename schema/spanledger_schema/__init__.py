"""The contract of Spanledger: names, units, measures, the Query and the DDL. Standard library only, no I/O.

Every other package imports this one and it imports none of them.
"""
