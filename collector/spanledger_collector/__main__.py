"""`python -m spanledger_collector serve …`: the collector without the `spanledger` command."""

from spanledger_collector.cli import main

if __name__ == "__main__":
    main()
